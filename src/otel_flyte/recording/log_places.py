"""Where log records belong: to a span of the tree, and to a phase of its attempt.

A span arrives when it ends, its log records before. Until then they belong to the attempt, of which its pending span
tells.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.recording.model import LogRecord
from otel_flyte.recording.roles import Role
from otel_flyte.recording.span_tree import Execution, TreeSpan

_IDENTITY = (
    semconv.RUN_NAME,
    semconv.ACTION_NAME,
    semconv.TASK_NAME,
    semconv.ATTEMPT,
    semconv.ARRAY_INDEX,
    semconv.REPLICA,
)
_PHASES = (Role.PHASE, Role.TRANSFER)
_TASKS = (Role.ATTEMPT, Role.EXECUTION)


class Place(NamedTuple):
    """Where a log record belongs.

    Attributes:
        span_id: empty where no span of the tree is meant.
        phase: empty where the record belongs to none.
    """

    span_id: str = ""
    phase: str = ""


def places_of(execution: Execution, records: Iterable[LogRecord]) -> Iterator[Place]:
    """Return the place of each log record of an execution."""
    spans = {span.span.span_id: span for span in execution.walk()}
    phases = _phases(spans.values())
    candidates: dict[str, list[TreeSpan]] = defaultdict(list)
    for span in spans.values():
        if span.end_ns is None:
            candidates[span.span.trace_id].append(span)
    # All records of a span that has not ended belong to one attempt.
    attempts: dict[str, TreeSpan | None] = {}
    for record in records:
        span_id = record.span_id
        if span_id not in spans and span_id not in attempts:
            attempts[span_id] = _attempt(record, candidates.get(record.trace_id, ()))
        place = spans.get(span_id) or attempts[span_id]
        if place is None:
            yield Place()
        else:
            yield Place(place.span.span_id, phases[place.span.span_id] or _phase_at(place, record.time_ns))


def _phases(spans: Iterable[TreeSpan]) -> dict[str, str]:
    """Return the phase that each span is or belongs to, empty for those outside of phases; parents come first."""
    found: dict[str, str] = {}
    for span in spans:
        if span.role in _PHASES:
            found[span.span.span_id] = span.span.name
        elif span.role in _TASKS:
            found[span.span.span_id] = ""
        own = found.setdefault(span.span.span_id, "")
        for child in span.children:
            found[child.span.span_id] = own
    return found


def _attempt(record: LogRecord, candidates: Iterable[TreeSpan]) -> TreeSpan | None:
    """Return the open attempt that began last before a record, and has no other identity."""
    begun = [each for each in candidates if each.start_ns <= record.time_ns and _agree(record, each)]
    return max(begun, key=lambda each: each.start_ns, default=None)


def _agree(record: LogRecord, attempt: TreeSpan) -> bool:
    mine, its = record.attributes, attempt.span.attributes
    return all(mine[name] == its[name] for name in _IDENTITY if name in mine and name in its)


def _phase_at(attempt: TreeSpan, time_ns: int) -> str:
    """Return the phase that an attempt was in at a time, as its phases tell, or the signs of one that has not ended."""
    for child in attempt.children:
        if child.role in _PHASES and child.start_ns <= time_ns <= (child.end_ns or child.start_ns):
            return child.span.name
    phase = ""
    for event in attempt.span.events:
        named = event.attributes.get(semconv.PHASE)
        elapsed = event.attributes.get(semconv.PHASE_ELAPSED)
        seconds = elapsed if isinstance(elapsed, (int, float)) and elapsed > 0 else 0
        # A sign may come long after its phase has begun.
        if event.time_ns - seconds * 1e9 <= time_ns and isinstance(named, str):
            phase = named
    return phase
