"""Samples of all that open tasks use, in the windows of their reports.

It begins once a task has run for a while. A window may begin earlier. The usage of this process until then is known by
samples of the process alone. The usage of processes that began in the window and still run counts as part of it.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded
from otel_flyte.usage import attributes
from otel_flyte.usage.attributes import Attributes
from otel_flyte.usage.before import Before
from otel_flyte.usage.collection import Collection, OwnProcess
from otel_flyte.usage.devices import discovery, ranges
from otel_flyte.usage.devices.accelerators import Accelerator, DeviceSample
from otel_flyte.usage.quota import Quota
from otel_flyte.usage.sample import Sample, of_process
from otel_flyte.usage.sources import Child, Sources
from otel_flyte.usage.statistics import Window
from otel_flyte.usage.windows import Windows

if TYPE_CHECKING:
    from otel_flyte.usage.readers.processes import TreeSample
    from otel_flyte.usage.task_usage import TaskUsage

_TICK_SECONDS = 0.01
"""The kernel reports the start of a process by its clock tick, up to this much too early."""

ENDED_LIMIT = 100
"""Tasks that end between two collections of metrics and are reported by the second one."""


class Sampling:
    """The readers of this process, and their results. The recorder's lock is held where a sample is added.

    Attributes:
        sources: where samples come from.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.sources = Sources()
        self._first = self.sources.read()
        # Right after it: reading takes a while beside a task that keeps the interpreter busy, and uses CPU time.
        self._begin = of_process()
        self._descendants = self.sources.descendants()
        self._since_collection = Window(self._first)
        self._ended: deque[TaskUsage] = deque(maxlen=ENDED_LIMIT)
        self._accelerators: list[Accelerator] | None = None
        self._tree: TreeSample | None = None

    def read(self) -> Sample:
        """Take a sample without accelerators."""
        return self.sources.read()

    def read_devices(self) -> Sequence[DeviceSample] | None:
        """Read the accelerators, ``None`` where there are none."""
        if self._accelerators is None:
            found = discovery.accelerators(os.environ, self.sources.tree.pids)
            self._accelerators = [accelerator for accelerator in found if guarded(accelerator.open)()]
        if self._accelerators and self.sources.container is not None:
            # Samples of a container read no processes, and drivers are asked for the processes of the task.
            self.sources.tree.read()
        return list(_read(self._accelerators)) or None

    def add_samples(self, running: Sequence["TaskUsage"], devices: Sequence[DeviceSample] | None) -> None:
        """Take a sample and add it to the windows of all running tasks and their phases."""
        sample = self.sources.read(devices)
        self._since_collection.add(sample)
        for usage in running:
            self._windows(usage).add(sample)
            # The task's own thread may end the phase meanwhile.
            first = usage.phase_first
            if first is not None:
                self._phase(usage, first).add(sample)

    def add_sample(self, usage: "TaskUsage") -> Windows:
        """Take a sample and add it to the windows of one task."""
        windows = self._windows(usage)
        windows.add(self.sources.read())
        return windows

    def end_phase(self, usage: "TaskUsage", first: Sample) -> Window:
        """Close and return the window of a phase."""
        window = self._phase(usage, first)
        window.add(self.sources.read())
        return window

    def end_task(self, usage: "TaskUsage") -> Windows:
        """Close and return the windows of a task."""
        windows = self.add_sample(usage)
        self._ended.append(usage)
        return windows

    def describe_window(self, usage: "TaskUsage", window: Window) -> Attributes:
        """Return the usage in a window, by attribute."""
        return attributes.of_window(window, self.quota(usage), self.sources)

    def describe_task(self, usage: "TaskUsage", windows: Windows) -> Attributes:
        """Return the usage of a task, by attribute."""
        found = attributes.of_task(windows, self.quota(usage), self.sources, self._before(usage), shared=usage.shared)
        for accelerator in self._accelerators or ():
            reason = getattr(accelerator, "processes_unknown", None)
            if reason:
                found[semconv.USAGE_DEVICE_OWN_UNKNOWN.format(kind=accelerator.kind)] = reason
        return found

    def describe_last(self, usage: "TaskUsage") -> dict[str, float]:
        """Return the usage of a task by its last sample, by attribute."""
        return attributes.of_last_sample(self._windows(usage).task)

    def quota(self, usage: "TaskUsage") -> Quota:
        """Return the quota of a task."""
        return Quota(self.sources.machine, usage.task.resources)

    def next_collection(self, running: Sequence["TaskUsage"], seconds: float) -> Collection | None:
        """Return the usage since the previous collection, ``None`` where no task has run; begin the next.

        Args:
            running: the open tasks.
            seconds: since the previous collection.
        """
        sample = self.sources.read()
        window, self._since_collection = self._since_collection, Window(sample)
        window.add(sample)
        for usage in running:
            self._windows(usage).add(sample)
        tasks = [(usage, self._windows(usage).next_collection()) for usage in (*self._ended, *running)]
        self._ended.clear()
        if not tasks:
            return None
        container = self.sources.container
        return Collection(
            window,
            tasks,
            self._own_process(seconds),
            container.read() if container is not None else None,
            self.sources.machine,
            self.quota,
        )

    def _own_process(self, seconds: float) -> OwnProcess:
        before, now = self._tree, self.sources.tree.read()
        self._tree = now
        cores = self.sources.machine.host_cores

        def share(then: float | None, used: float | None) -> float | None:
            return None if then is None or used is None or not cores else max(0.0, used - then) / seconds / cores

        return OwnProcess(
            now.user_seconds,
            now.system_seconds,
            share(before.user_seconds if before else None, now.user_seconds),
            share(before.system_seconds if before else None, now.system_seconds),
            now.own_rss,
            now.own_virtual,
            now.io_read,
            now.io_write,
        )

    def _windows(self, usage: "TaskUsage") -> Windows:
        if usage.windows is None:
            usage.windows = Windows(usage.first.at - usage.age, self._rebased(usage.first), self._interval)
        return usage.windows

    def _phase(self, usage: "TaskUsage", first: Sample) -> Window:
        return self._windows(usage).phase(first, self._rebased(first))

    def _before(self, usage: "TaskUsage") -> Before:
        """Return the memory in use when a task began; unknown in a container, which exists for one task."""
        first = usage.first
        if not self.sources.is_memory_of_processes:
            return Before()
        if first.memory is not None or first.resident is None:
            return Before(first.memory, usage.usual)
        of_others = sum(child.memory for child in self._descendants if not _began_after(child, first))
        return Before(first.resident + round(of_others), usage.usual)

    def _rebased(self, sample: Sample) -> Sample:
        """Return the sample of all sources at the time of an earlier sample of this process alone."""
        if sample.at >= self._begin.at:
            return sample
        began = [child for child in self._descendants if _began_after(child, sample)]
        return self._first._replace(
            at=sample.at,
            cpu_seconds=self._earlier("cpu_seconds", sample, sum(child.cpu_seconds for child in began)),
            delayed_seconds=self._earlier("delayed_seconds", sample, sum(child.delayed for child in began)),
            mark=sample.mark,
            memory=None,
        )

    def _earlier(self, name: str, sample: Sample, of_others: float) -> float | None:
        """Return a counter of all sources at the time of an earlier sample of this process alone."""
        known, then, begin = (getattr(each, name) for each in (self._first, sample, self._begin))
        return None if None in {known, then, begin} else float(known - (begin - then) - of_others)


def _began_after(child: Child, sample: Sample) -> bool:
    return child.start >= sample.at - _TICK_SECONDS


def _read(accelerators: Iterable[Accelerator]) -> Iterator[DeviceSample]:
    for accelerator in accelerators:
        # A reader of a third party may pass on what its driver returns.
        yield from map(ranges.credible, guarded(accelerator.read)() or ())
