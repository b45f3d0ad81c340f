"""Telemetry as lines of OTLP JSON, the OTLP file format: spans of the SDK directly, requests there and back.

The mapping is proto3's own, with 64-bit integers as strings, but for two things: ids are hexadecimal and enums numbers
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status

from otel_flyte.export import otlp_requests
from otel_flyte.runtime.forks import importing

_SIGNALS = {"resourceSpans": "traces", "resourceMetrics": "metrics", "resourceLogs": "logs"}
_ID_SIZES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
_VALUES = ("attributes", "body")
_KINDS = {kind: kind.value + 1 for kind in SpanKind}
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_DEEPEST = 30
"""Values that nest deeper are left out: protobuf's parsers give up at 100 messages, and a mapping takes three."""

_CACHED = 256

Json = dict[str, Any]
_Encoded = TypeVar("_Encoded")


def spans_line(spans: Sequence[ReadableSpan]) -> bytes:
    """Give one line, with its end, that equals the JSON mapping of what OpenTelemetry's encoder makes of the spans.

    Where that encoder raises because of a lone surrogate, a replacement character stands here. Values that no protobuf
    message can hold are left out, as there.
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
    """Give an export request of any signal as one line, with its end."""
    with importing:
        from google.protobuf.json_format import MessageToDict

    document = MessageToDict(request, use_integers_for_enums=True)
    _convert_ids(document, lambda text, _: base64.b64decode(text).hex())
    return _line(_text(document))


def request_of(line: bytes) -> tuple[str, Message]:
    """Give the signal of a line, and its export request; fields that are newer than this code are left out.

    Raises:
        ValueError: the line is not OTLP; the message says why.
    """
    with importing:
        from google.protobuf.json_format import ParseDict, ParseError

    try:
        document = json.loads(line)
        found = [key for key in _SIGNALS if key in document] if isinstance(document, dict) else []
        if len(found) != 1:
            raise ValueError(f"not one of {', '.join(_SIGNALS)}")
        _convert_ids(document, _base64_id)
        signal = _SIGNALS[found[0]]
        return signal, ParseDict(document, otlp_requests.request(signal), ignore_unknown_fields=True)
    except (ParseError, RecursionError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error


def _line(text: str) -> bytes:
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:
        return f"{text}\n".encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _text(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)


def _convert_ids(document: Any, convert: Callable[[str, int], str]) -> None:
    """Rewrite the ids of records, links and exemplars in place; attributes and bodies hold values, not ids."""
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            for key in _ID_SIZES.keys() & part.keys():
                part[key] = convert(part[key], _ID_SIZES[key])
            waiting += [value for key, value in part.items() if isinstance(value, (dict, list)) and key not in _VALUES]


def _base64_id(text: str, size: int) -> str:
    identifier = bytes.fromhex(text)
    if identifier and len(identifier) != size:
        raise ValueError(f"{text!r} is no id of {size} bytes")
    return base64.b64encode(identifier).decode()


def _cached(encode: Callable[[Any], _Encoded], shared: object) -> _Encoded:
    """Encode what many spans have in common once; hashing a resource would cost as much as encoding it.

    What is kept holds its subject, so that no other gets the same identity.
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
    return _text(_with_attributes({}, resource.attributes)), _schema_url(resource.schema_url)


def _scope(scope: InstrumentationScope | None) -> str:
    if scope is None:
        return "{}"
    named = {key: value for key, value in (("name", scope.name), ("version", scope.version)) if value}
    return _text(_with_attributes(named, scope.attributes)) + _schema_url(scope.schema_url)


def _schema_url(url: str | None) -> str:
    return f',"schemaUrl":{_text(url)}' if url else ""


def _span(span: ReadableSpan) -> Json:
    context: SpanContext = span.context
    parent = span.parent
    encoded = _ids(context)
    if context.trace_state:
        encoded["traceState"] = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
    if parent is not None:
        encoded["parentSpanId"] = f"{parent.span_id:016x}"
    if span.name:
        encoded["name"] = str(span.name)
    encoded["kind"] = _KINDS[span.kind]
    if span.start_time:
        encoded["startTimeUnixNano"] = str(span.start_time)
    if span.end_time:
        encoded["endTimeUnixNano"] = str(span.end_time)
    _with_attributes(encoded, span.attributes, span.dropped_attributes)
    if events := span.events:
        encoded["events"] = [_event(event) for event in events]
    if span.dropped_events:
        encoded["droppedEventsCount"] = span.dropped_events
    if links := span.links:
        encoded["links"] = [_link(link) for link in links]
    if span.dropped_links:
        encoded["droppedLinksCount"] = span.dropped_links
    encoded["status"] = _status(span.status)
    encoded["flags"] = _flags(parent)
    return encoded


def _ids(context: SpanContext) -> Json:
    return {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}


def _event(event: Event) -> Json:
    encoded: Json = {"timeUnixNano": str(event.timestamp)} if event.timestamp else {}
    if event.name:
        encoded["name"] = str(event.name)
    return _with_attributes(encoded, event.attributes, event.dropped_attributes)


def _link(link: Link) -> Json:
    context = link.context
    encoded: Json = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "flags": _flags(context),
    }
    return _with_attributes(encoded, link.attributes, link.dropped_attributes)


def _status(status: Status) -> Json:
    encoded: Json = {}
    if status.status_code.value:
        encoded["code"] = status.status_code.value
    if status.description:
        encoded["message"] = status.description
    return encoded


def _flags(context: SpanContext | None) -> int:
    return _HAS_IS_REMOTE | _IS_REMOTE if context is not None and context.is_remote else _HAS_IS_REMOTE


def _with_attributes(encoded: Json, attributes: Mapping[str, Any] | None, dropped: int = 0) -> Json:
    """Add attributes to a record, and how many of them its limits have dropped."""
    if attributes:
        pairs = []
        for key, value in _plain(attributes).items():
            any_value = _any_value(value)
            if any_value is not None:
                pairs.append({"key": key, "value": any_value})
        if pairs:
            encoded["attributes"] = pairs
    if dropped:
        encoded["droppedAttributesCount"] = dropped
    return encoded


def _plain(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the SDK's attributes as a dictionary, which is iterated over at a third of the price."""
    copy: Callable[[], Mapping[str, Any]] | None = getattr(attributes, "copy", None)
    return copy() if copy else attributes


def _any_value(value: Any, room: int = _DEEPEST) -> Json | None:
    """Encode a value of any type; ``None`` where a value inside it can't be encoded or nests too deep."""
    encode = _SCALARS.get(type(value))
    if encode is None:
        encode = next((scalar for kind, scalar in _SCALARS.items() if isinstance(value, kind)), None)
    if encode is not None:
        return encode(value)
    if value is None:
        return {}
    if room and isinstance(value, Sequence):
        items = [_any_value(item, room - 1) for item in value]
        whole = None not in items
        return ({"arrayValue": {"values": items} if items else {}}) if whole else None
    if room and isinstance(value, Mapping):
        pairs = [{"key": str(key), "value": _any_value(item, room - 1)} for key, item in value.items()]
        whole = all(pair["value"] is not None for pair in pairs)
        return ({"kvlistValue": {"values": pairs} if pairs else {}}) if whole else None
    return None


def _integer(value: int) -> Json | None:
    return {"intValue": int.__repr__(value)} if _SMALLEST <= value <= _LARGEST else None


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
"""By exact type first, as nearly all values are; in this order where a subclass must be told: a bool is an int."""
