"""The usage of a process and all its descendants."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from otel_flyte.runtime.forks import importing
from otel_flyte.usage.readers.ended import Account
from otel_flyte.usage.readers.process import Key, Process, Reader, Source
from otel_flyte.usage.readers.procfs import Procfs
from otel_flyte.usage.readers.shared import SharedMemory

_HELD = 16
"""Processes whose files stay open, three each and some threads': a user's limit of descriptors is often 1,024."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class TreeSample:
    """The usage of a tree of processes; ``None`` where a value may not be read or is not reported."""

    cpu_seconds: float | None = None
    """User and system time of all processes, ended ones included. It never falls."""
    user_seconds: float | None = None
    """Of the root process alone."""
    system_seconds: float | None = None
    """Of the root process alone."""
    rss: int | None = None
    """Bytes: all memory of the root process, and the anonymous memory of the others; shared memory counts once."""
    own_rss: int | None = None
    own_virtual: int | None = None
    count: int | None = None
    """Processes that have not ended."""
    io_read: int | None = None
    """Bytes read from storage (not from the page cache), by readable processes. It never falls."""
    io_write: int | None = None
    delayed_seconds: float | None = None
    """The time for which threads waited for a CPU, of ended processes until they were last read. It never falls."""


class Descendant(NamedTuple):
    """A process of the tree other than its root: seconds and bytes."""

    age: float
    """The largest possible one."""
    cpu_seconds: float
    delayed: float
    anonymous: int
    """Memory that it shares with others included."""


class ProcessTree:
    """A process and all its descendants, also those whose parent has ended before them.

    CPU time is the sum of two parts: the time that each living process accounts for (its own, and that of children it
    has waited for), and the last known time of ended processes that no process has waited for. The order of reading
    keeps time from counting twice: the list of processes first, then each process after its parent. A process that is
    not listed had been waited for before its parent was read, and a process that was read had not. Where a listed
    process can't be read, neither is known, and everything is read again.

    Two kinds of time are never seen. A process may begin and end between two readings without being waited for in the
    tree. And a process whose parent ended before the first reading is not found, unless the kernel has reparented it to
    a process of the tree (PID 1 or a subreaper).

    In a forked child the object still reads the parent's tree. Any thread may read.
    """

    def __init__(self, root: Path = Path("/proc"), pid: int | None = None) -> None:
        self._source = _source(root)
        self._pid = pid if pid is not None else self._source.own_pid()
        self._readers: dict[int, Reader] = {self._pid: self._source.reader(self._pid, held=True)}
        """Parents before their children."""
        self._born: dict[int, Key] = {}
        self._listed: set[int] = {self._pid}
        self._seen: dict[Key, Process] = {}
        self._was_there = False
        self._memory = SharedMemory()
        self._account = Account()
        self._lock = Lock()

    def read(self) -> TreeSample:
        """Read the tree; all values are ``None`` where that is impossible."""
        with self._lock:
            return self._read()

    def pids(self) -> list[int]:
        """Return the processes of the last reading, parents before their children."""
        return list(self._readers)

    def descendants(self) -> list[Descendant]:
        """Return each process but the root, by the last reading."""
        others = [(key, process) for key, process in self._seen.items() if key.pid != self._pid]
        return [
            Descendant(self._source.age(key), process.cpu, process.delayed or 0.0, process.anonymous)
            for key, process in others
        ]

    def close(self) -> None:
        """Close all descriptors."""
        self._source.close()
        for reader in self._readers.values():
            reader.close()

    def _read(self) -> TreeSample:
        try:
            now, unclear = self._look()
            for _ in range(_ATTEMPTS - 1):
                if not unclear:
                    break
                now, unclear = self._look(anew=True)
        except OSError:
            return TreeSample()
        # Counted as ended, they might count again when they are found again, or with their parents.
        before = {key: process for key, process in self._seen.items() if key not in unclear}
        self._seen = now
        self._was_there |= bool(now)
        return self._sample(before, now)

    def _sample(self, before: Mapping[Key, Process], now: Mapping[Key, Process]) -> TreeSample:
        root = next((process for key, process in now.items() if key.pid == self._pid), None)
        anonymous = self._memory.anonymous(before, now)
        used = self._account.update(before, now)
        if root is None:
            return TreeSample(used.cpu, rss=anonymous, count=_living(now)) if self._was_there else TreeSample()
        return TreeSample(
            cpu_seconds=used.cpu,
            user_seconds=root.user,
            system_seconds=root.system,
            rss=anonymous + root.resident - root.anonymous,
            own_rss=root.resident,
            own_virtual=root.virtual,
            count=_living(now),
            io_read=None if root.io_read is None else used.io_read,
            io_write=None if root.io_write is None else used.io_write,
            delayed_seconds=None if root.delayed is None else used.delayed,
        )

    def _look(self, *, anew: bool = False) -> tuple[dict[Key, Process], set[Key]]:
        """Read the known processes and find new ones; return them, and the processes that may have ended."""
        listed = self._source.pids(anew=anew)
        now: dict[Key, Process] = {}
        failed = set()
        for pid, reader in list(self._readers.items()):
            # Twice, because other code may have closed its descriptors.
            process = reader.read() or reader.read() if pid in listed else None
            if process and self._born.setdefault(pid, process.key) == process.key:
                now[process.key] = process
                continue
            if pid in listed:
                failed.add(pid)
            if pid != self._pid:
                reader.close()
                del self._readers[pid], self._born[pid]
        # The id of a process that failed may be a new process's already.
        self._listed -= failed
        missed = set()
        for pid, new in self._new(listed - self._listed - self._readers.keys()):
            if new:
                now[new.key] = new
            else:
                missed.add(pid)
        # Perhaps no file could be opened: they are searched for again.
        self._listed = listed - missed
        return now, {key for key in self._seen if key not in now and key.pid in failed | missed}

    def _new(self, pids: set[int]) -> Iterator[tuple[int, Process | None]]:
        """Yield the new processes of this tree, each read after its parent.

        Processes that can't be read are included, because they may be of this tree.
        """
        children = defaultdict(list)
        for pid in pids:
            children[self._source.parent(pid)].append(pid)
        for pid in children[None]:
            yield pid, None
        parents = list(self._readers)
        while parents:
            for pid in children.pop(parents.pop(), ()):
                reader = self._source.reader(pid, held=len(self._readers) < _HELD)
                process = reader.read()
                if process:
                    self._readers[pid] = reader
                    self._born[pid] = process.key
                    parents.append(pid)
                yield pid, process


def _living(processes: Mapping[Key, Process]) -> int:
    return sum(not process.ended for process in processes.values())


def _source(root: Path) -> Source:
    if root.is_dir():
        return Procfs(str(root))
    with importing:
        from otel_flyte.usage.readers.by_psutil import Psutil
    return Psutil()
