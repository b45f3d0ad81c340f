"""The logger provider of a local run, which writes to its recording."""

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor

from otel_flyte.export.codecs import CODECS
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk import logs, resource

Write = Callable[[bytes], None]


class WrittenLogRecords(LogRecordProcessor):
    """Writes each log record as a line."""

    def __init__(self, write: Write) -> None:
        self._write = write

    @guarded
    def on_emit(self, log_record: Any) -> None:
        """Write a record."""
        self._write(CODECS["logs"].line([logs.readable(log_record)]))

    def emit(self, log_data: Any) -> None:
        """Write a record: the name of :meth:`on_emit` before OpenTelemetry 1.35."""
        self.on_emit(log_data)

    def shutdown(self) -> None:
        """Do nothing: the recording is closed by its owner."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # nothing is delayed
        """Do nothing, because every record is written at once."""
        return True


def create_provider(values: Mapping[str, str], write: Write) -> LoggerProvider:
    """Create an SDK logger provider with our resource.

    Args:
        values: usable standard values.
        write: writes a line of OTLP JSON.
    """
    provider = LoggerProvider(resource.ours(), shutdown_on_exit=False, **logs.limits(values))
    provider.add_log_record_processor(WrittenLogRecords(write))
    return provider
