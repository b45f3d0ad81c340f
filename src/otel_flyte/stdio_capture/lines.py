"""Bytes as lines: of bounded length, progress bars folded, and only so many of them.

Nothing but the standard library, for the pump.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

LINE_BYTES = 16 * 2**10
"""A line is cut beyond this."""

STATE_SECONDS = 1.0
"""A line that carriage returns write over again and again is told as it is so often, and as it ends."""

BURST_LINES = 20_000
LINES_PER_SECOND = 1_000
TOTAL_BYTES = 64 * 2**20
"""Lines of one process, in bytes."""

TOO_FAST = "too many lines a second"
TOO_MANY = "too many lines"


class Line(NamedTuple):
    """A line.

    Attributes:
        body: what stands in it, without its end.
        cut: bytes that are left out of its end.
    """

    body: bytes
    cut: int = 0


class Assembler:
    """Makes lines of what one stream carries. Empty ones are left out."""

    def __init__(self) -> None:
        self._body = b""
        self._cut = 0
        self._is_returned = False
        self._is_bar = False
        self._told = b""
        self._told_at = float("-inf")

    def feed(self, data: bytes) -> Iterator[Line]:
        """Take what was read, and give the lines that it ends."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self.end()
        self._add(rest)

    def state(self, now: float) -> Iterator[Line]:
        """Give the state of a progress bar where it is due; ``now`` is of any clock, in seconds."""
        if self._is_bar and self._body not in (b"", self._told) and now - self._told_at >= STATE_SECONDS:
            self._told, self._told_at = self._body, now
            yield Line(self._body, self._cut)

    def has_bar(self) -> bool:
        """Whether a progress bar has a state that is not told."""
        return self._is_bar and self._body not in (b"", self._told)

    def end(self) -> Iterator[Line]:
        """Give what there is as a line."""
        if self._body and self._body != self._told:
            yield Line(self._body, self._cut)
        self._body, self._told, self._cut = b"", b"", 0
        self._is_returned = self._is_bar = False

    def _add(self, piece: bytes) -> None:
        text = piece.rstrip(b"\r")
        if not text:
            self._is_returned = self._is_returned or bool(piece)
            return
        _, returned, last = text.rpartition(b"\r")
        if returned or self._is_returned:
            self._body, self._cut, self._is_bar = b"", 0, True
        self._is_returned = len(text) < len(piece)
        room = LINE_BYTES - len(self._body)
        self._body += last[:room]
        self._cut += max(0, len(last) - room)


class Quota:
    """How many lines may become records: bursts, so many a second in the long run, so many bytes in all.

    Attributes:
        left_out: how many did not, by reason.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._tokens = float(BURST_LINES)
        self._filled_at = 0.0
        self._bytes = 0

    def admits(self, line: Line, now: float) -> bool:
        """Whether a line may become a record; if not, it is counted."""
        self._tokens = min(BURST_LINES, self._tokens + (now - self._filled_at) * LINES_PER_SECOND)
        self._filled_at = now
        self._bytes += len(line.body)
        if self._bytes > TOTAL_BYTES:
            self.left_out[TOO_MANY] += 1
            return False
        if self._tokens < 1:
            self.left_out[TOO_FAST] += 1
            return False
        self._tokens -= 1
        return True
