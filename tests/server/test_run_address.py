"""The last line of a run: the address of its page on a server of this machine that receives it."""

import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests

from otel_flyte.recording.span_tree import Execution
from otel_flyte.run import server_page
from support import programs
from support.server import Served, serving

pytestmark = pytest.mark.newest_only

SOURCE = """
from flytekit import workflow, task

@task
def double(number: int) -> int:
    return 2 * number

@workflow
def main(number: int = 2) -> int:
    return double(number=number)
"""


LOCAL_RUN = Execution("", "", ("a" * 32,), ())


def run(folder: Path, endpoint: str, *command: str, **more: str) -> programs.Ended:
    programs.module(folder, "wf", SOURCE)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more}
    return programs.run_command(["otel-flyte", *(command or ("run", "wf.py", "main"))], folder, variables)


@pytest.mark.parametrize(
    "identity", [{}, {"OTEL_RESOURCE_ATTRIBUTES": "flyte.project=p/q,flyte.domain=d,flyte.run.name=f1"}]
)
def test_a_run_ends_with_the_address_of_its_page(served: Served, tmp_path: Path, identity: dict[str, str]) -> None:
    done = run(tmp_path, served.otlp_http, **identity)
    assert done.returncode == 0, done.stderr
    opened = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+)(/executions/(.+))", done.stdout.splitlines()[-1])
    assert opened is not None, done.stdout
    assert opened[1] == served.url
    (execution,) = served.executions()
    assert unquote(opened[3]) == execution["key"]
    assert requests.get(opened[1] + opened[2], timeout=30).status_code == 200


def test_the_demo_ends_with_the_address_on_the_server(served: Served, tmp_path: Path) -> None:
    done = run(tmp_path, served.otlp_http, "demo")
    (execution,) = served.executions()
    assert done.stdout.splitlines()[-1] == f"Open {served.url}/executions/{quote(execution['key'], safe='')}"


def test_a_server_with_a_token_is_not_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a" * 20)
    with serving(tmp_path / "serve", "--otlp-token-file", str(tmp_path / "token")) as ready:
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{'a' * 20}"}
        done = run(tmp_path, ready.otlp_http, **headers)
        assert len(ready.executions()) == 1
    assert done.returncode == 0
    assert "Open " not in done.stdout


@contextmanager
def answering(answer: bytes, pause: float = 0.0) -> Iterator[str]:
    """Answer every request with some bytes, with a pause after each where one is given."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 20)
            try:
                for part in (answer,) if not pause else map(bytes, zip(answer, strict=True)):
                    self.request.sendall(part)
                    time.sleep(pause)
            except OSError:
                pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        OK + b"<html>",
        OK + b"[" * 5000,
        OK + b'{"page_port": "1"}',
        OK + b'{"page_port": 70000}',
        OK + b'{"page_port": true}',
        OK + b"[]",
        b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nConnection: close\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"",
    ],
)
def test_another_receiver_is_not_taken_for_one(answer: bytes) -> None:
    with answering(answer) as endpoint:
        found = server_page.address({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, LOCAL_RUN)
    assert found == ""


def test_a_receiver_that_answers_for_ever_does_not_hold_the_run() -> None:
    began = time.monotonic()
    with answering(OK + b" " * 10_000, pause=0.3) as endpoint:
        found = server_page.address({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, LOCAL_RUN)
        assert (found, time.monotonic() - began < 10) == ("", True)


def test_a_server_that_receives_nothing_of_the_run_is_not_named(served: Served) -> None:
    sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": served.otlp_http}
    assert server_page.address(sent, LOCAL_RUN)
    assert server_page.address({**sent, "OTEL_TRACES_EXPORTER": "console"}, LOCAL_RUN) == ""


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "[2001:db8::1]", "127.0.0.1.example.com"])
def test_other_machines_are_not_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *arguments, **_: asked.append(arguments))
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:4318"}
    assert server_page.address(variables, LOCAL_RUN) == ""
    assert asked == []
