"""The memory of a tree of processes, where forks share the pages that they have not written to.

The anonymous memory of a fork starts as its parent's, page by page, and ``RssAnon`` counts it in both. Only smaps tells
the pages apart, and it walks all of them (26 ms for 4 GiB). So the memory that a fork started with counts as shared as
long as it has that much, and memory beyond that as its own.

The error: a page that it started with and has written to since is its own too, but is not counted, as in a worker that
touches the reference counts of an inherited list. Memory that is shared by files and ``/dev/shm`` counts where the root
process has it mapped. Libraries that other processes have mapped do not count: they are page cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from otel_flyte.usage.readers.process import Key, Process


@dataclass(frozen=True)
class _Origin:
    """The process that forked another, and the inherited bytes that the fork still has at most."""

    parent: Key | None
    layout: tuple[int, int] | None
    inherited: int


class SharedMemory:
    """Keeps the memory that each process started with."""

    def __init__(self) -> None:
        self._origins: dict[Key, _Origin] = {}

    def anonymous(self, before: Mapping[Key, Process], now: Mapping[Key, Process]) -> int:
        """Return the anonymous memory of all processes in bytes, shared memory once; call it with every reading."""
        by_pid = {key.pid: process for key, process in now.items()}
        for key, process in now.items():
            known = self._origins.get(key)
            if known:
                # It runs another program, or has freed some memory.
                most = process.anonymous if process.layout == known.layout else 0
                if most < known.inherited:
                    self._origins[key] = replace(known, inherited=most)
            else:
                self._origins[key] = _origin(process, by_pid.get(process.parent), before)
        self._forget(now)
        return self._sum(now)

    def _sum(self, now: Mapping[Key, Process]) -> int:
        """Add the memory of each beyond its inherited memory, which exists as long as one of the forks has it."""
        inherited: dict[Key, int] = {}
        for origin in self._origins.values():
            if origin.parent:
                inherited[origin.parent] = max(inherited.get(origin.parent, 0), origin.inherited)
        total = 0
        for key, origin in self._origins.items():
            own = now[key].anonymous if key in now else 0
            total += max(own, inherited.get(key, 0), origin.inherited) - origin.inherited
        return total

    def _forget(self, now: Mapping[Key, Process]) -> None:
        """Keep the living processes and their ended ancestors."""
        if len(self._origins) == len(now):
            return
        kept: dict[Key, _Origin] = {}
        for process in now:
            key: Key | None = process
            while key in self._origins and key not in kept:
                kept[key] = self._origins[key]
                key = kept[key].parent
        self._origins = kept


def _origin(process: Process, parent: Process | None, before: Mapping[Key, Process]) -> _Origin:
    """Return the origin of a new process: its parent's memory, which the parent may have changed since."""
    if parent is None or process.layout is None or process.layout != parent.layout:
        return _Origin(None, process.layout, 0)
    had = max(parent.anonymous, before[parent.key].anonymous if parent.key in before else 0)
    return _Origin(parent.key, process.layout, min(process.anonymous, had))
