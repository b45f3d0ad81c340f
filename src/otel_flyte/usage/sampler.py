"""The thread that samples what open tasks use, and the windows that its samples fall into."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from otel_flyte import semconv
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded, start_thread
from otel_flyte.usage import attributes, quota
from otel_flyte.usage.attributes import Attributes
from otel_flyte.usage.collection import Collector
from otel_flyte.usage.devices import accelerators
from otel_flyte.usage.devices.accelerators import Accelerator, DeviceSample
from otel_flyte.usage.quota import Quota
from otel_flyte.usage.sample import Sample, of_process
from otel_flyte.usage.sources import Sources
from otel_flyte.usage.statistics import TaskSeries, Window

if TYPE_CHECKING:
    from otel_flyte.usage.recorder import Recorder, TaskUsage

METRICS_AFTER_SECONDS = 5.0
"""A task that ends before this has its figures on its spans alone: the SDK of metrics takes time to load."""

_TICK_SECONDS = 0.01
"""A process seems to have begun earlier by so much: the kernel says on which tick it did."""

ENDED_LIMIT = 100
"""Tasks that end between two collections of metrics, of which the second one tells."""


class Windows:
    """What was sampled of a task: since its begin, by the minute, since metrics were told, and since a phase began."""

    def __init__(self, began: float, first: Sample) -> None:
        self.series = TaskSeries(began)
        self.task = Window(first, self.series)
        self._since = Window(first)
        self._phase: Window | None = None
        self._phase_first: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Take the next sample."""
        self.task.add(sample)
        self._since.add(sample)

    def since_collection(self) -> Window:
        """Return the window since the collection before, and begin another."""
        window, self._since = self._since, Window(self._since.last)
        return window

    def phase(self, first: Sample, rebased: Sample) -> Window:
        """Return the window of the phase that began with a sample."""
        if self._phase is None or self._phase_first is not first:
            self._phase, self._phase_first = Window(rebased), first
        return self._phase


class Sampler:
    """Samples what open tasks use.

    It is made once a task has run for a while. A window may begin before it: what was seen of this process until then,
    and what processes have used that began in the window and are there still, is taken to be all that changed.

    Attributes:
        sources: where samples come from.
        collector: makes collections of metrics.
    """

    def __init__(self, recorder: "Recorder", interval: float) -> None:
        self.sources = Sources()
        self.collector = Collector(self)
        self._recorder = recorder
        self._interval = interval
        self._first = self.sources.read()
        # Right after it: beside a task that keeps the interpreter busy, reading takes a while, and that uses CPU time.
        self._begin = of_process()
        self._descendants = self.sources.descendants()
        self._since = Window(self._first)
        self._ended: deque[TaskUsage] = deque(maxlen=ENDED_LIMIT)
        self._thread: threading.Thread | None = None
        self._accelerators: list[Accelerator] | None = None
        self._has_instruments = False

    @property
    def lock(self) -> threading.Lock:
        """Held while a sample is taken and added."""
        return self._recorder.lock

    def start(self) -> None:
        """Begin to sample until no task is open."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = start_thread("otel-flyte-usage", self._sample)

    def read(self) -> Sample:
        """Take a sample, without accelerators; the lock is held."""
        return self.sources.read()

    def take(self, devices: Sequence[DeviceSample] | None = None) -> None:
        """Take a sample for all that is open."""
        with self.lock:
            sample = self.sources.read(devices)
            self._since.add(sample)
            for task in list(self._recorder.open.values()):
                self._windows(task).add(sample)
                # Its own thread may end the phase meanwhile.
                first = task.phase_first
                if first is not None:
                    self._phase(task, first).add(sample)

    def end_phase(self, task: "TaskUsage", first: Sample) -> Attributes:
        """Close the window of a phase and tell what was used in it."""
        with self.lock:
            window = self._phase(task, first)
            window.add(self.sources.read())
        return attributes.of_window(window, self.quota(task), self.sources.kind)

    def end_task(self, task: "TaskUsage") -> Attributes:
        """Close the window of a task and tell what it used."""
        with self.lock:
            windows = self._windows(task)
            windows.add(self.sources.read())
            self._ended.append(task)
        return self._told(task, windows)

    def until_now(self, task: "TaskUsage") -> Attributes:
        """Tell what a task has used until now, as at its end; it goes on."""
        with self.lock:
            windows = self._windows(task)
            windows.add(self.sources.read())
            return self._told(task, windows)

    def so_far(self, task: "TaskUsage") -> dict[str, float]:
        """Tell what a task has used until the last sample."""
        with self.lock:
            return attributes.so_far(self._windows(task).task)

    def quota(self, task: "TaskUsage") -> Quota:
        """Return what a task declared, as far as that is known by now."""
        return quota.of(task.scope.declared, self.sources.surroundings)

    def next_collection(self) -> "tuple[Window, list[tuple[TaskUsage, Window]]]":
        """Begin other windows for metrics; return those until now: the process's, and each task's. The lock is held."""
        sample = self.sources.read()
        window, self._since = self._since, Window(sample)
        window.add(sample)
        running = list(self._recorder.open.values())
        for task in running:
            self._windows(task).add(sample)
        tasks = [(task, self._windows(task).since_collection()) for task in (*self._ended, *running)]
        self._ended.clear()
        return window, tasks

    def _told(self, task: "TaskUsage", windows: Windows) -> Attributes:
        told = attributes.of_task(windows, self.quota(task), self.sources, shared=task.shared)
        for accelerator in self._accelerators or ():
            reason = getattr(accelerator, "processes_unknown", None)
            if reason:
                told[semconv.USAGE_DEVICE_OWN_UNKNOWN.format(kind=accelerator.kind)] = reason
        return told

    def _windows(self, task: "TaskUsage") -> Windows:
        if task.windows is None:
            task.windows = Windows(task.first.at - task.age, self._rebased(task.first))
        return task.windows

    def _phase(self, task: "TaskUsage", first: Sample) -> Window:
        return self._windows(task).phase(first, self._rebased(first))

    def _rebased(self, sample: Sample) -> Sample:
        """Return what a sample of this process alone, from before there was a sampler, would have been."""
        if sample.at >= self._begin.at:
            return sample
        known, cpu_seconds = self._first, None
        if known.cpu_seconds is not None and self._begin.cpu_seconds is not None and sample.cpu_seconds is not None:
            of_others = sum(used for began, used in self._descendants if began >= sample.at - _TICK_SECONDS)
            cpu_seconds = known.cpu_seconds - (self._begin.cpu_seconds - sample.cpu_seconds) - of_others
        return known._replace(at=sample.at, cpu_seconds=cpu_seconds, mark=sample.mark, memory=None)

    def _sample(self) -> None:
        due = time.monotonic()
        while self._recorder.open and self._recorder.is_here():
            self.take(self._devices())
            if not self._has_instruments and self._recorder.is_older_than(METRICS_AFTER_SECONDS):
                self._has_instruments = True
                _make_instruments()
            # What was missed while the process was held up is not made up for.
            due = max(due + self._interval, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def _devices(self) -> Sequence[DeviceSample] | None:
        if self._accelerators is None:
            self._accelerators = list(_opened(accelerators.found(os.environ, self.sources.tree.pids)))
        if self._accelerators and self.sources.container is not None:
            # Samples of a container look at no processes: drivers are asked for the task's own.
            self.sources.tree.read()
        samples = [sample for accelerator in self._accelerators for sample in _read(accelerator)]
        return samples or None


@guarded
def _make_instruments() -> None:
    with importing:
        from otel_flyte.usage import instruments
    instruments.begin()


def _opened(found: Iterable[Accelerator]) -> Iterator[Accelerator]:
    for accelerator in found:
        if guarded(accelerator.open)():
            yield accelerator


def _read(accelerator: Accelerator) -> Sequence[DeviceSample]:
    return guarded(accelerator.read)() or ()
