"""The curves of an attempt without a task span, from the points of its metrics: those of one that runs, or was killed.

They are in the units of the curves on a task span: cores, MiB, and percent for each device.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.formulas import LONGEST_CURVE, MOST_CURVES, NO_VALUE
from otel_flyte.recording.curves import Fine, Values
from otel_flyte.recording.model import Point
from otel_flyte.recording.point_series import MEMORY_PEAKS
from otel_flyte.recording.span_tree import TreeSpan
from otel_flyte.recording.usage_points import averages, interval

_MIB = 2**20
_IDENTITY = (
    semconv.SERVICE_INSTANCE_ID,
    semconv.RUN_NAME,
    semconv.ACTION_NAME,
    semconv.ATTEMPT,
    semconv.ARRAY_INDEX,
    semconv.REPLICA,
)
_DEVICES = semconv.USAGE_CURVE_DEVICE.partition("{")[0]
_Timed: TypeAlias = Sequence[tuple[float, float]]
_Process: TypeAlias = tuple[str | None, ...]


def partition(points: Iterable[Point]) -> tuple[list[Point], list[Point]]:
    """Return the points of tasks, and those of devices, which name no task."""
    of_tasks: list[Point] = []
    of_devices: list[Point] = []
    for point in points:
        (of_devices if point.series.startswith(_DEVICES) else of_tasks).append(point)
    return of_tasks, of_devices


def of_running(points: Sequence[Point], spans: Iterable[TreeSpan]) -> Iterator[tuple[TreeSpan, list[Point]]]:
    """Return the points of devices for each attempt that has not ended and ran in their process."""
    if not points:
        return
    by_process: dict[_Process, list[Point]] = defaultdict(list)
    for point in points:
        by_process[_process(point.resource.get)].append(point)
    for span in spans:
        if span.end_ns is None:
            mine = _process(span.attribute)
            of_process = [found for its, found in by_process.items() if _agree(its, mine)]
            own = [point for found in of_process for point in found if span.start_ns < point.time_ns]
            if own:
                yield span, own


def _process(attribute: Callable[[str], object]) -> _Process:
    """Return what identifies a process, ``None`` for each part that is unknown."""
    return tuple(None if (value := attribute(name)) is None else str(value) for name in _IDENTITY)


def _agree(one: _Process, other: _Process) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def of(points: Iterable[Point], start_ns: int) -> dict[str, list[Fine]]:
    """Return the curves of credible points by the attributes that an ended attempt has for them."""
    # A point may be there twice: exporters repeat what was not acknowledged.
    by_device: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for point in points:
        device = str(point.attributes.get(semconv.HW_ID, "")) if point.series.startswith(_DEVICES) else ""
        by_device[point.series][device][(point.time_ns - start_ns) / 1e9] = point.value
    series = {
        name: {device: sorted(timed.items()) for device, timed in found.items()} for name, found in by_device.items()
    }
    curves = {name: _of_devices(found) for name, found in series.items() if name.startswith(_DEVICES)}
    cores, memory, peaks = (
        series.get(name, {}).get("", ()) for name in (semconv.SERIES_CORES, semconv.SERIES_BYTES, MEMORY_PEAKS)
    )
    if cores:
        curves[semconv.USAGE_CURVE_CPU] = [_curve("", cores, (), 1.0)]
    if memory:
        curves[semconv.USAGE_CURVE_MEMORY] = [_curve("", memory, peaks, 1 / _MIB)]
    return curves


def _of_devices(found: Mapping[str, _Timed]) -> list[Fine]:
    """Return a curve for each device; they are numbered in the order of a collection, which is that of their index."""
    return [_curve(str(index), timed, (), 1.0) for index, timed in enumerate(list(found.values())[:MOST_CURVES])]


def _curve(label: str, timed: _Timed, peaks: _Timed, factor: float) -> Fine:
    usual = interval([seconds for seconds, _ in timed])
    # A value later than those of a whole curve, from a clock that jumped, must not make a curve of millions of steps.
    step = max(round(usual, 2), 0.1, timed[-1][0] / (8 * LONGEST_CURVE))
    means = _scaled(averages(timed, usual, step), factor)
    largest: list[float] = [NO_VALUE] * len(means)
    for seconds, value in peaks:
        at = min(len(means) - 1, int(seconds // step))
        largest[at] = max(largest[at], value)
    maxima = tuple(
        mean if peak is None else max(peak, mean or 0.0)
        for mean, peak in zip(means, _scaled(largest, factor), strict=True)
    )
    return Fine(label, step, means, maxima)


def _scaled(values: Iterable[float], factor: float) -> Values:
    return tuple(None if value == NO_VALUE else max(0.0, value * factor) for value in values)
