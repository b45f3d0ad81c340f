"""File descriptors of ours, in a process whose own code may close any descriptor and reuse its number."""

import fcntl
import os
from contextlib import suppress

_LOWEST = 10
"""Lower numbers are the standard streams, which may be closed, and numbers that shell scripts use."""

_PIPE_BYTES = 2**20

Identity = tuple[int, int, int]


def identity(descriptor: int) -> Identity | None:
    """Return a value that distinguishes the file of a descriptor from other files, ``None`` for a closed descriptor."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_rdev


def copied(descriptor: int) -> int:
    """Return a copy of a descriptor with a high number, which child processes do not inherit."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST)


def moved(descriptor: int) -> int:
    """Return a descriptor under a high number; the given one is closed."""
    copy = copied(descriptor)
    os.close(descriptor)
    return copy


def enlarge(pipe: int) -> None:
    """Let a pipe hold 1 MiB, for writers that are faster than its reader. Only Linux can."""
    with suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class Owned:
    """A descriptor of ours that is recognised by its file.

    Attributes:
        number: the descriptor.
        identity: the identity of its file.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.identity = identity(number)

    @property
    def is_ours(self) -> bool:
        """Return whether the number is still that of our file."""
        return identity(self.number) == self.identity

    def close(self) -> None:
        """Close the descriptor, if it is ours."""
        if self.is_ours:
            os.close(self.number)


def owned_pipe() -> tuple[Owned, Owned]:
    """Return the reading and the writing end of a new pipe, under high numbers."""
    reading, writing = os.pipe()
    return Owned(moved(reading)), Owned(moved(writing))
