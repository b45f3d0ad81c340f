"""Processes by ``/proc``: https://man7.org/linux/man-pages/man5/proc.5.html."""

import os
import time
from contextlib import suppress
from pathlib import Path

from otel_flyte.usage.readers import files
from otel_flyte.usage.readers.files import KernelFile, field
from otel_flyte.usage.readers.process import Key, Process
from otel_flyte.usage.readers.run_queue import RunQueue

_CLOCK_OF_BIRTHS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

# The fields of /proc/PID/stat by their number in proc_pid_stat(5), less the three that end with the name.
_PARENT = 4 - 3
_FAULTS = 10 - 3
_USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM = 14 - 3, 15 - 3, 16 - 3, 17 - 3
_THREADS = 20 - 3
_BORN = 22 - 3
_VIRTUAL, _RESIDENT = 23 - 3, 24 - 3
_CODE, _STACK = 26 - 3, 28 - 3

_SHARED = 2
"""The position in /proc/PID/statm of the number of pages with a file."""

_UNKNOWN = (b"", b"0")
"""No last process id: gVisor always reports 0."""

_IO_SECONDS = 5.0
"""CPU time is reported in hundredths of a second: a process without any may have read something."""


class Procfs:
    """Reads processes below a folder that is, or looks like, ``/proc``."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._news = _of_the_kernel(root, "loadavg")
        self._newest = b""
        self._pids: set[int] = set()

    def own_pid(self) -> int:
        """Return the calling process, by its id in this folder's namespace."""
        with suppress(OSError, ValueError):
            return int(Path(self._root, "self").readlink().name)
        return os.getpid()

    def pids(self, *, anew: bool = False) -> set[int]:
        """Return all processes, and unless they are listed anew, perhaps some that have ended.

        Listing a folder releases the interpreter's lock for each entry. ``/proc/loadavg`` ends with the last process id
        that was assigned: while it stays the same, no process has begun.
        """
        newest = (self._news.read() or b"").rpartition(b" ")[2].strip() if self._news is not None else b""
        if anew or newest in _UNKNOWN or newest != self._newest:
            listed = os.listdir(self._root)  # noqa: PTH208  # pathlib takes twice as long
            self._newest, self._pids = newest, set(map(int, filter(str.isdecimal, listed)))
        return self._pids

    def parent(self, pid: int) -> int | None:
        """Return the parent of a process, ``None`` where it is gone."""
        fields = _fields(KernelFile(f"{self._root}/{pid}/stat", held=False).read())
        return files.integer(fields[_PARENT]) if fields else None

    def age(self, key: Key) -> float:
        """Return the largest possible age of a process in seconds; its start is known by the clock tick."""
        return time.clock_gettime(_CLOCK_OF_BIRTHS) - key.born / _TICKS

    def reader(self, pid: int, *, held: bool) -> "_Reader":
        """Return a reader of one process."""
        return _Reader(f"{self._root}/{pid}", pid, held=held)

    def close(self) -> None:
        """Close the descriptor."""
        if self._news is not None:
            self._news.close()


class _Reader:
    """Reads ``stat`` each time, and the other files where it shows that they may have changed.

    Opening a file and reading ``io``, for which the kernel may wait, release the interpreter's lock, which a task in a
    Python loop then has to pass over once more.
    """

    def __init__(self, folder: str, pid: int, *, held: bool) -> None:
        self._pid = pid
        self._stat = KernelFile(f"{folder}/stat", held=held, at_once=True)
        self._statm = KernelFile(f"{folder}/statm", held=held, at_once=True)
        self._io = KernelFile(f"{folder}/io", held=held)
        self._run_queue = RunQueue(folder, held=held)
        self._resident: bytes | None = None
        self._shared = 0
        self._worked: list[bytes] = []
        self._again = 0.0
        self._delayed: float | None = None
        self._read_bytes: int | None = None
        self._written_bytes: int | None = None

    def read(self) -> Process | None:
        """Read the process, ``None`` where it is gone or its files are not those of a process."""
        try:
            return self._read()
        except (ValueError, OverflowError):
            return None

    def _read(self) -> Process | None:
        fields = _fields(self._stat.read())
        if not fields or not self._read_pages(fields[_RESIDENT]):
            return None
        self._read_work(fields[_FAULTS : _WAITED_SYSTEM + 1], int(fields[_THREADS]))
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
            # The kernel reports 0 to processes that may not trace this one.
            layout=(code, stack) if stack else None,
            io_read=self._read_bytes,
            io_write=self._written_bytes,
            delayed=self._delayed,
        )

    def _read_pages(self, resident: bytes) -> bool:
        """Read the number of pages with a file, unless the number of all pages is the same as before."""
        if resident != self._resident:
            pages = (self._statm.read() or b"").split(None, 3)
            if len(pages) <= _SHARED:
                return False
            self._resident, self._shared = resident, int(pages[_SHARED])
        return True

    def _read_work(self, worked: list[bytes], threads: int) -> None:
        """Read bytes and the time without a CPU, seldom where the process shows neither page faults nor CPU time."""
        now = time.monotonic()
        if worked != self._worked or now >= self._again:
            io = self._io.read()
            self._worked, self._again = worked, now + _IO_SECONDS
            self._delayed = self._run_queue.read(threads)
            self._read_bytes, self._written_bytes = field(io, b"read_bytes:"), field(io, b"write_bytes:")

    def close(self) -> None:
        """Close the files."""
        for file in (self._stat, self._statm, self._io, self._run_queue):
            file.close()


def _of_the_kernel(root: str, name: str) -> KernelFile | None:
    """Open a file unless another is mounted over it: LXC shows one that is some seconds old."""
    path = Path(root, name)
    try:
        return KernelFile(str(path), at_once=True) if path.stat().st_dev == Path(root).stat().st_dev else None
    except OSError:
        return None


def _fields(stat: bytes | None) -> list[bytes]:
    """Return the fields after the program's name, which may contain spaces and parentheses; none for other content."""
    fields = (stat or b"").rpartition(b")")[2].split(None, _STACK + 1)
    return fields if len(fields) > _STACK else []
