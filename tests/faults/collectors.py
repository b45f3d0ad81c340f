"""Collectors that misbehave, each as a context manager that yields its endpoint.

Those that answer are the tests' receiver with a special answer; the others are bare sockets.
"""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from support import receiver
from support.receiver import Receiver, Reply, Request, Signal

GRPC_LIMIT = 4 * 1024 * 1024
"""Bytes of a request that gRPC servers accept by default; collectors have such limits over HTTP too."""


class Collector(Protocol):
    def endpoint(self, protocol: receiver.Protocol = ...) -> str: ...

    def requests(self, signal: Signal | None = ...) -> list[Request]: ...


Start = Callable[[], AbstractContextManager[Collector]]
Respond = Callable[[Request], Reply]


# --- those that answer ------------------------------------------------------------------------------------------------


def answering(make: Callable[[], Respond]) -> Start:
    return lambda: Receiver(make())


def healthy() -> AbstractContextManager[Collector]:
    return Receiver()


@contextlib.contextmanager
def down_at_first() -> Iterator[Collector]:
    """No process listens until ``up`` is called."""
    with Receiver() as collector:
        collector.down()
        yield collector


def slow() -> Respond:
    """Accept one record a second."""
    return lambda request: Reply(delay=float(request.size))


def delayed(seconds: float) -> Respond:
    """Delay every answer."""
    return lambda request: Reply(delay=seconds)


def refusing(status: int, *, retry_after: int | None = None, times: int | None = None) -> Respond:
    """Answer with that status for a number of exports of each signal, or forever."""
    count = _count_by_signal()

    def respond(request: Request) -> Reply:
        if times is not None and count(request) > times:
            return Reply()
        return Reply(status, retry_after=retry_after)

    return respond


def taking(records: int) -> Respond:
    """Accept a number of each export's records; reject the others by a partial success."""
    return lambda request: Reply(takes=records)


def dying_after(exports: int) -> Respond:
    """Stop during the next export."""
    count = _count_by_signal()
    return lambda request: Reply(is_last=count(request) > exports)


def losing_answers(times: int) -> Respond:
    """Break the connection after an export is accepted and before it is acknowledged."""
    count = _count_by_signal()
    return lambda request: Reply(is_lost=count(request) <= times)


def with_limit() -> Respond:
    return lambda request: Reply(413 if request.message.ByteSize() > GRPC_LIMIT else 200)


def _count_by_signal() -> Callable[[Request], int]:
    """Return the number of exports of a request's signal, including this one."""
    counts: dict[Signal, int] = {}
    lock = threading.Lock()

    def count(request: Request) -> int:
        with lock:
            counts[request.signal] = counts.get(request.signal, 0) + 1
            return counts[request.signal]

    return count


# --- those that do not ------------------------------------------------------------------------------------------------


class _Port:
    """A bare socket for all uses."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))

    def endpoint(self, protocol: receiver.Protocol = "http/protobuf") -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def requests(self, signal: Signal | None = None) -> list[Request]:
        return []


@contextlib.contextmanager
def refused() -> Iterator[Collector]:
    """No process listens at the port."""
    port = _Port()
    with port.socket:
        yield port


@contextlib.contextmanager
def dropping_syn() -> Iterator[Collector]:
    """Packets to the port are lost: its queue has one connection and is full, so the kernel drops the others."""
    port = _Port()
    with port.socket, socket.socket() as only:
        port.socket.listen(0)
        only.connect(port.socket.getsockname())
        yield port


@contextlib.contextmanager
def black_hole() -> Iterator[Collector]:
    """Accept connections, read everything, and never answer."""

    def read(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with _listening(read) as port:
        yield port


@contextlib.contextmanager
def hanging_up() -> Iterator[Collector]:
    """Reset every connection in the middle of the first body; with gRPC, before it."""

    def hang_up(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        headers = b"".join(iter(stream.readline, b"\r\n"))
        length = re.search(rb"content-length: (\d+)", headers, re.IGNORECASE)
        stream.read(int(length[1]) // 2 if length else 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with _listening(hang_up) as port:
        yield port


@contextlib.contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[_Port]:
    """Handle each connection in a thread; close it when the thread returns or the listener ends."""
    port = _Port()
    connections: list[socket.socket] = []

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = port.socket.accept()
                connections.append(connection)
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with port.socket:
        port.socket.listen(128)
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield port
        finally:
            for each in (port.socket, *connections):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
