"""The critical path of an execution: the chain of spans that determined when it ended.

The usual algorithm, as in CRISP (https://www.usenix.org/conference/atc22/presentation/zhang-zhizhou) and in Jaeger's
page: from the end of a span backwards, the child that ended last is on the path; then the one that ended last before
that child began, and so on. Time between them is the span's own. Traces do not tell what depends on what, so the path
is an inference from times.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_flyte.recording.roles import Role
from otel_flyte.recording.span_tree import Execution, TreeSpan

SKEW_NS = 10_000_000
"""Clocks of two machines differ: a span may end by so much after the next one began, or by a tenth of its duration."""

_CONTAINERS = (Role.EXECUTION, Role.NODE)


class Part(NamedTuple):
    """A part of the path, in nanoseconds since the epoch.

    Attributes:
        span: the innermost span of that time; ``None`` for the execution, where it has no span.
        is_waiting: whether the span only waits meanwhile: an execution or a node with spans below it.
    """

    span: TreeSpan | None
    begin_ns: int
    end_ns: int
    is_waiting: bool


@dataclass(frozen=True, slots=True, eq=False)
class CriticalPath:
    """The critical path.

    Attributes:
        parts: in order, without a gap between them.
        spans: all spans on the path.
        slacks: nanoseconds by which a span could have ended later without a later end of the span above it, where they
            are not 0. That of the execution is the sum over a span and all spans above it.
    """

    parts: tuple[Part, ...]
    spans: frozenset[TreeSpan]
    slacks: Mapping[TreeSpan, int]


class _Interval(NamedTuple):
    begin: int
    end: int
    span: TreeSpan


def critical_path(execution: Execution) -> CriticalPath:
    """Return the critical path of an execution; of one that runs, up to its last sign."""
    last_signs = _last_signs(execution)
    latest = max(last_signs.values())
    parts: list[Part] = []
    on_path: set[TreeSpan] = set()
    slacks: dict[TreeSpan, int] = {}
    first = min(root.start_ns for root in execution.roots)
    waiting: list[tuple[TreeSpan | None, Sequence[TreeSpan], int, int, bool]] = [
        (None, execution.roots, first, max(first, latest), True)
    ]
    while waiting:
        span, children, begin, end, is_on_path = waiting.pop()
        intervals = _intervals(children, begin, end, last_signs)
        chain = _chain(intervals, end)
        _add_slacks(slacks, intervals, chain, end)
        if is_on_path:
            parts += _own_parts(span, chain, begin, end)
            on_path.update(link.span for link in chain)
        clipped = {link.span: link for link in chain} if is_on_path else {}
        for interval in intervals:
            link = clipped.get(interval.span)
            if interval.span.children:
                within = link or interval
                waiting.append((within.span, within.span.children, within.begin, within.end, link is not None))
            elif link is not None:
                parts.append(Part(link.span, link.begin, link.end, is_waiting=False))
    return CriticalPath(tuple(sorted(parts, key=lambda part: part.begin_ns)), frozenset(on_path), slacks)


def _last_signs(execution: Execution) -> dict[TreeSpan, int]:
    """Return the end of each span, of one without an end the last sign of it and of all below it.

    What a submission submits may run on after it, and belongs to it.
    """
    ends: dict[TreeSpan, int] = {}
    for span in reversed(list(execution.walk())):
        end = span.span.end_ns
        if end is None or (span.children and span.role is Role.SUBMISSION):
            end = max([span.seen_ns, *(ends[child] for child in span.children)])
        ends[span] = end
    return ends


def _intervals(
    children: Sequence[TreeSpan], begin: int, end: int, last_signs: Mapping[TreeSpan, int]
) -> list[_Interval]:
    """Return the intervals of spans within that of the span above; one that still runs ends with it."""
    running = _running(children) if any(child.span.end_ns is None for child in children) else frozenset()
    found = []
    for child in children:
        from_ns = min(end, max(begin, child.span.start_ns))
        to_ns = end if child in running else max(from_ns, min(end, last_signs[child]))
        found.append(_Interval(from_ns, to_ns, child))
    return found


def _running(children: Sequence[TreeSpan]) -> frozenset[TreeSpan]:
    """Return the spans without an end, less the attempts that another one followed: those were killed."""
    last: dict[str, int] = {}
    for child in children:
        last[child.node_key] = max(last.get(child.node_key, 0), child.attempt or 0)
    return frozenset(
        child
        for child in children
        if child.span.end_ns is None and (not child.node_key or child.attempt == last[child.node_key])
    )


def _chain(intervals: Sequence[_Interval], end: int) -> list[_Interval]:
    """Return the spans on the path in order, each cut where the next one begins."""
    chain: list[_Interval] = []
    cursor = end
    for begin, until, span in sorted(intervals, key=_latest_first):
        if begin < until <= cursor + min(SKEW_NS, (until - begin) // 10) and begin < cursor:
            chain.append(_Interval(begin, min(until, cursor), span))
            cursor = begin
    return chain[::-1]


def _latest_first(interval: _Interval) -> tuple[int, bool, int]:
    """Order by the end; of spans that end together, one that still runs comes first, then the longest."""
    return -interval.end, interval.span.span.end_ns is not None, interval.begin


def _add_slacks(
    slacks: dict[TreeSpan, int], intervals: Sequence[_Interval], chain: Sequence[_Interval], end: int
) -> None:
    """Add the time from the end of each span beside the chain to the next end in the chain."""
    if len(chain) == len(intervals):
        return
    ends = [link.end for link in chain]
    members = {link.span for link in chain}
    for interval in intervals:
        if interval.span not in members:
            at = bisect_left(ends, interval.end)
            slack = (ends[at] if at < len(ends) else end) - interval.end
            if slack:
                slacks[interval.span] = slack


def _own_parts(span: TreeSpan | None, chain: Sequence[_Interval], begin: int, end: int) -> list[Part]:
    """Return the time of a span outside of the chain below it."""
    is_waiting = bool(chain) and (span is None or span.role in _CONTAINERS)
    ends = [begin, *(link.end for link in chain)]
    begins = [*(link.begin for link in chain), end]
    return [Part(span, *gap, is_waiting) for gap in zip(ends, begins, strict=True) if gap[0] < gap[1]]
