"""Metrics of the SDK as OTLP requests.

OpenTelemetry's encoder fails for a whole collection at the first value that OTLP can't hold. A cumulative value comes
back with each collection, so it would end all metrics of the process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, SupportsFloat

from google.protobuf.message import Message

from otel_flyte import semconv
from otel_flyte.export import dropped, otlp_requests
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import say_once
from otel_flyte.runtime.limits import encodable, in_64_bits, in_brief

instance_of_child = ""
"""In a forked child: the ``service.instance.id`` of its metrics, because its counts are its own."""

_NUMBERS = ("value", "sum", "min", "max")


def encode(collections: Sequence[Any]) -> Message:
    """Return collections as a request. A data point that can't be encoded is left out, and its metric reported once."""
    request: Message = otlp_requests.request("metrics")
    for collection in collections:
        encoded = _encoded(collection)
        for each in encoded.resource_metrics if instance_of_child else ():
            attributes = each.resource.attributes
            found = (attribute for attribute in attributes if attribute.key == semconv.SERVICE_INSTANCE_ID)
            attribute = next(found, None) or attributes.add(key=semconv.SERVICE_INSTANCE_ID)
            attribute.value.string_value = instance_of_child
        request.MergeFrom(encoded)
    return request


def count_points(collections: Sequence[Any]) -> int:
    """Return the number of data points in collections."""
    return sum(
        len(metric.data.data_points)
        for collection in collections
        for each in collection.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    )


def _encoded(collection: Any) -> Any:
    with importing:
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    try:
        return encode_metrics(collection)
    except Exception:
        return encode_metrics(_with_encodable(collection, encode_metrics))


def _with_encodable(collection: Any, encode_metrics: Callable[[Any], object]) -> Any:
    """Return a collection with every value that OTLP can hold, by itself or as a double."""

    def is_encodable(metric: Any, scope: Any, resource: Any) -> bool:
        alone = replace(resource, scope_metrics=[replace(scope, metrics=[metric])])
        try:
            encode_metrics(replace(collection, resource_metrics=[alone]))
        except Exception:
            return False
        return True

    def kept(scope: Any, resource: Any) -> Iterator[Any]:
        for metric in scope.metrics:
            if is_encodable(metric, scope, resource):
                yield metric
                continue
            points = [_with_doubles(point) for point in metric.data.data_points]
            alone = (_with_points(metric, [point]) for point in points)
            kept_points = [each.data.data_points[0] for each in alone if is_encodable(each, scope, resource)]
            _count_left_out(metric.name, len(points) - len(kept_points))
            if kept_points:
                yield _with_points(metric, kept_points)

    def kept_scopes(resource: Any) -> Iterator[Any]:
        scopes = (replace(scope, metrics=list(kept(scope, resource))) for scope in resource.scope_metrics)
        return (scope for scope in scopes if scope.metrics)

    resources = (replace(each, scope_metrics=list(kept_scopes(each))) for each in collection.resource_metrics)
    return replace(collection, resource_metrics=[each for each in resources if each.scope_metrics])


def _count_left_out(name: object, number: int) -> None:
    if number:
        dropped.count("metrics", dropped.UNENCODABLE, number)
        named = in_brief(encodable(str(name)))
        say_once(f"the metric {named} has values that can't be encoded: they are left out")


def _with_points(metric: Any, points: list[Any]) -> Any:
    return replace(metric, data=replace(metric.data, data_points=points))


def _with_doubles(point: Any) -> Any:
    """Return a data point whose numbers are those of Python, and doubles beyond 64 bits."""
    numbers = {name: _number(getattr(point, name)) for name in _NUMBERS if hasattr(point, name)}
    exemplars = [replace(each, value=_number(each.value)) for each in getattr(point, "exemplars", ())]
    return replace(point, **numbers, **({"exemplars": exemplars} if exemplars else {}))


def _number(value: Any) -> Any:
    try:
        if isinstance(value, int):
            return in_64_bits(value)
        # Numbers of libraries, such as NumPy's.
        return float(value) if isinstance(value, SupportsFloat) else value
    except (OverflowError, TypeError, ValueError):
        return value
