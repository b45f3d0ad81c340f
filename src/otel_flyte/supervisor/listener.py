"""The supervisor's end of the pipe: which spans of the child are not settled yet."""

import fcntl
import os
from contextlib import suppress

from otel_flyte.supervisor import protocol

_LOWEST_DESCRIPTOR = 10
"""Below are the standard streams, which may be closed, and the descriptors that shell scripts give numbers to."""

_READ_SIZE = 65536
_CAPACITY = 2**20
"""Bytes that the pipe holds, for children that write faster than this process gets to read."""

_SPANS_LIMIT = 16


class Listener:
    """A pipe that child processes write to; ``SIGIO`` says that they did.

    Attributes:
        address: ``PID:DESCRIPTOR:INODE`` of the end to write to, for processes that inherit it or find it in ``/proc``;
            the inode tells it from whatever else may have its number there.
        pumped: processes that have started one which has to outlive them for a moment.
        unsettled: the last that was heard of each span that is not settled, in OTLP JSON, by span id.
    """

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self._reader = _moved(reader)
        self._writer = _moved(writer)
        os.set_inheritable(self._writer, True)
        for descriptor in (self._reader, self._writer):
            os.set_blocking(descriptor, False)
        with suppress(AttributeError, OSError):  # Linux alone lets a pipe hold more than it does by itself.
            fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, _CAPACITY)
        with suppress(OSError):  # Not every sandbox has it: any other signal, and the child's end, have us look too.
            fcntl.fcntl(self._reader, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(self._reader, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        self._messages = protocol.Messages()
        self.address = f"{os.getpid()}:{self._writer}:{os.fstat(self._writer).st_ino}"
        self.pumped: set[bytes] = set()
        self.unsettled: dict[bytes, bytes] = {}

    def listen(self) -> None:
        """Take in what has been written."""
        with suppress(BlockingIOError):
            while data := os.read(self._reader, _READ_SIZE):
                for message in self._messages.feed(data):
                    self._take_in(message)

    def _take_in(self, message: bytes) -> None:
        kind, _, rest = message.partition(b" ")
        span_id, _, line = rest.partition(b" ")
        if kind == protocol.DONE:
            self.unsettled.pop(span_id, None)
        elif kind == protocol.OPEN and (span_id in self.unsettled or len(self.unsettled) < _SPANS_LIMIT):
            self.unsettled[span_id] = line
        elif kind == protocol.PUMP:
            self.pumped.add(span_id)
        elif kind == protocol.PUMPED:
            self.pumped.discard(span_id)


def _moved(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR)
    os.close(descriptor)
    return moved
