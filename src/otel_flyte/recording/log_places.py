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
    phases = _phases(execution)
    open_attempts: dict[str, list[TreeSpan]] = defaultdict(list)
    for span in execution.walk():
        if span.end_ns is None:
            open_attempts[span.span.trace_id].append(span)
    by_span: dict[str, TreeSpan | None] = {span.span.span_id: span for each in open_attempts.values() for span in each}
    for record in records:
        if record.span_id in phases and record.span_id not in by_span:
            yield Place(record.span_id, phases[record.span_id])
            continue
        if record.span_id not in by_span:
            by_span[record.span_id] = _attempt(record, open_attempts.get(record.trace_id, ()))
        attempt = by_span[record.span_id]
        yield Place() if attempt is None else Place(attempt.span.span_id, _phase_at(attempt, record.time_ns))


def _phases(execution: Execution) -> dict[str, str]:
    """Return the phase of each span, empty for those outside of phases."""
    found: dict[str, str] = {}
    for span in execution.walk():
        own = span.span.name if span.role in _PHASES else found.get(span.span.span_id, "")
        if span.role in (Role.ATTEMPT, Role.EXECUTION):
            own = ""
        found[span.span.span_id] = own
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
    """Return the phase that an open attempt was in, as far as its signs tell."""
    phase = ""
    for event in attempt.span.events:
        named = event.attributes.get(semconv.PHASE)
        if event.time_ns <= time_ns and isinstance(named, str):
            phase = named
    return phase
