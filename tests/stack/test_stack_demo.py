"""`otel-flyte demo --stack` where its telemetry cannot be delivered."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from otel_flyte.stack import processes, state
from support import stack
from support.stack import Stack


def test_a_demo_without_a_running_stack_is_an_error(tmp_path: Path) -> None:
    line = stack.error_of(stack.new(tmp_path).run("demo", "--stack", cwd=tmp_path))
    assert line == "the stack is not running: start it with `otel-flyte stack up`"


@pytest.fixture
def rejecting(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose collector is ready and answers every request with 503."""

    class Unavailable(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        new = stack.new(tmp_path)
        here = {**new.settings.ports, "health": server.server_port, "otlp_http": server.server_port}
        me = psutil.Process()
        collector = processes.Process(me.pid, me.create_time())
        new.folder.mkdir(parents=True)
        saved = state.State(state.NATIVE, replace(new.settings, ports=here), {"collector": collector})
        state.Folder(new.folder).save(saved)
        yield new
        server.shutdown()


def test_a_demo_that_the_collector_does_not_accept_is_an_error(rejecting: Stack, tmp_path: Path) -> None:
    demo = rejecting.run("demo", "--stack", cwd=tmp_path)
    assert demo.returncode == 1
    assert re.search(
        r"^otel-flyte: http://\S+ has not acknowledged all telemetry: "
        "run `otel-flyte stack status` to see which part is not ready$",
        demo.stderr,
        re.MULTILINE,
    )
    assert "In the stack, within" not in demo.stdout
