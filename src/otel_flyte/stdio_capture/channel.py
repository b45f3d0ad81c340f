"""A standard stream that is redirected to a pipe, or to a terminal where it was a terminal.

The task's process keeps the end to read from, which it never reads as long as the pump lives: a writer without a reader
would get ``SIGPIPE``. It keeps the original, too, to restore it.
"""

import fcntl
import os
import termios
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from otel_flyte import semconv
from otel_flyte.runtime import descriptors
from otel_flyte.runtime.descriptors import Owned, identity

_OUTPUT_FLAGS, _LOCAL_FLAGS = 1, 3
"""Positions in the result of ``termios.tcgetattr``."""


class Channel:
    """One or two standard streams with the same destination.

    Attributes:
        name: name of the stream, empty for two.
        original: the original destination.
        source: the end that the pump reads.
        mark: a text by which a process that inherits the stream recognises this channel.
    """

    def __init__(self, name: str, streams: Sequence[int]) -> None:
        """Open it; nothing is redirected yet.

        Raises:
            OSError: too many files are open.
        """
        self.name = name
        self._streams = streams
        self.original = Owned(descriptors.copied(streams[0]))
        is_terminal = os.isatty(self.original.number)
        try:
            ends = _open_terminal(self.original.number) if is_terminal else os.pipe()
            self.source, self._writer = (Owned(descriptors.moved(end)) for end in ends)
        except OSError:
            self.original.close()
            raise
        self.mark = ":".join(map(str, self._writer.identity or ()))
        if not is_terminal:
            descriptors.enlarge(self._writer.number)

    @property
    def is_readable(self) -> bool:
        """Return whether both ends are open: some programs close all descriptors that they do not know."""
        return self.source.is_ours and self.original.is_ours

    def redirect(self) -> None:
        """Redirect the streams to this channel."""
        if self._writer.is_ours:
            for stream in self._streams:
                os.dup2(self._writer.number, stream)

    def restore(self) -> None:
        """Restore the original destination of the streams, unless the program has redirected them meanwhile."""
        if self.original.is_ours:
            for stream in self._streams:
                if identity(stream) == self._writer.identity:
                    os.dup2(self.original.number, stream)

    def close(self) -> None:
        """Close the descriptors of this channel."""
        for descriptor in (self.original, self.source, self._writer):
            descriptor.close()


def open_all() -> list[Channel]:
    """Open a channel for stdout and one for stderr, if open; one channel for both if they have the same destination.

    Two pipes would lose the order of lines from both streams, which a terminal shows.

    Raises:
        OSError: too many files are open.
    """
    names = {1: semconv.STDOUT, 2: semconv.STDERR}
    present = {stream: identity(stream) for stream in names if identity(stream) is not None}
    if len(present) == 2 and present[1] == present[2]:
        return [Channel("", (1, 2))]
    with ExitStack() as undo:
        channels = []
        for stream in present:
            channels.append(Channel(names[stream], (stream,)))
            undo.callback(channels[-1].close)
        undo.pop_all()
    return channels


def copy_window_size(source: int, target: int) -> bool:
    """Copy the window size of a terminal to another one; return whether that changed it."""
    try:
        wanted, present = (fcntl.ioctl(each, termios.TIOCGWINSZ, bytes(8)) for each in (source, target))
        if wanted == present:
            return False
        fcntl.ioctl(target, termios.TIOCSWINSZ, wanted)
    except OSError:
        return False
    return True


def _open_terminal(like: int) -> tuple[int, int]:
    """Open a terminal that passes all bytes unchanged: the original terminal processes them."""
    source, writer = os.openpty()
    with suppress(OSError, termios.error):
        modes = termios.tcgetattr(like)
        modes[_OUTPUT_FLAGS] &= ~termios.OPOST
        modes[_LOCAL_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(writer, termios.TCSANOW, modes)
    copy_window_size(like, writer)
    return source, writer
