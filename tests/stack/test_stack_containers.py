"""`otel-flyte stack` as containers, with a stand-in for `docker`: no engine can run here."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from re import MULTILINE

import pytest

from support import native, stack
from support.stack import Stack

DOCKER = """
echo "$@" >> "$DOCKER_CALLS"
case "$*" in
  version*|"compose version"*) echo 28 ;;
  *" up "*) [ -z "$DOCKER_HANGS" ] || exec sleep 300
            [ -z "$DOCKER_FAILS" ] || { echo "container otel-flyte-loki-1 is unhealthy" >&2; exit 1; } ;;
  *" ps "*) echo '{"Service": "collector", "State": "running", "Health": ""}'
            echo '{"Service": "collector-health", "State": "running", "Health": "healthy"}'
            echo '{"Service": "loki", "State": "running", "Health": "'"${DOCKER_FAILS:-healthy}"'"}' ;;
  *" logs "*) echo "mkdir /loki: no space left on device" ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Stack:
    """A stack on a machine whose `docker` succeeds, and records its calls."""
    stack.executable(tmp_path / "engine" / "docker", DOCKER)
    path = f"{tmp_path / 'engine'}{os.pathsep}{os.defpath}"
    return stack.new(tmp_path, {"PATH": path, "DOCKER_CALLS": str(tmp_path / "calls")})


def test_with_an_engine_the_stack_runs_as_containers(engine: Stack, tmp_path: Path) -> None:
    up = engine.run("stack", "up")
    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith("as containers, from ")
    assert re.search("^collector +ready", up.stdout, MULTILINE)
    assert engine.run("stack", "down", "--volumes").returncode == 0
    calls = (tmp_path / "calls").read_text()
    assert re.search(r"compose --file \S+docker-compose.yml up --detach --wait", calls)
    assert re.search(r"down --remove-orphans --volumes$", calls, MULTILINE)


@pytest.mark.parametrize("is_running", [False, True], ids=["at the first start", "of a running stack"])
def test_an_unhealthy_container_is_reported_and_all_are_removed(
    engine: Stack, tmp_path: Path, *, is_running: bool
) -> None:
    if is_running:
        assert engine.run("stack", "up").returncode == 0
    up = engine.run("stack", "up", env={"DOCKER_FAILS": "unhealthy"})
    assert up.returncode == 1
    assert up.stderr == "otel-flyte: loki not ready: mkdir /loki: no space left on device\n"
    assert (tmp_path / "calls").read_text().endswith("down --remove-orphans\n")
    status = engine.run("stack", "status")
    assert status.returncode == 1
    assert status.stderr.startswith("otel-flyte: the stack is not running: ")


def test_an_interrupted_wait_removes_all_containers(engine: Stack, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    up = subprocess.Popen(
        [sys.executable, "-m", "otel_flyte", "stack", "up"],
        env={**engine.environ, "DOCKER_HANGS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        native.wait_until(lambda: calls.exists() and " up " in calls.read_text(), "docker is not called")
        up.send_signal(signal.SIGINT)
        assert up.wait(timeout=60) != 0
    finally:
        up.kill()
        up.wait()
    assert calls.read_text().endswith("down --remove-orphans\n")
    assert not (engine.folder / "state.json").exists()
