"""Averages by the minute from the points of usage metrics: the only source for an attempt that runs, or was killed.

A point is the mean since the point before it, so an average weighs each point by the time that it covers.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from otel_flyte import semconv
from otel_flyte.formulas import NO_VALUE, STEP_SECONDS
from otel_flyte.recording.model import Point

USUAL_INTERVAL = 60.0
"""Seconds between two collections where there is only one: OpenTelemetry's default."""

LONGEST = 366 * 24 * 60
"""Minutes. A point that is later than that comes from a wrong clock."""

LARGEST = 1e18
"""No usage is larger, in any unit. Sums of larger numbers may have no finite value."""


def by_minute(points: Iterable[Point], start_ns: int) -> dict[str, list[float]]:
    """Return the averages of each series by the minute from the start, -1 for a minute without a point."""
    values: dict[str, dict[float, float]] = defaultdict(dict)
    for point in credible(points, start_ns):
        if point.series in semconv.SERIES:
            values[point.series][(point.time_ns - start_ns) / 1e9] = point.value
    usual = interval(sorted({seconds for series in values.values() for seconds in series}))
    return {name: averages(sorted(series.items()), usual, STEP_SECONDS) for name, series in values.items()}


def credible(points: Iterable[Point], start_ns: int) -> list[Point]:
    """Return the points without those from before the start, those of a wrong clock, and impossible ones."""
    return [
        point
        for point in points
        if 0 < point.time_ns - start_ns <= LONGEST * 60 * 10**9 and abs(point.value) <= LARGEST
    ]


def interval(times: Sequence[float]) -> float:
    """Return the median of the seconds between two collections."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median(gaps) if gaps else USUAL_INTERVAL


def averages(points: Sequence[tuple[float, float]], usual: float, step: float) -> list[float]:
    """Return the mean of each step of so many seconds, -1 for a step without a point.

    Each value is weighed by the time since the one before; after a gap, by the usual interval.
    """
    sums: dict[int, float] = defaultdict(float)
    seconds: dict[int, float] = defaultdict(float)
    begin = 0.0
    for end, value in points:
        if end - begin > 1.5 * usual:
            begin = end - usual
        for at in range(int(begin // step), math.ceil(end / step)):
            covered = min(end, step * (at + 1)) - max(begin, step * at)
            sums[at] += value * covered
            seconds[at] += covered
        begin = end
    return [sums[at] / seconds[at] if seconds[at] else NO_VALUE for at in range(max(sums) + 1)]
