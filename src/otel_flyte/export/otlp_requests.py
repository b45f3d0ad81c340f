"""OTLP requests of the three signals as one thing: resources that hold scopes that hold records."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from google.protobuf.message import Message

from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief


class Shape(NamedTuple):
    """The names under which a signal's request holds its parts, and how its records are called."""

    module: str
    request: str
    response: str
    resources: str
    scopes: str
    records: str
    noun: str


SHAPES = {
    "traces": Shape(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
        "ExportTraceServiceRequest",
        "ExportTraceServiceResponse",
        "resource_spans",
        "scope_spans",
        "spans",
        "spans",
    ),
    "metrics": Shape(
        "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2",
        "ExportMetricsServiceRequest",
        "ExportMetricsServiceResponse",
        "resource_metrics",
        "scope_metrics",
        "metrics",
        "metric data points",
    ),
    "logs": Shape(
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2",
        "ExportLogsServiceRequest",
        "ExportLogsServiceResponse",
        "resource_logs",
        "scope_logs",
        "log_records",
        "log records",
    ),
}


def request(signal: str) -> Any:
    """Return an empty request of a signal."""
    shape = SHAPES[signal]
    return getattr(_imported(shape.module), shape.request)()


def response(signal: str) -> Any:
    """Return an empty response of a signal."""
    shape = SHAPES[signal]
    return getattr(_imported(shape.module), shape.response)()


def signal_of(message: Message) -> str:
    """Return the signal of a request."""
    return next(signal for signal, shape in SHAPES.items() if shape.request == type(message).__name__)


def count(message: Message) -> int:
    """Return how many records a request holds: spans, log records, or the data points of its metrics."""
    shape = SHAPES[signal_of(message)]
    if shape.records != "metrics":
        return sum(len(records) for _, _, records in _records(message, shape))
    return sum(points(metric) for _, _, metrics in _records(message, shape) for metric in metrics)


def points(metric: Any) -> int:
    """Return how many data points a metric holds."""
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0


def split(message: Message) -> tuple[Message, Message] | None:
    """Return two requests of half the records each, ``None`` where there is but one; a metric is never divided."""
    shape = SHAPES[signal_of(message)]
    flat = [(resource, scope, record) for resource, scope, records in _records(message, shape) for record in records]
    if len(flat) < 2:
        return None
    middle = len(flat) // 2
    return _joined(message, shape, flat[:middle]), _joined(message, shape, flat[middle:])


def name_of_only(message: Message) -> str:
    """Return the name of a request's one record, in brief, to tell the user which it was."""
    shape = SHAPES[signal_of(message)]
    record = next(record for _, _, records in _records(message, shape) for record in records)
    return in_brief(str(getattr(record, "name", ""))) or "log record"


def _records(message: Any, shape: Shape) -> Iterator[tuple[Any, Any, Sequence[Any]]]:
    for resource in getattr(message, shape.resources):
        for scope in getattr(resource, shape.scopes):
            yield resource, scope, getattr(scope, shape.records)


def _joined(message: Message, shape: Shape, flat: Sequence[tuple[Any, Any, Any]]) -> Message:
    joined = type(message)()
    last_resource: Any = None
    last_scope: Any = None
    for resource, scope, record in flat:
        if resource is not last_resource:
            resource_copy = getattr(joined, shape.resources).add()
            resource_copy.resource.CopyFrom(resource.resource)
            resource_copy.schema_url = resource.schema_url
            last_resource, last_scope = resource, None
        if scope is not last_scope:
            scope_copy = getattr(resource_copy, shape.scopes).add()
            scope_copy.scope.CopyFrom(scope.scope)
            scope_copy.schema_url = scope.schema_url
            last_scope = scope
        getattr(scope_copy, shape.records).append(record)
    return joined


def _imported(module: str) -> Any:
    with importing:
        return import_module(module)
