"""Processes as ``/proc`` shows them: https://man7.org/linux/man-pages/man5/proc.5.html."""

import os
import time
from contextlib import suppress
from pathlib import Path

from otel_flyte.usage.readers.files import KernelFile, field
from otel_flyte.usage.readers.process import Key, Process

_CLOCK_OF_BIRTHS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

# The fields of /proc/PID/stat by their number in proc_pid_stat(5), less the three that end with the name.
_PARENT = 4 - 3
_FAULTS = 10 - 3
_USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM = 14 - 3, 15 - 3, 16 - 3, 17 - 3
_BORN = 22 - 3
_VIRTUAL, _RESIDENT = 23 - 3, 24 - 3
_CODE, _STACK = 26 - 3, 28 - 3

_SHARED = 2
"""Which number of /proc/PID/statm is that of pages of files."""

_UNKNOWN = (b"", b"0")
"""No last process id: gVisor says 0 whatever has begun."""

_IO_SECONDS = 5.0
"""CPU time is told in hundredths of a second: who has used none may yet have read something."""


class Procfs:
    """Looks at processes below a folder that is, or looks like, ``/proc``."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._news = _of_the_kernel(root, "loadavg")
        self._newest = b""
        self._pids: set[int] = set()

    def own_pid(self) -> int:
        """The calling process, by the number it has in this folder's namespace."""
        with suppress(OSError, ValueError):
            return int(Path(self._root, "self").readlink().name)
        return os.getpid()

    def pids(self, *, anew: bool = False) -> set[int]:
        """All processes there are, and unless they are listed anew, perhaps some that have ended.

        Listing a folder gives up the interpreter's lock for each entry. What ``/proc/loadavg`` ends with is the last
        process id that was given: while it stays, nothing can have begun.
        """
        newest = (self._news.read() or b"").rpartition(b" ")[2].strip() if self._news is not None else b""
        if anew or newest in _UNKNOWN or newest != self._newest:
            listed = os.listdir(self._root)  # noqa: PTH208  # pathlib takes twice as long
            self._newest, self._pids = newest, set(map(int, filter(str.isdigit, listed)))
        return self._pids

    def parent(self, pid: int) -> int | None:
        """The parent of a process, ``None`` where it is gone."""
        fields = _fields(KernelFile(f"{self._root}/{pid}/stat", held=False).read())
        return int(fields[_PARENT]) if fields else None

    def age(self, key: Key) -> float:
        """For how many seconds a process has been there at most; it says on which tick it began."""
        return time.clock_gettime(_CLOCK_OF_BIRTHS) - key.born / _TICKS

    def reader(self, pid: int, *, held: bool) -> "_Reader":
        """Look at a process again and again."""
        return _Reader(f"{self._root}/{pid}", pid, held=held)

    def close(self) -> None:
        """Close what is held open."""
        if self._news is not None:
            self._news.close()


class _Reader:
    """Reads ``stat`` each time, and the other two where it shows that they may have changed.

    Opening a file and reading ``io``, for which the kernel may wait, give up the interpreter's lock, which a task in a
    Python loop then has to hand over once more.
    """

    def __init__(self, folder: str, pid: int, *, held: bool) -> None:
        self._pid = pid
        self._stat = KernelFile(f"{folder}/stat", held=held, at_once=True)
        self._statm = KernelFile(f"{folder}/statm", held=held, at_once=True)
        self._io = KernelFile(f"{folder}/io", held=held)
        self._resident: bytes | None = None
        self._shared = 0
        self._worked: list[bytes] = []
        self._io_again = 0.0
        self._read_bytes: int | None = None
        self._written_bytes: int | None = None

    def read(self) -> Process | None:
        """Look at it, ``None`` where it is gone."""
        fields = _fields(self._stat.read())
        if not fields or not self._look_at_pages(fields[_RESIDENT]):
            return None
        self._look_at_io(fields[_FAULTS : _WAITED_SYSTEM + 1])
        resident = int(fields[_RESIDENT])
        code, stack = int(fields[_CODE]), int(fields[_STACK])
        return Process(
            key=Key(self._pid, int(fields[_BORN])),
            parent=int(fields[_PARENT]),
            ended=fields[0] in {b"Z", b"X"},
            user=int(fields[_USER]) / _TICKS,
            system=int(fields[_SYSTEM]) / _TICKS,
            waited=(int(fields[_WAITED_USER]) + int(fields[_WAITED_SYSTEM])) / _TICKS,
            resident=resident * _PAGE,
            anonymous=max(resident - self._shared, 0) * _PAGE,
            virtual=int(fields[_VIRTUAL]),
            # The kernel tells 0 to whoever may not trace the process.
            layout=(code, stack) if stack else None,
            io_read=self._read_bytes,
            io_write=self._written_bytes,
        )

    def _look_at_pages(self, resident: bytes) -> bool:
        """Find out how many of the pages in memory are of files; what has as many as before has the same."""
        if resident != self._resident:
            pages = (self._statm.read() or b"").split(None, 3)
            if len(pages) <= _SHARED:
                return False
            self._resident, self._shared = resident, int(pages[_SHARED])
        return True

    def _look_at_io(self, worked: list[bytes]) -> None:
        """Find out what was read and written; nothing much by one that shows neither page faults nor CPU time."""
        now = time.monotonic()
        if worked != self._worked or now >= self._io_again:
            io = self._io.read()
            self._worked, self._io_again = worked, now + _IO_SECONDS
            self._read_bytes, self._written_bytes = field(io, b"read_bytes:"), field(io, b"write_bytes:")

    def close(self) -> None:
        """Close the files."""
        for file in (self._stat, self._statm, self._io):
            file.close()


def _of_the_kernel(root: str, name: str) -> KernelFile | None:
    """Open a file unless something else is mounted over it: LXC shows another one, which is some seconds old."""
    path = Path(root, name)
    try:
        return KernelFile(str(path), at_once=True) if path.stat().st_dev == Path(root).stat().st_dev else None
    except OSError:
        return None


def _fields(stat: bytes | None) -> list[bytes]:
    """Give what follows the program's name, which may hold spaces and parentheses; nothing of what is no such line."""
    fields = (stat or b"").rpartition(b")")[2].split(None, _STACK + 1)
    return fields if len(fields) > _STACK else []
