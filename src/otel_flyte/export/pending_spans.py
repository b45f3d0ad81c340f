"""What runs now, and what ran when a process was killed: a span that is over at once, and log records that follow it.

A span arrives when it ends. That of a task which is killed never does, so a marker is sent when the task begins, in a
pod at once, elsewhere once it has run for a while; changes of its phase follow as log records, and heartbeats in long
phases, with the marker's trace and span id. A store that indexes spans has then one that says who ran, and the log
records say how far it came.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.export import otlp_requests
from otel_flyte.export.queue import SOON_SECONDS
from otel_flyte.process import shutdown
from otel_flyte.runtime import ticker
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import state
from otel_flyte.tasks.open_task import OpenTask

PATIENCE_SECONDS = 1.0
"""A task that ends before this is never announced, unless it is a pod's; a phase neither."""

FIRST_HEARTBEAT_SECONDS = 10.0
GROWTH = 1.1
"""Each pause is longer than the one before by this factor: a day has some 70 heartbeats."""

RECORDS_LIMIT = 100
"""Log records of one attempt."""


class _Announced:
    """A task that is announced.

    Attributes:
        scope: the task.
        marker: its marker.
        phase: the phase that was told last.
        since: when that was first seen (``time.monotonic``).
        due: when a heartbeat is to be sent.
        pause: seconds until the one after that.
        records: how many log records there were.
    """

    def __init__(self, scope: OpenTask, marker: ReadableSpan, now: float) -> None:
        self.scope = scope
        self.marker = marker
        self.phase = scope.phase_name
        self.since = now
        self.due = now + FIRST_HEARTBEAT_SECONDS
        self.pause = FIRST_HEARTBEAT_SECONDS
        self.records = 0


_announced: dict[int, _Announced] = {}
_seen: dict[int, tuple[OpenTask, float]] = {}
"""Since when each open task is known."""


def begin() -> None:
    """Announce what runs for a while from now on."""
    ticker.every_second(_tick)


@guarded
def announce(scope: OpenTask) -> None:
    """Send the marker of a task now."""
    span = scope.span
    if not isinstance(span, ReadableSpan) or id(scope) in _announced:
        return
    attributes: dict[str, Any] = {semconv.MARKER: True}
    if scope.phase_name:
        attributes[semconv.PHASE] = scope.phase_name
    attributes.update({name: value for name, value in (span.attributes or {}).items() if name in semconv.IDENTITY})
    now = time.time_ns()
    marker = scope.tracer.start_span(semconv.SPAN_RUNNING, scope.context, attributes=attributes, start_time=now)
    marker.end(now)
    # A task that is over by then needs no request of its own for it.
    shutdown.kick(SOON_SECONDS)
    if isinstance(marker, ReadableSpan):
        _announced[id(scope)] = _Announced(scope, marker, time.monotonic())


@guarded
def _tick() -> None:
    now = time.monotonic()
    if not state.open_tasks:
        # A task that comes later has not been told to end.
        state.signalled = ""
    for key, scope in list(state.open_tasks.items()):
        if _seen.setdefault(key, (scope, now))[0] is not scope:
            _seen[key] = scope, now
        if now - _seen[key][1] >= PATIENCE_SECONDS and key not in _announced:
            announce(scope)
    for gone in _seen.keys() - state.open_tasks.keys():
        del _seen[gone]
    for key, announced in list(_announced.items()):
        if state.open_tasks.get(key) is not announced.scope:
            del _announced[key]
        elif announced.records < RECORDS_LIMIT:
            _follow(announced, now)


def _follow(announced: _Announced, now: float) -> None:
    """Tell of a phase that has changed, or that goes on."""
    phase = announced.scope.phase_name
    if phase != announced.phase:
        announced.phase, announced.since = phase, now
        announced.pause = FIRST_HEARTBEAT_SECONDS
        _tell(announced, semconv.EVENT_PHASE, f"{phase} has begun", now)
    elif now >= announced.due:
        announced.pause *= GROWTH
        _tell(announced, semconv.EVENT_HEARTBEAT, f"{phase} for {now - announced.since:.0f} s", now)
    else:
        return
    announced.due = now + announced.pause


def _tell(announced: _Announced, event: str, body: str, now: float) -> None:
    with importing:
        from otel_flyte.export import destinations
    if not endpoints.plan("logs", os.environ).exporters:
        return
    outlets = destinations.of("logs").outlets
    if not outlets:
        return
    announced.records += 1
    request = _request(announced.marker, event, body, announced.phase, now - announced.since)
    if announced.scope.usage is not None:
        _add(request, announced.scope.usage.so_far())
    for outlet in outlets:
        outlet.put_request(request)


def _add(request: Any, used: Mapping[str, float]) -> None:
    attributes = request.resource_logs[0].scope_logs[0].log_records[0].attributes
    for name, value in used.items():
        attributes.add(key=name).value.double_value = value


def _request(marker: ReadableSpan, event: str, body: str, phase: str, elapsed: float) -> Any:
    """Make the request by hand: the SDK for logs would cost a task that logs nothing a tenth of a second."""
    spans = encode_spans([marker]).resource_spans[0]
    request = otlp_requests.request("logs")
    resource_logs = request.resource_logs.add(schema_url=spans.schema_url)
    resource_logs.resource.CopyFrom(spans.resource)
    scope_logs = resource_logs.scope_logs.add()
    scope_logs.scope.CopyFrom(spans.scope_spans[0].scope)
    span = spans.scope_spans[0].spans[0]
    record = scope_logs.log_records.add(
        time_unix_nano=time.time_ns(),
        observed_time_unix_nano=time.time_ns(),
        severity_number=9,
        severity_text="INFO",
        trace_id=span.trace_id,
        span_id=span.span_id,
        flags=1,
    )
    record.body.string_value = body
    record.attributes.extend(each for each in span.attributes if each.key in semconv.IDENTITY)
    record.attributes.add(key=semconv.EVENT_NAME).value.string_value = event
    record.attributes.add(key=semconv.PHASE).value.string_value = phase
    record.attributes.add(key=semconv.PHASE_ELAPSED).value.double_value = round(elapsed, 3)
    return request
