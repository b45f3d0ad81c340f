"""What hands log records of the SDK to their queue, whichever form the SDK's version gives them."""

from typing import Any

from opentelemetry.sdk import _logs
from opentelemetry.sdk._logs import LogRecordProcessor

from otel_flyte.export.queue import ExportQueue
from otel_flyte.process import shutdown

_READABLE: Any = getattr(_logs, "ReadableLogRecord", None)


class QueueLogProcessor(LogRecordProcessor):
    """Hand every log record to its queue."""

    def __init__(self, queue: ExportQueue) -> None:
        self._queue = queue

    def on_emit(self, log_record: Any) -> None:
        """Queue a record as it is now."""
        self._queue.put(_readable(log_record))

    def emit(self, log_data: Any) -> None:
        """Queue a record: the name of :meth:`on_emit` before OpenTelemetry 1.35."""
        self.on_emit(log_data)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until what was emitted is delivered, never longer than the exit bound."""
        return shutdown.wait_for(self._queue, timeout_millis / 1000)

    def shutdown(self) -> None:
        """Wait likewise, unless it is the end of the process, which waits itself."""
        shutdown.wait_for(self._queue)


def _readable(record: Any) -> Any:
    """Return the form that encoders take: since OpenTelemetry 1.39, records that are emitted have another one."""
    if _READABLE is None or not hasattr(record, "instrumentation_scope") or isinstance(record, _READABLE):
        return record
    return _READABLE(
        log_record=record.log_record,
        resource=record.resource,
        instrumentation_scope=record.instrumentation_scope,
        limits=record.limits,
    )
