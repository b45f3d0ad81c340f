"""The two environments that are compared: flytekit alone, and flytekit with otel-flyte, as in a task image.

Both have the versions of the environment that runs this. The API of OpenTelemetry is in both: `google-api-core`, which
flytekit requires, requires it.
"""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Environments(NamedTuple):
    """Interpreters.

    Attributes:
        bare: with flytekit alone.
        ours: with otel-flyte as well.
    """

    bare: Path
    ours: Path


def create(folder: Path) -> Environments:
    """Create both environments in a folder, and print how many distributions each has."""
    installed = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    constraints = folder / "constraints.txt"
    constraints.write_text(
        "".join(f"{name}=={version}\n" for name, version in installed.items() if name != "otel-flyte")
    )
    flytekit = f"flytekit=={installed['flytekit']}"
    found = Environments(
        _create(folder / "bare", constraints, flytekit),
        _create(folder / "ours", constraints, flytekit, str(ROOT)),
    )
    numbers = [len(list(python.parent.parent.rglob("*.dist-info"))) for python in found]
    sys.stderr.write(f"distributions: {numbers[0]} in the bare environment, {numbers[1]} with otel-flyte\n")
    return found


def _create(folder: Path, constraints: Path, *requirements: str) -> Path:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    subprocess.run([*command, "--constraint", str(constraints), *requirements, "setuptools"], check=True)
    return python
