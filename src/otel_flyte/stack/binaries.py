"""Where the executables of a native stack are."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from otel_flyte.stack import files
from otel_flyte.stack.parts import PARTS, Part
from otel_flyte.stack.status import StackError


def find_all(environ: Mapping[str, str]) -> dict[str, Path]:
    """Return the executables of the parts that have one, by name of the part.

    Raises:
        StackError: a part's variable does not name an executable.
    """
    return {part.name: binary for part in PARTS if (binary := find(part, environ))}


def find(part: Part, environ: Mapping[str, str]) -> Path | None:
    """Return the executable of a part: from its variable, else as built by ``native/build.py``, else from ``PATH``.

    Builds come before ``PATH`` because they have the tested versions.

    Raises:
        StackError: the variable does not name an executable.
    """
    named = environ.get(part.variable)
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise StackError(f"{part.variable}={named} is not an executable file: correct or unset it")
        return Path(named).absolute()
    if part.is_built:
        cache = files.user_folder(environ, "XDG_CACHE_HOME", ".cache") / "otel-flyte" / "bin"
        for name in part.binaries:
            if os.access(built := cache / name / "current" / name, os.X_OK):
                return built
    path = environ.get("PATH", os.defpath)
    on_path = (shutil.which(name, path=path) for name in part.binaries)
    return next((Path(binary).absolute() for binary in on_path if binary), None)
