"""`otel-flyte stack`, natively: how it starts, stops and fails. Every test has a stack of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from otel_flyte.stack import processes, state
from otel_flyte.stack.parts import BY_NAME
from support import native, otlp, stack
from support.prometheus import Prometheus
from support.stack import Stack

BUILT = ("prometheus", "collector")
UP = ("stack", "up", "--native")


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the parts that are built here, not started yet, and stopped at the end."""
    stack.needs(*BUILT)
    new = stack.new(tmp_path, without=stack.INSTALLED)
    yield new
    new.run("stack", "down")


def assert_stopped(stopped: Stack) -> None:
    assert not (stopped.folder / "state.json").exists()
    for number in stopped.settings.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))


# --- start and stop --------------------------------------------------------------------------------------------------


def test_two_commands_at_once_start_one_stack(built: Stack) -> None:
    command = [sys.executable, "-m", "otel_flyte", *UP]
    both = [subprocess.Popen(command, env=built.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = [each.communicate(timeout=120)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], output
    assert sum("another `otel-flyte stack` command is running" in each for each in output) <= 1
    started = [each for each in psutil.process_iter(["cmdline"]) if str(built.folder) in str(each.info["cmdline"])]
    assert [each.pid for each in started] == [built.pid("prometheus")]


def test_stored_metrics_survive_a_restart_and_are_deleted_on_request(built: Stack) -> None:
    prometheus = Prometheus(built.url("prometheus"))
    assert built.run(*UP).returncode == 0
    otlp.send(built.url("otlp_http"), "metrics", otlp.message("metrics", {}, [otlp.gauge("stored")]))
    native.wait_until(lambda: prometheus.now("stored"), "the metric is not stored")
    assert built.run("stack", "down").stdout == "stopped: prometheus, collector\n"
    assert built.run("stack", "status").returncode == 1

    assert built.run(*UP).returncode == 0
    assert prometheus.now("last_over_time(stored[10m])")
    assert built.run("stack", "down", "--delete").stdout.endswith("\ndata deleted\n")
    assert not (built.folder / "data").exists()
    assert built.run("stack", "down").stdout == "nothing was running\n"


TEMPO = """
import os
import pathlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        pathlib.Path(os.environ["RECEIVED"]).write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

for name in ("TEMPO", "TEMPO_OTLP_HTTP"):
    server = HTTPServer(("127.0.0.1", int(os.environ[f"OTEL_FLYTE_STACK_{name}_PORT"])), Handler)
    threading.Thread(target=server.serve_forever).start()
"""
"""A stand-in that is ready, and writes each request to a file."""


def test_a_tempo_that_is_installed_later_gets_the_traces(built: Stack, tmp_path: Path) -> None:
    received, program = tmp_path / "received", tmp_path / "tempo.py"
    program.write_text(TEMPO)
    tempo = stack.executable(tmp_path / "bin" / "tempo", f'exec "{sys.executable}" "{program}"')
    assert built.run(*UP).returncode == 0
    before = built.state["processes"]
    again = built.run("stack", "up", env={"OTEL_FLYTE_TEMPO": str(tempo), "RECEIVED": str(received)})
    assert again.returncode == 0, again.stderr
    assert built.state["processes"]["collector"] != before["collector"]
    assert built.state["processes"]["prometheus"] == before["prometheus"]
    built.send("traces", otlp.span("c9" * 16, "d1" * 8))
    native.wait_until(received.exists, "Tempo has not received the trace")


def test_child_processes_of_a_part_are_stopped_with_it(built: Stack, tmp_path: Path) -> None:
    wrapper = stack.executable(tmp_path / "bin" / "collector", f'"{stack.binary("collector")}" "$@"\nexit $?')
    wrapped = replace(built, environ={**built.environ, "OTEL_FLYTE_COLLECTOR": str(wrapper)})
    for is_wrapper_killed in (False, True):
        assert wrapped.run(*UP).returncode == 0
        (child,) = psutil.Process(wrapped.pid("collector")).children()
        if is_wrapper_killed:
            os.kill(wrapped.pid("collector"), signal.SIGKILL)
        assert "collector" in wrapped.run("stack", "down").stdout
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert_stopped(wrapped)


def test_it_starts_in_a_deleted_working_directory(built: Stack, tmp_path: Path) -> None:
    deleted = tmp_path / "deleted"
    deleted.mkdir()
    command = f'rmdir "{deleted}"; "{sys.executable}" -m otel_flyte {" ".join(UP)}'
    up = subprocess.run(
        ["/bin/sh", "-c", command], env=dict(built.environ), cwd=deleted, capture_output=True, timeout=120, check=False
    )
    assert up.returncode == 0
    assert {psutil.Process(built.pid(name)).cwd() for name in BUILT} == {str(built.folder)}


def test_a_process_that_reuses_a_pid_is_not_stopped(tmp_path: Path) -> None:
    new = stack.new(tmp_path)
    with subprocess.Popen(["sleep", "300"]) as stranger:
        try:
            saved = state.State(state.NATIVE, new.settings, {"loki": processes.Process(stranger.pid, 1.0)})
            new.folder.mkdir(parents=True)
            state.Folder(new.folder).save(saved)
            assert new.run("stack", "down").stdout == "nothing was running\n"
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_state_of_another_version_is_ignored(tmp_path: Path) -> None:
    new = stack.new(tmp_path)
    settings = {"host": "127.0.0.1", "ports": {"otlp_http": 4318}, "retention": "336h"}
    new.folder.mkdir(parents=True)
    (new.folder / "state.json").write_text(json.dumps({"mode": "native", "settings": settings, "processes": {}}))
    status = new.run("stack", "status")
    assert status.stderr == "otel-flyte: the stack is not running: start it with `otel-flyte stack up`\n"
    assert " ready " not in status.stdout


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_reported_with_its_variable(built: Stack) -> None:
    port = built.settings.ports["otlp_http"]
    with socket.create_server(("127.0.0.1", port)):
        line = stack.error_of(built.run(*UP))
    assert re.fullmatch(
        rf"port {port} \(OTLP over HTTP\) is in use by \S+ \(pid {os.getpid()}\): "
        "set OTEL_FLYTE_STACK_OTLP_HTTP_PORT to another port",
        line,
    )
    assert_stopped(built)


@pytest.mark.parametrize(
    ("script", "timeout", "message"),
    [
        pytest.param(
            "echo level=info msg=starting; echo 'level=error msg=\"no such backend\"'; exit 3",
            "60",
            r'tempo exited during startup \(level=error msg="no such backend"\): see \S+tempo.log',
            id="it exits",
        ),
        pytest.param(
            "exec sleep 300",
            "2",
            r"tempo not ready after 2 s \(no output\): see \S+tempo.log, or raise --timeout",
            id="it is never ready",
        ),
    ],
)
def test_if_a_part_does_not_come_up_everything_is_stopped(
    built: Stack, tmp_path: Path, script: str, timeout: str, message: str
) -> None:
    tempo = stack.executable(tmp_path / "bin" / "tempo", script)
    line = stack.error_of(built.run(*UP, "--timeout", timeout, env={"OTEL_FLYTE_TEMPO": str(tempo)}))
    assert re.fullmatch(message, line)
    assert_stopped(built)


def test_an_invalid_list_of_exporters_is_reported_with_the_collectors_error(built: Stack) -> None:
    line = stack.error_of(built.run(*UP, env={"TRACES_EXPORTERS": "[otlp_http"}))
    assert "'service.pipelines[traces].exporters' source data must be an array or slice, got string" in line


def test_without_an_engine_and_a_collector_one_line_reports_both(tmp_path: Path) -> None:
    new = stack.new(tmp_path, {"PATH": ""}, without=BY_NAME)
    assert stack.error_of(new.run("stack", "up")) == (
        "no container engine (`docker` is not on PATH) and no collector: "
        "put `otelcol-flyte` or `otelcol-contrib` on PATH, or set OTEL_FLYTE_COLLECTOR"
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "OTEL_FLYTE_STACK_LOKI_PORT",
            "many",
            "OTEL_FLYTE_STACK_LOKI_PORT=many is not a port: use a number from 1 to 65535",
        ),
        (
            "OTEL_FLYTE_STACK_LOKI_PORT",
            "3200",
            "OTEL_FLYTE_STACK_TEMPO_PORT and OTEL_FLYTE_STACK_LOKI_PORT are both 3200: change one of them",
        ),
        (
            "OTEL_FLYTE_STACK_HOST",
            "everywhere",
            (
                "OTEL_FLYTE_STACK_HOST=everywhere is not an IPv4 address: "
                "use 127.0.0.1 for this machine only, 0.0.0.0 for all interfaces"
            ),
        ),
        (
            "OTEL_FLYTE_STACK_HOST",
            "192.0.2.1",
            "OTEL_FLYTE_STACK_HOST=192.0.2.1 is not an address of this machine: correct it",
        ),
        (
            "OTEL_FLYTE_STACK_RETENTION",
            "14d",
            "OTEL_FLYTE_STACK_RETENTION=14d is not a number of hours: use a value such as 336h",
        ),
        (
            "OTEL_FLYTE_TEMPO",
            "/nowhere/tempo",
            "OTEL_FLYTE_TEMPO=/nowhere/tempo is not an executable file: correct or unset it",
        ),
        (
            "XDG_STATE_HOME",
            "/proc/there",
            (
                "/proc/there/otel-flyte/stack can't be written, No such file or directory: "
                "set XDG_STATE_HOME to another folder"
            ),
        ),
    ],
)
def test_an_invalid_variable_is_reported_in_one_line(built: Stack, variable: str, value: str, message: str) -> None:
    defaults = dict.fromkeys((name for name in built.environ if name.endswith("_PORT")), "")
    env = {**(defaults if value == "3200" else {}), variable: value}
    assert stack.error_of(built.run(*UP, env=env)) == message
