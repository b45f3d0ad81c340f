"""Small files of the kernel that are read repeatedly."""

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from errno import ENODEV, ESRCH

from otel_flyte.runtime.forks import importing

_BYTES = 32768
_PAGE = 4096
_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_STALE = (ENODEV, ESRCH)
_LARGEST = 2**64 - 1


class KernelFile:
    """One file below ``/proc`` or ``/sys`` that stays open: reading it again costs a third of opening it again.

    Args:
        path: absolute path without ``self``: ``/proc/self``, read in a forked child through the parent's descriptor, is
            still the parent.
        held: whether the file stays open between readings.
        at_once: whether reading keeps the interpreter's lock, for files of less than a page for which the kernel hardly
            ever waits.
    """

    __slots__ = ("_descriptor", "_held", "_path", "_pread")

    def __init__(self, path: str, *, held: bool = True, at_once: bool = False) -> None:
        self._path = path
        self._held = held
        self._pread = _pread_at_once() if at_once else os.pread
        self._descriptor: int | None = None

    def read(self) -> bytes | None:
        """Read the file from its beginning, ``None`` where it is missing, not permitted or stale."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, _FLAGS)
            return self._pread(self._descriptor, _BYTES, 0)
        except OSError as error:
            # Code that closes foreign descriptors may have got this number for a file of its own.
            self.close() if error.errno in _STALE else self._forget()
            return None
        finally:
            if not self._held:
                self.close()

    def integer(self) -> int | None:
        """Read the one number of the file, ``None`` for other content such as ``max``."""
        return integer(self.read())

    def field(self, name: bytes) -> int | None:
        """Read the number after a name at the beginning of a line."""
        return field(self.read(), name)

    def close(self) -> None:
        """Close the file; the next reading opens it again."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
        self._forget()

    def _forget(self) -> None:
        self._descriptor = None


def integer(text: bytes | None) -> int | None:
    """Return a text as a number of 64 bits, ``None`` where it is not one."""
    try:
        number = None if text is None else int(text)
    except ValueError:
        return None
    return number if number is not None and -_LARGEST <= number <= _LARGEST else None


def field(text: bytes | None, name: bytes) -> int | None:
    """Return the number after ``name`` at the beginning of a line, without parsing the other lines."""
    if text is None:
        return None
    begin = (b"\n" + text).find(b"\n" + name + b" ")
    return None if begin < 0 else integer(text[begin + len(name) + 1 :].partition(b"\n")[0])


def _pread_at_once() -> Callable[[int, int, int], bytes]:
    """Return a ``pread`` that keeps the interpreter's lock, for one thread at a time.

    A task in a Python loop must pass the lock over for each call that releases it, which takes both threads longer than
    the call itself.
    """
    call = _libc_pread()
    if call is None:
        return os.pread
    import ctypes

    buffer = ctypes.create_string_buffer(_PAGE)

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        length = call(descriptor, buffer, min(size, _PAGE), offset)
        if length < 0:
            raise OSError(ctypes.get_errno(), "pread")
        return ctypes.string_at(buffer, length)

    return pread


@functools.cache
def _libc_pread() -> Callable[..., int] | None:
    try:
        with importing:
            import ctypes
        libc = ctypes.PyDLL(None, use_errno=True)
        # glibc's ``pread`` takes shorter offsets on 32 bits; macOS and musl have it alone, with these.
        call = getattr(libc, "pread64", None) or libc.pread
    except (ImportError, OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)
    call.restype = ctypes.c_ssize_t
    pread: Callable[..., int] = call
    return pread
