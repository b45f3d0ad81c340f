"""OTLP requests of the three signals under one interface: resources hold scopes, and scopes hold records."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from google.protobuf.message import Message

from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief


class Shape(NamedTuple):
    """The prefix of a signal's messages, the fields that hold its parts, and the noun for its records."""

    service: str
    resources: str
    scopes: str
    records: str
    noun: str

    def counted(self, number: int) -> str:
        """Return ``1 span``, ``2 spans``."""
        return f"{number} {self.noun[:-1] if number == 1 else self.noun}"


SHAPES = {
    "traces": Shape("Trace", "resource_spans", "scope_spans", "spans", "spans"),
    "metrics": Shape("Metrics", "resource_metrics", "scope_metrics", "metrics", "metric data points"),
    "logs": Shape("Logs", "resource_logs", "scope_logs", "log_records", "log records"),
}


def were(numbers: Mapping[str, int]) -> str:
    """Return the start of sentences such as ``1 span was dropped``, ``2 spans and 1 log record were kept``.

    Args:
        numbers: the numbers of records by their signals.
    """
    *others, last = (SHAPES[signal].counted(number) for signal, number in numbers.items())
    counted = f"{', '.join(others)} and {last}" if others else last
    return f"{counted} {'was' if sum(numbers.values()) == 1 else 'were'}"


def request(signal: str) -> Any:
    """Return an empty request of a signal."""
    return _message(signal, "Request")


def response(signal: str) -> Any:
    """Return an empty response of a signal."""
    return _message(signal, "Response")


def request_beside(spans: Any, signal: str) -> tuple[Any, Any]:
    """Return a request with the resource and the scope of a ``ResourceSpans``, and the scope to add records to."""
    shape, made = SHAPES[signal], request(signal)
    resource = getattr(made, shape.resources).add(resource=spans.resource, schema_url=spans.schema_url)
    return made, getattr(resource, shape.scopes).add(scope=spans.scope_spans[0].scope)


def count(message: Message) -> int:
    """Return the number of spans, log records or metric data points in a request."""
    shape = _shape(message)
    if shape.records != "metrics":
        return sum(len(records) for _, _, records in _groups(message, shape))
    return sum(_points(metric) for _, _, metrics in _groups(message, shape) for metric in metrics)


def split(message: Message) -> tuple[Message, Message] | None:
    """Return two requests with half the records each, or ``None`` for a single record. Metrics are never divided."""
    shape = _shape(message)
    groups = list(_groups(message, shape))
    total = sum(len(records) for _, _, records in groups)
    if total < 2:
        return None
    first, second = type(message)(), type(message)()
    left = total // 2
    for resource, scope, records in groups:
        for half, part in ((first, records[:left]), (second, records[left:])):
            if part:
                getattr(_scope_like(half, shape, resource, scope), shape.records).extend(part)
        left = max(0, left - len(records))
    return first, second


def name_of_only(message: Message) -> str:
    """Return the shortened name of a request's only record."""
    record = next(record for _, _, records in _groups(message, _shape(message)) for record in records)
    return in_brief(str(getattr(record, "name", ""))) or "log record"


def _message(signal: str, kind: str) -> Any:
    service = SHAPES[signal].service
    package = service.lower()
    with importing:
        module = import_module(f"opentelemetry.proto.collector.{package}.v1.{package}_service_pb2")
    return getattr(module, f"Export{service}Service{kind}")()


def _shape(message: Any) -> Shape:
    return next(shape for shape in SHAPES.values() if shape.resources in message.DESCRIPTOR.fields_by_name)


def _groups(message: Any, shape: Shape) -> Iterator[tuple[Any, Any, Any]]:
    """Return each resource, scope and list of records."""
    for resource in getattr(message, shape.resources):
        for scope in getattr(resource, shape.scopes):
            yield resource, scope, getattr(scope, shape.records)


def _points(metric: Any) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0


def _scope_like(message: Any, shape: Shape, resource: Any, scope: Any) -> Any:
    """Add a copy of a scope without records to a request, under the last resource if that is the same."""
    resources = getattr(message, shape.resources)
    last = resources[-1] if resources else None
    if last is None or last.resource != resource.resource or last.schema_url != resource.schema_url:
        last = resources.add(resource=resource.resource, schema_url=resource.schema_url)
    return getattr(last, shape.scopes).add(scope=scope.scope, schema_url=scope.schema_url)
