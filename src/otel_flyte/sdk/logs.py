"""Log records: the logger provider that we create."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk import _logs
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from otel_flyte import semconv
from otel_flyte.export import destinations
from otel_flyte.process import shutdown
from otel_flyte.sdk import arguments, resource
from otel_flyte.sdk.queued import Queued

_LIMITS = {
    "max_attributes": semconv.ATTRIBUTE_COUNT_LIMIT,
    "max_attribute_length": semconv.ATTRIBUTE_LENGTH_LIMIT,
    "max_log_record_attributes": semconv.LOG_ATTRIBUTE_COUNT_LIMIT,
    "max_log_record_attribute_length": semconv.LOG_ATTRIBUTE_LENGTH_LIMIT,
}
_ReadableLogRecord: Any = getattr(_logs, "ReadableLogRecord", None)
"""The form that encoders accept, since OpenTelemetry 1.39."""


class QueueLogRecords(Queued, LogRecordProcessor):
    """Puts each log record into a queue."""

    def on_emit(self, log_record: Any) -> None:
        """Put a record into the queue as it is now."""
        self._queue.put(readable(log_record))

    def emit(self, log_data: Any) -> None:
        """Put a record into the queue: the name of :meth:`on_emit` before OpenTelemetry 1.35."""
        self.on_emit(log_data)


def create_provider(values: Mapping[str, str]) -> LoggerProvider:
    """Create an SDK logger provider with our resource that delivers to the exporters that the environment configures.

    Args:
        values: usable standard values.
    """
    provider = LoggerProvider(resource.ours(), shutdown_on_exit=False, **limits(values))
    found = destinations.of("logs")
    for queue in found.queues:
        provider.add_log_record_processor(QueueLogRecords(queue))
    options = arguments.batches(values, "BLRP")
    for exporter in found.exporters:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **options))
    shutdown.at_exit(provider)
    return provider


def limits(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the limits as an argument; older versions have no argument for them."""
    kind = getattr(_logs, "LogRecordLimits", None)
    if kind is None:
        return {}
    found = kind(**arguments.accepted(kind, **arguments.limits(values, _LIMITS)))
    return arguments.accepted(LoggerProvider, log_record_limits=found)


def readable(record: Any) -> Any:
    """Return a record in the form that encoders accept."""
    is_old = _ReadableLogRecord is None or not hasattr(record, "instrumentation_scope")
    if is_old or isinstance(record, _ReadableLogRecord):
        return record
    return _ReadableLogRecord(
        log_record=record.log_record,
        resource=record.resource,
        instrumentation_scope=record.instrumentation_scope,
        limits=record.limits,
    )
