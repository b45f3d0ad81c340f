"""Collectors that misbehave, each as a context in which it has an endpoint.

Those that answer at all are the tests' receiver with a mind of its own; the others are bare sockets.
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
"""Bytes of a request that gRPC servers take by default; collectors have such limits over HTTP too."""


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
    """Nobody listens until somebody calls ``up``."""
    with Receiver() as collector:
        collector.down()
        yield collector


def slow() -> Respond:
    """One record a second."""
    return lambda request: Reply(delay=float(request.size))


def delayed(seconds: float) -> Respond:
    """Every answer takes a while."""
    return lambda request: Reply(delay=seconds)


def refusing(status: int, *, retry_after: int | None = None, times: int | None = None) -> Respond:
    """That status for so many exports of each signal, or for ever."""
    count = _count_by_signal()

    def respond(request: Request) -> Reply:
        if times is not None and count(request) > times:
            return Reply()
        return Reply(status, retry_after=retry_after)

    return respond


def taking(records: int) -> Respond:
    """So many of each export's records; the others are rejected by a partial success."""
    return lambda request: Reply(takes=records)


def dying_after(exports: int) -> Respond:
    """It goes down with the next export in its hands."""
    count = _count_by_signal()
    return lambda request: Reply(is_last=count(request) > exports)


def losing_answers(times: int) -> Respond:
    """The connection breaks between the taking of an export and its acknowledgement."""
    count = _count_by_signal()
    return lambda request: Reply(is_lost=count(request) <= times)


def with_limit() -> Respond:
    return lambda request: Reply(413 if request.message.ByteSize() > GRPC_LIMIT else 200)


def _count_by_signal() -> Callable[[Request], int]:
    """How many exports of a request's signal there have been, with this one."""
    counts: dict[Signal, int] = {}
    lock = threading.Lock()

    def count(request: Request) -> int:
        with lock:
            counts[request.signal] = counts.get(request.signal, 0) + 1
            return counts[request.signal]

    return count


# --- those that do not ------------------------------------------------------------------------------------------------


class _Port:
    """A bare socket, whatever is done with it."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))

    def endpoint(self, protocol: receiver.Protocol = "http/protobuf") -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def requests(self, signal: Signal | None = None) -> list[Request]:
        return []


@contextlib.contextmanager
def refused() -> Iterator[Collector]:
    """Nobody listens at the port."""
    port = _Port()
    with port.socket:
        yield port


@contextlib.contextmanager
def dropping_syn() -> Iterator[Collector]:
    """Packets to the port vanish: the one connection that its queue holds is taken, so the kernel drops the others."""
    port = _Port()
    with port.socket, socket.socket() as only:
        port.socket.listen(0)
        only.connect(port.socket.getsockname())
        yield port


@contextlib.contextmanager
def black_hole() -> Iterator[Collector]:
    """It accepts connections, reads all, and never says a word."""

    def read(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with _listening(read) as port:
        yield port


@contextlib.contextmanager
def hanging_up() -> Iterator[Collector]:
    """It resets every connection half-way through the first body; with gRPC, before there is one."""

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
    """Each connection has a thread, and is closed when that returns or when nobody listens any more."""
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
