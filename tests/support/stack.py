"""The bundled stack, natively, on ports that are free: real Prometheus, Loki, Tempo and collector.

    with stack.running(tmp_path) as running:
        requests.get(running.url("prometheus", "/api/v1/query"), ...)
        pods.run(..., env=running.sender())

What a machine has no binary for is left out, and a test that needs it says which by `stack.needs("tempo")`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_flyte.stack import binaries, settings
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.settings import Settings
from support import native
from support.programs import Ended

_INHERITED = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "OTEL_FLYTE_TEMPO", "OTEL_FLYTE_GRAFANA")
"""What a test's stack has of the environment of whoever runs the tests: where the binaries are."""

ENVIRON = {name: os.environ[name] for name in _INHERITED if name in os.environ}
"""Taken when this is imported: tests have OTEL_FLYTE_* removed from theirs."""


@dataclass(frozen=True)
class Stack:
    """A stack of one test."""

    environ: Mapping[str, str]
    """What its commands are run with."""
    settings: Settings

    def url(self, part: str, path: str = "") -> str:
        """The URL of a port by its key in ``otel_flyte.stack.settings.PORTS``."""
        return self.settings.url(part, path)

    def sender(self) -> dict[str, str]:
        """The variables of a pod that sends to it."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url("otlp_http"), "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ended:
        """Run ``otel-flyte`` as a user of it does."""
        ended = subprocess.run(
            [sys.executable, "-m", "otel_flyte", *arguments],
            env={**self.environ, **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    @property
    def state(self) -> dict[str, Any]:
        """What is remembered of it."""
        held: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return held

    @property
    def folder(self) -> Path:
        return Path(self.environ["XDG_STATE_HOME"]) / "otel-flyte" / "stack"

    def pid(self, part: str) -> int:
        return int(self.state["processes"][part]["pid"])

    def log(self, part: str) -> str:
        return (self.folder / "logs" / f"{part}.log").read_text(errors="replace")


def needs(*parts: str) -> None:
    """Skip a test where a binary is missing, by name."""
    missing = [name for name in parts if binaries.find(BY_NAME[name], ENVIRON) is None]
    if missing:
        pytest.skip(f"no binary of {', '.join(missing)}: `python native/build.py` builds all but tempo and grafana")


def new(folder: Path, env: Mapping[str, str] | None = None, *, without: Iterable[str] = ()) -> Stack:
    """A stack with free ports that keeps all in a folder, and is not started yet.

    ``without`` names parts that are not to be found, whatever this machine has.
    """
    hidden = _hidden(folder, without) if (without := tuple(without)) else {}
    environ = {**ENVIRON, "XDG_STATE_HOME": str(folder / "state"), **_ports(), **hidden, **(env or {})}
    return Stack(environ, settings.read(environ))


@contextmanager
def running(
    folder: Path, env: Mapping[str, str] | None = None, *, without: Iterable[str] = ("grafana",)
) -> Iterator[Stack]:
    """Start a stack, and stop it; skips where Prometheus, Loki or the collector has no binary."""
    needs(*({"prometheus", "loki", "collector"} - set(without)))
    stack = new(folder, env, without=without)
    try:
        ended = stack.run("stack", "up", "--native")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield stack
    finally:
        stack.run("stack", "down")


def _ports() -> dict[str, str]:
    """Ports that are free."""
    variables = [port.variable for port in settings.PORTS.values()]
    return {name: str(port) for name, port in zip(variables, native.free_ports(len(variables)), strict=True)}


def _hidden(folder: Path, parts: Iterable[str]) -> dict[str, str]:
    """Variables by which some parts are not found, and all others are."""
    beside = folder / "path"
    beside.mkdir(parents=True, exist_ok=True)
    for name, part in BY_NAME.items():
        binary = binaries.find(part, ENVIRON)
        if binary is not None and name not in parts:
            (beside / part.binaries[0]).symlink_to(binary)
    names = [binary for part in parts for binary in BY_NAME[part].binaries]
    path = ENVIRON.get("PATH", os.defpath).split(os.pathsep)
    without = [entry for entry in path if not any((Path(entry) / name).exists() for name in names)]
    return {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": os.pathsep.join([str(beside), *without]),
        **{BY_NAME[name].variable: "" for name in parts},
    }
