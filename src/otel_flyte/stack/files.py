"""Where the stack's files are, in the wheel or at the root of a checkout, and where a user's files are."""

from collections.abc import Mapping
from pathlib import Path

from otel_flyte.stack.status import StackError

PACKAGED = Path(__file__).parent / "files"
"""The stack's files in a wheel; a checkout has the same files at its root."""

COMPOSE = "docker-compose.yml"


def root() -> Path:
    """Return the folder with ``docker-compose.yml``, ``collector/``, ``backends/`` and ``grafana/``.

    Raises:
        StackError: the package is neither installed from a wheel nor in a checkout.
    """
    for folder in (PACKAGED, Path(__file__).parents[3]):
        if (folder / COMPOSE).is_file():
            return folder
    raise StackError(f"{PACKAGED / COMPOSE} is missing: install otel-flyte from its wheel, or use a checkout")


def user_folder(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """Return the folder in a variable, else a folder below the user's home. A relative path in the variable is ignored.

    The convention: https://specifications.freedesktop.org/basedir-spec/latest/

    Raises:
        StackError: the user's home is not known.
    """
    named = Path(environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / default
    except RuntimeError:
        raise StackError(f"neither {variable} nor HOME is set: set one of them") from None
