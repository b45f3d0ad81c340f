"""Processes that are forked from one that has imported flytekit: the import takes most of a pod's time.

They serve tests that are not about start-up, imports or activation. ``test_fork_server.py`` compares forked pods with
started ones.
"""

import atexit
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAM = Path(__file__).with_name("fork_server_program.py")
SCRIPTS = Path(sys.executable).parent

FORKABLE = frozenset(
    str(SCRIPTS / name) for name in ("pyflyte-execute", "pyflyte-map-execute", "pyflyte", "otel-flyte")
)
READ_LATER = (
    *("OTEL_", "_OTEL_FLYTE", "TRACEPARENT", "TRACESTATE", "HOME", "TMPDIR", "RANK", "OMPI_COMM_WORLD_RANK"),
    *("FLYTE_INTERNAL_", "FLYTE_ATTEMPT_NUMBER", "FLYTE_K8S_ARRAY_INDEX", "BATCH_JOB_ARRAY_INDEX_", "_F_SS_C", "_F_WN"),
    *("FLYTE_PLATFORM_", "FLYTE_FAIL_ON_ERROR"),
)
"""Prefixes of variables that neither Python nor flytekit reads as it is imported."""


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
        request = {"arguments": list(arguments), "environment": dict(environment), "directory": str(directory)}
        pipes = [os.pipe() for _ in range(3)]
        writing = [pipe[1] for pipe in pipes]
        socket.send_fds(self._requests, [json.dumps(request).encode()], writing)
        for descriptor in writing:
            os.close(descriptor)
        return _read_to_the_end([pipe[0] for pipe in pipes], time.monotonic() + timeout)

    def close(self) -> None:
        self._requests.close()
        self._process.communicate()
        self._folder.cleanup()


def _read_to_the_end(reading: Sequence[int], deadline: float) -> tuple[int, bytes, bytes]:
    content = {descriptor: bytearray() for descriptor in reading}
    *streams, status = reading
    with selectors.DefaultSelector() as selector:
        for descriptor in reading:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > deadline:
                left = _kill_session(int(content[status].split()[0]))
                output = (_text(content[stream]) for stream in streams)
                raise AssertionError("\n".join(["a forked process has not ended:", *left, *output]))
            for key, _ in selector.select(1.0):
                chunk = os.read(key.fd, 1 << 16)
                content[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    stdout, stderr = (bytes(content[stream]) for stream in streams)
    return int(content[status].split()[1]), stdout, stderr


def _text(content: bytes | bytearray) -> str:
    return bytes(content).decode(errors="backslashreplace").replace("\r\n", "\n")


def _kill_session(session: int) -> list[str]:
    killed = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session:
                killed.append(f"{process.pid}, child of {process.ppid()}, {process.status()}")
                os.kill(process.pid, signal.SIGKILL)
    return killed


def can_fork(arguments: Sequence[str], environment: Mapping[str, str], base: Mapping[str, str]) -> bool:
    """Return whether a command is a console script whose environment differs from ``base`` in ``READ_LATER`` only."""
    is_linux = sys.platform == "linux"
    return is_linux and arguments[0] in FORKABLE and _read_at_import(environment) == _read_at_import(base)


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
