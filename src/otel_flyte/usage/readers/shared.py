"""How much memory a tree of processes has, where forked ones share what they have not written to.

A fork's anonymous memory begins as its parent's, page by page the same, and ``RssAnon`` shows it in both. Only smaps
tells the pages apart, and walks all of them (26 ms for 4 GiB). So what a fork began with is taken as shared as long as
it has that much; what it has beyond is its own.

The error: a page that it began with and then wrote to is its own too, but is not counted (a worker that touches the
reference counts of a large list it was forked with). Memory that is shared by files and ``/dev/shm`` is counted where
the root process has it mapped; libraries that others of the tree have mapped are not: they are page cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from otel_flyte.usage.readers.process import Key, Process


@dataclass(frozen=True)
class _Origin:
    """Who forked a process, and how many bytes of what it began with it still has at most."""

    parent: Key | None
    layout: tuple[int, int] | None
    inherited: int


class SharedMemory:
    """Remembers what each process began with."""

    def __init__(self) -> None:
        self._origins: dict[Key, _Origin] = {}

    def anonymous(self, before: Mapping[Key, Process], now: Mapping[Key, Process]) -> int:
        """Give the bytes of anonymous memory of all, what forks share counted once. To be told each time."""
        by_pid = {key.pid: process for key, process in now.items()}
        for key, process in now.items():
            known = self._origins.get(key)
            if known:
                # Another program runs in it, or it has given some back.
                most = process.anonymous if process.layout == known.layout else 0
                if most < known.inherited:
                    self._origins[key] = replace(known, inherited=most)
            else:
                self._origins[key] = _origin(process, by_pid.get(process.parent), before)
        self._forget(now)
        return self._sum(now)

    def _sum(self, now: Mapping[Key, Process]) -> int:
        """Add up what each has beyond what it began with; what its forks began with is there as long as one has it."""
        begun_with: dict[Key, int] = {}
        for origin in self._origins.values():
            if origin.parent:
                begun_with[origin.parent] = max(begun_with.get(origin.parent, 0), origin.inherited)
        total = 0
        for key, origin in self._origins.items():
            own = now[key].anonymous if key in now else 0
            total += max(own, begun_with.get(key, 0), origin.inherited) - origin.inherited
        return total

    def _forget(self, now: Mapping[Key, Process]) -> None:
        """Keep those that are there and, of those that are gone, from whom they come."""
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
    """Say what a new process began with: what its parent had, which may have given it back or taken more since."""
    if parent is None or process.layout is None or process.layout != parent.layout:
        return _Origin(None, process.layout, 0)
    had = max(parent.anonymous, before[parent.key].anonymous if parent.key in before else 0)
    return _Origin(parent.key, process.layout, min(process.anonymous, had))
