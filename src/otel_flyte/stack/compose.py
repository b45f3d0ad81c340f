"""The stack as containers, by `docker compose`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from otel_flyte.stack import files
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.settings import Settings
from otel_flyte.stack.status import ENDED, READY, STARTING, STOPPED, PartStatus, StackError

_PROBE_TIMEOUT = 20.0
"""Seconds. An engine that works answers sooner."""

PUBLISHED = ("otlp_grpc", "otlp_http", "statsd", "health", "tempo", "prometheus", "loki", "grafana")
"""The ports that docker-compose.yml opens on this machine; the others are internal to the containers' network."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers, and the stack's compose file."""

    docker: str
    file: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `docker compose` on the stack's file."""
        return _run([self.docker, "compose", "--file", str(self.file), *arguments], self.environ, cwd=self.file.parent)


def find(settings: Settings, environ: Mapping[str, str]) -> Engine | str:
    """Return the engine, or the reason why there is none."""
    environ = {**environ, **settings.environment()}
    docker = shutil.which("docker", path=environ.get("PATH", os.defpath))
    if docker is None:
        return "`docker` is not on PATH"
    for command, problem in (
        (["version", "--format", "{{.Server.Version}}"], "the engine does not answer"),
        (["compose", "version", "--short"], "`docker compose` is not installed"),
    ):
        try:
            result = _run([docker, *command], environ, timeout=_PROBE_TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{problem}, {error}"
        if result.returncode != 0:
            return f"{problem}, {_last_line(result.stderr)}"
    return Engine(docker, files.root() / files.COMPOSE, environ)


def up(engine: Engine, settings: Settings, timeout: float) -> None:
    """Start the containers, and wait until their health checks pass.

    Raises:
        StackError: they do not come up. The containers have been removed then, and their data kept.
    """
    arguments = ("up", "--detach", "--wait", "--wait-timeout", f"{timeout:.0f}", "--remove-orphans")
    try:
        result = engine.run(*arguments)
        if result.returncode == 0:
            return
        problem = _last_line(result.stderr)
        unhealthy = next((each for each in status(engine, settings) if each.is_bad), None)
        if unhealthy:
            log = engine.run("logs", "--no-color", "--no-log-prefix", "--tail", "1", unhealthy.name).stdout
            problem = f"{unhealthy.name} {unhealthy.state}: {_last_line(log or result.stderr)}"
    except BaseException:
        # Also when the user interrupts the wait.
        _remove(engine)
        raise
    _remove(engine)
    raise StackError(problem)


def down(engine: Engine, *, is_data_deleted: bool) -> None:
    """Stop and remove the containers, and their volumes if requested.

    Raises:
        StackError: the engine reports an error.
    """
    result = _remove(engine, *(["--volumes"] if is_data_deleted else []))
    if result.returncode != 0:
        raise StackError(f"`docker compose down` failed: {_last_line(result.stderr)}")


def status(engine: Engine, settings: Settings) -> list[PartStatus]:
    """Return the status of every part."""
    listed = engine.run("ps", "--all", "--format", "json").stdout
    containers = {each["Service"]: each for each in _parsed(listed)}
    return [_status(name, containers, settings) for name in BY_NAME]


def _run(
    command: list[str], environ: Mapping[str, str], *, cwd: Path | None = None, timeout: float | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603  # the engine's own command line
        command, env=dict(environ), cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout
    )


def _remove(engine: Engine, *options: str) -> "subprocess.CompletedProcess[str]":
    return engine.run("down", "--remove-orphans", *options)


def _status(name: str, containers: Mapping[str, Mapping[str, str]], settings: Settings) -> PartStatus:
    url = settings.url(BY_NAME[name].ports[0])
    container = containers.get(name)
    if container is None:
        return PartStatus(name, STOPPED)
    note = container.get("Status", "")
    if container.get("State") != "running":
        return PartStatus(name, ENDED, url, note)
    # The collector's image has no program for a health check: a second container checks it.
    health = containers.get(f"{name}-health", container).get("Health", "")
    return PartStatus(name, READY if health in ("healthy", "") else STARTING, url, note)


def _parsed(text: str) -> Iterator[Mapping[str, str]]:
    """Parse the output of `docker compose ps`: a list up to 2.21, an object per line since."""
    try:
        for line in text.splitlines():
            document = json.loads(line)
            yield from document if isinstance(document, list) else [document]
    except ValueError:
        return


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
