"""Python programs of a user, and other installed distributions.

Tests that need a new interpreter (failing imports, missing providers, no hooks) run a program in its own process, with
only those variables that the test sets.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from support import fork_server, pods

RAISE = {"_OTEL_FLYTE_RAISE": "1"}
"""The variables with which faults of this project raise instead of being logged."""


@dataclass(frozen=True)
class Ended:
    """The exit status and the output of a program."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def printed(self) -> Any:
        """The JSON value in the last line of stdout."""
        assert self.returncode == 0, self.stderr
        return json.loads(self.stdout.splitlines()[-1])

    @property
    def our_lines(self) -> list[str]:
        return our_lines(self.stderr)


def run(
    source: str,
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    name: str = "program",
    path: Iterable[Path] = (),
    timeout: float = 60,
    forked: bool = False,
) -> Ended:
    """Run a program from a file, because flytekit reads its source.

    Args:
        path: folders before the workflows on its path.
        forked: whether it may be forked, because it imports flytekit before anything else.
    """
    module(folder, name, source)
    command = [sys.executable, str(folder / f"{name}.py")]
    environment = {"PYTHONPATH": python_path(*path), **(env or {})}
    return run_command(command, folder, environment, timeout=timeout, forked=forked)


def run_command(
    command: list[str],
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    timeout: float = 60,
    forked: bool = False,
) -> Ended:
    """Run a command; it finds the console scripts of this interpreter's environment."""
    environment = {
        "PATH": os.pathsep.join([str(pods.SCRIPTS), os.defpath]),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "FLYTE_SDK_RICH_TRACEBACKS": "0",
        **(env or {}),
    }
    arguments = fork_server.script_of(command)
    if forked and fork_server.can_fork(arguments, environment, pods.ENVIRONMENT):
        server = fork_server.server(pods.ENVIRONMENT, environment)
        return Ended(*server.run(arguments, environment, folder, timeout))
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def without_privileges(command: list[str]) -> list[str]:
    """Return the command without root's privilege to ignore permissions of files."""
    if os.geteuid():
        return command
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", *command]


def joined(*parts: str) -> str:
    """Join the parts of a program, each with the indentation of its test."""
    return "".join(dedent(part) for part in parts)


def python_path(*first: Path) -> str:
    return os.pathsep.join([*map(str, first), str(pods.WORKFLOWS)])


def our_lines(stderr: str) -> list[str]:
    """Return the lines of this project; flytekit may have wrapped them in JSON."""
    return [line for line in stderr.splitlines() if "otel-flyte" in line or "otel_flyte" in line]


def module(folder: Path, name: str, source: str) -> Path:
    """Write a module to a folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(dedent(source))
    return folder


def distribution(folder: Path, name: str, source: str, entry_points: Mapping[str, Mapping[str, str]]) -> Path:
    """Install a distribution of one module to a folder; ``entry_points`` are its objects by group and name."""
    module(folder, name, source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, objects in entry_points.items():
        lines += [f"[{group}]", *(f"{entry} = {name}:{target}" for entry, target in objects.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


def distro(folder: Path) -> Path:
    """Install the entry point of ``opentelemetry-distro``: the SDK's own configurator."""
    return distribution(
        folder,
        "distro_of_the_test",
        """
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator

        class Configurator(_OTelSDKConfigurator):
            pass
        """,
        {"opentelemetry_configurator": {"configurator": "Configurator"}},
    )
