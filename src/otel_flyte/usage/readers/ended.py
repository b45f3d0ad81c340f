"""What processes that have ended had used, where nobody else accounts for it.

A process that ends is waited for by its parent, and from then on all that it had used is a part of what its parent has
waited for; or nobody of the tree waits for it (its parent ignores SIGCHLD, or had ended before it), and then it would
be forgotten. The process table does not tell which. But whoever has waited for it has waited for at least as much as
was last seen of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from otel_flyte.usage.readers.process import Key, Process


@dataclass(frozen=True)
class Used:
    """Seconds of CPU time, and bytes read from and written to storage, of a tree of processes since it began."""

    cpu: float = 0.0
    io_read: int = 0
    io_write: int = 0


class Account:
    """Adds up what living processes account for, and what would be forgotten of those who are gone."""

    def __init__(self) -> None:
        self._forgotten = Used()
        self._used = Used()

    def update(self, before: Mapping[Key, Process], now: Mapping[Key, Process]) -> Used:
        """Give the sums, which never fall. To be told each time."""
        seconds, whose = unaccounted(before, now)
        # The kernel hands bytes up together with the time.
        forgotten = Used(
            self._forgotten.cpu + seconds,
            self._forgotten.io_read + sum(process.io_read or 0 for process in whose),
            self._forgotten.io_write + sum(process.io_write or 0 for process in whose),
        )
        living = now.values()
        self._forgotten = forgotten
        self._used = Used(
            max(self._used.cpu, forgotten.cpu + sum(process.cpu for process in living)),
            max(self._used.io_read, forgotten.io_read + sum(process.io_read or 0 for process in living)),
            max(self._used.io_write, forgotten.io_write + sum(process.io_write or 0 for process in living)),
        )
        return self._used


def unaccounted(before: Mapping[Key, Process], now: Mapping[Key, Process]) -> tuple[float, list[Process]]:
    """Give the seconds of CPU time of those who are gone that nobody has waited for, and whose they were.

    Each one who is gone claims what was last seen of it from what its parent has waited for since. Where its parent is
    gone too, the parent may have waited for it first, or the kernel may have given it to another one above: all who are
    above it and left are asked, the nearest first. A claim that is not met is what would be forgotten. No second of a
    surviving process's is given to two claims, so that none is counted twice.
    """
    gone = [process for key, process in before.items() if key not in now]
    if not gone:
        return 0.0, []
    left = {key: now[key].waited - process.waited for key, process in before.items() if key in now}
    by_pid = {key.pid: process for key, process in before.items()}
    # Whoever has one to claim from only comes first.
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
    """Give those who may have waited for a process: its parent, or if that is gone, all above it who are left."""
    parent = by_pid.get(process.parent)
    if parent and parent.key in now:
        yield parent.key
        return
    # Ids may be given again while the table is read: a chain that closes must not be followed for ever.
    for _ in by_pid:
        if parent is None:
            return
        if parent.key in now:
            yield parent.key
        parent = by_pid.get(parent.parent)
