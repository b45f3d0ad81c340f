"""The usage of ended processes that no other process accounts for.

The parent of an ended process waits for it, and its usage then counts among the parent's waited-for children. Or no
process of the tree waits for it, because its parent ignores SIGCHLD or had ended before, and its usage would be lost.
The process table does not say which. But a process that has waited for it has waited for at least as much CPU time as
was last read of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from otel_flyte.usage.readers.process import Key, Process


@dataclass(frozen=True)
class Used:
    """Seconds of CPU time and without a CPU, and bytes read and written, of a tree of processes since it began."""

    cpu: float = 0.0
    io_read: int = 0
    io_write: int = 0
    delayed: float = 0.0


class Account:
    """Adds the usage of living processes, and the usage of ended ones that would be lost."""

    def __init__(self) -> None:
        self._forgotten = Used()
        self._used = Used()

    def update(self, before: Mapping[Key, Process], now: Mapping[Key, Process]) -> Used:
        """Return the sums, which never fall; call it with every reading."""
        seconds, whose = unaccounted(before, now)
        # The kernel adds bytes to the parent together with the time.
        forgotten = Used(
            self._forgotten.cpu + seconds,
            self._forgotten.io_read + sum(process.io_read or 0 for process in whose),
            self._forgotten.io_write + sum(process.io_write or 0 for process in whose),
            # It is not added to the parent.
            self._forgotten.delayed + sum(process.delayed or 0 for key, process in before.items() if key not in now),
        )
        living = now.values()
        self._forgotten = forgotten
        self._used = Used(
            max(self._used.cpu, forgotten.cpu + sum(process.cpu for process in living)),
            max(self._used.io_read, forgotten.io_read + sum(process.io_read or 0 for process in living)),
            max(self._used.io_write, forgotten.io_write + sum(process.io_write or 0 for process in living)),
            max(self._used.delayed, forgotten.delayed + sum(process.delayed or 0 for process in living)),
        )
        return self._used


def unaccounted(before: Mapping[Key, Process], now: Mapping[Key, Process]) -> tuple[float, list[Process]]:
    """Return the CPU seconds of ended processes that no process has waited for, and those processes.

    Each ended process claims its last known CPU time from the time that its parent has waited for since. Where the
    parent has ended too, the parent may have waited for it first, or the kernel may have reparented it: the living
    ancestors are tried, the nearest first. An unmet claim would be lost. No second of a living process meets two
    claims, so that none counts twice.
    """
    gone = [process for key, process in before.items() if key not in now]
    if not gone:
        return 0.0, []
    left = {key: now[key].waited - process.waited for key, process in before.items() if key in now}
    by_pid = {key.pid: process for key, process in before.items()}
    # Processes with a single ancestor to claim from come first.
    gone.sort(key=lambda process: process.parent not in by_pid or by_pid[process.parent].key not in left)
    forgotten = 0.0
    whose = []
    for process in gone:
        claim = process.cpu
        for key in _accountable(process, by_pid, now):
            met = min(claim, left[key])
            left[key] -= met
            claim -= met
        if claim > 0:
            forgotten += claim
            whose.append(process)
    return forgotten, whose


def _accountable(process: Process, by_pid: Mapping[int, Process], now: Mapping[Key, Process]) -> Iterator[Key]:
    """Yield the processes that may have waited for a process: its parent, else all living ancestors."""
    parent = by_pid.get(process.parent)
    if parent and parent.key in now:
        yield parent.key
        return
    # Ids may be reused while the table is read: a chain that closes must not be followed for ever.
    for _ in by_pid:
        if parent is None:
            return
        if parent.key in now:
            yield parent.key
        parent = by_pid.get(parent.parent)
