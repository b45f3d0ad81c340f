"""Where the files of the stack are: in the wheel, or at the root of a checkout; and where those of a user are."""

from collections.abc import Mapping
from pathlib import Path

CARRIED = Path(__file__).parent / "files"
"""What a wheel carries; a checkout has the same at its root."""

COMPOSE = "docker-compose.yml"


def root() -> Path:
    """Return the folder with ``docker-compose.yml``, ``collector/``, ``backends/`` and ``grafana/``.

    Raises:
        FileNotFoundError: neither a wheel nor a checkout is around this package.
    """
    for folder in (CARRIED, Path(__file__).parents[3]):
        if (folder / COMPOSE).is_file():
            return folder
    raise FileNotFoundError(f"{CARRIED / COMPOSE} is missing: install otel-flyte from its wheel, or use a checkout")


def of_user(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """Return the folder that a variable names, else one below the user's home; a relative one counts as none.

    The convention: https://specifications.freedesktop.org/basedir-spec/latest/

    Raises:
        FileNotFoundError: nobody says where the home is.
    """
    named = Path(environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / default
    except RuntimeError:
        raise FileNotFoundError(f"neither {variable} nor HOME names a folder: set one") from None
