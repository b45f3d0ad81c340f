"""``otel-flyte serve`` as a process of its own, on free ports and in a folder of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """A server that is ready.

    Attributes:
        url: the base of the page and the API.
        otlp_http: the base of OTLP over HTTP.
        otlp_grpc: likewise, of OTLP over gRPC.
        folder: the folder in which it runs, with its database.
        process: its process.
    """

    url: str
    otlp_http: str
    otlp_grpc: str
    folder: Path
    process: "subprocess.Popen[str]"

    def get(self, path: str, **options: Any) -> requests.Response:
        """Ask for a path."""
        return requests.get(self.url + path, timeout=_SECONDS, **options)

    def executions(self, **parameters: str) -> list[dict[str, Any]]:
        """Return the executions of the API's first page."""
        found: list[dict[str, Any]] = self.get("/api/v1/executions", params=parameters).json()["executions"]
        return found

    def send(self, signal_name: str, body: bytes | str, content_type: str = "application/json") -> None:
        """Send a request of OTLP, which is on disk then."""
        content = body.encode() if isinstance(body, str) else body
        answer = requests.post(
            f"{self.otlp_http}/v1/{signal_name}", content, headers={"Content-Type": content_type}, timeout=_SECONDS
        )
        assert answer.status_code == 200, answer.content

    def send_file(self, path: Path) -> None:
        """Send each line of a recording."""
        for line in path.read_text().splitlines():
            kind = next(each for each in ("Spans", "Logs", "Metrics") if f'"resource{each}"' in line[:40])
            self.send({"Spans": "traces"}.get(kind, kind.lower()), line)


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, scheme: str = "http", within: Sequence[str] = (), receives: bool = True
) -> Iterator[Served]:
    """Start a server, wait until it is ready, and end it by SIGTERM; its file ``stderr`` is in the folder.

    Args:
        folder: where it runs.
        options: its options.
        scheme: that of its addresses.
        within: a command that runs another one, which becomes that of the server.
        receives: whether it receives telemetry, and so has ports for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, otlp_http, otlp_grpc = free_ports(3)
    ports: list[object] = ["--port", page]
    if receives:
        ports += ["--otlp-http-port", otlp_http, "--otlp-grpc-port", otlp_grpc]
    arguments = [*within, *command(*ports, *options)]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            arguments, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        # It says where the page is once all is ready.
        for line in process.stdout:
            if line.startswith("page"):
                break
        else:
            raise AssertionError((folder / "stderr").read_text())
        host = f"{scheme}://127.0.0.1"
        yield Served(f"{host}:{page}", f"{host}:{otlp_http}", f"{host}:{otlp_grpc}", folder, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=_SECONDS)
        finally:
            process.kill()


def command(*options: object) -> list[str]:
    """Return the command that serves."""
    return [sys.executable, "-m", "otel_flyte", "serve", *map(str, options)]


def environment() -> dict[str, str]:
    """Return this process's environment without variables that would make the server itself send telemetry."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TRACEPARENT"))}


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that are free, each another one."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]
