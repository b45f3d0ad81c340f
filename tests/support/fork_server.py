"""Processes that are forked from one that has imported flytekit: the import takes most of a pod's time.

They serve tests that are not about start-up, imports or activation. ``test_fork_server.py`` compares forked pods with
started ones.
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAM = Path(__file__).with_name("fork_server_program.py")
SCRIPTS = Path(sys.executable).parent

FORKABLE = frozenset(
    str(SCRIPTS / name)
    for name in ("pyflyte-execute", "pyflyte-map-execute", "pyflyte-fast-execute", "pyflyte", "otel-flyte")
)
READ_LATER = (
    *("OTEL_", "_OTEL_FLYTE", "TRACEPARENT", "TRACESTATE", "HOME", "TMPDIR", "RANK", "OMPI_COMM_WORLD_RANK"),
    *("FLYTE_INTERNAL_", "FLYTE_ATTEMPT_NUMBER", "FLYTE_K8S_ARRAY_INDEX", "BATCH_JOB_ARRAY_INDEX_", "_F_SS_C", "_F_WN"),
    *("FLYTE_PLATFORM_", "FLYTE_FAIL_ON_ERROR"),
    # Of the tests' own modules.
    *("BURN_WHEN_LOADED", "FAKE_", "FAULTS_", "GROUPS", "HANDLER", "PATCHES", "SERVICE_PASSWORD", "STATSD_PORT"),
    # `PATH` is read when a program is started; the forked process takes over `PYTHONPATH`.
    *("PATH", "PYTHONPATH"),
)
"""Prefixes of variables that neither Python nor flytekit reads as it is imported."""


class Forked:
    """A forked process, used like a ``subprocess.Popen``.

    Attributes:
        pid: the process id.
        returncode: the exit status, ``None`` as long as the process runs.
    """

    def __init__(self, status: int, streams: Sequence[int]) -> None:
        self._status = status
        self._streams = {stream: bytearray() for stream in streams}
        self._open = set(streams)
        self.returncode: int | None = None
        session, pid = _line(status).split()
        self._session, self.pid = int(session), int(pid)

    def poll(self) -> int | None:
        if self.returncode is None and _readable([self._status], 0):
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(_line(self._status))
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return the text on stdout and stderr, if they are pipes.

        Raises:
            TimeoutExpired: if it takes longer than ``timeout`` seconds.
        """
        stdout, stderr = self.read(timeout)
        return _text(stdout), _text(stderr)

    def read(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Return the bytes on stdout and stderr, otherwise like ``communicate``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                raise subprocess.TimeoutExpired(f"forked process {self.pid}", timeout or 0.0)
            for stream in _readable(self._open, left):
                self._read(stream)
        self.wait()
        stdout, stderr = self._streams.values()
        return bytes(stdout), bytes(stderr)

    def kill_session(self) -> list[str]:
        """Kill the process and its children; return a description of each."""
        killed = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                # The leader of the session reports the end.
                if os.getsid(process.pid) == self._session != process.pid:
                    killed.append(f"{process.pid}, child of {process.ppid()}, {process.status()}")
                    os.kill(process.pid, signal.SIGKILL)
        return killed

    def _read(self, stream: int) -> None:
        chunk = os.read(stream, 1 << 16)
        self._streams[stream] += chunk
        if not chunk:
            self._open.discard(stream)
            os.close(stream)


class ForkServer:
    """Forks processes that have the server's variables, and others of those in ``READ_LATER``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(theirs.fileno()), str(SCRIPTS)],
                env={**environment, "HOME": self._folder.name, "TMPDIR": self._folder.name},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # Pipes, as a forked process has: Python chooses its buffers by that.
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        files: tuple[int, int] | None = None,
    ) -> Forked:
        """Start a console script, or another script; its stdout and stderr are pipes, or these files."""
        request = {"arguments": list(arguments), "environment": dict(environment), "directory": str(directory)}
        status, *streams = [os.pipe() for _ in range(1 if files else 3)]
        writing = [*(files or [pipe[1] for pipe in streams]), status[1]]
        socket.send_fds(self._requests, [json.dumps(request).encode()], writing)
        for pipe in (status, *streams):
            os.close(pipe[1])
        return Forked(status[0], [pipe[0] for pipe in streams])

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, timeout: float
    ) -> tuple[int, str, str]:
        """Run a console script to its end; return its exit status, and the text on stdout and stderr."""
        status, stdout, stderr = self.run_binary(arguments, environment, directory, timeout)
        return status, _text(stdout), _text(stderr)

    def run_binary(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run a console script to its end; return its exit status, and the bytes on stdout and stderr.

        Raises:
            AssertionError: if it takes longer than ``timeout`` seconds. It is killed.
        """
        process = self.start(arguments, environment, directory)
        try:
            stdout, stderr = process.read(timeout)
        except subprocess.TimeoutExpired:
            left = process.kill_session()
            output = process.communicate(timeout=10)
            raise AssertionError("\n".join(["a forked process has not ended:", *left, *output])) from None
        assert process.returncode is not None
        return process.returncode, stdout, stderr

    def close(self) -> None:
        self._requests.close()
        self._process.communicate()
        self._folder.cleanup()


def _line(pipe: int) -> bytes:
    """Read a line without its end; at the end of the file, it is empty."""
    return b"".join(iter(lambda: os.read(pipe, 1) or b"\n", b"\n"))


def _readable(descriptors: Iterable[int], timeout: float | None) -> list[int]:
    """Return those that can be read; ``select`` itself knows no descriptor above 1,023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout is None else 1000 * timeout)]


def _text(content: bytes | bytearray) -> str:
    return bytes(content).decode(errors="backslashreplace").replace("\r\n", "\n")


def script_of(command: Sequence[str]) -> Sequence[str]:
    """Return a command without the interpreter, if it runs a script."""
    return command[1:] if command[0] == sys.executable else command


def can_fork(arguments: Sequence[str], environment: Mapping[str, str], base: Mapping[str, str]) -> bool:
    """Return whether a command is a script of Python whose environment differs from ``base`` in ``READ_LATER`` only."""
    is_script = arguments[0] in FORKABLE or arguments[0].endswith(".py")
    return sys.platform == "linux" and is_script and _read_at_import(environment) == _read_at_import(base)


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(READ_LATER)}


def server(base: Mapping[str, str], environment: Mapping[str, str]) -> ForkServer:
    """Return this process's server for such an environment; it starts with the first use."""
    return _server(tuple(base.items()), "FLYTE_INTERNAL_EXECUTION_ID" in environment)


@functools.cache
def _server(base: tuple[tuple[str, str], ...], in_pod: bool) -> ForkServer:
    # flytekit configures its loggers differently in a pod.
    server = ForkServer({**dict(base), **({"FLYTE_INTERNAL_EXECUTION_ID": "fork-server"} if in_pod else {})})
    atexit.register(server.close)
    return server
