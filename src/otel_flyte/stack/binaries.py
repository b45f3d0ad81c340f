"""Where the executables of a native stack are."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from otel_flyte.stack import files
from otel_flyte.stack.parts import Part


def find(part: Part, environ: Mapping[str, str]) -> Path | None:
    """Return the executable of a part: what its variable names, else what was built, else what ``PATH`` has.

    What ``native/build.py`` has built stands before ``PATH``, for it is of the versions that are tested.

    Raises:
        FileNotFoundError: the variable names no executable.
    """
    named = environ.get(part.variable)
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise FileNotFoundError(f"{part.variable}={named} is no executable file: correct it, or unset it")
        return Path(named).absolute()
    built = (cache(environ) / name / "current" / name for name in part.binaries)
    path = environ.get("PATH", os.defpath)
    on_path = (Path(found).absolute() for name in part.binaries if (found := shutil.which(name, path=path)))
    return next((binary for binary in built if os.access(binary, os.X_OK)), None) or next(on_path, None)


def cache(environ: Mapping[str, str]) -> Path:
    """Return the folder that ``native/build.py`` builds into."""
    return files.of_user(environ, "XDG_CACHE_HOME", ".cache") / "otel-flyte" / "bin"
