"""The bundled stack, natively, on free ports: real Prometheus and collector, and Loki and Tempo where installed.

    with stack.running(tmp_path) as running:
        requests.get(running.url("prometheus", "/api/v1/query"), ...)
        pods.run(..., env=running.sender())

Loki, Tempo and Grafana are licensed under the AGPL and are never built here: a person installs them on PATH, or names
them in OTEL_FLYTE_LOKI, OTEL_FLYTE_TEMPO and OTEL_FLYTE_GRAFANA. A test calls `stack.needs("tempo")`, and is skipped by
name where that part is missing.
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
from support import native, otlp
from support.programs import Ended

INSTALLED = ("loki", "tempo", "grafana")
"""The parts that only a person installs."""

_INHERITED = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", *(BY_NAME[name].variable for name in INSTALLED))

RESOURCE = {
    "service.name": "flyte",
    "flyte.project": "p",
    "flyte.run_name": "f1",
    "k8s.pod.name": "pod-1",
    "some.attribute": "x",
}

ENVIRON = {name: os.environ[name] for name in _INHERITED if name in os.environ}
"""The variables by which binaries are found. Read on import, before a fixture removes OTEL_FLYTE_*."""


@dataclass(frozen=True)
class Stack:
    """The stack of one test."""

    environ: Mapping[str, str]
    """The environment of its commands."""
    settings: Settings

    def url(self, part: str, path: str = "") -> str:
        """Return the URL of a port by its key in ``otel_flyte.stack.settings.PORTS``."""
        return self.settings.url(part, path)

    def sender(self) -> dict[str, str]:
        """Return the variables of a pod that sends to the stack."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url("otlp_http"), "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ended:
        """Run ``otel-flyte`` as a user does."""
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

    def send(self, signal: str, record: Mapping[str, Any]) -> None:
        """Send one record of ``RESOURCE``; the collector has acknowledged it on return."""
        otlp.send(self.url("otlp_http"), signal, otlp.message(signal, RESOURCE, [record]))

    @property
    def state(self) -> dict[str, Any]:
        """The saved state."""
        document: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return document

    @property
    def folder(self) -> Path:
        return Path(self.environ["XDG_STATE_HOME"]) / "otel-flyte" / "stack"

    def has(self, part: str) -> bool:
        """Return whether a part was started."""
        return part in self.state["processes"]

    def pid(self, part: str) -> int:
        return int(self.state["processes"][part]["pid"])

    def log(self, part: str) -> str:
        return (self.folder / "logs" / f"{part}.log").read_text(errors="replace")


def binary(part: str) -> Path | None:
    """Return the binary of a part."""
    return binaries.find(BY_NAME[part], ENVIRON)


def is_installed(part: str) -> bool:
    """Return whether a part has a binary."""
    return binary(part) is not None


def needs(*parts: str) -> None:
    """Skip the test if a part has no binary. The reason names the test, so that the summary of pytest lists it."""
    missing = [name for name in parts if not is_installed(name)]
    if missing:
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        advice = "; ".join(BY_NAME[name].how_to_install for name in missing)
        pytest.skip(f"{test} needs {' and '.join(missing)}: {advice}")


def new(folder: Path, env: Mapping[str, str] | None = None, *, without: Iterable[str] = ()) -> Stack:
    """Return a stack that is not started yet, with free ports and all of its files in a folder.

    ``without`` names parts that the stack does not find, whether installed or not.
    """
    hidden = _hidden(folder, without) if (without := tuple(without)) else {}
    environ = {**ENVIRON, "XDG_STATE_HOME": str(folder / "state"), **_ports(), **hidden, **(env or {})}
    return Stack(environ, settings.read(environ))


@contextmanager
def running(
    folder: Path, env: Mapping[str, str] | None = None, *, without: Iterable[str] = ("grafana",)
) -> Iterator[Stack]:
    """Start a stack, and stop it at the end. Skip the test if the collector or Prometheus cannot be built."""
    needs(*({"prometheus", "collector"} - set(without)))
    stack = new(folder, env, without=without)
    try:
        ended = stack.run("stack", "up", "--native")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield stack
    finally:
        stack.run("stack", "down")


def error_of(failed: Ended) -> str:
    """Return the one line of a command that has failed."""
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("otel-flyte: ")
    return line.removeprefix("otel-flyte: ")


def executable(path: Path, script: str) -> Path:
    """Write a shell script to a file that can be executed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def _ports() -> dict[str, str]:
    variables = [port.variable for port in settings.PORTS.values()]
    return {name: str(port) for name, port in zip(variables, native.free_ports(len(variables)), strict=True)}


def _hidden(folder: Path, parts: Iterable[str]) -> dict[str, str]:
    """Return the variables with which some parts are not found, and all others are."""
    visible = folder / "path"
    visible.mkdir(parents=True, exist_ok=True)
    for name, part in BY_NAME.items():
        found = binary(name)
        if found is not None and name not in parts:
            (visible / part.binaries[0]).symlink_to(found)
    names = [name for part in parts for name in BY_NAME[part].binaries]
    path = ENVIRON.get("PATH", os.defpath).split(os.pathsep)
    rest = [entry for entry in path if not any((Path(entry) / name).exists() for name in names)]
    return {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": os.pathsep.join([str(visible), *rest]),
        **{BY_NAME[name].variable: "" for name in parts},
    }
