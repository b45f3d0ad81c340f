"""Metrics: the meter provider that we create."""

import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation

from otel_flyte import semconv
from otel_flyte.config import standard
from otel_flyte.export import destinations, otlp_metrics, relay
from otel_flyte.export.queue import ExportQueue
from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk import arguments, resource
from otel_flyte.sdk.queued import Queued

_DELTA = {"delta": (Counter, ObservableCounter, Histogram), "lowmemory": (Counter, Histogram)}
"""https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/"""

_EXEMPLAR_FILTERS = {
    "always_on": "AlwaysOnExemplarFilter",
    "always_off": "AlwaysOffExemplarFilter",
    "trace_based": "TraceBasedExemplarFilter",
}
"""Classes of the SDK since OpenTelemetry 1.28."""

_readers: list[PeriodicExportingMetricReader] = []


class QueueMetrics(Queued, MetricExporter):
    """Puts each collection into a queue.

    Args:
        queue: the queue.
        values: usable standard values.
    """

    def __init__(self, queue: ExportQueue, values: Mapping[str, str]) -> None:
        MetricExporter.__init__(self, _temporality(values), _aggregation(values))
        Queued.__init__(self, queue)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  # the queue does not wait
        **_: Any,
    ) -> MetricExportResult:
        """Put a collection into the queue, unless it is empty."""
        if any(scope.metrics for each in metrics_data.resource_metrics for scope in each.scope_metrics):
            self._queue.put(metrics_data)
            self._queue.kick()
        return MetricExportResult.SUCCESS


def create_provider(values: Mapping[str, str]) -> MeterProvider:
    """Create an SDK meter provider with our resource that delivers to the exporters that the environment configures.

    Args:
        values: usable standard values.
    """
    found = destinations.of("metrics")
    exporters = (*(QueueMetrics(queue, values) for queue in found.queues), *found.exporters)
    interval = standard.number(values, semconv.METRIC_EXPORT_INTERVAL)
    timeout = standard.number(values, semconv.METRIC_EXPORT_TIMEOUT)
    readers = [PeriodicExportingMetricReader(exporter, interval, timeout) for exporter in exporters]
    _readers.extend(readers)
    provider = MeterProvider(readers, resource.ours(), shutdown_on_exit=False, **_exemplar_filter(values))
    shutdown.at_exit(provider)
    shutdown.collect_with(collect)
    if relay.is_child():
        otlp_metrics.instance_of_child = str(uuid.uuid4())
    forks.register(after_in_child=lambda: _begin_child(provider, readers))
    return provider


def collect() -> None:
    """Put the measurements so far into the queues."""
    for reader in _readers:
        reader.collect()


def _temporality(values: Mapping[str, str]) -> dict[type, AggregationTemporality]:
    preference = values.get(semconv.TEMPORALITY, "")
    return dict.fromkeys(_DELTA.get(preference, ()), AggregationTemporality.DELTA)


def _aggregation(values: Mapping[str, str]) -> dict[type, Aggregation]:
    is_exponential = values.get(semconv.HISTOGRAM_AGGREGATION) == standard.EXPONENTIAL
    return {Histogram: ExponentialBucketHistogramAggregation()} if is_exponential else {}


def _exemplar_filter(values: Mapping[str, str]) -> dict[str, Any]:
    chosen = values.get(semconv.EXEMPLAR_FILTER, "trace_based")
    kind = getattr(metrics, _EXEMPLAR_FILTERS[chosen], None)
    return arguments.accepted(MeterProvider, exemplar_filter=kind()) if kind is not None else {}


@guarded
def _begin_child(provider: MeterProvider, readers: Sequence[PeriodicExportingMetricReader]) -> None:
    """In a forked child: count from zero, under an identity of its own, with locks that no thread of the parent holds.

    The SDK has no function for that. Its storages create their state again with the next measurement.
    """
    if not relay.is_child():
        return
    otlp_metrics.instance_of_child = str(uuid.uuid4())
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # Its workers end by `os._exit`. They call only functions that are registered after they began.
        util.register_after_fork(provider, lambda _: util.Finalize(None, shutdown.end, exitpriority=0))
    consumer = getattr(provider, "_measurement_consumer", None)
    for storage in getattr(consumer, "_reader_storages", {}).values():
        if hasattr(storage, "_instrument_view_instrument_matches"):
            storage._instrument_view_instrument_matches = {}
        if hasattr(storage, "_lock"):
            storage._lock = threading.RLock()
    for reader in readers:
        if hasattr(reader, "_export_lock"):
            reader._export_lock = threading.Lock()
