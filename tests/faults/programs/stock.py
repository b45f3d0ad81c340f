"""The work with the SDK's own providers and exporters, set up as its documentation does."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from faults.programs import workload
from faults.work import Work


def call(function: Callable[[], None]) -> None:
    set_providers()
    function()


def flush() -> None:
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
        getattr(provider, "force_flush", lambda timeout: True)(2000)


def measure() -> None:
    """Do nothing: the SDK has no `stats` of a task."""


def set_providers() -> None:
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(_exporter("trace_exporter", "OTLPSpanExporter")))
    trace.set_tracer_provider(tracer_provider)
    work = Work.ordered()
    if work.points:
        reader = PeriodicExportingMetricReader(_exporter("metric_exporter", "OTLPMetricExporter"))
        metrics.set_meter_provider(MeterProvider([reader]))
    if work.logs:
        logger_provider = LoggerProvider()
        logger_provider.add_log_record_processor(BatchLogRecordProcessor(_exporter("_log_exporter", "OTLPLogExporter")))
        _logs.set_logger_provider(logger_provider)


def _exporter(module: str, name: str) -> Any:
    protocol = os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"].partition("/")[0]
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.{module}"), name)()


if __name__ == "__main__":
    call(workload.run)
