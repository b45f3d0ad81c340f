"""What a task's usage gauges said while it ran: of one that runs, or was killed, that is all there is.

Each point is the mean since the one before, whenever that was; an average by the minute weighs each by the time that it
covers.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from otel_flyte.recording.otlp_file import Point
from otel_flyte.recording.usage import NO_VALUE

USUAL_INTERVAL = 60.0
"""Seconds between two collections, where no two are known: the default of OpenTelemetry."""

LONGEST = 366 * 24 * 60
"""Minutes. What claims to be later than that is by a clock that is wrong."""


def by_minute(points: Iterable[Point], start_ns: int) -> dict[str, list[float]]:
    """Give the averages of each series by the minute from the start, -1 where nothing was told."""
    told: dict[str, dict[float, float]] = defaultdict(dict)
    for point in credible(points, start_ns):
        told[point.name][(point.time_ns - start_ns) / 1e9] = point.value
    usual = interval(sorted({seconds for series in told.values() for seconds in series}))
    return {name: _averages(sorted(series.items()), usual) for name, series in told.items()}


def credible(points: Iterable[Point], start_ns: int) -> list[Point]:
    """Leave out points from before the start, and those of a clock that is wrong."""
    return [point for point in points if 0 < point.time_ns - start_ns <= LONGEST * 60 * 10**9]


def interval(times: Sequence[float]) -> float:
    """Give the seconds that usually lie between two collections."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median(gaps) if gaps else USUAL_INTERVAL


def _averages(points: Sequence[tuple[float, float]], usual: float) -> list[float]:
    """Weigh each value by the time since the one before; where some are lost, by the usual time."""
    sums: dict[int, float] = defaultdict(float)
    seconds: dict[int, float] = defaultdict(float)
    begin = 0.0
    for end, value in points:
        if end - begin > 1.5 * usual:
            begin = end - usual
        for minute in range(int(begin // 60), math.ceil(end / 60)):
            covered = min(end, 60.0 * (minute + 1)) - max(begin, 60.0 * minute)
            sums[minute] += value * covered
            seconds[minute] += covered
        begin = end
    return [sums[minute] / seconds[minute] if seconds[minute] else NO_VALUE for minute in range(max(sums) + 1)]
