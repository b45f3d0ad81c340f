"""The stack as containers, by `docker compose`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from otel_flyte.stack.files import COMPOSE as FILE
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.settings import Settings
from otel_flyte.stack.status import ENDED, READY, STARTING, STOPPED, PartStatus, StackError

_QUESTION_TIMEOUT = 20.0
"""Seconds in which an engine answers that is there."""

PUBLISHED = ("otlp_grpc", "otlp_http", "statsd", "health", "tempo", "prometheus", "loki", "grafana")
"""The ports that docker-compose.yml opens on this machine; all others stay between the containers."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers, and the stack's file."""

    docker: str
    file: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str, timeout: float | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `docker compose` on the stack's file."""
        return subprocess.run(  # noqa: S603  # the engine's own command line
            [self.docker, "compose", "--file", str(self.file), *arguments],
            env=dict(self.environ),
            cwd=self.file.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


def find(root: Path, environ: Mapping[str, str]) -> Engine | str:
    """Return the engine, or in one sentence why there is none."""
    docker = shutil.which("docker", path=environ.get("PATH", os.defpath))
    if docker is None:
        return "no `docker` on PATH"
    for command, lacking in (
        (["version", "--format", "{{.Server.Version}}"], "no engine answers"),
        (["compose", "version", "--short"], "it has no `docker compose`"),
    ):
        try:
            said = subprocess.run(  # noqa: S603  # the engine's own command line
                [docker, *command],
                env=dict(environ),
                capture_output=True,
                text=True,
                check=False,
                timeout=_QUESTION_TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{lacking}: {error}"
        if said.returncode != 0:
            return f"{lacking}: {_last_line(said.stderr)}"
    return Engine(docker, root / FILE, environ)


def up(engine: Engine, settings: Settings, patience: float) -> None:
    """Start the containers, and wait until their health checks pass.

    Raises:
        StackError: they don't come up; they have been removed then, their data kept.
    """
    arguments = ("up", "--detach", "--wait", "--wait-timeout", f"{patience:.0f}", "--remove-orphans")
    try:
        said = engine.run(*arguments)
    except BaseException:
        # Who gives up waiting leaves nothing running.
        _remove(engine)
        raise
    if said.returncode == 0:
        return
    ill = [each for each in status(engine, settings) if each.is_bad]
    why = _last_line(said.stderr)
    if ill:
        logged = engine.run("logs", "--no-color", "--no-log-prefix", "--tail", "1", ill[0].name).stdout
        why = f"{ill[0].name} {ill[0].state}: {_last_line(logged or said.stderr)}"
    _remove(engine)
    raise StackError(why)


def down(engine: Engine, *, is_data_deleted: bool) -> None:
    """Stop and remove the containers, and their volumes where that is asked for.

    Raises:
        StackError: the engine refuses.
    """
    said = _remove(engine, *(["--volumes"] if is_data_deleted else []))
    if said.returncode != 0:
        raise StackError(_last_line(said.stderr))


def status(engine: Engine, settings: Settings) -> list[PartStatus]:
    """Tell of each part."""
    found = {each["Service"]: each for each in _listed(engine.run("ps", "--all", "--format", "json").stdout)}
    return [_status_of(name, found, settings) for name in BY_NAME]


def _remove(engine: Engine, *more: str) -> "subprocess.CompletedProcess[str]":
    return engine.run("down", "--remove-orphans", *more)


def _status_of(name: str, found: Mapping[str, Mapping[str, str]], settings: Settings) -> PartStatus:
    url = settings.url(BY_NAME[name].ports[0])
    container = found.get(name)
    if container is None:
        return PartStatus(name, STOPPED)
    if container.get("State") != "running":
        return PartStatus(name, ENDED, url, container.get("Status", ""))
    # The collector's image has nothing to check it with: a container beside it does.
    health = found.get(f"{name}-health", container).get("Health", "")
    return PartStatus(name, READY if health in ("healthy", "") else STARTING, url, container.get("Status", ""))


def _listed(text: str) -> Iterator[Mapping[str, str]]:
    """Read what `docker compose ps` prints: a list until 2.21, an object for each line since."""
    try:
        for line in text.splitlines():
            read = json.loads(line)
            yield from read if isinstance(read, list) else [read]
    except ValueError:
        return


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
