"""How the records of each signal become OTLP; the SDK of a signal is imported with its first record."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from otel_flyte import semconv
from otel_flyte.export import otlp_requests
from otel_flyte.export.otlp_json import line_of, request_of, spans_line
from otel_flyte.export.queue import Codec
from otel_flyte.runtime.forks import importing

instance_of_child = ""
"""In a forked child: the ``service.instance.id`` of its metrics, since it counts beside its parent."""


def spans_of(span: Any) -> Any:
    """Return the ``ResourceSpans`` of one span of the SDK; ``None`` for a span of another kind."""
    return encode_spans([span]).resource_spans[0] if isinstance(span, ReadableSpan) else None


def _encode_logs(records: Sequence[Any]) -> Message:
    with importing:
        from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    request: Message = encode_logs(records)
    return request


def _logs_line(records: Sequence[Any]) -> bytes:
    return line_of(_encode_logs(records))


def _encode_metrics(collections: Sequence[Any]) -> Message:
    with importing:
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    request: Any = encode_metrics(collections[0])
    for collection in collections[1:]:
        request.MergeFrom(encode_metrics(collection))
    if instance_of_child:
        for each in request.resource_metrics:
            _identify(each.resource)
    encoded: Message = request
    return encoded


def _metrics_line(collections: Sequence[Any]) -> bytes:
    return line_of(_encode_metrics(collections))


def _identify(resource: Any) -> None:
    found = (attribute for attribute in resource.attributes if attribute.key == semconv.SERVICE_INSTANCE_ID)
    attribute = next(found, None) or resource.attributes.add(key=semconv.SERVICE_INSTANCE_ID)
    attribute.value.string_value = instance_of_child


def _count_points(collections: Sequence[Any]) -> int:
    return sum(
        len(metric.data.data_points)
        for collection in collections
        for each in collection.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    )


def _count_points_of_lines(lines: Sequence[bytes]) -> int:
    return sum(otlp_requests.count(request_of(line)[1]) for line in lines)


CODECS = {
    "traces": Codec(encode_spans, spans_line),
    "metrics": Codec(_encode_metrics, _metrics_line, _count_points, _count_points_of_lines),
    "logs": Codec(_encode_logs, _logs_line),
}
