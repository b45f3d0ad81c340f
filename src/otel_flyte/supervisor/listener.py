"""The supervisor's end of the pipe: the spans of the child that are not acknowledged yet."""

import fcntl
import os
from contextlib import suppress

from otel_flyte.runtime import descriptors
from otel_flyte.supervisor import protocol

_READ_SIZE = 65536
_SPANS_LIMIT = 16


class Listener:
    """A pipe that child processes write to; each write sends ``SIGIO`` to this process.

    Attributes:
        address: ``PID:DESCRIPTOR:INODE`` of the end to write to, for processes that inherit it or find it in ``/proc``.
            The inode distinguishes it from another file with its number.
        pumps: processes whose pump has not ended.
        unacknowledged: the last state of each span that is not acknowledged, in OTLP JSON, by span id.
    """

    def __init__(self) -> None:
        self._reader, self._writer = map(descriptors.moved, os.pipe())
        os.set_inheritable(self._writer, True)
        for descriptor in (self._reader, self._writer):
            os.set_blocking(descriptor, False)
        descriptors.enlarge(self._reader)
        with suppress(OSError):  # Some sandboxes do not support it. Other signals, and the child's end, are enough.
            fcntl.fcntl(self._reader, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(self._reader, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        self._messages = protocol.Messages()
        self.address = f"{os.getpid()}:{self._writer}:{os.fstat(self._writer).st_ino}"
        self.pumps: set[bytes] = set()
        self.unacknowledged: dict[bytes, bytes] = {}

    def listen(self) -> None:
        """Read the messages so far."""
        with suppress(BlockingIOError):
            while data := os.read(self._reader, _READ_SIZE):
                for message in self._messages.feed(data):
                    self._add(message)

    def _add(self, message: bytes) -> None:
        kind, _, rest = message.partition(b" ")
        subject, _, line = rest.partition(b" ")
        if kind == protocol.DONE:
            self.unacknowledged.pop(subject, None)
        elif kind == protocol.OPEN and (subject in self.unacknowledged or len(self.unacknowledged) < _SPANS_LIMIT):
            self.unacknowledged[subject] = line
        elif kind == protocol.PUMP_STARTED:
            self.pumps.add(subject)
        elif kind == protocol.PUMP_ENDED:
            self.pumps.discard(subject)
