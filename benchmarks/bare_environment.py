"""An environment with flytekit alone: it and its dependencies, in the versions of the environment that runs this.

The API of OpenTelemetry is one of them: `google-api-core` requires it.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def create(folder: Path) -> Path:
    """Create the environment in a folder; return its interpreter, and print how many distributions it has."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    installed = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.writelines(f"{name}=={version}\n" for name, version in installed.items() if name != "otel-flyte")
        constraints.flush()
        command = [uv, "pip", "install", "--quiet", "--python", str(python), "--constraint", constraints.name]
        subprocess.run([*command, f"flytekit=={installed['flytekit']}", "setuptools"], check=True)
    distributions = list(folder.rglob("*.dist-info"))
    sys.stderr.write(f"distributions: {len(installed)} here, {len(distributions)} in the bare environment\n")
    return python
