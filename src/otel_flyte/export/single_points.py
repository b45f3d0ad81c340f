"""Metrics of a process that has but one thing to tell, made by hand.

A pod runs one attempt: it counts it once, when it ends. Loading the SDK of metrics for that would take a short task
longer than all of its spans. Where the SDK is there already, or somebody has chosen views or exporters of their own,
it is used.
"""

import bisect
import os
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span

from otel_flyte import semconv
from otel_flyte.export import destinations, otlp_requests

_CUMULATIVE = 2
_DELTA = 1
_EXPLICIT = "explicit_bucket_histogram"


def are_possible(span: Span) -> bool:
    """Return whether this process can report single points about the task of a span.

    They must be ours to deliver, by OTLP alone, and no meter may have been created.
    """
    if not isinstance(span, ReadableSpan) or getattr(metrics.get_meter_provider(), "is_made", None) is not False:
        return False
    chosen = os.environ.get(semconv.HISTOGRAM_AGGREGATION, "").strip().lower()
    found = destinations.of("metrics")
    return chosen in ("", _EXPLICIT) and bool(found.outlets) and not found.exporters


class SinglePoints:
    """A request of metrics with one point each, about the task of a span.

    Args:
        span: the task's; its resource, scope and times are those of the points, and it is their exemplar.
        end_time: Unix time in ns.
        said: the attributes of all points.
    """

    def __init__(self, span: Any, end_time: int, said: Mapping[str, str]) -> None:
        self._said = said
        encoded = encode_spans([span]).resource_spans[0]
        self._span = encoded.scope_spans[0].spans[0]
        self._is_exemplar = span.context is not None and _takes_exemplar(is_sampled=span.context.trace_flags.sampled)
        self._times = {"start_time_unix_nano": span.start_time or end_time, "time_unix_nano": end_time}
        self._request = otlp_requests.request("metrics")
        resource_metrics = self._request.resource_metrics.add(schema_url=encoded.schema_url)
        resource_metrics.resource.CopyFrom(encoded.resource)
        self._metrics = resource_metrics.scope_metrics.add(schema_url=encoded.scope_spans[0].schema_url)
        self._metrics.scope.CopyFrom(encoded.scope_spans[0].scope)

    def histogram(self, name: str, unit: str, description: str, bounds: Sequence[float], value: float) -> None:
        """Add a histogram of one value."""
        histogram = self._metrics.metrics.add(name=name, unit=unit, description=description).histogram
        histogram.aggregation_temporality = _temporality()
        counts = [0] * (len(bounds) + 1)
        # A bucket's upper bound belongs to it.
        counts[bisect.bisect_left(bounds, value)] = 1
        point = histogram.data_points.add(
            **self._times, count=1, sum=value, min=value, max=value, bucket_counts=counts, explicit_bounds=bounds
        )
        self._describe(point)
        if self._is_exemplar:
            point.exemplars.add(
                time_unix_nano=self._times["time_unix_nano"],
                as_double=value,
                trace_id=self._span.trace_id,
                span_id=self._span.span_id,
            )

    def count(self, name: str, unit: str, description: str) -> None:
        """Add a counter that has come to one."""
        total = self._metrics.metrics.add(name=name, unit=unit, description=description).sum
        total.aggregation_temporality = _temporality()
        total.is_monotonic = True
        self._describe(total.data_points.add(**self._times, as_int=1))

    def send(self) -> None:
        """Queue all of it."""
        for outlet in destinations.of("metrics").outlets:
            outlet.put_request(self._request)

    def _describe(self, point: Any) -> None:
        for name, value in self._said.items():
            point.attributes.add(key=name).value.string_value = value


def _takes_exemplar(*, is_sampled: bool) -> bool:
    """As https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ has the filter."""
    chosen = os.environ.get(semconv.EXEMPLAR_FILTER, "").strip().lower()
    return chosen == "always_on" or (is_sampled and chosen != "always_off")


def _temporality() -> int:
    """As https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/ has it."""
    preference = os.environ.get(semconv.TEMPORALITY, "").strip().upper()
    return _DELTA if preference in ("DELTA", "LOWMEMORY") else _CUMULATIVE
