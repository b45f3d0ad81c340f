"""The members of a group that took much longer than the others, and the phase in which they spent the extra time.

A straggler took more than 1.5 times the median, as in Apache Spark's ``spark.speculation.multiplier``, and is an
outlier by Tukey's rule: it took more than the third quartile and 1.5 times the distance between the quartiles (J. W.
Tukey, Exploratory Data Analysis, 1977). The first rule alone would name a quarter of a map whose durations differ much,
the second one alone would name differences of milliseconds in a map of equal items.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from otel_flyte.recording.breakdown import own_breakdown
from otel_flyte.recording.rows import Row
from otel_flyte.recording.span_tree import TreeSpan

FEWEST = 5
"""The number of members from which on a group has stragglers: quartiles of fewer say little."""

TIMES_MEDIAN = 1.5
FENCE = 1.5
"""Distances between the quartiles."""

EXPLAINED = 0.8
"""A phase explains the extra time if it took so large a part of it."""

RETRIES = "earlier attempts"


@dataclass(frozen=True, slots=True)
class Straggler:
    """A member that took much longer.

    Attributes:
        extra: seconds more than the median.
        reason: the phase, or ``earlier attempts``, that took most of the extra time; empty where none did.
    """

    row: Row
    extra: float
    reason: str


@dataclass(frozen=True, slots=True)
class Spread:
    """How long the members of a group took, in seconds.

    Attributes:
        threshold: a straggler took longer; ``None`` for a group of few members.
        stragglers: the slowest first.
    """

    median: float
    threshold: float | None
    stragglers: tuple[Straggler, ...] = ()


def spread_of(members: Sequence[Row]) -> Spread | None:
    """Return how long members took; ``None`` where none has ended."""
    known = [(member.seconds, member) for member in members if member.seconds is not None]
    if not known:
        return None
    seconds = [each for each, _ in known]
    middle = median(seconds)
    if len(seconds) < FEWEST:
        return Spread(middle, None)
    first, _, third = quantiles(seconds, method="inclusive")
    threshold = max(TIMES_MEDIAN * middle, third + FENCE * (third - first))
    slow = sorted(((each, row) for each, row in known if each > threshold), key=lambda pair: -pair[0])
    usual = _usual_phases(row for each, row in known if each <= threshold) if slow else {}
    named = tuple(Straggler(row, each - middle, _reason(row, each - middle, usual)) for each, row in slow)
    return Spread(middle, threshold, named)


def _usual_phases(members: Iterable[Row]) -> Mapping[str, float]:
    """Return the median of each phase, where a phase that a member lacks took no time."""
    phases = [own_breakdown(_last(member)) for member in members]
    names = {name for each in phases for name in each}
    return {name: median(each.get(name, 0.0) for each in phases) for name in names}


def _reason(row: Row, extra: float, usual: Mapping[str, float]) -> str:
    last = _last(row)
    earlier = sum(span.seconds or 0.0 for span in row.spans if span.attempt != last.attempt)
    if earlier >= EXPLAINED * extra:
        return RETRIES
    longer = {name: seconds - usual.get(name, 0.0) for name, seconds in own_breakdown(last).items()}
    name = max(longer, key=lambda each: longer[each], default="")
    return name if name and longer[name] >= EXPLAINED * extra else ""


def _last(member: Row) -> TreeSpan:
    return member.spans[-1]
