"""A standard stream that is led through a pipe, or through a terminal of its own where it was a terminal.

The task's process keeps the end to read from, which it never reads as long as the pump lives: a writer that finds
nobody to read would die of ``SIGPIPE``. It keeps the original too, to give it back.
"""

import fcntl
import os
import termios
from collections.abc import Sequence
from contextlib import suppress

from otel_flyte import semconv

_LOWEST_DESCRIPTOR = 10
"""Below are the standard streams, and the descriptors that shell scripts give numbers to."""

_CAPACITY = 2**20
"""Bytes that a pipe holds before a writer has to wait for the pump."""

_OUTPUT_FLAGS, _LOCAL_FLAGS = 1, 3
"""Where ``termios`` has them."""

Identity = tuple[int, int, int]


class Channel:
    """One or two standard streams that lead to the same place.

    Attributes:
        name: of the stream; empty where two share it.
        original: where it led.
        source: the end that the pump reads from.
    """

    def __init__(self, name: str, descriptors: Sequence[int]) -> None:
        """Open it; nothing is led through it yet.

        Raises:
            OSError: too few files may be open.
        """
        self.name = name
        self._descriptors = descriptors
        self.original = _kept(descriptors[0])
        is_terminal = os.isatty(self.original)
        try:
            self.source, self._writer = map(_moved, _open_terminal(self.original) if is_terminal else os.pipe())
        except OSError:
            os.close(self.original)
            raise
        self._identities = {each: identity(each) for each in (self._writer, self.original, self.source)}
        if not is_terminal:
            with suppress(AttributeError, OSError):  # Linux alone lets a pipe hold more than it does by itself.
                fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _CAPACITY)

    @property
    def mark(self) -> str:
        """What tells a process that inherits the stream that it is led through here."""
        return ":".join(map(str, self._identities[self._writer] or ()))

    @property
    def is_readable(self) -> bool:
        """Whether both ends are there: some programs close all descriptors that they do not know."""
        return self._is_ours(self.source) and self._is_ours(self.original)

    def lead(self) -> None:
        """Lead the streams through it."""
        if self._is_ours(self._writer):
            for descriptor in self._descriptors:
                os.dup2(self._writer, descriptor)

    def give_back(self) -> None:
        """Lead the streams where they led, unless somebody has led them elsewhere meanwhile."""
        if self._is_ours(self.original):
            for descriptor in self._descriptors:
                if identity(descriptor) == self._identities[self._writer]:
                    os.dup2(self.original, descriptor)

    def close(self) -> None:
        """Close what is kept."""
        for descriptor in filter(self._is_ours, (self.original, self.source, self._writer)):
            os.close(descriptor)

    def _is_ours(self, descriptor: int) -> bool:
        """Whether a descriptor is still what it was: others get the numbers of what users close."""
        return identity(descriptor) == self._identities[descriptor]


def open_all() -> list[Channel]:
    """Open a channel for each standard stream for output that is there; one for both where they lead to one place.

    Between two pipes the order of what is written to the one and the other would be lost, and with it what a terminal
    shows.

    Raises:
        OSError: too few files may be open.
    """
    names = {1: semconv.STDOUT, 2: semconv.STDERR}
    there = {descriptor: identity(descriptor) for descriptor in names if identity(descriptor) is not None}
    if len(there) == 2 and there[1] == there[2]:
        return [Channel("", (1, 2))]
    opened: list[Channel] = []
    try:
        for descriptor in there:
            opened.append(Channel(names[descriptor], (descriptor,)))  # noqa: PERF401  # those before are to be closed
    except OSError:
        for channel in opened:
            channel.close()
        raise
    return opened


def identity(descriptor: int) -> Identity | None:
    """Give what tells the file of a descriptor from others, ``None`` where the descriptor is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_rdev


def copy_window_size(source: int, target: int) -> bool:
    """Give one terminal the window size of another; say whether that changed it."""
    try:
        wanted, there = (fcntl.ioctl(each, termios.TIOCGWINSZ, bytes(8)) for each in (source, target))
        if wanted == there:
            return False
        fcntl.ioctl(target, termios.TIOCSWINSZ, wanted)
    except OSError:
        return False
    return True


def _open_terminal(like: int) -> tuple[int, int]:
    """Open a terminal that passes on what is written to it as it is: the one behind it makes of it what it makes."""
    source, writer = os.openpty()
    with suppress(OSError, termios.error):
        modes = termios.tcgetattr(like)
        modes[_OUTPUT_FLAGS] &= ~termios.OPOST
        modes[_LOCAL_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(writer, termios.TCSANOW, modes)
    copy_window_size(like, writer)
    return source, writer


def _kept(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR)


def _moved(descriptor: int) -> int:
    moved = _kept(descriptor)
    os.close(descriptor)
    return moved
