"""Attempts that have not ended, seen through their pending spans.

A task's span arrives when it ends. A task that runs, or was killed, has a pending span in its place: a child of the
missing span, with the identity of the attempt. Log records of the pending span name the task's phases.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from otel_flyte import semconv
from otel_flyte.recording.model import Attributes, AttributeValue, Event, LogRecord, Span
from otel_flyte.recording.roles import Role, role_of

_IDENTITY = (semconv.RUN_NAME, semconv.ACTION_NAME, semconv.ATTEMPT, semconv.ARRAY_INDEX, semconv.REPLICA)
_OF_PENDING = (semconv.MARKER, semconv.SPAN_ROLE, semconv.PENDING_PARENT, semconv.PENDING_START)
_SPAN_ID = re.compile("[0-9a-f]{16}")


def with_unfinished(spans: Sequence[Span], logs: Iterable[LogRecord]) -> tuple[list[Span], dict[str, str]]:
    """Replace the pending spans of one trace by spans of their attempts, without an end.

    A pending span whose attempt has ended is left out.

    Returns:
        The spans; and by id of each span that began inside a missing phase, the id of its attempt.
    """
    pending = [span for span in spans if role_of(span) is Role.PENDING]
    if not pending:
        return list(spans), {}
    others = [span for span in spans if role_of(span) is not Role.PENDING]
    events: dict[str, list[LogRecord]] = defaultdict(list)
    for record in logs:
        if record.event:
            events[record.span_id].append(record)
    known = {span.span_id for span in others}
    first_start = {span.parent_id: span.start_ns for span in sorted(others, key=lambda span: -span.start_ns)}
    missing: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(pending, key=lambda span: span.start_ns):
        if span.parent_id and span.parent_id not in known:
            missing[span.parent_id].append(span)
    attempts: dict[str, Span] = {}
    for span_id, signs in missing.items():
        start_ns = min(_start_ns(signs[0]), first_start.get(span_id, signs[0].start_ns))
        logged = [record for sign in signs for record in events[sign.span_id]]
        attempts[span_id] = _attempt(signs, span_id, logged, start_ns)
    return [*others, *attempts.values()], _adopted(others, attempts)


def _start_ns(pending: Span) -> int:
    """Return when the attempt of a pending span began, as far as the span tells."""
    stated = pending.attributes.get(semconv.PENDING_START)
    return stated if isinstance(stated, int) and 0 < stated < pending.start_ns else pending.start_ns


def _parent_id(pending: Span, span_id: str) -> str | None:
    stated = pending.attributes.get(semconv.PENDING_PARENT)
    return stated if isinstance(stated, str) and _SPAN_ID.fullmatch(stated) and stated != span_id else None


def _attempt(signs: Sequence[Span], span_id: str, logs: Iterable[LogRecord], start_ns: int) -> Span:
    """Return the span of an attempt, with its last known phase and the time that it had spent in that phase.

    Args:
        signs: its pending spans in order; a local run has one for each phase.
        span_id: its id.
        logs: the log records of its phases.
        start_ns: when it began.
    """
    pending = signs[0]
    attributes = {name: value for name, value in signs[-1].attributes.items() if name not in _OF_PENDING}
    events = [Event(semconv.SPAN_RUNNING, sign.start_ns, _phase(sign.attributes)) for sign in signs]
    for record in sorted(logs, key=lambda record: record.time_ns):
        phase = _phase(record.attributes)
        attributes.update(phase)
        events.append(Event(record.event, record.time_ns, phase))
    return replace(
        pending,
        span_id=span_id,
        parent_id=_parent_id(pending, span_id),
        name=_name(attributes),
        start_ns=start_ns,
        end_ns=None,
        attributes=attributes,
        events=tuple(events),
    )


def _phase(attributes: Attributes) -> dict[str, AttributeValue]:
    return {name: value for name, value in attributes.items() if name in (semconv.PHASE, semconv.PHASE_ELAPSED)}


def _name(attributes: Attributes) -> str:
    """Return the name of the missing span. A pod's task has the name of its workflow too, so the task's comes first."""
    for pattern, attribute in ((semconv.SPAN_TASK, semconv.TASK_NAME), (semconv.SPAN_WORKFLOW, semconv.WORKFLOW_NAME)):
        if attribute in attributes:
            return pattern.format(name=attributes[attribute])
    return semconv.SPAN_RANK if semconv.REPLICA in attributes else semconv.SPAN_TASK.format(name="unknown")


def _adopted(spans: Iterable[Span], attempts: Mapping[str, Span]) -> dict[str, str]:
    """Return for each span without its parent the attempt of the same process that began last before it.

    Where attempts share the process, it is one with the identity that the span has.
    """
    known = {span.span_id for span in spans} | attempts.keys()
    adopted: dict[str, str] = {}
    for span in spans:
        if span.parent_id and span.parent_id not in known:
            begun = [
                attempt
                for attempt in attempts.values()
                if attempt.start_ns <= span.start_ns and attempt.resource == span.resource and _agree(span, attempt)
            ]
            if begun:
                adopted[span.span_id] = max(begun, key=lambda attempt: attempt.start_ns).span_id
    return adopted


def _agree(span: Span, attempt: Span) -> bool:
    """Return whether a span and an attempt have no part of the identity with different values."""
    mine, its = span.attributes, attempt.attributes
    return all(mine[name] == its[name] for name in _IDENTITY if name in mine and name in its)
