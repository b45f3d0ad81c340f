"""The critical path of an execution: the chain of spans that determined when it ended.

The usual algorithm, as in CRISP (https://www.usenix.org/conference/atc22/presentation/zhang-zhizhou) and in Jaeger's
page: from the end of a span backwards, the child that ended last is on the path; then the one that ended last before
that child began, and so on. Time between them is the span's own. Traces do not tell what depends on what, so the path
is an inference from times.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

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


_Interval: TypeAlias = tuple[int, int, TreeSpan]
"""Begin, end, and the span. A class would take twice the time for forty thousand spans."""


def critical_path(execution: Execution, now_ns: int = 0) -> CriticalPath:
    """Return the critical path of an execution; of one that runs, up to its last sign, or to a later time."""
    signs: dict[TreeSpan, int] = {}
    first = min(root.start_ns for root in execution.roots)
    latest = max(first, *(_last_sign(root, signs) for root in execution.roots))
    if any(root.end_ns is None for root in execution.roots):
        latest = max(latest, now_ns)
    parts: list[Part] = []
    on_path: set[TreeSpan] = set()
    slacks: dict[TreeSpan, int] = {}
    waiting: list[tuple[TreeSpan | None, Sequence[TreeSpan], int, int, bool]] = [
        (None, execution.roots, first, latest, True)
    ]
    while waiting:
        span, children, begin, end, is_on_path = waiting.pop()
        intervals = _intervals(children, begin, end, signs)
        if not is_on_path and _is_sequence(intervals):
            chain = intervals
        else:
            chain = _chain(intervals, end)
            _add_slacks(slacks, intervals, chain, end)
        clipped: dict[TreeSpan, _Interval] = {}
        if is_on_path:
            parts += _own_parts(span, chain, begin, end)
            clipped = {link[2]: link for link in chain}
            on_path.update(clipped)
        for interval in intervals:
            below = interval[2].children
            link = clipped.get(interval[2]) if clipped else None
            if below:
                from_ns, to_ns, child = link or interval
                waiting.append((child, below, from_ns, to_ns, link is not None))
            elif link is not None:
                parts.append(Part(link[2], link[0], link[1], is_waiting=False))
    return CriticalPath(tuple(sorted(parts, key=lambda part: part.begin_ns)), frozenset(on_path), slacks)


def _last_sign(span: TreeSpan, signs: dict[TreeSpan, int]) -> int:
    """Return the end of a span, of one without an end the last sign of it and of all below it.

    What a submission submits may run on after it, and belongs to it. The last signs that are known so far are in
    ``signs``: a recursive task nests thousands of spans.
    """
    end_ns = span.span.end_ns
    if end_ns is not None and span.role is not Role.SUBMISSION:
        return end_ns
    if span not in signs:
        for below in reversed(list(span.walk())):
            signs[below] = max([below.seen_ns, *(signs[child] for child in below.children)])
    return signs[span]


def _intervals(children: Sequence[TreeSpan], begin: int, end: int, signs: dict[TreeSpan, int]) -> list[_Interval]:
    """Return the intervals of spans within that of the span above; one that still runs ends with it."""
    running = _running([child for child in children if child.span.end_ns is None], children)
    found = []
    for child in children:
        from_ns, to_ns = child.span.start_ns, end if child in running else _last_sign(child, signs)
        # This runs for each span of an execution: min and max would take twice the time.
        from_ns = begin if from_ns < begin else min(from_ns, end)
        to_ns = from_ns if to_ns < from_ns else min(to_ns, end)
        found.append((from_ns, to_ns, child))
    return found


def _running(unfinished: Sequence[TreeSpan], siblings: Sequence[TreeSpan]) -> Collection[TreeSpan]:
    """Return the spans without an end, less the attempts that another one followed: those were killed."""
    if not unfinished:
        return ()
    last: dict[str, int] = {}
    for sibling in siblings:
        last[sibling.node_key] = max(last.get(sibling.node_key, 0), sibling.attempt or 0)
    return frozenset(span for span in unfinished if not span.node_key or span.attempt == last[span.node_key])


def _is_sequence(intervals: Sequence[_Interval]) -> bool:
    """Return whether each span begins after the end of the one before, as the phases of a task do."""
    return all(before[1] <= after[0] < after[1] for before, after in pairwise(intervals))


def _chain(intervals: Sequence[_Interval], end: int) -> list[_Interval]:
    """Return the spans on the path in order, each cut where the next one begins."""
    chain: list[_Interval] = []
    cursor = end
    for begin, until, span in sorted(intervals, key=_latest_first):
        if begin < until <= cursor + min(SKEW_NS, (until - begin) // 10) and begin < cursor:
            chain.append((begin, min(until, cursor), span))
            cursor = begin
    return chain[::-1]


def _latest_first(interval: _Interval) -> tuple[int, bool, int]:
    """Order by the end; of spans that end together, one that still runs comes first, then the longest."""
    begin, until, span = interval
    return -until, span.span.end_ns is not None, begin


def _add_slacks(
    slacks: dict[TreeSpan, int], intervals: Sequence[_Interval], chain: Sequence[_Interval], end: int
) -> None:
    """Add the time from the end of each span beside the chain to the next end in the chain."""
    if len(chain) == len(intervals):
        return
    ends = [until for _, until, _ in chain]
    members = {span for _, _, span in chain}
    for _, until, span in intervals:
        if span not in members:
            at = bisect_left(ends, until)
            slack = (ends[at] if at < len(ends) else end) - until
            if slack:
                slacks[span] = slack


def _own_parts(span: TreeSpan | None, chain: Sequence[_Interval], begin: int, end: int) -> list[Part]:
    """Return the time of a span outside of the chain below it."""
    is_waiting = bool(chain) and (span is None or span.role in _CONTAINERS)
    ends = [begin, *(until for _, until, _ in chain)]
    begins = [*(from_ns for from_ns, _, _ in chain), end]
    return [Part(span, *gap, is_waiting) for gap in zip(ends, begins, strict=True) if gap[0] < gap[1]]
