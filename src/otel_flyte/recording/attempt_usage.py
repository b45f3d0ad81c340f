"""The use of an attempt over its time: at the sampling interval where its span has that, else by the minute."""

from collections.abc import Sequence
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.formulas import NO_VALUE, STEP_SECONDS, mean
from otel_flyte.recording import curves
from otel_flyte.recording.attempts import FROM_POINTS, Attempt
from otel_flyte.recording.curves import Fine
from otel_flyte.recording.usage import Usage

Values: TypeAlias = Sequence[float | None]

_MIB = 2**20


def fine(attempt: Attempt, name: str, longest: int) -> list[Fine]:
    """Return the curves at the sampling interval; none of one value, which the mean has with more digits."""
    found = curves.of(attempt.span.span.attributes, name) if attempt.span is not None else []
    found = found or list(attempt.live.get(name, ()))
    if not found:
        return []
    return [each.thinned(longest) for each in found] if any(len(each.means) > 1 for each in found) else []


def by_minute(attempt: Attempt, values: Values) -> Fine:
    """Return values by the minute as a curve."""
    return Fine("", STEP_SECONDS * attempt.minutes_per_value, tuple(values), ())


def absolute(attempt: Attempt, series: str, relative: str, limit: float | None, decimals: int) -> Values:
    """Return a series in absolute units; the points of gauges have only the one in percent of the limit."""
    own = values(attempt, series)
    return own or (scaled(values(attempt, relative), limit / 100, decimals) if limit else ())


def values(attempt: Attempt, series: str) -> Values:
    """Return the recorded values of a series, ``None`` where one is unknown; none where all are."""
    recorded = list(attempt.series.get(series, ()))[:: attempt.minutes_per_value]
    if not recorded:
        return ()
    known = [None if value == NO_VALUE else value for value in recorded]
    return known if any(value is not None for value in known) else ()


def usage_of_points(attempt: Attempt) -> Usage | None:
    """Return the means and peaks of the points of an attempt that runs or was killed, ``None`` where it has none.

    A peak of CPU is the largest mean between two points.
    """
    if attempt.source != FROM_POINTS:
        return None
    limits = attempt.quota
    cores = absolute(attempt, semconv.SERIES_CORES, semconv.SERIES_CPU, limits.cpu_limit, 3)
    size = absolute(attempt, semconv.SERIES_BYTES, semconv.SERIES_MEMORY, limits.memory_limit, 0)
    cpu_mean, cpu_peak = _mean_and_peak(attempt, semconv.USAGE_CURVE_CPU, 1, cores)
    memory_mean, memory_peak = _mean_and_peak(attempt, semconv.USAGE_CURVE_MEMORY, _MIB, size)
    usage = Usage(cpu_mean=cpu_mean, cpu_peak=cpu_peak, memory_mean=memory_mean, memory_peak=memory_peak)
    return usage if usage != Usage() else None


def _mean_and_peak(attempt: Attempt, curve: str, factor: float, minutes: Values) -> tuple[float | None, float | None]:
    """Return the mean and the peak of a live curve in units of the attempt's usage, else those of its minutes."""
    found = attempt.live.get(curve, ())
    means, maxima = (scaled(found[0].means, factor, 3), scaled(found[0].maxima, factor, 3)) if found else (minutes, ())
    return mean(list(means)), max((value for value in (*means, *maxima) if value is not None), default=None)


def single(value: float | None) -> Values:
    """Return a mean as the only value."""
    return () if value is None else (value,)


def scaled(known: Values, factor: float, decimals: int = 1) -> tuple[float | None, ...]:
    """Return values times a factor, rounded."""
    return tuple(None if value is None else round(value * factor, decimals) for value in known)
