"""Entries of the journal as OTLP log records, and the template with the properties that all records of a task share."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from google.protobuf.message import Message
from opentelemetry.trace import Span

from otel_flyte import semconv
from otel_flyte.export import otlp_json, otlp_requests
from otel_flyte.export.codecs import spans_of
from otel_flyte.sdk import resource
from otel_flyte.stdio_capture import journal
from otel_flyte.stdio_capture.journal import Entry

_INFO, _WARN = (9, "INFO"), (13, "WARN")
"""Severities of the log data model. Most lines of stderr are no errors."""


def template(span: Span) -> str:
    """Return a request with one record, from which the records of the lines in a span are made."""
    context = span.get_span_context()
    request = otlp_requests.request("logs")
    resource_logs = request.resource_logs.add()
    scope_logs = resource_logs.scope_logs.add()
    record = scope_logs.log_records.add(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        flags=int(context.trace_flags),
    )
    spans = spans_of(span)
    if spans is not None:
        resource_logs.schema_url = spans.schema_url
        resource_logs.resource.CopyFrom(spans.resource)
        scope_logs.scope.CopyFrom(spans.scope_spans[0].scope)
        attributes = spans.scope_spans[0].spans[0].attributes
        record.attributes.extend(each for each in attributes if each.key in semconv.IDENTITY)
    else:
        for key, value in resource.ours().attributes.items():
            resource_logs.resource.attributes.add(key=key).value.string_value = str(value)
        scope_logs.scope.name = semconv.SCOPE
    return otlp_json.line_of(request).decode()


def without_attempt(template: str) -> str:
    """Return a template without the ids of a span and without the identity of an attempt."""
    _, request = otlp_json.request_of(template.encode())
    found: Any = request
    [record] = found.resource_logs[0].scope_logs[0].log_records
    kept = [each for each in record.attributes if each.key not in semconv.IDENTITY]
    record.Clear()
    record.attributes.extend(kept)
    return otlp_json.line_of(request).decode()


def requests(entries: Sequence[Entry]) -> Iterator[Message]:
    """Return requests with the records of entries, one request for each run of entries with the same template."""
    for used, alike in groupby(entries, key=lambda entry: entry.template):
        if used:
            yield _request(used, [entry.content for entry in alike])


def dropped(entries: Sequence[Entry]) -> Iterator[tuple[str, int]]:
    """Return the numbers of dropped lines, by reason."""
    for entry in entries:
        yield from entry.content.get(journal.DROPPED, {}).items()


def _request(used: str, contents: Sequence[journal.Json]) -> Message:
    _, request = otlp_json.request_of(used.encode())
    found: Any = request
    records = found.resource_logs[0].scope_logs[0].log_records
    model = records.pop()
    for content in contents:
        record = records.add()
        record.CopyFrom(model)
        record.time_unix_nano = record.observed_time_unix_nano = content[journal.TIME]
        (_add_dropped if journal.DROPPED in content else _add_line)(record, content)
    return request


def _add_line(record: Any, content: journal.Json) -> None:
    stream = content[journal.STREAM]
    record.severity_number, record.severity_text = _WARN if stream == semconv.STDERR else _INFO
    record.body.string_value = content[journal.BODY]
    if stream:
        record.attributes.add(key=semconv.LOG_IOSTREAM).value.string_value = stream
    if journal.CUT in content:
        record.attributes.add(key=semconv.OUTPUT_TRUNCATED).value.int_value = content[journal.CUT]


def _add_dropped(record: Any, content: journal.Json) -> None:
    reasons = content[journal.DROPPED]
    listed = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    record.severity_number, record.severity_text = _WARN
    record.body.string_value = f"otel-flyte: stdout capture dropped lines: {listed}"
    record.attributes.add(key=semconv.EVENT_NAME).value.string_value = semconv.EVENT_OUTPUT_LIMIT
    record.attributes.add(key=semconv.OUTPUT_LEFT_OUT).value.int_value = sum(reasons.values())
