"""Turn OTLP messages of protobuf into the values of a recording."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from sys import intern
from typing import Any

from otel_flyte import semconv
from otel_flyte.recording.model import Attributes, AttributeValue, Event, Link, LogRecord, Point, Scope, Span
from otel_flyte.recording.otlp_json import KINDS, SEVERITIES, STATUS_CODES
from otel_flyte.recording.point_series import is_usage, series_of


def attributes(pairs: Iterable[Any]) -> Attributes:
    """Return the attributes of a message. Of those with the same name the last one counts."""
    found: dict[str, AttributeValue] = {}
    for pair in pairs:
        value = pair.value
        # Most values are texts, and asking which kind a value has takes longer than reading it.
        text = value.string_value
        found[intern(pair.key)] = intern(text) if text else _value(value)
    return found


def scope(message: Any) -> Scope:
    """Return an ``InstrumentationScope``."""
    return Scope(message.name, message.version)


def span(message: Any, in_scope: Scope, resource: Attributes) -> Span:
    """Return a ``Span``, with ids in hexadecimal."""
    # Most spans have neither events nor links.
    kind, status, events, links = message.kind, message.status, message.events, message.links
    code = status.code
    return Span(
        trace_id=message.trace_id.hex(),
        span_id=message.span_id.hex(),
        parent_id=message.parent_span_id.hex() or None,
        name=intern(message.name),
        start_ns=message.start_time_unix_nano,
        end_ns=message.end_time_unix_nano or None,
        kind=KINDS[kind] if 0 <= kind < len(KINDS) else KINDS[0],
        status_code=STATUS_CODES[code] if 0 <= code < len(STATUS_CODES) else STATUS_CODES[0],
        status_message=status.message,
        attributes=attributes(message.attributes),
        events=tuple([_event(each) for each in events]) if events else (),
        links=tuple([_link(each) for each in links]) if links else (),
        scope=in_scope,
        resource=resource,
    )


def log(message: Any) -> LogRecord | None:
    """Return a ``LogRecord``; ``None`` for one that is no event and has no body."""
    found = attributes(message.attributes)
    # Older versions of OTLP have no field for it.
    event = (getattr(message, "event_name", "") or str(found.get(semconv.EVENT_NAME) or "")) if message.span_id else ""
    body = None if message.body.WhichOneof("value") is None else _body(message.body)
    if not event and body is None:
        return None
    number = message.severity_number
    return LogRecord(
        message.trace_id.hex(),
        message.span_id.hex(),
        message.time_unix_nano or message.observed_time_unix_nano,
        event,
        body,
        message.severity_text or (SEVERITIES[(number - 1) // 4] if 1 <= number <= 24 else ""),
        found,
    )


def points(metric: Any, resource: Attributes) -> list[Point]:
    """Return the points of a ``Metric`` of usage; none of other metrics."""
    if not is_usage(metric.name):
        return []
    found = []
    for point in (metric.sum if metric.HasField("sum") else metric.gauge).data_points:
        value = point.as_double if point.WhichOneof("value") == "as_double" else float(point.as_int)
        own = attributes(point.attributes)
        series = series_of(metric.name, own)
        if series is not None and point.time_unix_nano and math.isfinite(value):
            found.append(Point(series.name, point.time_unix_nano, value * series.factor, own, resource))
    return found


def _event(message: Any) -> Event:
    return Event(message.name, message.time_unix_nano, attributes(message.attributes))


def _link(message: Any) -> Link:
    return Link(message.trace_id.hex(), message.span_id.hex(), attributes(message.attributes))


def _body(message: Any) -> str:
    value = _value(message)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)


def _value(message: Any) -> AttributeValue:
    kind = message.WhichOneof("value")
    if kind in _PLAIN:
        value: AttributeValue = getattr(message, kind)
        return value
    return _NESTED[kind](message) if kind in _NESTED else None


_PLAIN = frozenset({"string_value", "bool_value", "int_value", "double_value", "bytes_value"})
_NESTED: Mapping[str, Callable[[Any], AttributeValue]] = {
    "array_value": lambda message: [_value(each) for each in message.array_value.values],
    "kvlist_value": lambda message: {pair.key: _value(pair.value) for pair in message.kvlist_value.values},
}
