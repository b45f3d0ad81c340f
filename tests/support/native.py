"""The stack's programs as built by `native/build.py`, and processes of them on loopback.

collector = native.binary("otelcol-flyte")
with native.Process([collector, f"--config={file}"], env, ready=f"http://127.0.0.1:{port}/", log=tmp_path / "log"):
    ...
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest
import requests
from typing_extensions import Self

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "native" / "build.py"
CONFIG = ROOT / "collector" / "config.yaml"
TIMEOUT = 60.0
"""Seconds. Long enough for a machine that is busy with other work."""

_ENVIRON = dict(os.environ)
"""The environment before a fixture removes FLYTE_*, OTEL_* and similar variables."""

T = TypeVar("T")


def binary(name: str) -> Path:
    """Return the path of a program, built first if necessary. Skip the test if it cannot be built."""
    path, reason = _built(name)
    if path is None:
        pytest.skip(reason)
    return path


@cache
def _built(name: str) -> tuple[Path | None, str]:
    result = subprocess.run(
        [sys.executable, str(BUILD), name], env=_ENVIRON, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        return None, result.stderr.strip().splitlines()[-1]
    return Path(result.stdout.strip()), ""


class Process:
    """A process that is ready within its ``with`` block, and that can be stopped and started again there.

    Args:
        command: The executable and its arguments.
        env: Its whole environment.
        ready: A URL that answers 200 once it is ready.
        log: The file for its stdout and stderr.
    """

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str], *, ready: str, log: Path) -> None:
        self._command = [str(word) for word in command]
        self._env = dict(env)
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, env=self._env, stdout=output, stderr=output)
        wait_until(self._is_ready, f"{self._command[0]} does not become ready; its log is {self._log}")

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            try:
                self._process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._command[0]} has exited: {self.log[-2000:]}"
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(self._ready, timeout=5).ok
        return False


def wait_until(condition: Callable[[], T], message: str, *, timeout: float = TIMEOUT, interval: float = 0.1) -> T:
    """Return the first truthy result of ``condition``.

    Raises:
        TimeoutError: There was none in time; it carries ``message``.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(interval)
    return result


def free_ports(count: int) -> Iterator[int]:
    """Yield different ports that are free for TCP and UDP, from a range that the kernel does not give to clients."""
    with ExitStack() as held:
        for _ in range(count):
            while True:
                address = ("127.0.0.1", random.randrange(20_000, 32_000))
                tcp = held.enter_context(socket.socket())
                udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                with contextlib.suppress(OSError):
                    tcp.bind(address)
                    udp.bind(address)
                    break
            yield address[1]
