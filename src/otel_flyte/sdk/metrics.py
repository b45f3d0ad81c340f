"""Metrics: the meter provider that we make, and how what it collects gets to its queues."""

import os
import sys
import threading
import uuid
from collections.abc import Sequence
from typing import Any

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
from otel_flyte.export import codecs, destinations, relay
from otel_flyte.export.queue import ExportQueue
from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk import resource

_DELTA = {
    "DELTA": (Counter, ObservableCounter, Histogram),
    "LOWMEMORY": (Counter, Histogram),
}
"""https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/"""

_readers: list[PeriodicExportingMetricReader] = []


class QueueMetricExporter(MetricExporter):
    """Hand what was collected to its queue, which sends it."""

    def __init__(self, queue: ExportQueue) -> None:
        super().__init__(preferred_temporality=_temporality(), preferred_aggregation=_aggregation())
        self._queue = queue

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  # nothing is waited for
        **_: Any,
    ) -> MetricExportResult:
        """Queue what was collected, unless it is nothing."""
        if any(scope.metrics for each in metrics_data.resource_metrics for scope in each.scope_metrics):
            self._queue.put(metrics_data)
            self._queue.kick()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Wait until what was collected is delivered, never longer than the exit bound."""
        return shutdown.wait_for(self._queue, timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Wait likewise, unless it is the end of the process, which waits itself."""
        shutdown.wait_for(self._queue, timeout_millis / 1000)


def make_provider() -> MeterProvider:
    """Make an SDK meter provider with our resource that delivers to the exporters that the environment configures."""
    found = destinations.of("metrics")
    readers = [
        PeriodicExportingMetricReader(exporter)
        for exporter in (*map(QueueMetricExporter, found.queues), *found.exporters)
    ]
    _readers.extend(readers)
    provider = MeterProvider(readers, resource.ours(), shutdown_on_exit=False)
    shutdown.at_exit(provider)
    shutdown.collect_with(collect)
    if relay.is_child():
        codecs.instance_of_child = str(uuid.uuid4())
    forks.register(after_in_child=lambda: _begin_child(provider, readers))
    return provider


def collect() -> None:
    """Have what was measured so far queued."""
    for reader in _readers:
        reader.collect()


def _temporality() -> dict[type, AggregationTemporality]:
    preference = os.environ.get(semconv.TEMPORALITY, "").strip().upper()
    return dict.fromkeys(_DELTA.get(preference, ()), AggregationTemporality.DELTA)


def _aggregation() -> dict[type, Aggregation]:
    chosen = os.environ.get(semconv.HISTOGRAM_AGGREGATION, "").strip().lower()
    if chosen == "base2_exponential_bucket_histogram":
        return {Histogram: ExponentialBucketHistogramAggregation()}
    return {}


@guarded
def _begin_child(provider: MeterProvider, readers: Sequence[PeriodicExportingMetricReader]) -> None:
    """In a forked child: count from zero, under an identity of its own, with locks that no thread of the parent holds.

    The SDK has no way to begin anew; its storages make what they lack with the next measurement.
    """
    if not relay.is_child():
        return
    codecs.instance_of_child = str(uuid.uuid4())
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # Its workers end by `os._exit`, and forget what is to be called then when they begin.
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
