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
_USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM = 14 - 3, 15 - 3, 16 - 3, 17 - 3
_BORN = 22 - 3
_CODE, _STACK = 26 - 3, 28 - 3


class Procfs:
    """Looks at processes below a folder that is, or looks like, ``/proc``."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root

    def own_pid(self) -> int:
        """The calling process, by the number it has in this folder's namespace."""
        with suppress(OSError, ValueError):
            return int(Path(self._root, "self").readlink().name)
        return os.getpid()

    def pids(self) -> set[int]:
        """All processes there are."""
        return set(map(int, filter(str.isdigit, os.listdir(self._root))))  # noqa: PTH208  # pathlib takes twice as long

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


class _Reader:
    def __init__(self, folder: str, pid: int, *, held: bool) -> None:
        self._pid = pid
        self._stat = KernelFile(f"{folder}/stat", held=held)
        self._statm = KernelFile(f"{folder}/statm", held=held)
        self._io = KernelFile(f"{folder}/io", held=held)

    def read(self) -> Process | None:
        """Look at it, ``None`` where it is gone."""
        fields = _fields(self._stat.read())
        pages = _pages(self._statm.read())
        if not fields or not pages:
            return None
        virtual, resident, shared = pages
        io = self._io.read()
        code, stack = int(fields[_CODE]), int(fields[_STACK])
        return Process(
            key=Key(self._pid, int(fields[_BORN])),
            parent=int(fields[_PARENT]),
            ended=fields[0] in {b"Z", b"X"},
            user=int(fields[_USER]) / _TICKS,
            system=int(fields[_SYSTEM]) / _TICKS,
            waited=(int(fields[_WAITED_USER]) + int(fields[_WAITED_SYSTEM])) / _TICKS,
            resident=resident * _PAGE,
            anonymous=max(resident - shared, 0) * _PAGE,
            virtual=virtual * _PAGE,
            # The kernel tells 0 to whoever may not trace the process.
            layout=(code, stack) if stack else None,
            io_read=field(io, b"read_bytes:"),
            io_write=field(io, b"write_bytes:"),
        )

    def close(self) -> None:
        """Close the files."""
        for file in (self._stat, self._statm, self._io):
            file.close()


def _fields(stat: bytes | None) -> list[bytes]:
    """Give what follows the program's name, which may hold spaces and parentheses; nothing of what is no such line."""
    fields = (stat or b"").rpartition(b")")[2].split(None, _STACK + 1)
    return fields if len(fields) > _STACK else []


def _pages(statm: bytes | None) -> tuple[int, int, int] | None:
    try:
        virtual, resident, shared, _ = (statm or b"").split(None, 3)
        return int(virtual), int(resident), int(shared)
    except ValueError:
        return None
