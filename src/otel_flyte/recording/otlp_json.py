"""Parse one object of OTLP JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).

Every spelling of protobuf's own JSON is read too: ids in hexadecimal and in base 64, numbers as strings, enums as
numbers and by name, fields in camel case and in snake case. So are answers of Tempo's API. A record or a field that
can't be read is left out, and is a fault; it does not affect the others.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeAlias, TypeVar

from otel_flyte import semconv
from otel_flyte.recording.model import Attributes, AttributeValue, Event, Link, LogRecord, Point, Recording, Scope, Span
from otel_flyte.recording.point_series import is_usage, series_of

Json: TypeAlias = Mapping[str, Any]
_T = TypeVar("_T")

SPANS, LOGS, METRICS = "resourceSpans", "resourceLogs", "resourceMetrics"
_BELOW = {SPANS: ("scopeSpans", "spans"), LOGS: ("scopeLogs", "logRecords"), METRICS: ("scopeMetrics", "metrics")}
_OLD_SCOPES = {"scopeSpans": "instrumentationLibrarySpans", "scopeLogs": "instrumentationLibraryLogs"}
"""The names of OTLP before 0.19."""

_RECORDS = {SPANS: "span", LOGS: "log record", METRICS: "metric"}
_TEMPO_TRACE, _TEMPO_SPANS = "trace", "batches"
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS_CODES = ("unset", "ok", "error")
SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_SEVERITY = re.compile(r"(?:SEVERITY_NUMBER_)?([A-Z]+?)[2-4]?")
_LATEST_NS = 2**64
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_SHORTEST_BIG = 19
"""Digits. A number with fewer has no more than 64 bits."""

_TRACE_ID_SIZE, _SPAN_ID_SIZE = 16, 8
_are_usual = re.compile(r"(?:(?!0+ )[0-9a-f]{16} ){2}[1-9][0-9]{0,18} [1-9][0-9]{0,18}").fullmatch
"""Of the ids of a span and its parent, its start and its end."""

_ERRORS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class Fault(NamedTuple):
    """A part of an object that is left out, such as a ``link``, and the reason."""

    part: str
    reason: str


Faults: TypeAlias = list[Fault]


def signals(document: Any) -> Json | None:
    """Return the object with the signals: that of Tempo's API is inside another one; ``None`` for other JSON."""
    if not isinstance(document, dict):
        return None
    if isinstance(document.get(_TEMPO_TRACE), dict):
        document = document[_TEMPO_TRACE]
    if _TEMPO_SPANS in document and SPANS not in document:
        return {SPANS: document[_TEMPO_SPANS]}
    is_otlp = not document or any(name in document or _snake(name) in document for name in _BELOW)
    return document if is_otlp else None


def parse(document: Json, faults: Faults) -> Recording:
    """Return the spans, log records and usage points of an object, and add its faults."""
    document = signals(document) or {}
    return Recording(
        spans=tuple(_each(document, SPANS, _usual_span, faults)),
        logs=tuple(record for record in _each(document, LOGS, _log, faults) if record),
        points=tuple(point for points in _each(document, METRICS, _points, faults) for point in points),
    )


def _each(
    document: Json, resources: str, parsed: Callable[[Json, Scope, Attributes, Faults], _T], faults: Faults
) -> Iterator[_T]:
    """Return the parsed records of a signal, each with its scope and the attributes of its resource."""
    scopes, records = _BELOW[resources]
    for in_resource in _members(document, resources, "resource", faults):
        resource = _attributes(_object(in_resource, "resource", faults), faults)
        old = _OLD_SCOPES.get(scopes, scopes)
        for in_scope in _members(in_resource, scopes if _get(in_resource, scopes) else old, "scope", faults):
            scope = _scope(in_scope, faults)
            for record in _members(in_scope, records, _RECORDS[resources], faults):
                try:
                    yield parsed(record, scope, resource, faults)
                except _ERRORS as error:
                    faults.append(Fault(_RECORDS[resources], _reason(error)))


def _scope(in_scope: Json, faults: Faults) -> Scope:
    name = "scope" if _get(in_scope, "scope") else "instrumentationLibrary"
    scope = _object(in_scope, name, faults)
    return Scope(_text(scope.get("name")), _text(scope.get("version")))


def _span(span: Json, scope: Scope, resource: Attributes, faults: Faults) -> Span:
    status = _object(span, "status", faults)
    return Span(
        trace_id=_id(_required(span, "traceId"), _TRACE_ID_SIZE),
        span_id=_id(_required(span, "spanId"), _SPAN_ID_SIZE),
        parent_id=_field("parent id", faults, _optional_id, _get(span, "parentSpanId"), _SPAN_ID_SIZE) or None,
        name=_text(span.get("name")),
        start_ns=_time(_get(span, "startTimeUnixNano")) or 0,
        end_ns=_field("end time", faults, _time, _get(span, "endTimeUnixNano")),
        kind=_field("kind", faults, _enum, span.get("kind"), KINDS, "SPAN_KIND_") or KINDS[0],
        status_code=_field("status", faults, _enum, status.get("code"), STATUS_CODES, "STATUS_CODE_")
        or STATUS_CODES[0],
        status_message=_text(status.get("message")),
        attributes=_attributes(span, faults),
        events=_fields("event", faults, _event, _members(span, "events", "event", faults)),
        links=_fields("link", faults, _link, _members(span, "links", "link", faults)),
        scope=scope,
        resource=resource,
    )


def _usual_span(span: Json, scope: Scope, resource: Attributes, faults: Faults) -> Span:
    """Return a span in the spelling of most exporters, several times as fast; any other span as :func:`_span` does."""
    trace_id, span_id, parent_id = span.get("traceId"), span.get("spanId"), span.get("parentSpanId")
    name, kind, start, end = (
        span.get("name"),
        span.get("kind"),
        span.get("startTimeUnixNano"),
        span.get("endTimeUnixNano"),
    )
    if not (
        type(trace_id) is type(span_id) is type(parent_id) is type(name) is type(start) is type(end) is str
        and type(kind) is int
        and 0 <= kind < len(KINDS)
        # One expression for all of them is found in two thirds of the time of four.
        and _are_usual(f"{span_id} {parent_id} {start} {end}")
        and not span.get("status")
    ):
        return _span(span, scope, resource, faults)
    return Span(
        _usual_trace_id(trace_id),
        span_id,
        parent_id,
        intern(_text(name)),
        int(start),
        int(end),
        KINDS[kind],
        "unset",
        "",
        _attributes(span, faults),
        _fields("event", faults, _event, _members(span, "events", "event", faults)) if span.get("events") else (),
        _fields("link", faults, _link, _members(span, "links", "link", faults)) if span.get("links") else (),
        scope,
        resource,
    )


def _event(event: Json, faults: Faults) -> Event:
    return Event(_text(event.get("name")), _time(_get(event, "timeUnixNano")) or 0, _attributes(event, faults))


def _link(link: Json, faults: Faults) -> Link:
    trace_id, span_id = _required(link, "traceId"), _required(link, "spanId")
    return Link(_id(trace_id, _TRACE_ID_SIZE), _id(span_id, _SPAN_ID_SIZE), _attributes(link, faults))


def _log(record: Json, _: Scope, __: Attributes, faults: Faults) -> LogRecord | None:
    """Return a log record; ``None`` for one that is no event and has no body."""
    attributes = _attributes(record, faults)
    trace_id = _field("trace id", faults, _optional_id, _get(record, "traceId"), _TRACE_ID_SIZE) or ""
    span_id = _field("span id", faults, _optional_id, _get(record, "spanId"), _SPAN_ID_SIZE) or ""
    in_span = bool(trace_id and span_id)
    event = (_get(record, "eventName") or attributes.get(semconv.EVENT_NAME) or "") if in_span else ""
    body = _field("body", faults, _body, record["body"]) if record.get("body") else None
    if not event and body is None:
        return None
    severity = _field("severity", faults, _severity, _get(record, "severityNumber")) or ""
    return LogRecord(
        trace_id,
        span_id,
        _time(_get(record, "timeUnixNano")) or _time(_get(record, "observedTimeUnixNano")) or 0,
        _text(event),
        body,
        _text(_get(record, "severityText")) or severity,
        attributes,
    )


def _body(body: Json) -> str:
    value = _value(body)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)


def _severity(number: Any) -> str:
    """Return a severity's short name: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber."""
    named = _SEVERITY.fullmatch(number) if isinstance(number, str) else None
    if named:
        return named[1] if named[1] in SEVERITIES else ""
    value = _integer(number or 0)
    return SEVERITIES[(value - 1) // 4] if 1 <= value <= 24 else ""


def _points(metric: Json, _: Scope, resource: Attributes, faults: Faults) -> list[Point]:
    name = _text(metric.get("name"))
    if not is_usage(name):
        return []
    data = next((kind for kind in ("gauge", "sum") if kind in metric), "gauge")
    points = _members(_object(metric, data, faults), "dataPoints", "data point", faults)
    found = _fields("data point", faults, lambda point, _: _point(point, name, resource, faults), points)
    return [point for point in found if point]


def _point(point: Json, metric: str, resource: Attributes, faults: Faults) -> Point | None:
    given = (_get(point, "asDouble"), _get(point, "asInt"))
    value = float(next((number for number in given if number is not None), math.nan))
    time_ns = _time(_get(point, "timeUnixNano"))
    if not time_ns or not math.isfinite(value):
        return None
    attributes = _attributes(point, faults)
    series = series_of(metric, attributes)
    return series and Point(series.name, time_ns, value * series.factor, attributes, resource)


def _id(value: Any, size: int) -> str:
    """Return an id in hexadecimal: Tempo's API and protobuf's own JSON have it in base 64."""
    identifier = b""
    if isinstance(value, str):
        try:
            identifier = bytes.fromhex(value) if len(value) == 2 * size else _of_base64(value)
        except ValueError:
            identifier = b""
    if len(identifier) != size or not any(identifier):
        raise ValueError(f"{value!r:.60} is not an id of {size} bytes")
    return identifier.hex()


@lru_cache(16)
def _usual_trace_id(value: str) -> str:
    return _id(value, _TRACE_ID_SIZE)


def _optional_id(value: Any, size: int) -> str:
    """Return an id; none for an empty one and for zeros, which mean the same."""
    is_none = not value or (isinstance(value, str) and (not value.strip("0") or not value.rstrip("=").strip("A")))
    return "" if is_none else _id(value, size)


def _of_base64(text: str) -> bytes:
    """Decode base 64 in either alphabet, with or without padding, as protobuf does."""
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _time(value: Any) -> int | None:
    """Return nanoseconds since the epoch; ``None`` for 0, proto3's value of a field that is not set."""
    nanoseconds = _integer(value or 0)
    if not 0 <= nanoseconds < _LATEST_NS:
        raise ValueError(f"{value!r:.60} is not a time")
    return nanoseconds or None


def _integer(value: Any) -> int:
    """Return an integer of 64 bits, which JSON may have as a text or as ``1e3``."""
    if type(value) is str and len(value) < _SHORTEST_BIG and value.isdecimal():
        return int(value)
    is_whole = isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdecimal())
    try:
        number = int(value) if is_whole else float(value)
    except ValueError:
        number = math.nan
    if _SMALLEST <= number <= _LARGEST and number == int(number):
        return int(number)
    raise ValueError(f"{value!r:.60} is not an integer of 64 bits")


def _enum(value: Any, names: tuple[str, ...], prefix: str) -> str:
    """Return the name of an enum's value; the first name for a value that is newer than this code."""
    if isinstance(value, str) and value.removeprefix(prefix).replace("_", "").isalpha():
        name = value.removeprefix(prefix).lower()
        return name if name in names else names[0]
    number = _integer(value or 0)
    return names[number] if 0 <= number < len(names) else names[0]


def _attributes(of: Json, faults: Faults) -> Attributes:
    found: dict[str, AttributeValue] = {}
    pairs = of.get("attributes") or ()
    if not isinstance(pairs, list):
        faults += [Fault("attribute", _WRONG_TYPE)] * bool(pairs)
        return found
    for pair in pairs:
        try:
            name, value = pair["key"], pair.get("value") or _NOTHING
            # Recordings repeat most names and many values: one object for all of them saves memory, and time later.
            name = intern(name) if type(name) is str and name.isascii() else _text(name)
            text = value.get("stringValue") if len(value) == 1 else None
            if type(text) is str and text.isascii():
                found[name] = intern(text)
            else:
                number = value.get("intValue") if len(value) == 1 else None
                found[name] = _value(value) if number is None else _integer(number)
        except _ERRORS as error:
            faults.append(Fault("attribute", _reason(error)))
    return found


def _value(value: Json) -> AttributeValue:
    for kind, content in value.items():
        parsed = _VALUES.get(kind)
        if parsed is not None:
            return parsed(content)
    return None


def _boolean(content: Any) -> bool:
    return content.lower() == "true" if isinstance(content, str) else bool(content)


def _array(content: Json) -> AttributeValue:
    return [_value(item) for item in content.get("values") or ()]


def _mapping(content: Json) -> AttributeValue:
    return {_text(pair["key"]): _value(pair.get("value") or {}) for pair in content.get("values") or ()}


def _text(value: Any) -> str:
    """Return a text, without halves of surrogate pairs: JSON can have them, and no encoding has."""
    text: str = value if type(value) is str else "" if value is None else str(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


_NOTHING: Json = {}
_VALUES: Mapping[str, Callable[[Any], AttributeValue]] = {
    name: parsed
    for kind, parsed in (
        ("string", _text),
        ("bool", _boolean),
        ("int", _integer),
        ("double", float),
        ("bytes", _of_base64),
        ("array", _array),
        ("kvlist", _mapping),
    )
    for name in (f"{kind}Value", f"{kind}_value")
}


def _members(of: Json, name: str, part: str, faults: Faults) -> Iterator[Json]:
    """Return the objects of a list; anything else is a fault."""
    members = _get(of, name) or ()
    if not isinstance(members, (list, tuple)):
        faults.append(Fault(part, _WRONG_TYPE))
        return
    for member in members:
        if isinstance(member, dict):
            yield member
        else:
            faults.append(Fault(part, _WRONG_TYPE))


def _object(of: Json, name: str, faults: Faults) -> Json:
    """Return an object in another one, empty where it is not set; anything else is a fault."""
    found = _get(of, name) or {}
    if isinstance(found, dict):
        return found
    faults.append(Fault(name, _WRONG_TYPE))
    return {}


def _field(part: str, faults: Faults, parsed: Callable[..., _T], *arguments: Any) -> _T | None:
    """Return a parsed field, ``None`` where it is a fault."""
    try:
        return parsed(*arguments)
    except _ERRORS as error:
        faults.append(Fault(part, _reason(error)))
        return None


def _fields(part: str, faults: Faults, parsed: Callable[[Json, Faults], _T], members: Iterator[Json]) -> tuple[_T, ...]:
    """Return those of several fields that can be parsed."""
    found = []
    for member in members:
        try:
            found.append(parsed(member, faults))
        except _ERRORS as error:
            faults.append(Fault(part, _reason(error)))
    return tuple(found)


_WRONG_TYPE = "a value has the wrong type"


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return str(error) if isinstance(error, ValueError) else _WRONG_TYPE


def _required(of: Json, name: str) -> Any:
    found = _get(of, name)
    if found is None:
        raise KeyError(name)
    return found


def _get(of: Json, name: str) -> Any:
    """Return a field by either of its names in JSON."""
    found = of.get(name)
    return found if found is not None else of.get(_snake(name))


@cache
def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
