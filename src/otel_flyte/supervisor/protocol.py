"""Messages in the supervisor's pipe, from several processes at once.

A pipe keeps a write whole up to ``PIPE_BUF`` bytes, and a task's span is longer. So each message is written as lines of
at most that length: a name that only this message has, a mark for more lines to come, and a piece of the message.
"""

import os
from collections.abc import Iterator

LIMIT = 65536
"""Bytes of a message: the capacity of an empty pipe on Linux."""

OPEN = b"span"
"""``span ID LINE``: this span is not acknowledged; LINE is the span in OTLP JSON."""
DONE = b"done"
"""``done ID``: this span is acknowledged, or dropped and counted."""
PUMP_STARTED = b"pump"
"""``pump PID``: this process has started a pump that must outlive it, to write and send its stdout and stderr."""
PUMP_ENDED = b"over"
"""``over PID``: the pump of this process has nothing more to do."""

_PIPE_BUF = 512  # The minimum that POSIX guarantees; select.PIPE_BUF is larger on some systems.
_NAME_SIZE = 8
_MORE, _LAST = b"+", b"."
_PIECE_SIZE = _PIPE_BUF - _NAME_SIZE - len(_MORE) - len(b"\n")
_UNFINISHED = 16


def pieces(message: bytes) -> Iterator[bytes]:
    """Return the pieces of a message without newlines, each to be written by one ``os.write``."""
    name = os.urandom(_NAME_SIZE // 2).hex().encode()
    for start in range(0, len(message), _PIECE_SIZE):
        end = start + _PIECE_SIZE
        yield name + (_LAST if end >= len(message) else _MORE) + message[start:end] + b"\n"


class Messages:
    """Assembles messages from pieces. Some messages may never be complete."""

    def __init__(self) -> None:
        self._tail = b""
        self._begun: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add data from the pipe, and return the messages that are complete now."""
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            name, mark, piece = line[:_NAME_SIZE], line[_NAME_SIZE : _NAME_SIZE + 1], line[_NAME_SIZE + 1 :]
            message = self._begun.pop(name, b"") + piece
            if mark == _LAST:
                yield message
            elif mark == _MORE and len(message) <= LIMIT:
                self._begun[name] = message
                while len(self._begun) > _UNFINISHED:
                    del self._begun[next(iter(self._begun))]
