"""Time-weighted statistics of what is sampled: means and peaks over a window, and averages by the minute.

Nothing here knows where samples come from. A quantity that a machine lacks is ``None`` in every sample and absent in
every result; one that was missing for a while is averaged over the time in which it was known.
"""

from collections.abc import Sequence

from otel_flyte import semconv
from otel_flyte.config.settings import LONGEST_INTERVAL_SECONDS
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.sample import Sample

LONGEST_GAP_SECONDS = 2 * LONGEST_INTERVAL_SECONDS
"""Between samples further apart than this nothing is assumed of a level, as of a process that was stopped."""

SHORTEST_RATE_SECONDS = 0.4
"""A rate over less is the noise of a clock that ticks every 10 ms."""

STEP_SECONDS = 60.0
LONGEST_SERIES = 1440
NOTHING = -1.0
"""What stands in a series where there is no value, as in ModelArts' answers."""


class Level:
    """A quantity that goes up and down: its mean by the trapezoid rule, and its peak."""

    __slots__ = ("_at", "_integral", "_seconds", "_value", "peak")

    def __init__(self) -> None:
        self.peak: float | None = None
        self._at = 0.0
        self._value: float | None = None
        self._integral = 0.0
        self._seconds = 0.0

    def add(self, at: float, value: float | None) -> None:
        """Take a value, ``None`` where it is not known."""
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
        """The mean over time; of one value alone, that."""
        return self._integral / self._seconds if self._seconds else self.peak


class Share:
    """A quantity whose samples are means since the one before: its mean over time, and its peak."""

    __slots__ = ("_at", "_integral", "_seconds", "peak")

    def __init__(self, began: float) -> None:
        self.peak: float | None = None
        self._at = began
        self._integral = 0.0
        self._seconds = 0.0

    def add(self, at: float, value: float | None) -> None:
        """Take the mean since the last call, ``None`` where it is not known."""
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
    """A quantity that only grows: by how much it did."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first: float | None = None
        self._last: float | None = None

    def add(self, value: float | None) -> None:
        """Take a value, ``None`` where it is not known."""
        if value is None:
            return
        if self._first is None:
            self._first = value
        else:
            self._last = value

    @property
    def growth(self) -> float | None:
        """The last value less the first, ``None`` of fewer than two."""
        return None if self._first is None or self._last is None else max(0.0, self._last - self._first)


class Series:
    """Averages over steps from a beginning; where they become too many, each covers twice the time."""

    __slots__ = ("_began", "_integrals", "_seconds", "step")

    def __init__(self, began: float) -> None:
        self.step = STEP_SECONDS
        self._began = began
        self._integrals: list[float] = []
        self._seconds: list[float] = []

    def add(self, start: float, end: float, value: float | None) -> None:
        """Take the average of a stretch of time, ``None`` where it is not known."""
        if value is None or end - start > LONGEST_GAP_SECONDS:
            return
        start, end = max(0.0, start - self._began), end - self._began
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
        """Return the averages over such steps or the longer ones there are, ``NOTHING`` where none was known."""
        while self.step < step:
            self._double()
        pairs = zip(self._integrals, self._seconds, strict=True)
        return [integral / seconds if seconds > 0 else NOTHING for integral, seconds in pairs]

    def _grow(self, length: int) -> None:
        missing = length - len(self._seconds)
        if missing > 0:
            self._integrals += [0.0] * missing
            self._seconds += [0.0] * missing

    def _double(self) -> None:
        self.step *= 2
        for numbers in (self._integrals, self._seconds):
            numbers[:] = [sum(numbers[index : index + 2]) for index in range(0, len(numbers), 2)]


class Device:
    """What one accelerator did in a window."""

    __slots__ = ("energy", "memory", "own_memory", "own_utilization", "sample", "utilization")

    def __init__(self, began: float, sample: DeviceSample) -> None:
        self.sample = sample
        self.utilization = Share(began)
        self.memory = Level()
        self.own_utilization = Share(began)
        self.own_memory = Level()
        self.energy = Total()

    def add(self, at: float, sample: DeviceSample) -> None:
        """Take a sample of the same device."""
        self.sample = sample
        self.utilization.add(at, sample.utilization)
        self.memory.add(at, sample.memory_used)
        self.own_utilization.add(at, sample.process_utilization)
        self.own_memory.add(at, sample.process_memory)
        self.energy.add(sample.energy)


class Window:
    """What was used between two moments: by a task, or in one of its phases."""

    def __init__(self, first: Sample, series: "TaskSeries | None" = None) -> None:
        self.first = self.last = first
        self.samples = 0
        self.memory = Level()
        self.busy_gpus = Share(first.at)
        self.devices: dict[tuple[str, int], Device] = {}
        self.peak_cores: float | None = None
        self._rated = first
        self._series = series
        self._add_levels(first)

    def add(self, sample: Sample) -> None:
        """Take the next sample."""
        if self._series is not None:
            self._series.add(self.last, sample)
        self._add_levels(sample)
        rate = _cores(self._rated, sample)
        if sample.at - self._rated.at >= SHORTEST_RATE_SECONDS:
            self._rated = sample
            if rate is not None:
                self.peak_cores = max(rate, self.peak_cores or 0.0)
        self.last = sample
        self.samples += 1

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.last.at - self.first.at

    @property
    def mean_cores(self) -> float | None:
        """CPU-seconds by second."""
        return _cores(self.first, self.last)

    @property
    def memory_peak(self) -> float | None:
        """The largest sample, or the kernel's mark of this process where that rose in the window."""
        peak, mark = self.memory.peak, self.last.mark
        if peak is None or mark is None or self.first.mark is None or mark <= self.first.mark:
            return peak
        return max(peak, mark)

    def growth(self, name: str) -> float | None:
        """Return by how much a counter of the samples has grown, ``None`` where it is not known at both ends."""
        first, last = getattr(self.first, name), getattr(self.last, name)
        return None if first is None or last is None else max(0.0, last - first)

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
    """The averages of a task by the minute: cores, bytes, and of each kind of accelerator the mean over its devices."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.cores = Series(began)
        self.bytes = Series(began)
        self.utilization: dict[str, Series] = {}
        self.memory: dict[str, Series] = {}
        self._devices_at: float | None = None

    def add(self, last: Sample, sample: Sample) -> None:
        """Take what lies between two samples."""
        self.cores.add(last.at, sample.at, _cores(last, sample))
        if sample.memory is not None:
            before = last.memory if last.memory is not None else sample.memory
            self.bytes.add(last.at, sample.at, (before + sample.memory) / 2)
        if sample.devices is None:
            return
        # Utilisations are means since the last look already.
        since = last.at if self._devices_at is None else self._devices_at
        self._devices_at = sample.at
        for kind in {device.device.kind for device in sample.devices}:
            devices = [device for device in sample.devices if device.device.kind == kind]
            for found, value in (
                (self.utilization, mean([device.utilization for device in devices])),
                (self.memory, mean([share_of_memory(device) for device in devices])),
            ):
                if value is not None:
                    found.setdefault(kind, Series(self._began)).add(since, sample.at, value)


def share_of_memory(device: DeviceSample) -> float | None:
    """Return how much of a device's memory is used, 1 for all of it."""
    used, limit = device.memory_used, device.device.memory_limit
    return None if used is None or not limit else used / limit


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cores(first: Sample, last: Sample) -> float | None:
    if first.cpu_seconds is None or last.cpu_seconds is None or last.at <= first.at:
        return None
    return max(0.0, last.cpu_seconds - first.cpu_seconds) / (last.at - first.at)
