"""Random ids from the operating system's entropy.

It is read in blocks, because a system call for each id would cost as much as a span.

Tasks that call ``random.seed(42)`` never get the same ids.
"""

import os
import struct

from otel_flyte.runtime import forks

_BLOCK = struct.Struct("512Q")

_words: list[int] = []
"""Random words of 64 bits that are not used yet."""

# A forked child must not use the words of its parent.
forks.register(after_in_child=_words.clear)


def span_id() -> int:
    """Return 64 random bits, never 0."""
    try:
        return _words.pop() or 1
    except IndexError:
        _refill()
        return span_id()


def trace_id() -> int:
    """Return 128 random bits, never 0."""
    try:
        return _words.pop() << 64 | _words.pop() or 1
    except IndexError:
        _refill()
        return trace_id()


def _refill() -> None:
    _words.extend(_BLOCK.unpack(os.urandom(_BLOCK.size)))
