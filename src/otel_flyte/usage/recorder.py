"""The recorder of the usage of each open task.

A task and its phases take a sample when they begin and end, at most once in a few milliseconds: a loop of short tasks
pays nothing that could be noticed. A thread samples only tasks that run for a while, and only then are the readers of
cgroups and accelerators imported.
"""

import os
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from otel_flyte import semconv
from otel_flyte.config import settings, standard
from otel_flyte.runtime import forks, ticker
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded, start_thread
from otel_flyte.tasks.open_task import OpenTask
from otel_flyte.usage import before
from otel_flyte.usage.before import Before
from otel_flyte.usage.sample import Sample, in_brief, of_process
from otel_flyte.usage.task_usage import TaskUsage

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from otel_flyte.usage.collection import Collection
    from otel_flyte.usage.sampling import Sampling

PATIENCE_SECONDS = 1.0
"""A task that ends earlier is sampled only when it begins and ends."""

METRICS_AFTER_SECONDS = 5.0
"""A task that ends earlier has its usage on its spans alone: the SDK of metrics takes time to import.

Where metrics are exported more often than that, the first export is not waited for so long.
"""

SHORTEST_PAUSE_SECONDS = 0.01
"""Between two samples for borders of tasks and phases; the last sample serves until then."""

LONGEST_PAUSE_SECONDS = 0.05
LARGEST_SHARE_OF_TIME = 0.01
"""A process with many children takes longer to sample: it is sampled less often, in proportion."""

SAME_COLLECTION_SECONDS = 0.5
"""Callbacks of instruments that come within this time belong to one collection."""


class Recorder:
    """The open tasks of this process, and the thread that samples them.

    Attributes:
        open: the open tasks, by identity.
        sampling: readers and windows, once a task has run for a while.
        lock: held while a sample is taken and added.
    """

    def __init__(self, interval: float) -> None:
        self.open: dict[int, TaskUsage] = {}
        self.sampling: Sampling | None = None
        self.lock = threading.RLock()
        self._interval = interval
        self._last = of_process()
        self._usual = before.usual_at_first()
        self._pause = SHORTEST_PAUSE_SECONDS
        self._thread: threading.Thread | None = None
        self._has_instruments = False
        self._collected_at = 0.0
        self._collection: Collection | None = None

    def begin(self, task: OpenTask, first: Sample | None, age: float, outer: TaskUsage | None) -> TaskUsage:
        """Begin to record a task."""
        first = first or self.sample()
        usage = TaskUsage(self, task, first, age, outer, usual=self._usual)
        if self._usual is None:
            # Where it is unknown, all that later tasks find may be of earlier ones.
            self._usual = first.memory or first.resident or 0
        if self.open:
            usage.shared = True
            for other in list(self.open.values()):
                other.shared = other.shared or not usage.is_inside(other)
        self.open[id(usage)] = usage
        return usage

    def is_current(self) -> bool:
        """Return whether this is the recorder of this process, and not of the process that forked it.

        In a forked child the lock may be held by a thread that does not exist there.
        """
        return _recorder is self

    def sample(self) -> Sample:
        """Return a sample, or the last one where that is recent."""
        start = time.monotonic()
        if start - self._last.at >= self._pause and self.is_current():
            with self.lock:
                self._last = of_process() if self.sampling is None else self.sampling.read()
            cost = time.monotonic() - start
            self._pause = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, cost / LARGEST_SHARE_OF_TIME))
        return self._last

    def end_phase(self, usage: TaskUsage, first: Sample) -> "Mapping[str, AttributeValue]":
        """Return the usage in the phase that began with a sample."""
        if self.sampling is None:
            return in_brief(first, self.sample())
        with self.lock:
            window = self.sampling.end_phase(usage, first)
        return self.sampling.describe_window(usage, window)

    def end_task(self, usage: TaskUsage) -> "Mapping[str, AttributeValue]":
        """Return the usage of a task that ends."""
        if self.sampling is not None:
            with self.lock:
                windows = self.sampling.end_task(usage)
            return self.sampling.describe_task(usage, windows)
        brief = self._in_brief(usage)
        return {**brief, semconv.USAGE_SHARED: True} if brief and usage.shared else brief

    def until_now(self, usage: TaskUsage) -> "Mapping[str, AttributeValue]":
        """Return the usage of a task that goes on."""
        if self.sampling is None:
            return self._in_brief(usage)
        with self.lock:
            return self.sampling.describe_task(usage, self.sampling.add_sample(usage))

    def so_far(self, usage: TaskUsage) -> Mapping[str, float]:
        """Return the usage of a task by its last sample, nothing where it has not run for long."""
        if self.sampling is None:
            return {}
        with self.lock:
            return self.sampling.describe_last(usage)

    def collect(self) -> "Collection | None":
        """Return the usage since the previous collection of metrics; callbacks of one collection get the same."""
        now = time.monotonic()
        if self.sampling is not None and now - self._collected_at >= SAME_COLLECTION_SECONDS:
            with self.lock:
                seconds = now - self._collected_at
                self._collection = self.sampling.next_collection(list(self.open.values()), seconds)
            self._collected_at = now
        return self._collection

    def tick(self) -> None:
        """Begin to sample once a task has run for a while."""
        if not self._has_run_for(PATIENCE_SECONDS):
            return
        if self.sampling is None:
            with importing:
                from otel_flyte.usage.sampling import Sampling
            with self.lock:
                self.sampling = Sampling(self._interval)
        if self._thread is None or not self._thread.is_alive():
            self._thread = start_thread("otel-flyte-usage", self._run)

    def take(self) -> None:
        """Take a sample for all open tasks."""
        if self.sampling is None:
            return
        # Accelerators may take long to read: the lock is not held meanwhile.
        devices = self.sampling.read_devices()
        with self.lock:
            self.sampling.add_samples(list(self.open.values()), devices)

    def _in_brief(self, usage: TaskUsage) -> dict[str, str | int | float]:
        brief = in_brief(usage.first, self.sample())
        peak = brief.get(semconv.USAGE_MEMORY_PEAK)
        if isinstance(peak, int):
            brief |= before.described(Before(usage.first.resident, usage.usual), peak)
        if semconv.USAGE_CPU_MEAN in brief:
            brief[semconv.USAGE_CURVE_STEP] = float(self._interval)
            brief[semconv.USAGE_CURVE_CPU] = f"{brief[semconv.USAGE_CPU_MEAN]:.2f}"
        return brief

    def _run(self) -> None:
        due = time.monotonic()
        while self.open and self.is_current():
            self.take()
            if not self._has_instruments and self._has_run_for(_metrics_after()):
                self._has_instruments = True
                _create_instruments()
            # Samples that were missed while the process was stopped are not made up for.
            due = max(due + self._interval, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def _has_run_for(self, seconds: float) -> bool:
        now = time.monotonic()
        return any(now - usage.first.at >= seconds for usage in list(self.open.values()))


_recorder: Recorder | None = None


@guarded
def begin(task: OpenTask, first: Sample | None = None, age: float = 0.0) -> None:
    """Begin to record the usage of a task.

    Args:
        task: the open task.
        first: the first sample, where one was taken before the task's span began.
        age: seconds for which the task had run by then.
    """
    global _recorder
    if _recorder is None:
        interval = settings.current().sample_interval
        if not interval:
            return
        _recorder = Recorder(interval)
        ticker.every_second(_recorder.tick)
    outer = task.outer.usage if task.outer is not None else None
    task.usage = _recorder.begin(task, first, age, outer if isinstance(outer, TaskUsage) else None)


def collect() -> "Collection | None":
    """Return the usage since the previous collection of metrics, ``None`` where no task has run."""
    return _recorder.collect() if _recorder is not None else None


@cache
def _metrics_after() -> float:
    interval = standard.number(standard.usable(os.environ), semconv.METRIC_EXPORT_INTERVAL)
    return min(METRICS_AFTER_SECONDS, max(PATIENCE_SECONDS, interval / 1000))


@guarded
def _create_instruments() -> None:
    with importing:
        from otel_flyte.usage import instruments
    instruments.create(collect)


def _begin_child() -> None:
    """In a forked child: the parent reports the usage of its own tasks."""
    global _recorder
    _recorder = None


forks.register(after_in_child=_begin_child)
