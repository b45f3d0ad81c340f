"""Attempts that never ended, put together from what they left: a marker, log records, and the spans that did arrive.

The span of a task arrives when the task ends. One that runs, or was killed, has a marker in its place: a child of the
span that is missing, with the identity of the attempt. Log records with the marker's ids tell of its phases.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from otel_flyte import semconv
from otel_flyte.recording.otlp_file import Event, LogRecord, Span

_ROLES = (semconv.SPAN_ROLE, semconv.MARKER)


def stand_ins(spans: Sequence[Span], records: Iterable[LogRecord]) -> tuple[list[Span], dict[str, str]]:
    """Replace the markers of one trace by spans that stand for attempts without an end.

    A marker is left out where the attempt's own span is there. With the spans come those whose parent is missing, by
    id, and the attempt that they were part of: they had begun inside a phase that was cut off.
    """
    markers = [span for span in spans if _is_pending(span)]
    others = [span for span in spans if not _is_pending(span)]
    if not markers:
        return others, {}
    told: dict[str, list[LogRecord]] = defaultdict(list)
    for record in records:
        told[record.span_id].append(record)
    known = {span.span_id for span in others}
    begun = {span.parent_id: span.start_ns for span in sorted(others, key=lambda span: -span.start_ns)}
    attempts: dict[str, Span] = {}
    for marker in sorted(markers, key=lambda marker: marker.start_ns):
        if marker.parent_id and marker.parent_id not in known:
            start_ns = min(marker.start_ns, begun.get(marker.parent_id, marker.start_ns))
            attempts.setdefault(marker.parent_id, _attempt(marker, told[marker.span_id], start_ns))
    return [*others, *attempts.values()], _adopted(others, attempts)


def _is_pending(span: Span) -> bool:
    role = span.attributes.get(semconv.SPAN_ROLE)
    return role == semconv.SPAN_ROLE_PENDING or span.attributes.get(semconv.MARKER) is True


def _attempt(marker: Span, records: Iterable[LogRecord], start_ns: int) -> Span:
    """Give the span that a marker stands for, with the phase that was told last and for how long it had gone on."""
    attributes = {name: value for name, value in marker.attributes.items() if name not in _ROLES}
    events = []
    for record in sorted(records, key=lambda record: record.time_ns):
        phase = {
            name: record.attributes[name]
            for name in (semconv.PHASE, semconv.PHASE_ELAPSED)
            if name in record.attributes
        }
        attributes.update(phase)
        events.append(Event(record.name, record.time_ns, phase))
    return replace(
        marker,
        span_id=marker.parent_id or "",
        parent_id=None,
        name=_name(attributes),
        start_ns=start_ns,
        end_ns=None,
        attributes=attributes,
        events=tuple(events),
    )


def _name(attributes: Mapping[str, object]) -> str:
    """Give the name of the span that a marker stands for: a pod's task knows its workflow too."""
    for pattern, attribute in ((semconv.SPAN_TASK, semconv.TASK_NAME), (semconv.SPAN_WORKFLOW, semconv.WORKFLOW_NAME)):
        if attribute in attributes:
            return pattern.format(name=attributes[attribute])
    return semconv.SPAN_RANK if semconv.REPLICA in attributes else semconv.SPAN_TASK.format(name="unknown")


def _adopted(spans: Iterable[Span], attempts: Mapping[str, Span]) -> dict[str, str]:
    """Find the attempt of each span whose parent is missing: the one of its process that had begun last before it."""
    known = {span.span_id for span in spans} | attempts.keys()
    adopted: dict[str, str] = {}
    for span in spans:
        if span.parent_id and span.parent_id not in known:
            begun = [
                attempt
                for attempt in attempts.values()
                if attempt.start_ns <= span.start_ns and attempt.resource == span.resource
            ]
            if begun:
                adopted[span.span_id] = max(begun, key=lambda attempt: attempt.start_ns).span_id
    return adopted
