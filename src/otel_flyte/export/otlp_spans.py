"""Spans of this project and of the SDK as OTLP requests.

The result equals that of OpenTelemetry's encoder to the byte, except for integers beyond 64 bits, which that encoder
leaves out: they become doubles. That encoder computes a hash of the resource for each
span, and goes through several functions for each attribute.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from otel_flyte.export.otlp_json import KINDS, flags, plain
from otel_flyte.runtime.limits import in_64_bits
from otel_flyte.tracing.flyte_span import FlyteSpan

_logger = logging.getLogger(__name__)

_UNSET = Status()
_LONG = 256
"""Characters of a text that is encoded anew each time; spans of a task repeat shorter ones."""


def encode_spans(spans: Sequence[Any]) -> ExportTraceServiceRequest:
    """Return spans as a request. An attribute that can't be encoded is left out.

    Raises:
        UnicodeEncodeError: a name is no text.
    """
    grouped: dict[int, tuple[Any, dict[Any, list[Span]]]] = {}
    for span in spans:
        resource = span.resource
        if id(resource) not in grouped:
            equal = next((key for key, (other, _) in grouped.items() if other == resource), None)
            grouped[id(resource)] = grouped[equal] if equal is not None else (resource, {})
        scopes = grouped[id(resource)][1]
        scopes.setdefault(span.instrumentation_scope or None, []).append(_span(span))
    unique = {id(scopes): (resource, scopes) for resource, scopes in grouped.values()}
    return ExportTraceServiceRequest(resource_spans=[_resource_spans(*each) for each in unique.values()])


def _resource_spans(resource: Any, scopes: Mapping[Any, list[Span]]) -> ResourceSpans:
    scope_spans = [
        ScopeSpans(scope=_scope(scope), spans=members, schema_url=(scope and scope.schema_url) or "")
        for scope, members in scopes.items()
    ]
    return ResourceSpans(
        resource=Resource(attributes=_attributes(resource.attributes)),
        scope_spans=scope_spans,
        schema_url=resource.schema_url,
    )


def _scope(scope: Any) -> InstrumentationScope:
    if scope is None:
        return InstrumentationScope()
    attributes = getattr(scope, "attributes", None)
    return InstrumentationScope(name=scope.name, version=scope.version, attributes=_attributes(attributes))


def _span(span: Any) -> Span:
    # A span of ours has the fields of its context, which is created only when it is asked for.
    context: Any
    parent: Any
    context, parent = (span, span.above) if type(span) is FlyteSpan else (span.context, span.parent)
    status = span.status
    encoded = Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
        name=span.name,
        kind=KINDS[span.kind],
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
        attributes=_attributes(span.attributes),
        status=_UNSET if status.is_unset else Status(code=status.status_code.value, message=status.description),
        flags=flags(parent),
    )
    if span.dropped_attributes:
        encoded.dropped_attributes_count = span.dropped_attributes
    if span.dropped_events:
        encoded.dropped_events_count = span.dropped_events
    if span.dropped_links:
        encoded.dropped_links_count = span.dropped_links
    if context.trace_state:
        encoded.trace_state = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
    for event in span.events:
        encoded.events.add(
            name=event.name,
            time_unix_nano=event.timestamp,
            attributes=_attributes(event.attributes),
            dropped_attributes_count=event.dropped_attributes,
        )
    for link in span.links:
        encoded.links.add(
            trace_id=link.context.trace_id.to_bytes(16, "big"),
            span_id=link.context.span_id.to_bytes(8, "big"),
            attributes=_attributes(link.attributes),
            dropped_attributes_count=link.dropped_attributes,
            flags=flags(link.context),
        )
    return encoded


def _attributes(attributes: Mapping[str, Any] | None) -> list[KeyValue]:
    return list(_encoded(plain(attributes)))


def _encoded(attributes: Mapping[str, Any]) -> Iterator[KeyValue]:
    for key, value in attributes.items():
        try:
            is_text = type(value) is str and len(value) < _LONG
            yield _text(key, value) if is_text else KeyValue(key=key, value=_value(value))
        except Exception as error:
            _logger.exception("Failed to encode key %s: %s", key, error)  # noqa: TRY401  # OpenTelemetry's own line


@lru_cache(maxsize=1024)
def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _value(value: Any) -> AnyValue:
    """Encode a value.

    Raises:
        TypeError: OTLP has no such value.
        OverflowError: an integer is larger than every double.
        ValueError: a text is none.
    """
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int():
            held = in_64_bits(value)
            return AnyValue(double_value=held) if isinstance(held, float) else AnyValue(int_value=held)
        case float():
            return AnyValue(double_value=value)
        case None:
            return AnyValue()
        case bytes():
            return AnyValue(bytes_value=value)
        case Sequence():
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
        case Mapping():
            pairs = [KeyValue(key=str(key), value=_value(item)) for key, item in value.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))
    raise TypeError(f"Invalid type {type(value)} of value {value}")
