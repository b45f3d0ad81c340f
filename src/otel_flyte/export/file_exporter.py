"""An exporter that writes spans in the OTLP file format, which :mod:`otel_flyte.recording.otlp_file` reads."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_flyte.export.otlp_json import spans_line
from otel_flyte.export.spool.files import append_line
from otel_flyte.runtime.guard import say_once

_logger = logging.getLogger(__name__)


class FileSpanExporter(SpanExporter):
    """Append each batch to a file as one line of OTLP JSON.

    Each line is one write to a file that is opened for appending: exported spans survive any end of the process, and
    forked processes can share the file.

    Attributes:
        written: number of spans that were written.
        dropped: number of spans that could not be written.
        error: the reason for the first of them.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.written = 0
        self.dropped = 0
        self.error: OSError | None = None
        self._descriptor: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans. A full disk is logged and not raised."""
        if self._descriptor is None:
            return SpanExportResult.FAILURE
        try:
            append_line(self._descriptor, spans_line(spans))
        except OSError as error:
            if self.error is None:
                _logger.warning("otel-flyte: %s can't be written (%s): spans are dropped", self.path, error)
                self.error = error
            self.dropped += len(spans)
            return SpanExportResult.FAILURE
        self.written += len(spans)
        return SpanExportResult.SUCCESS

    def write_line(self, line: bytes) -> None:
        """Write a line of another signal. A full disk is logged once."""
        if self._descriptor is None:
            return
        try:
            append_line(self._descriptor, line)
        except OSError as error:
            say_once(f"{self.path} can't be written ({error}): metrics and log records are dropped")

    def shutdown(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Do nothing, because every span is written at once."""
        return True
