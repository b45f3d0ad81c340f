"""Write spans in the OTLP file format, which :mod:`otel_flyte.recording.otlp_file` reads."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_flyte.export.otlp_json import spans_line

_logger = logging.getLogger(__name__)


class FileSpanExporter(SpanExporter):
    """Append each batch to a file as one line of OTLP JSON.

    A line is one write to a file opened for appending: what was exported survives whatever ends the process, and forked
    processes can share the file.

    Attributes:
        written: how many spans were written.
        lost: how many could not be.
        error: why the first of them could not.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.written = 0
        self.lost = 0
        self.error: OSError | None = None
        self._descriptor: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans; a disk that is full is told, not raised."""
        if self._descriptor is None:
            return SpanExportResult.FAILURE
        try:
            _append(self._descriptor, spans_line(spans))
        except OSError as error:
            if self.error is None:
                _logger.warning("otel-flyte: %s can't be written (%s): spans are lost.", self.path, error)
                self.error = error
            self.lost += len(spans)
            return SpanExportResult.FAILURE
        self.written += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Do nothing: nothing is held back."""
        return True


def _append(descriptor: int, line: bytes) -> None:
    """Write a line; a disk that takes only a part of it is left without that part, which would spoil the next line."""
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        if written:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise
