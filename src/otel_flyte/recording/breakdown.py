"""Seconds by phase, without the time of tasks that ran inside a phase: no time is counted twice."""

from collections import defaultdict
from collections.abc import Iterable

from otel_flyte import semconv
from otel_flyte.recording.roles import Role
from otel_flyte.recording.span_tree import TreeSpan


def breakdown(spans: Iterable[TreeSpan]) -> dict[str, float]:
    """Return the seconds of each phase of spans and of all below them."""
    return _seconds(below for span in spans for below in span.walk())


def own_breakdown(attempt: TreeSpan) -> dict[str, float]:
    """Return the seconds of each phase of an attempt, without those of its ranks and of tasks inside it."""
    return _seconds(attempt.children)


def nested_ns(outer: TreeSpan, end_ns: int) -> int:
    """Return the nanoseconds, until an end, in which at least one task ran inside a span."""
    busy, reached = 0, outer.start_ns
    for task in sorted(_outermost_tasks(outer), key=lambda task: task.start_ns):
        task_end_ns = min(task.end_ns or 0, end_ns)
        busy += max(0, task_end_ns - max(task.start_ns, reached))
        reached = max(reached, task_end_ns)
    return busy


def _seconds(spans: Iterable[TreeSpan]) -> dict[str, float]:
    nanoseconds: dict[str, int] = defaultdict(int)
    for span in spans:
        if span.role is Role.PHASE and span.span.name in semconv.PHASES and span.end_ns is not None:
            nanoseconds[span.span.name] += span.end_ns - span.start_ns - nested_ns(span, span.end_ns)
    return {name: nanoseconds[name] / 1e9 for name in semconv.PHASES if name in nanoseconds}


def _outermost_tasks(outer: TreeSpan) -> Iterable[TreeSpan]:
    waiting = list(outer.children)
    while waiting:
        span = waiting.pop()
        if span.role is Role.ATTEMPT:
            yield span
        else:
            waiting += span.children
