"""Random ids from the operating system's entropy.

It is read in blocks, because a system call for each id would cost as much as a span.

Tasks that call ``random.seed(42)`` never get the same ids.
"""

import os
import struct

_BLOCK = struct.Struct("512Q")

_words: list[int] = []
"""Random words of 64 bits that are not used yet."""

_owner = 0
"""The process that has read them. A forked child must not use the words of its parent."""


def span_id() -> int:
    """Return 64 random bits, never 0."""
    # The process is asked for by each call, as C code may fork past Python's hooks.
    if not _words or os.getpid() != _owner:
        _refill()
    try:
        return _words.pop() or 1
    except IndexError:  # Another thread has taken the last one.
        return span_id()


def trace_id() -> int:
    """Return 128 random bits, never 0."""
    return span_id() << 64 | span_id()


def _refill() -> None:
    global _owner
    process = os.getpid()
    if process != _owner:
        _words.clear()
        _owner = process
    _words.extend(_BLOCK.unpack(os.urandom(_BLOCK.size)))
