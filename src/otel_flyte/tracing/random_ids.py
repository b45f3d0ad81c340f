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
    return _word() or 1


def trace_id() -> int:
    """Return 128 random bits, never 0."""
    return _word() << 64 | _word() or 1


def _word() -> int:
    global _owner
    # The process is asked for by each call, as C code may fork past Python's hooks.
    process = os.getpid()
    if process != _owner:
        _words.clear()
        _owner = process
    try:
        return _words.pop()
    except IndexError:
        block: tuple[int, ...] = _BLOCK.unpack(os.urandom(_BLOCK.size))
        _words.extend(block[1:])
        return block[0]
