"""Where the files of the stack are: in the wheel, or at the root of a checkout."""

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
