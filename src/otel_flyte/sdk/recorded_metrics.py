"""The meter provider of a local run, which writes to its recording."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from otel_flyte import semconv
from otel_flyte.config import standard
from otel_flyte.export.codecs import CODECS
from otel_flyte.sdk import resource


class WrittenMetrics(MetricExporter):
    """Writes each collection as a line. A forked child, which has the counts of its parent, writes none."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._write = write
        self._process = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:  # noqa: ARG002
        """Write a collection, unless it is empty."""
        if metrics_data.resource_metrics and os.getpid() == self._process:
            self._write(CODECS["metrics"].line([metrics_data]))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  # nothing is delayed
        """Do nothing, because every collection is written at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Do nothing: the recording is closed by its owner."""


def create_provider(values: Mapping[str, str], write: Callable[[bytes], None]) -> MeterProvider:
    """Create an SDK meter provider with our resource.

    Args:
        values: usable standard values.
        write: writes a line of OTLP JSON.
    """
    interval = standard.number(values, semconv.METRIC_EXPORT_INTERVAL)
    reader = PeriodicExportingMetricReader(WrittenMetrics(write), interval)
    return MeterProvider([reader], resource.ours(), shutdown_on_exit=False)
