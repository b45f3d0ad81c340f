"""The use of an attempt over its time: at the sampling interval where its span has that, else by the minute."""

from collections.abc import Sequence
from typing import TypeAlias

from otel_flyte.formulas import NO_VALUE, STEP_SECONDS
from otel_flyte.recording import curves
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.curves import Fine

Values: TypeAlias = Sequence[float | None]


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


def single(value: float | None) -> Values:
    """Return a mean as the only value."""
    return () if value is None else (value,)


def scaled(known: Values, factor: float, decimals: int = 1) -> tuple[float | None, ...]:
    """Return values times a factor, rounded."""
    return tuple(None if value is None else round(value * factor, decimals) for value in known)
