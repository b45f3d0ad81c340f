"""The stack's programs as `native/build.py` builds them, and processes of them on loopback.

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
"""Seconds: a machine may have much else to do."""

_ENVIRON = dict(os.environ)
"""As it was when tests began: they have FLYTE_*, OTEL_* and the like removed from theirs."""

T = TypeVar("T")


def binary(name: str) -> Path:
    """Where a program is, built first if need be; a test is skipped where that can't be done, with the reason."""
    found, reason = _built(name)
    if found is None:
        pytest.skip(reason)
    return found


@cache
def _built(name: str) -> tuple[Path | None, str]:
    ended = subprocess.run(
        [sys.executable, str(BUILD), name], env=_ENVIRON, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        return None, ended.stderr.strip().splitlines()[-1]
    return Path(ended.stdout.strip()), ""


class Process:
    """A process that is up within its ``with`` block, and may end and begin anew meanwhile.

    Args:
        command: What it is started with.
        env: Its environment, all of it.
        ready: The URL that answers 200 once it is up.
        log: The file of its output.
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
        wait_until(self._is_up, f"{self._command[0]} does not come up; its log is {self._log}")

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

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._command[0]} has ended: {self.log[-2000:]}"
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(self._ready, timeout=5).ok
        return False


def wait_until(condition: Callable[[], T], otherwise: str, *, timeout: float = TIMEOUT, every: float = 0.1) -> T:
    """What ``condition`` returns as soon as that is truthy.

    Raises:
        TimeoutError: It never was; ``otherwise`` says what that means.
    """
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(every)
    return found


def free_ports(count: int) -> Iterator[int]:
    """Different ports that nobody listens on, by TCP or UDP; the kernel gives none of them to clients meanwhile."""
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
