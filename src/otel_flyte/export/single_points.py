"""Metrics with a single data point each, encoded without the SDK of metrics.

A pod runs one attempt and counts it once, when it ends. The import of the SDK of metrics would take a short task longer
than all of its spans. If the SDK is imported already, or the user has chosen views or exporters, the SDK is used.
"""

import bisect
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.trace import Span

from otel_flyte import providers, semconv
from otel_flyte.export import destinations, otlp_requests
from otel_flyte.export.otlp_spans import encode_spans
from otel_flyte.tracing.spans import is_readable

_CUMULATIVE = 2
_DELTA = 1
_EXPLICIT = "explicit_bucket_histogram"


def are_possible(span: Span) -> bool:
    """Return whether this process can report single points about the task of a span.

    Metrics must be exported by us and by OTLP alone, and no meter may exist.
    """
    if not is_readable(span) or not _has_no_meter():
        return False
    aggregation = _chosen(semconv.HISTOGRAM_AGGREGATION)
    found = destinations.of("metrics")
    return aggregation in ("", _EXPLICIT) and bool(found.queues) and not found.exporters


class SinglePoints:
    """A request with metrics about the task of a span.

    Args:
        span: the task's span. The points have its resource, scope and times, and it is their exemplar.
        end_time: Unix time in ns.
        attributes: the attributes of all points.
    """

    def __init__(self, span: Any, end_time: int, attributes: Mapping[str, str]) -> None:
        encoded = encode_spans([span]).resource_spans[0]
        self._attributes = attributes
        self._span = encoded.scope_spans[0].spans[0]
        # https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
        exemplars = _chosen(semconv.EXEMPLAR_FILTER)
        is_sampled = span.context is not None and span.context.trace_flags.sampled
        self._has_exemplar = exemplars == "always_on" or (is_sampled and exemplars != "always_off")
        # https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/
        is_delta = _chosen(semconv.TEMPORALITY) in ("delta", "lowmemory")
        self._temporality = _DELTA if is_delta else _CUMULATIVE
        self._times = {"start_time_unix_nano": span.start_time or end_time, "time_unix_nano": end_time}
        self._request, self._scope = otlp_requests.request_beside(encoded, "metrics")
        self._scope.schema_url = encoded.scope_spans[0].schema_url

    def histogram(self, name: str, unit: str, description: str, bounds: Sequence[float], value: float) -> None:
        """Add a histogram of one value."""
        histogram = self._scope.metrics.add(name=name, unit=unit, description=description).histogram
        histogram.aggregation_temporality = self._temporality
        counts = [0] * (len(bounds) + 1)
        # The upper bound of a bucket is included.
        counts[bisect.bisect_left(bounds, value)] = 1
        point = histogram.data_points.add(
            **self._times, count=1, sum=value, min=value, max=value, bucket_counts=counts, explicit_bounds=bounds
        )
        self._describe(point)
        if self._has_exemplar:
            point.exemplars.add(
                time_unix_nano=self._times["time_unix_nano"],
                as_double=value,
                trace_id=self._span.trace_id,
                span_id=self._span.span_id,
            )

    def count(self, name: str, unit: str, description: str) -> None:
        """Add a counter with the value one."""
        total = self._scope.metrics.add(name=name, unit=unit, description=description).sum
        total.aggregation_temporality = self._temporality
        total.is_monotonic = True
        self._describe(total.data_points.add(**self._times, as_int=1))

    def send(self) -> None:
        """Queue the request."""
        for queue in destinations.of("metrics").queues:
            queue.put_request(self._request)

    def _describe(self, point: Any) -> None:
        for name, value in self._attributes.items():
            point.attributes.add(key=name).value.string_value = value


def _has_no_meter() -> bool:
    """Return whether our meter provider is the one in use, and has no meter yet."""
    if providers.given_meter_provider is not None:
        return False
    if "opentelemetry.metrics" not in sys.modules:
        return providers.meters_are_ours_when_imported
    # Another thread may be importing it.
    from opentelemetry import metrics

    return getattr(metrics.get_meter_provider(), "is_made", None) is False


def _chosen(variable: str) -> str:
    return os.environ.get(variable, "").strip().lower()
