"""Pending spans of running tasks, and log records of their phases.

A span is exported when it ends. That of a killed task never is, so a pending span, which ends at once, is sent when the
task begins: at once in a pod, elsewhere after the task has run for a while. Log records with its trace and span id
report changes of the phase, and heartbeats in long phases. So a store of spans knows that the task ran, and the log
records show how far it came.
"""

import os
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanContext

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.export import destinations, otlp_requests
from otel_flyte.export.otlp_spans import encode_spans
from otel_flyte.export.queue import SOON_SECONDS
from otel_flyte.process import shutdown
from otel_flyte.runtime import ticker
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import state
from otel_flyte.tasks.open_task import OpenTask
from otel_flyte.tracing import random_ids
from otel_flyte.tracing.spans import is_readable

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

PATIENCE_SECONDS = 1.0
"""A task that ends before this has no pending span, except in a pod. A shorter phase has no log record."""

FIRST_HEARTBEAT_SECONDS = 10.0
GROWTH = 1.1
"""Factor by which each pause is longer than the one before: a day has some 70 heartbeats."""

_RESOURCES = semconv.RESOURCES_REQUEST.partition("request")[0]

RECORDS_LIMIT = 100
"""Log records of one attempt."""


class _Watched:
    """An open task.

    Attributes:
        task: the task.
        since: when the task, and later its phase, was first seen (``time.monotonic``).
        pending: its pending span, ``None`` until it is sent.
        phase: the last reported phase.
        due: when the next heartbeat is sent.
        pause: seconds between the next heartbeat and the one after it.
        records: number of log records.
    """

    def __init__(self, task: OpenTask, now: float) -> None:
        self.task = task
        self.since = now
        self.pending: ReadableSpan | None = None
        self.phase = ""
        self.due = 0.0
        self.pause = FIRST_HEARTBEAT_SECONDS
        self.records = 0


_watched: dict[int, _Watched] = {}
"""The open tasks by identity."""


def begin() -> None:
    """Send pending spans from now on."""
    ticker.every_second(_tick)


@guarded
def announce(task: OpenTask) -> None:
    """Send the pending span of a task now."""
    watched = _watch(task)
    span = task.span
    if not is_readable(span) or watched.pending is not None:
        return
    now = time.time_ns()
    attributes = _attributes(task, span)
    pending = task.tracer.start_span(semconv.SPAN_RUNNING, task.context, attributes=attributes, start_time=now)
    pending.end(now)
    # If the task ends in a moment, its spans share the request.
    shutdown.kick(SOON_SECONDS)
    if is_readable(pending):
        watched.pending = pending
        watched.phase = task.phase_name
        watched.since = time.monotonic()
        watched.due = watched.since + FIRST_HEARTBEAT_SECONDS


def of_now(task: OpenTask) -> "ReadableSpan | None":
    """Return a pending span that no processor has seen; ``None`` where the task's span is not recorded."""
    from opentelemetry.sdk.trace import ReadableSpan

    span = task.span
    own = span.get_span_context()
    if not is_readable(span) or not own.trace_flags.sampled:
        return None
    now = time.time_ns()
    return ReadableSpan(
        semconv.SPAN_RUNNING,
        SpanContext(own.trace_id, random_ids.span_id(), is_remote=False, trace_flags=own.trace_flags),
        own,
        span.resource,
        _attributes(task, span),
        instrumentation_scope=span.instrumentation_scope,
        start_time=now,
        end_time=now,
    )


def _attributes(task: OpenTask, span: "ReadableSpan") -> dict[str, Any]:
    """Return the attributes of a pending span: without them, nothing would tell where a killed task belongs."""
    attributes: dict[str, Any] = {
        semconv.SPAN_ROLE: semconv.SPAN_ROLE_PENDING,
        semconv.PENDING_START: task.start_time,
    }
    # A phase of the outer task, the parent by its id, is lost with it.
    parent = span.parent if task.outer is None else task.outer.span.get_span_context()
    if parent is not None and parent.is_valid and parent.trace_id == task.span.get_span_context().trace_id:
        attributes[semconv.PENDING_PARENT] = f"{parent.span_id:016x}"
    if task.phase_name:
        attributes[semconv.PHASE] = task.phase_name
    own = span.attributes or {}
    # The resources are the limits that the usage of a running task is drawn with.
    attributes.update({name: own[name] for name in own if name in semconv.IDENTITY or name.startswith(_RESOURCES)})
    return attributes


def _watch(task: OpenTask) -> _Watched:
    watched = _watched.get(id(task))
    if watched is None or watched.task is not task:
        watched = _watched[id(task)] = _Watched(task, time.monotonic())
    return watched


@guarded
def _tick() -> None:
    if not state.open_tasks:
        # The signal was not meant for tasks that come later.
        state.signalled = ""
    now = time.monotonic()
    for key, watched in list(_watched.items()):
        if state.open_tasks.get(key) is not watched.task:
            del _watched[key]
    for task in list(state.open_tasks.values()):
        watched = _watch(task)
        if watched.pending is not None:
            if watched.records < RECORDS_LIMIT:
                _report(watched, watched.pending, now)
        elif now - watched.since >= PATIENCE_SECONDS:
            announce(task)


def _report(watched: _Watched, pending: "ReadableSpan", now: float) -> None:
    """Send a log record if the phase has changed or a heartbeat is due."""
    phase = watched.task.phase_name
    if phase != watched.phase:
        watched.phase, watched.since = phase, now
        watched.pause = FIRST_HEARTBEAT_SECONDS
        event, body = semconv.EVENT_PHASE, f"{phase} has begun"
    elif now >= watched.due:
        watched.pause *= GROWTH
        # A workflow has no phases.
        event, body = semconv.EVENT_HEARTBEAT, f"{phase or 'running'} for {now - watched.since:.0f} s"
    else:
        return
    watched.due = now + watched.pause
    queues = destinations.of("logs").queues if endpoints.plan("logs", os.environ).exporters else ()
    if queues:
        watched.records += 1
        numbers = {semconv.PHASE_ELAPSED: round(now - watched.since, 3)}
        if watched.task.usage is not None:
            numbers.update(watched.task.usage.so_far())
        request = _request(pending, body, {semconv.EVENT_NAME: event, semconv.PHASE: phase}, numbers)
        for queue in queues:
            queue.put_request(request)


def _request(pending: "ReadableSpan", body: str, texts: dict[str, str], numbers: dict[str, float]) -> Any:
    """Return a request with one log record. The SDK of logs would take a tenth of a second to import."""
    spans = encode_spans([pending]).resource_spans[0]
    span = spans.scope_spans[0].spans[0]
    request, scope = otlp_requests.request_beside(spans, "logs")
    now = time.time_ns()
    record = scope.log_records.add(
        time_unix_nano=now,
        observed_time_unix_nano=now,
        severity_number=9,
        severity_text="INFO",
        trace_id=span.trace_id,
        span_id=span.span_id,
        flags=1,
    )
    record.body.string_value = body
    record.attributes.extend(each for each in span.attributes if each.key in semconv.IDENTITY)
    for name, text in texts.items():
        record.attributes.add(key=name).value.string_value = text
    for name, number in numbers.items():
        record.attributes.add(key=name).value.double_value = number
    return request
