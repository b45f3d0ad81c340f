"""Parse one object of OTLP JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).

Ids are read in hexadecimal and in base 64, 64-bit integers as strings and as numbers, enums as numbers and by name.
"""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from otel_flyte import semconv
from otel_flyte.recording.model import Attributes, AttributeValue, Event, Link, LogRecord, Point, Recording, Scope, Span

Json: TypeAlias = Mapping[str, Any]

SPANS, LOGS, METRICS = "resourceSpans", "resourceLogs", "resourceMetrics"
_BELOW = {SPANS: ("scopeSpans", "spans"), LOGS: ("scopeLogs", "logRecords"), METRICS: ("scopeMetrics", "metrics")}
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_CODES = ("unset", "ok", "error")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_LATEST_NS = 2**64
_TRACE_ID_SIZE, _SPAN_ID_SIZE = 16, 8
_USAGE_METRIC = semconv.METRIC_TASK_SERIES.format(name="")


def parse(document: Json) -> Recording:
    """Return the spans, log records and usage points of an object.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the object does not follow the OTLP JSON mapping.
    """
    return Recording(
        spans=tuple(_span(*record) for record in _records(document, SPANS)),
        logs=tuple(_logs(document)),
        points=tuple(_points(document)),
    )


def _records(document: Json, resources: str) -> Iterator[tuple[Json, Scope, Attributes]]:
    """Return the records of a signal, each with its scope and the attributes of its resource."""
    scopes, records = _BELOW[resources]
    for in_resource in document.get(resources) or ():
        resource = _attributes((in_resource.get("resource") or {}).get("attributes"))
        for in_scope in in_resource.get(scopes) or ():
            scope = in_scope.get("scope") or {}
            made_by = Scope(scope.get("name", ""), scope.get("version", ""))
            for record in in_scope.get(records) or ():
                yield record, made_by, resource


def _span(span: Json, scope: Scope, resource: Attributes) -> Span:
    status = span.get("status") or {}
    return Span(
        trace_id=_id(span["traceId"], _TRACE_ID_SIZE),
        span_id=_id(span["spanId"], _SPAN_ID_SIZE),
        parent_id=_optional_id(span.get("parentSpanId"), _SPAN_ID_SIZE) or None,
        name=str(span.get("name", "")),
        start_ns=_time(span.get("startTimeUnixNano")) or 0,
        end_ns=_time(span.get("endTimeUnixNano")),
        kind=_enum(span.get("kind") or 0, _KINDS, "SPAN_KIND_"),
        status_code=_enum(status.get("code") or 0, _STATUS_CODES, "STATUS_CODE_"),
        status_message=str(status.get("message", "")),
        attributes=_attributes(span.get("attributes")),
        events=tuple(
            Event(
                str(event.get("name", "")), _time(event.get("timeUnixNano")) or 0, _attributes(event.get("attributes"))
            )
            for event in span.get("events") or ()
        ),
        links=tuple(
            Link(
                _id(link["traceId"], _TRACE_ID_SIZE),
                _id(link["spanId"], _SPAN_ID_SIZE),
                _attributes(link.get("attributes")),
            )
            for link in span.get("links") or ()
        ),
        scope=scope,
        resource=resource,
    )


def _logs(document: Json) -> Iterator[LogRecord]:
    for record, _, _ in _records(document, LOGS):
        attributes = _attributes(record.get("attributes"))
        in_span = bool(record.get("spanId") and record.get("traceId"))
        event = (record.get("eventName") or attributes.get(semconv.EVENT_NAME) or "") if in_span else ""
        if event or record.get("body"):
            yield LogRecord(
                _optional_id(record.get("traceId"), _TRACE_ID_SIZE),
                _optional_id(record.get("spanId"), _SPAN_ID_SIZE),
                _time(record.get("timeUnixNano")) or _time(record.get("observedTimeUnixNano")) or 0,
                str(event),
                _body(record["body"]) if record.get("body") else None,
                str(record.get("severityText") or _severity(int(record.get("severityNumber") or 0))),
                attributes,
            )


def _body(body: Json) -> str:
    value = _value(body)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)


def _severity(number: int) -> str:
    """Return a severity's short name: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber."""
    return _SEVERITIES[(number - 1) // 4] if 1 <= number <= 24 else ""


def _points(document: Json) -> Iterator[Point]:
    for metric, _, resource in _records(document, METRICS):
        name = str(metric.get("name", ""))
        if not name.startswith(_USAGE_METRIC):
            continue
        for point in (metric.get("gauge") or {}).get("dataPoints") or ():
            value = float(point.get("asDouble", point.get("asInt", "nan")))
            time_ns = _time(point.get("timeUnixNano"))
            if time_ns and math.isfinite(value):
                series = name.removeprefix(_USAGE_METRIC)
                yield Point(series, time_ns, value, _attributes(point.get("attributes")), resource)


def _id(value: str, size: int) -> str:
    """Return an id in hexadecimal: Tempo's API and protobuf's own JSON have it in base 64."""
    try:
        identifier = bytes.fromhex(value) if len(value) == 2 * size else base64.b64decode(value, validate=True)
    except ValueError:
        identifier = b""
    if len(identifier) != size:
        raise ValueError(f"{value!r} is not an id of {size} bytes")
    return identifier.hex()


def _optional_id(value: str | None, size: int) -> str:
    return _id(value, size) if value else ""


def _time(value: str | int | None) -> int | None:
    """Return nanoseconds since the epoch; ``None`` for 0, proto3's value of a field that is not set."""
    nanoseconds = int(value or 0)
    if not 0 <= nanoseconds < _LATEST_NS:
        raise ValueError(f"{value!r} is not a time")
    return nanoseconds or None


def _enum(value: int | str, names: tuple[str, ...], prefix: str) -> str:
    """Return the name of an enum's value; the first name for a value that is newer than this code."""
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else names[0]
    name = value.removeprefix(prefix).lower()
    return name if name in names else names[0]


def _attributes(pairs: Iterable[Json] | None) -> Attributes:
    return {str(pair["key"]): _value(pair.get("value") or {}) for pair in pairs or ()}


def _value(value: Json) -> AttributeValue:
    for kind, content in value.items():
        match kind:
            case "stringValue":
                return str(content)
            case "boolValue":
                return bool(content)
            case "intValue":
                return int(content)
            case "doubleValue":
                return float(content)
            case "bytesValue":
                return base64.b64decode(content)
            case "arrayValue":
                return [_value(item) for item in content.get("values") or ()]
            case "kvlistValue":
                return _attributes(content.get("values"))
    return None
