"""Providers of metrics and logs that are made when somebody asks for the first meter or logger.

The SDKs of both signals cost a task as much start-up time as that of traces, and most tasks use neither.
"""

from functools import cached_property
from typing import Any

from opentelemetry import _logs, metrics
from opentelemetry._logs import Logger
from opentelemetry.metrics import Meter

from otel_flyte.guard import guarded
from otel_flyte.lifecycle import shutdown


def set_meter_provider() -> None:
    """Set the global meter provider, unless somebody has set one."""
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        metrics.set_meter_provider(LazyMeterProvider())


def set_logger_provider() -> None:
    """Set the global logger provider, unless somebody has set one."""
    if type(_logs.get_logger_provider()).__name__ == "ProxyLoggerProvider":
        _logs.set_logger_provider(LazyLoggerProvider())


class LazyMeterProvider(metrics.MeterProvider):
    """A meter provider of the SDK that is made with its first meter."""

    @cached_property
    def _provider(self) -> metrics.MeterProvider:
        return _make_meter_provider() or metrics.NoOpMeterProvider()

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        """Return a meter of the SDK's provider."""
        return self._provider.get_meter(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


class LazyLoggerProvider(_logs.LoggerProvider):
    """A logger provider of the SDK that is made with its first logger."""

    @cached_property
    def _provider(self) -> _logs.LoggerProvider:
        return _make_logger_provider() or _logs.NoOpLoggerProvider()

    def get_logger(self, *args: Any, **kwargs: Any) -> Logger:
        """Return a logger of the SDK's provider."""
        return self._provider.get_logger(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


@guarded
def _make_meter_provider() -> metrics.MeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from otel_flyte.lifecycle import providers

    readers = [PeriodicExportingMetricReader(exporter) for exporter in providers.exporters_of("metrics")]
    provider = MeterProvider(readers, providers.resource(), shutdown_on_exit=False)
    shutdown.at_exit(provider)
    return provider


@guarded
def _make_logger_provider() -> _logs.LoggerProvider:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from otel_flyte.lifecycle import providers

    provider = LoggerProvider(providers.resource(), shutdown_on_exit=False)
    for exporter in providers.exporters_of("logs"):
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    shutdown.at_exit(provider)
    return provider
