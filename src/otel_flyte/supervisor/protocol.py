"""What the supervisor's pipe carries: messages of several processes, in pieces that mingle but never tear.

A pipe keeps a write whole up to ``PIPE_BUF`` bytes, and a task's span is longer. So each message is written as lines of
at most that many: a name that is this message's alone, whether more follows, and a piece of it.
"""

import os
from collections.abc import Iterator

LIMIT = 65536
"""Bytes of a message, which is what fits into an empty pipe on Linux."""

OPEN = b"span"
"""``span ID LINE``: this span is unsettled, and LINE is what is known of it, in OTLP JSON."""
DONE = b"done"
"""``done ID``: this span is settled."""
PUMP = b"pump"
"""``pump PID``: this process has started one that has to outlive it, to write and send on what it has written."""
PUMPED = b"over"
"""``over PID``: that is done."""

_PIPE_BUF = 512  # The least that POSIX promises; select.PIPE_BUF is more on some systems.
_NAME_SIZE = 8
_MORE, _LAST = b"+", b"."
_PIECE_SIZE = _PIPE_BUF - _NAME_SIZE - len(_MORE) - len(b"\n")
_UNFINISHED = 16


def pieces(message: bytes) -> Iterator[bytes]:
    """Cut a message, which holds no newline, into what is to be written by one ``os.write`` each."""
    name = os.urandom(_NAME_SIZE // 2).hex().encode()
    for start in range(0, len(message), _PIECE_SIZE):
        end = start + _PIECE_SIZE
        yield name + (_LAST if end >= len(message) else _MORE) + message[start:end] + b"\n"


class Messages:
    """Puts messages together again, of which some may never be finished."""

    def __init__(self) -> None:
        self._tail = b""
        self._begun: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what was read, and give the messages that are whole now."""
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
