"""What each open task uses.

A task and its phases look at what is in use when they begin and end, at most once in a few milliseconds: a loop of
short tasks pays nothing that could be noticed. Only what runs for a while is sampled by a thread, and only then are the
readers of cgroups and accelerators loaded.
"""

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.trace import Span

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.runtime import forks, ticker
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks.open_task import OpenTask
from otel_flyte.usage.sample import WORTH_SECONDS, Sample, in_brief, of_process

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from otel_flyte.usage.collection import Collection
    from otel_flyte.usage.sampler import Sampler, Windows

PATIENCE_SECONDS = 1.0
"""A task that ends before this is looked at when it begins and ends only."""

SHORTEST_PAUSE_SECONDS = 0.01
"""Between two looks; what was seen last serves until then."""

LONGEST_PAUSE_SECONDS = 0.05
MOST_OF_TIME = 0.01
"""A process with many children takes longer to look at: it is looked at so much less often."""


class TaskUsage:
    """What one open task uses.

    Attributes:
        scope: the task.
        outer: the task that began it, in this process.
        first: what was in use when it was first looked at.
        age: seconds for which it had run by then.
        phase_first: what was in use when the open phase began.
        shared: whether another task has run in this process meanwhile.
        windows: what was sampled since, once it has run for a while.
    """

    __slots__ = ("_recorder", "age", "first", "outer", "phase_first", "scope", "shared", "windows")

    def __init__(
        self, recorder: "Recorder", scope: OpenTask, first: Sample, age: float, outer: "TaskUsage | None"
    ) -> None:
        self.scope = scope
        self.outer = outer
        self.first = first
        self.age = age
        self.phase_first: Sample | None = None
        self.shared = False
        self.windows: Windows | None = None
        self._recorder = recorder

    def begin_phase(self) -> None:
        """Note that a phase begins."""
        self.phase_first = self._recorder.look()

    def end_phase(self, span: Span) -> None:
        """Tell the phase's span what was used in it."""
        first, self.phase_first = self.phase_first, None
        if first is None or time.monotonic() - first.at < WORTH_SECONDS or not self._recorder.is_here():
            return
        sampler = self._recorder.sampler
        told = in_brief(first, self._recorder.look()) if sampler is None else sampler.end_phase(self, first)
        span.set_attributes(told)

    def end(self) -> None:
        """Tell the task's span what was used."""
        self._recorder.open.pop(id(self), None)
        if time.monotonic() - self.first.at < WORTH_SECONDS or not self._recorder.is_here():
            return
        sampler = self._recorder.sampler
        if sampler is not None:
            self.scope.span.set_attributes(sampler.end_task(self))
            return
        told = in_brief(self.first, self._recorder.look())
        self.scope.span.set_attributes({**told, semconv.USAGE_SHARED: True} if told and self.shared else told)

    def so_far(self) -> Mapping[str, float]:
        """Return what was used until now, by attribute."""
        sampler = self._recorder.sampler
        # In a forked child nobody may give up a lock that was held.
        return sampler.so_far(self) if sampler is not None and self._recorder.is_here() else {}

    def until_now(self) -> "Mapping[str, AttributeValue]":
        """Return what the task's span would be told if it ended now, with the averages by the minute."""
        if not self._recorder.is_here():
            return {}
        sampler = self._recorder.sampler
        return in_brief(self.first, self._recorder.look()) if sampler is None else sampler.until_now(self)

    def is_inside(self, other: "TaskUsage") -> bool:
        """Whether this task was begun by another."""
        outer = self.outer
        while outer is not None and outer is not other:
            outer = outer.outer
        return outer is other


class Recorder:
    """The open tasks of this process.

    Attributes:
        open: the open tasks, by identity.
        sampler: what samples them, once one has run for a while.
        lock: held while a sample is taken.
    """

    def __init__(self, interval: float) -> None:
        self.open: dict[int, TaskUsage] = {}
        self.sampler: Sampler | None = None
        self.lock = threading.Lock()
        self._interval = interval
        self._last = of_process()
        self._pause = SHORTEST_PAUSE_SECONDS

    def begin(self, scope: OpenTask, first: Sample | None, age: float, outer: TaskUsage | None) -> TaskUsage:
        """Begin to record a task."""
        task = TaskUsage(self, scope, first or self.look(), age, outer)
        if self.open:
            task.shared = True
            for other in list(self.open.values()):
                other.shared = other.shared or not task.is_inside(other)
        self.open[id(task)] = task
        return task

    def look(self) -> Sample:
        """Return what is in use, or was a moment ago."""
        began = time.monotonic()
        if began - self._last.at >= self._pause and self.is_here():
            with self.lock:
                self._last = of_process() if self.sampler is None else self.sampler.read()
            cost = time.monotonic() - began
            self._pause = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, cost / MOST_OF_TIME))
        return self._last

    def is_here(self) -> bool:
        """Whether this is the recorder's process, and no child that was forked from it."""
        return _recorder is self

    def is_older_than(self, seconds: float) -> bool:
        """Whether any open task is."""
        now = time.monotonic()
        return any(now - task.first.at >= seconds for task in list(self.open.values()))

    def tick(self) -> None:
        """Begin to sample once a task has run for a while."""
        if not self.is_older_than(PATIENCE_SECONDS):
            return
        if self.sampler is None:
            with importing:
                from otel_flyte.usage.sampler import Sampler
            with self.lock:
                self.sampler = Sampler(self, self._interval)
        self.sampler.start()


_recorder: Recorder | None = None


@guarded
def begin(scope: OpenTask, first: Sample | None = None, age: float = 0.0) -> None:
    """Begin to record what a task uses.

    Args:
        scope: the task.
        first: what was in use when it was first looked at, if that was before now.
        age: seconds for which it had run by then.
    """
    global _recorder
    if _recorder is None:
        interval = settings.current().sample_interval
        if not interval:
            return
        _recorder = Recorder(interval)
        ticker.every_second(_recorder.tick)
    outer = scope.outer.usage if scope.outer is not None else None
    scope.usage = _recorder.begin(scope, first, age, outer if isinstance(outer, TaskUsage) else None)


def collect() -> "Collection | None":
    """Return what there is to tell at a collection of metrics, ``None`` for nothing."""
    return _recorder.sampler.collector() if _recorder is not None and _recorder.sampler is not None else None


def _forget() -> None:
    """In a forked child: what its parent's tasks use is its parent's to tell."""
    global _recorder
    _recorder = None


forks.register(after_in_child=_forget)
