"""Bytes as lines of bounded length and number, without the intermediate states of progress bars.

It imports only the standard library, for the pump.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

LINE_BYTES = 16 * 2**10
"""Longer lines are cut."""

STATE_SECONDS = 1.0
"""Interval in which the state of a progress bar becomes a line; a progress bar uses carriage returns."""

BURST_LINES = 20_000
LINES_PER_SECOND = 1_000
TOTAL_BYTES = 64 * 2**20
"""Bytes in all lines of one process."""

TOO_FAST = "too many lines a second"
TOO_MANY = "too many lines"


class Line(NamedTuple):
    """A line.

    Attributes:
        body: its content without the end of line.
        cut: bytes that are missing at its end.
    """

    body: bytes
    cut: int = 0


class Assembler:
    """Makes lines of the bytes of one stream. Empty lines are omitted."""

    def __init__(self) -> None:
        self._body = b""
        self._cut = 0
        self._is_returned = False
        self._is_bar = False
        self._last_state = b""
        self._last_state_at = float("-inf")

    def feed(self, data: bytes) -> Iterator[Line]:
        """Add bytes, and return the lines that they end."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self.end()
        self._add(rest)

    def state(self, now: float) -> Iterator[Line]:
        """Return the state of a progress bar if its interval is over; ``now``: seconds of any clock."""
        if self.has_bar() and now - self._last_state_at >= STATE_SECONDS:
            self._last_state, self._last_state_at = self._body, now
            yield Line(self._body, self._cut)

    def has_bar(self) -> bool:
        """Return whether there is a progress bar with a new state."""
        return self._is_bar and self._body not in (b"", self._last_state)

    def end(self) -> Iterator[Line]:
        """Return the bytes since the last line as a line."""
        if self._body and self._body != self._last_state:
            yield Line(self._body, self._cut)
        self._body, self._last_state, self._cut = b"", b"", 0
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
    """Limits the number of lines: bursts, lines per second in the long run, total bytes.

    Attributes:
        dropped: the number of lines that were dropped since it was last cleared, by reason.
    """

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._tokens = float(BURST_LINES)
        self._filled_at = 0.0
        self._bytes = 0

    def admits(self, line: Line, now: float) -> bool:
        """Return whether a line is within the limits, and count it if not."""
        self._tokens = min(BURST_LINES, self._tokens + (now - self._filled_at) * LINES_PER_SECOND)
        self._filled_at = now
        self._bytes += len(line.body)
        if self._bytes > TOTAL_BYTES or self._tokens < 1:
            self.dropped[TOO_MANY if self._bytes > TOTAL_BYTES else TOO_FAST] += 1
            return False
        self._tokens -= 1
        return True
