"""Curves of a task at the sampling interval: the mean and the maximum of each step.

Where a curve would have more than ``LONGEST_CURVE`` values, each step covers twice the time. All curves of a task share
one axis of time, so that the time between two samples is split into steps once.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

from otel_flyte.formulas import LONGEST_CURVE, MOST_CURVES, NO_VALUE, mean
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.sample import Sample
from otel_flyte.usage.statistics import LONGEST_GAP_SECONDS, SHORTEST_RATE_SECONDS, cores, share_of_memory

ALL = -1
"""The index of the curve that stands for all devices of a kind, where there are too many for one each."""

_MOST = 0.499
"""A maximum belongs to a step if so much of the shorter of both, step and time, is common. At least one step has it."""

_Part = tuple[int, float, bool]
"""The index of a step, the seconds in it, and whether these are most of it."""


class Curve:
    """The mean and the maximum of one quantity for each step."""

    __slots__ = ("_integrals", "_peaks", "_seconds")

    def __init__(self) -> None:
        self._integrals = array("d")
        self._seconds = array("d")
        self._peaks = array("d")

    def add(self, parts: Sequence[_Part], value: float | None) -> None:
        """Add the mean over a stretch of time, ``None`` where it is unknown."""
        if value is None or not parts:
            return
        self._grow(parts[-1][0] + 1)
        for index, seconds, _ in parts:
            self._integrals[index] += seconds * value
            self._seconds[index] += seconds

    def rise(self, parts: Sequence[_Part], value: float | None) -> None:
        """Add the maximum in a stretch of time, ``None`` where it is unknown."""
        if value is None or not parts:
            return
        self._grow(parts[-1][0] + 1)
        for index, _, is_most in parts:
            if is_most and value > self._peaks[index]:
                self._peaks[index] = value

    def double(self) -> None:
        """Let each step cover twice the time."""
        self._integrals = array("d", map(sum, _pairs(self._integrals)))
        self._seconds = array("d", map(sum, _pairs(self._seconds)))
        self._peaks = array("d", map(max, _pairs(self._peaks)))

    def values(self, count: int) -> Iterator[tuple[float, float] | None]:
        """Return the mean and the maximum of each step; the last one covers what follows."""
        rest = count - 1
        yield from map(_value, self._integrals[:rest], self._seconds[:rest], self._peaks[:rest])
        if len(self._seconds) > rest:
            yield _value(sum(self._integrals[rest:]), sum(self._seconds[rest:]), max(self._peaks[rest:]))

    def _grow(self, length: int) -> None:
        missing = length - len(self._seconds)
        if missing > 0:
            self._integrals.extend([0.0] * missing)
            self._seconds.extend([0.0] * missing)
            self._peaks.extend([NO_VALUE] * missing)


class TaskCurves:
    """Curves of a task: cores, bytes, and the utilisation and the memory of its accelerators, by kind and index.

    Attributes:
        step: seconds for which a value stands.
    """

    def __init__(self, start: float, interval: float) -> None:
        self.step = interval
        self.cores = Curve()
        self.bytes = Curve()
        self.utilization: dict[str, dict[int, Curve]] = {}
        self.memory: dict[str, dict[int, Curve]] = {}
        self._start = start
        self._end = 0.0
        self._rated: Sample | None = None
        self._devices_at: float | None = None

    @property
    def count(self) -> int:
        """The number of values: a rest of less than half a step belongs to the value before."""
        return max(1, int(self._end / self.step + 0.5))

    def add(self, last: Sample, sample: Sample) -> None:
        """Add the time between two samples."""
        self._end = max(self._end, sample.at - self._start)
        while self._end > LONGEST_CURVE * self.step:
            self._double()
        parts = self._parts(last.at, sample.at)
        self.cores.add(parts, cores(last, sample))
        self._add_rate(last, sample, parts)
        if sample.memory is not None:
            before = last.memory if last.memory is not None else sample.memory
            self.bytes.add(parts, (before + sample.memory) / 2)
            self.bytes.rise(parts, max(before, sample.memory))
        if sample.devices is not None:
            since, self._devices_at = self._devices_at, sample.at
            self._add_devices(sample.devices, parts if since in (None, last.at) else self._parts(since, sample.at))

    def _add_rate(self, last: Sample, sample: Sample, parts: Sequence[_Part]) -> None:
        """Add a maximum of cores, as soon as enough time has passed for one that is no noise."""
        rated = self._rated or last
        if sample.at - rated.at >= SHORTEST_RATE_SECONDS:
            self.cores.rise(parts if rated is last else self._parts(rated.at, sample.at), cores(rated, sample))
            rated = sample
        self._rated = rated

    def _add_devices(self, devices: Sequence[DeviceSample], parts: Sequence[_Part]) -> None:
        kinds: dict[str, list[DeviceSample]] = {}
        for device in devices:
            kinds.setdefault(device.device.kind, []).append(device)
        for kind, own in kinds.items():
            for found, values in (
                (self.utilization, [device.utilization for device in own]),
                (self.memory, [share_of_memory(device) for device in own]),
            ):
                curves = found.setdefault(kind, {})
                if len(own) > MOST_CURVES:
                    known = [value for value in values if value is not None]
                    _add(curves, ALL, parts, mean(values), max(known, default=None))
                    continue
                for device, value in zip(own, values, strict=True):
                    _add(curves, device.device.index, parts, value, value)

    def _parts(self, start: float, end: float) -> list[_Part]:
        """Return the steps of a stretch of time; none for one that is too long to be known."""
        if end - start > LONGEST_GAP_SECONDS:
            return []
        start, end = max(0.0, start - self._start), end - self._start
        enough = _MOST * min(self.step, end - start)
        index = min(int(start / self.step), LONGEST_CURVE - 1)
        found = []
        while start < end:
            until = end if index == LONGEST_CURVE - 1 else min(end, (index + 1) * self.step)
            if until > start:
                found.append((index, until - start, until - start >= enough))
                start = until
            index += 1
        return found

    def _double(self) -> None:
        self.step *= 2
        for curve in (self.cores, self.bytes, *_all(self.utilization), *_all(self.memory)):
            curve.double()


def _add(
    curves: dict[int, Curve], index: int, parts: Sequence[_Part], average: float | None, peak: float | None
) -> None:
    if average is not None:
        curve = curves.get(index)
        if curve is None:
            curve = curves[index] = Curve()
        curve.add(parts, average)
        curve.rise(parts, peak)


def _value(integral: float, seconds: float, peak: float) -> tuple[float, float] | None:
    """Return the mean and the maximum; a time too short for a maximum of its own has its mean."""
    if seconds <= 0:
        return None
    average = integral / seconds
    return average, max(average, peak)


def _all(found: dict[str, dict[int, Curve]]) -> Iterable[Curve]:
    return (curve for curves in found.values() for curve in curves.values())


def _pairs(numbers: "array[float]") -> "Iterator[array[float]]":
    return (numbers[index : index + 2] for index in range(0, len(numbers), 2))
