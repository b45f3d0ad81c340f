"""Small files of the kernel's that are read again and again."""

import os
from contextlib import suppress
from errno import ENODEV, ESRCH

_BYTES = 32768
_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_STALE = (ENODEV, ESRCH)


class KernelFile:
    """One file below ``/proc`` or ``/sys``, held open: reading it again costs a third of opening it again.

    ``path`` is whole, for its meaning must not change: ``/proc/self`` read in a forked child through its parent's
    descriptor is still the parent. With ``held=False`` it is opened for each reading.
    """

    __slots__ = ("_descriptor", "_held", "_path")

    def __init__(self, path: str, *, held: bool = True) -> None:
        self._path = path
        self._held = held
        self._descriptor: int | None = None

    def read(self) -> bytes | None:
        """Read the file from its beginning, ``None`` where it is not there, not permitted or stale."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, _FLAGS)
            return os.pread(self._descriptor, _BYTES, 0)
        except OSError as error:
            # Whoever has closed descriptors that weren't theirs may have been given this number for a file of theirs.
            self.close() if error.errno in _STALE else self._forget()
            return None
        finally:
            if not self._held:
                self.close()

    def integer(self) -> int | None:
        """Read the one number that the file holds, ``None`` where it holds none, such as ``max``."""
        return integer(self.read())

    def field(self, name: bytes) -> int | None:
        """Read the number that follows a name at the beginning of a line."""
        return field(self.read(), name)

    def close(self) -> None:
        """Close it; the next reading opens it again."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
        self._forget()

    def _forget(self) -> None:
        self._descriptor = None


def integer(text: bytes | None) -> int | None:
    """Give the number that a text is, ``None`` where it is none."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def field(text: bytes | None, name: bytes) -> int | None:
    """Find the number that follows ``name`` at the beginning of a line; the other lines are not looked at."""
    if text is None:
        return None
    begin = (b"\n" + text).find(b"\n" + name + b" ")
    return None if begin < 0 else integer(text[begin + len(name) + 1 :].partition(b"\n")[0])
