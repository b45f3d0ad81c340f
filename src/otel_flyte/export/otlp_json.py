"""Telemetry as lines of OTLP JSON, the OTLP file format.

Spans of the SDK are encoded directly, which takes a fraction of the time. Requests are converted in both directions.
The mapping is that of proto3, with 64-bit integers as strings, except that ids are hexadecimal and enums are numbers
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind

from otel_flyte.export import otlp_requests
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_64_bits

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Event, ReadableSpan

_SIGNALS = {"resourceSpans": "traces", "resourceMetrics": "metrics", "resourceLogs": "logs"}
_BELOW = {
    "resourceSpans": ("scopeSpans", "spans"),
    "resourceMetrics": ("scopeMetrics", "metrics"),
    "resourceLogs": ("scopeLogs", "logRecords"),
}
_ID_SIZES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
_SNAKE = {
    name: re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
    for name in (*_ID_SIZES, *_BELOW, *(name for names in _BELOW.values() for name in names))
}
_ALL_ID_SIZES = {**_ID_SIZES, **{_SNAKE[name]: size for name, size in _ID_SIZES.items()}}
"""By both names that protobuf's JSON has for a field."""

_VALUES = ("attributes", "body")
KINDS: Mapping[SpanKind, Any] = {kind: kind.value + 1 for kind in SpanKind}
"""OTLP's numbers of kinds."""

_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
_DEEPEST = 30
"""Values that nest deeper are left out: parsers of protobuf fail at 100 messages, and a mapping takes three."""

_CACHED = 256

Json = dict[str, Any]
_Encoded = TypeVar("_Encoded")


def spans_line(spans: "Sequence[ReadableSpan]") -> bytes:
    """Return a line that equals the JSON mapping of the request that OpenTelemetry's encoder returns for the spans.

    A lone surrogate, for which that encoder raises, is replaced. An integer beyond 64 bits, which that encoder leaves
    out, is a double. Values that no protobuf message can hold are left out.
    """
    grouped: dict[tuple[str, str], dict[str, list[Json]]] = {}
    for span in spans:
        scopes = grouped.setdefault(_cached(_resource, span.resource), {})
        scopes.setdefault(_cached(_scope, span.instrumentation_scope), []).append(_span(span))
    resources = (
        f'{{"resource":{resource},"scopeSpans":['
        + ",".join(f'{{"scope":{scope},"spans":{_text(members)}}}' for scope, members in scopes.items())
        + f"]{schema_url}}}"
        for (resource, schema_url), scopes in grouped.items()
    )
    return _line(f'{{"resourceSpans":[{",".join(resources)}]}}' if spans else "{}")


def line_of(request: Message) -> bytes:
    """Return a request of any signal as a line."""
    with importing:
        from google.protobuf.json_format import MessageToDict

    document = MessageToDict(request, use_integers_for_enums=True)
    _convert_ids(document, lambda text, _: base64.b64decode(text).hex())
    return _line(_text(document))


def request_of(line: bytes, faults: list[str] | None = None, *, any_ids: bool = False) -> tuple[str, Message]:
    """Return the signal and the request of a line. Fields that are newer than this code are left out.

    Args:
        line: the line, in any spelling of protobuf's JSON, or an answer of Tempo's API.
        faults: receives the reason for each record that is not OTLP, so that the others are returned; without it, such
            a record is an error.
        any_ids: whether an invalid id is returned as an empty one; without it, such an id is an error.

    Raises:
        ValueError: the line is not OTLP, for the reason in the message.
    """
    # Only a replay needs it.
    from otel_flyte.recording.otlp_json import signals

    try:
        document: Any = signals(json.loads(line)) or {}
        found = [key for key in _SIGNALS if key in document or _SNAKE[key] in document]
        if len(found) != 1:
            raise ValueError(f"not one of {', '.join(_SIGNALS)}")
        try:
            return _SIGNALS[found[0]], _parsed(
                document, _SIGNALS[found[0]], _base64_or_empty if any_ids else _base64_id
            )
        except ValueError:
            if faults is None:
                raise
        kept = _without_faults(document, found[0], faults)
        return _SIGNALS[found[0]], _parsed(kept, _SIGNALS[found[0]])
    except (RecursionError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error


def _parsed(document: Any, signal: str, converted: Callable[[Any, int], str] | None = None) -> Message:
    """Return a request, with ids that a function converts to base 64.

    Raises:
        ValueError, RecursionError, AttributeError, TypeError: a part of it is not OTLP.
    """
    with importing:
        from google.protobuf.json_format import ParseDict, ParseError

    _convert_ids(document, converted or _base64_id)
    try:
        request: Message = ParseDict(document, otlp_requests.request(signal), ignore_unknown_fields=True)
    except ParseError as error:
        raise ValueError(str(error)) from error
    return request


def _without_faults(document: Json, resources: str, faults: list[str]) -> Json:
    """Return an object without the records that can't be parsed."""
    scopes, records = _BELOW[resources]
    kept: Json = {resources: []}
    for in_resource in document.get(resources) or document.get(_SNAKE[resources]) or ():
        others = {key: value for key, value in in_resource.items() if key not in (scopes, _SNAKE[scopes])}
        kept_scopes = []
        for in_scope in in_resource.get(scopes) or in_resource.get(_SNAKE[scopes]) or ():
            beside = {key: value for key, value in in_scope.items() if key not in (records, _SNAKE[records])}
            kept_records = []
            for record in in_scope.get(records) or in_scope.get(_SNAKE[records]) or ():
                alone = {resources: [{**others, scopes: [{**beside, records: [record]}]}]}
                try:
                    _parsed(alone, _SIGNALS[resources])
                except (ValueError, AttributeError, TypeError) as error:
                    faults.append(str(error).partition("\n")[0])
                else:
                    kept_records.append(record)
            kept_scopes.append({**beside, records: kept_records})
        kept[resources].append({**others, scopes: kept_scopes})
    return kept


def count_records(lines: Iterable[bytes]) -> int:
    """Return the number of records in lines. A line that is not OTLP counts as one, an empty one as none."""
    count = 0
    for line in filter(bytes.strip, lines):
        try:
            count += otlp_requests.count(request_of(line)[1])
        except ValueError:
            count += 1
    return count


def _line(text: str) -> bytes:
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:
        return f"{text}\n".encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _text(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)


def _convert_ids(document: Any, convert: Callable[[str, int], str]) -> None:
    """Rewrite the ids of records, links and exemplars in place. Attributes and bodies hold values and no ids."""
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            for key, size in _ALL_ID_SIZES.items():
                if key in part:
                    part[key] = convert(part[key], size)
            waiting += [value for key, value in part.items() if isinstance(value, (dict, list)) and key not in _VALUES]


def _base64_id(text: str, size: int) -> str:
    """Return an id in base 64, as protobuf's own JSON has it; zeros are none."""
    if not text:
        return ""
    identifier = b""
    with suppress(ValueError):
        identifier = bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text, validate=True)
    if len(identifier) != size:
        raise ValueError(f"{text!r} is not an id of {size} bytes")
    return base64.b64encode(identifier).decode() if any(identifier) else ""


def _base64_or_empty(text: Any, size: int) -> str:
    try:
        return _base64_id(text, size)
    except (ValueError, TypeError):
        return ""


def _cached(encode: Callable[[Any], _Encoded], shared: object) -> _Encoded:
    """Encode an object that many spans share once. Hashing a resource would take as long as encoding it.

    The cache holds the object, so that no other object gets the same identity.
    """
    kept = _encoded.get(id(shared))
    if kept is None:
        if len(_encoded) >= _CACHED:
            _encoded.clear()
        kept = _encoded[id(shared)] = (shared, encode(shared))
    encoded: _Encoded = kept[1]
    return encoded


_encoded: dict[int, tuple[object, Any]] = {}


def _resource(resource: Resource) -> tuple[str, str]:
    return _text(_attributes(resource.attributes)), _schema_url(resource.schema_url)


def _scope(scope: InstrumentationScope | None) -> str:
    if scope is None:
        return "{}"
    named = _set_fields(name=scope.name, version=scope.version)
    return _text({**named, **_attributes(scope.attributes)}) + _schema_url(scope.schema_url)


def _schema_url(url: str | None) -> str:
    return f',"schemaUrl":{_text(url)}' if url else ""


def _span(span: "ReadableSpan") -> Json:
    context: SpanContext = span.context
    parent, status = span.parent, span.status
    fields = _set_fields(
        traceId=f"{context.trace_id:032x}",
        spanId=f"{context.span_id:016x}",
        traceState=",".join(f"{key}={value}" for key, value in context.trace_state.items()),
        parentSpanId=parent and f"{parent.span_id:016x}",
        name=span.name and str(span.name),
        kind=KINDS[span.kind],
        startTimeUnixNano=span.start_time and str(span.start_time),
        endTimeUnixNano=span.end_time and str(span.end_time),
        **_attributes(span.attributes, span.dropped_attributes),
        events=[_event(event) for event in span.events],
        droppedEventsCount=span.dropped_events,
        links=[_link(link) for link in span.links],
        droppedLinksCount=span.dropped_links,
    )
    fields["status"] = _set_fields(code=status.status_code.value, message=status.description)
    fields["flags"] = flags(parent)
    return fields


def _event(event: "Event") -> Json:
    named = _set_fields(timeUnixNano=event.timestamp and str(event.timestamp), name=event.name and str(event.name))
    return {**named, **_attributes(event.attributes, event.dropped_attributes)}


def _link(link: Link) -> Json:
    context = link.context
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "flags": flags(context),
        **_attributes(link.attributes, link.dropped_attributes),
    }


def flags(context: SpanContext | None) -> int:
    """Return the flags of a span by its parent, or of a link by its context."""
    return _HAS_IS_REMOTE | _IS_REMOTE if context is not None and context.is_remote else _HAS_IS_REMOTE


def _set_fields(**fields: Any) -> Json:
    """Return the fields that are set. Proto3 leaves out default values."""
    return {name: value for name, value in fields.items() if value}


def plain(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return attributes as a dictionary: the SDK's own mapping takes three times as long to iterate over."""
    copy: Callable[[], Mapping[str, Any]] | None = getattr(attributes, "copy", None)
    return (copy() if copy else attributes) or {}


def _attributes(attributes: Mapping[str, Any] | None, dropped: int = 0) -> Json:
    """Return the fields of attributes, and of the number of attributes that a limit has dropped."""
    pairs = [{"key": key, "value": _any_value(value)} for key, value in plain(attributes).items()]
    return _set_fields(attributes=[pair for pair in pairs if pair["value"] is not None], droppedAttributesCount=dropped)


def _any_value(value: Any, room: int = _DEEPEST) -> Json | None:
    """Encode a value of any type, or return ``None`` if a part of it can't be encoded or nests too deep."""
    encode = _SCALARS.get(type(value))
    if encode is None:
        encode = next((scalar for kind, scalar in _SCALARS.items() if isinstance(value, kind)), None)
    if encode is not None:
        return encode(value)
    if value is None:
        return {}
    if room and isinstance(value, Sequence):
        items = [_any_value(item, room - 1) for item in value]
        return None if None in items else {"arrayValue": _set_fields(values=items)}
    if room and isinstance(value, Mapping):
        pairs = [{"key": str(key), "value": _any_value(item, room - 1)} for key, item in value.items()]
        is_whole = all(pair["value"] is not None for pair in pairs)
        return {"kvlistValue": _set_fields(values=pairs)} if is_whole else None
    return None


def _integer(value: int) -> Json | None:
    try:
        held = in_64_bits(value)
    except OverflowError:
        return None
    return _double(held) if isinstance(held, float) else {"intValue": int.__repr__(held)}


def _double(value: float) -> Json:
    if math.isfinite(value):
        return {"doubleValue": value}
    return {"doubleValue": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


_SCALARS: Mapping[type, Callable[[Any], Json | None]] = {
    str: lambda value: {"stringValue": value},
    bool: lambda value: {"boolValue": value},
    int: _integer,
    float: _double,
    bytes: lambda value: {"bytesValue": base64.b64encode(value).decode()},
}
"""Looked up by exact type, else by the first match in this order, because a bool is an int."""
