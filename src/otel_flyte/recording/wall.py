"""The time in which at least one of several spans ran."""

from collections.abc import Iterable
from typing import TypeAlias

from otel_flyte.recording.span_tree import TreeSpan

Interval: TypeAlias = tuple[int, int]
"""Start and end in nanoseconds since the epoch."""


def intervals(spans: Iterable[TreeSpan]) -> list[Interval]:
    """Return the intervals in which at least one span ran, in order; they neither overlap nor touch."""
    merged: list[Interval] = []
    for start_ns, end_ns in sorted((span.start_ns, max(span.start_ns, span.seen_ns)) for span in spans):
        if merged and start_ns <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end_ns, merged[-1][1])
        else:
            merged.append((start_ns, end_ns))
    return merged


def wall_ns(spans: Iterable[TreeSpan]) -> int:
    """Return the nanoseconds in which at least one span ran."""
    return sum(end_ns - start_ns for start_ns, end_ns in intervals(spans))
