"""``python -m grafana.generate`` writes all dashboards; with ``--check`` it exits with 1 if a file is stale."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import grafana.generate
from grafana_foundation_sdk.cog.encoder import JSONEncoder

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"
COMMAND = "python -m grafana.generate"


def rendered() -> dict[str, str]:
    """Return the dashboards as JSON, by file name."""
    modules = (importlib.import_module(f"grafana.generate.{name}") for name in _modules())
    boards = (module.board() for module in modules)
    return {f"{made.uid}.json": json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for made in boards}


def stale() -> list[str]:
    """Return the names of files that differ from the generated ones, or are not generated any more."""
    wanted = rendered()
    found = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def write() -> None:
    """Write all dashboards, and delete files that are not generated any more."""
    DASHBOARDS.mkdir(exist_ok=True)
    wanted = rendered()
    for path in DASHBOARDS.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")


def _modules() -> list[str]:
    return sorted(
        found.name for found in pkgutil.iter_modules(grafana.generate.__path__) if found.name.startswith("flyte_")
    )


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"usage: {COMMAND} [--check]\n")
        return 2
    if not arguments:
        write()
        return 0
    names = stale()
    if names:
        sys.stderr.write(f"grafana.generate: stale dashboards {', '.join(names)}: run `{COMMAND}`\n")
    return int(bool(names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
