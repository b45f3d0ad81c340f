"""What is told at one collection of metrics: what was in use since the one before."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_flyte.usage.quota import Quota, Surroundings
from otel_flyte.usage.readers.cgroup import CgroupSample
from otel_flyte.usage.statistics import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_flyte.usage.readers.processes import TreeSample
    from otel_flyte.usage.recorder import TaskUsage
    from otel_flyte.usage.sampler import Sampler

SAME_SECONDS = 0.5
"""Callbacks that come within this belong to one collection."""


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """This process alone: CPU seconds so far and as shares of what all visible cores had, bytes, bytes so far."""

    user_seconds: float | None
    system_seconds: float | None
    user_share: float | None
    system_share: float | None
    rss: int | None
    virtual: int | None
    io_read: int | None
    io_write: int | None


@dataclass(frozen=True, slots=True)
class Collection:
    """What one collection tells.

    Attributes:
        window: of the process, since the collection before.
        tasks: those that were open in it, each with the window in which it was.
        own: this process.
        container: the container, ``None`` where there is none.
        around: what the machine gives.
        quota: gives what a task declared.
    """

    window: Window
    tasks: "list[tuple[TaskUsage, Window]]"
    own: OwnProcess
    container: CgroupSample | None
    around: Surroundings
    quota: "Callable[[TaskUsage], Quota]"


class Collector:
    """Makes a collection of what a sampler has sampled; all callbacks of one get the same."""

    def __init__(self, sampler: "Sampler") -> None:
        self._sampler = sampler
        self._at = 0.0
        self._made: Collection | None = None
        self._tree: TreeSample | None = None

    def __call__(self) -> Collection | None:
        """Return what there is to tell, ``None`` where no task has run since the last time."""
        now = time.monotonic()
        if now - self._at >= SAME_SECONDS:
            with self._sampler.lock:
                self._made = self._make(now - self._at)
            self._at = now
        return self._made

    def _make(self, seconds: float) -> Collection | None:
        sampler = self._sampler
        window, tasks = sampler.next_collection()
        if not tasks:
            return None
        container = sampler.sources.container
        return Collection(
            window,
            tasks,
            self._own(seconds),
            container.read() if container is not None else None,
            sampler.sources.surroundings,
            sampler.quota,
        )

    def _own(self, seconds: float) -> OwnProcess:
        before, now = self._tree, self._sampler.sources.tree.read()
        self._tree = now
        cores = self._sampler.sources.surroundings.host_cores

        def share(name: str) -> float | None:
            then = getattr(before, name, None)
            used = getattr(now, name)
            return None if then is None or used is None or not cores else max(0.0, used - then) / seconds / cores

        return OwnProcess(
            now.user_seconds,
            now.system_seconds,
            share("user_seconds"),
            share("system_seconds"),
            now.own_rss,
            now.own_virtual,
            now.io_read,
            now.io_write,
        )
