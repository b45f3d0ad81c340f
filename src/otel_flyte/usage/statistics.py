"""Time-weighted statistics of samples: means and peaks over a window, and averages for each minute.

A quantity that a machine does not report is ``None`` in every sample and absent in every result. A quantity that was
unknown for a while is averaged over the time in which it was known.
"""

from typing import Protocol

from otel_flyte import semconv
from otel_flyte.config.settings import LONGEST_INTERVAL_SECONDS
from otel_flyte.formulas import LONGEST_SERIES, NO_VALUE, STEP_SECONDS, mean, share
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.sample import Sample

LONGEST_GAP_SECONDS = 2 * LONGEST_INTERVAL_SECONDS
"""A level is unknown between samples further apart, as of a process that was stopped."""

SHORTEST_RATE_SECONDS = 0.4
"""A rate over less is the noise of a clock that ticks every 10 ms."""


class Level:
    """A quantity that rises and falls: its mean by the trapezoid rule, and its peak."""

    __slots__ = ("_at", "_integral", "_seconds", "_value", "peak")

    def __init__(self) -> None:
        self.peak: float | None = None
        self._at = 0.0
        self._value: float | None = None
        self._integral = 0.0
        self._seconds = 0.0

    def add(self, at: float, value: float | None) -> None:
        """Add a value, ``None`` where it is unknown."""
        if value is None:
            self._value = None
            return
        if self._value is not None and at - self._at <= LONGEST_GAP_SECONDS:
            self._integral += (at - self._at) * (value + self._value) / 2
            self._seconds += at - self._at
        self._at, self._value = at, value
        self.peak = value if self.peak is None else max(self.peak, value)

    @property
    def mean(self) -> float | None:
        """The mean over time; the value itself where there is only one."""
        return self._integral / self._seconds if self._seconds else self.peak


class Share:
    """A quantity whose samples are means since the previous sample: its mean over time, and its peak."""

    __slots__ = ("_at", "_integral", "_seconds", "peak")

    def __init__(self, start: float) -> None:
        self.peak: float | None = None
        self._at = start
        self._integral = 0.0
        self._seconds = 0.0

    def add(self, at: float, value: float | None) -> None:
        """Add the mean since the previous call, ``None`` where it is unknown."""
        if value is not None and 0 < at - self._at <= LONGEST_GAP_SECONDS:
            self._integral += (at - self._at) * value
            self._seconds += at - self._at
            self.peak = value if self.peak is None else max(self.peak, value)
        self._at = at

    @property
    def mean(self) -> float | None:
        """The mean over the time in which it was known."""
        return self._integral / self._seconds if self._seconds else None


class Total:
    """A quantity that only grows, and its growth."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first: float | None = None
        self._last: float | None = None

    def add(self, value: float | None) -> None:
        """Add a value, ``None`` where it is unknown."""
        if value is None:
            return
        if self._first is None:
            self._first = value
        else:
            self._last = value

    @property
    def growth(self) -> float | None:
        """The last value less the first, ``None`` for fewer than two."""
        return None if self._first is None or self._last is None else max(0.0, self._last - self._first)


class Series:
    """Averages over steps from a start. Where they become too many, each step covers twice the time."""

    __slots__ = ("_integrals", "_seconds", "_start", "step")

    def __init__(self, start: float) -> None:
        self.step = STEP_SECONDS
        self._start = start
        self._integrals: list[float] = []
        self._seconds: list[float] = []

    def add(self, start: float, end: float, value: float | None) -> None:
        """Add the average of a stretch of time, ``None`` where it is unknown."""
        if value is None or end - start > LONGEST_GAP_SECONDS:
            return
        start, end = max(0.0, start - self._start), end - self._start
        while start < end:
            index = int(start / self.step)
            if index >= LONGEST_SERIES:
                self._double()
                continue
            self._grow(index + 1)
            until = min(end, (index + 1) * self.step)
            self._integrals[index] += (until - start) * value
            self._seconds[index] += until - start
            start = until

    def values(self, step: float) -> list[float]:
        """Return the averages over steps of at least this length, ``NO_VALUE`` where none was known."""
        while self.step < step:
            self._double()
        pairs = zip(self._integrals, self._seconds, strict=True)
        return [integral / seconds if seconds > 0 else NO_VALUE for integral, seconds in pairs]

    def _grow(self, length: int) -> None:
        missing = [0.0] * (length - len(self._seconds))
        self._integrals += missing
        self._seconds += missing

    def _double(self) -> None:
        self.step *= 2
        for numbers in (self._integrals, self._seconds):
            numbers[:] = [sum(numbers[index : index + 2]) for index in range(0, len(numbers), 2)]


class Device:
    """Statistics of one accelerator over a window."""

    __slots__ = ("energy", "memory", "own_memory", "own_utilization", "sample", "utilization")

    def __init__(self, start: float, sample: DeviceSample) -> None:
        self.sample = sample
        self.utilization = Share(start)
        self.memory = Level()
        self.own_utilization = Share(start)
        self.own_memory = Level()
        self.energy = Total()

    def add(self, at: float, sample: DeviceSample) -> None:
        """Add a sample of the same device."""
        self.sample = sample
        self.utilization.add(at, sample.utilization)
        self.memory.add(at, sample.memory_used)
        self.own_utilization.add(at, sample.process_utilization)
        self.own_memory.add(at, sample.process_memory)
        self.energy.add(sample.energy)


class Recorded(Protocol):
    """What is recorded about the time between two samples of a window."""

    def add(self, last: Sample, sample: Sample) -> None:
        """Add the time between two samples."""


class Window:
    """Usage between two moments: of a task, or in one of its phases."""

    def __init__(self, first: Sample, *recorded: Recorded) -> None:
        self.first = self.last = first
        self.samples = 0
        self.memory = Level()
        self.busy_gpus = Share(first.at)
        self.devices: dict[tuple[str, int], Device] = {}
        self.peak_cores: float | None = None
        self._rated = first
        self._recorded = recorded
        self._add_levels(first)

    def add(self, sample: Sample) -> None:
        """Add the next sample."""
        for each in self._recorded:
            each.add(self.last, sample)
        self._add_levels(sample)
        rate = cores(self._rated, sample)
        if sample.at - self._rated.at >= SHORTEST_RATE_SECONDS:
            self._rated = sample
            if rate is not None:
                self.peak_cores = max(rate, self.peak_cores or 0.0)
        self.last = sample
        self.samples += 1

    @property
    def seconds(self) -> float:
        """The length of the window."""
        return self.last.at - self.first.at

    @property
    def mean_cores(self) -> float | None:
        """CPU-seconds per second."""
        return cores(self.first, self.last)

    @property
    def waiting(self) -> float | None:
        """Seconds of waiting for a CPU per second: of all threads, or of a container in which any thread waited."""
        delayed = self.growth("delayed_seconds")
        waited = self.growth("pressure_seconds") if delayed is None else delayed
        return None if waited is None or self.seconds <= 0 else waited / self.seconds

    @property
    def memory_peak(self) -> float | None:
        """The largest sample, or the kernel's high-water mark of this process where that rose in the window."""
        peak, mark = self.memory.peak, self.last.mark
        if peak is None or mark is None or self.first.mark is None or mark <= self.first.mark:
            return peak
        return max(peak, mark)

    def growth(self, name: str) -> float | None:
        """Return the growth of a counter of the samples, ``None`` where it is unknown at either end."""
        first, last = getattr(self.first, name), getattr(self.last, name)
        return None if first is None or last is None else max(0.0, last - first)

    def utilization(self, kind: str) -> float | None:
        """Return the mean utilization over the devices of a kind, as a share of 1."""
        return mean([device.utilization.mean for device in self._of_kind(kind)])

    def device_memory(self, kind: str) -> float | None:
        """Return the mean share of memory in use over the devices of a kind."""
        devices = self._of_kind(kind)
        return mean([share(device.memory.mean, device.sample.device.memory_limit) for device in devices])

    def _of_kind(self, kind: str) -> list[Device]:
        return [device for (found, _), device in self.devices.items() if found == kind]

    def _add_levels(self, sample: Sample) -> None:
        self.memory.add(sample.at, sample.memory)
        if sample.devices is None:
            return
        for device in sample.devices:
            key = device.device.kind, device.device.index
            known = self.devices.get(key)
            if known is None:
                known = self.devices[key] = Device(self.first.at, device)
            known.add(sample.at, device)
        gpus = [device.utilization for device in sample.devices if device.device.kind == semconv.DEVICE_GPU]
        busy = [utilization for utilization in gpus if utilization is not None]
        self.busy_gpus.add(sample.at, sum(busy) if busy else None)


class TaskSeries:
    """Averages of a task for each minute: cores, bytes, and the mean over the accelerators of each kind."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.cores = Series(start)
        self.bytes = Series(start)
        self.utilization: dict[str, Series] = {}
        self.memory: dict[str, Series] = {}
        self._devices_at: float | None = None

    def add(self, last: Sample, sample: Sample) -> None:
        """Add the time between two samples."""
        self.cores.add(last.at, sample.at, cores(last, sample))
        if sample.memory is not None:
            before = last.memory if last.memory is not None else sample.memory
            self.bytes.add(last.at, sample.at, (before + sample.memory) / 2)
        if sample.devices is None:
            return
        # Samples of utilization are means since the previous sample of the devices.
        since = last.at if self._devices_at is None else self._devices_at
        self._devices_at = sample.at
        for kind in {device.device.kind for device in sample.devices}:
            devices = [device for device in sample.devices if device.device.kind == kind]
            for found, value in (
                (self.utilization, mean([device.utilization for device in devices])),
                (self.memory, mean([share_of_memory(device) for device in devices])),
            ):
                if value is not None:
                    found.setdefault(kind, Series(self._start)).add(since, sample.at, value)


def share_of_memory(device: DeviceSample) -> float | None:
    """Return the share of a device's memory that is in use, 1 for all of it."""
    return share(device.memory_used, device.device.memory_limit)


def cores(first: Sample, last: Sample) -> float | None:
    """Return CPU-seconds per second between two samples, ``None`` where they are unknown."""
    if first.cpu_seconds is None or last.cpu_seconds is None or last.at <= first.at:
        return None
    return max(0.0, last.cpu_seconds - first.cpu_seconds) / (last.at - first.at)
