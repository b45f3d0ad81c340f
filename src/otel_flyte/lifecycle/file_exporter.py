"""Write spans in the OTLP file format, which :mod:`otel_flyte.query.otlp_file` reads."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_logger = logging.getLogger(__name__)
_IDS = {"traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id"}


class FileSpanExporter(SpanExporter):
    """Append each batch to a file as one line of OTLP JSON.

    A line is one write to a file opened for appending: what was exported survives whatever ends the process, and forked
    processes can share the file.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans; a disk that is full is told, not raised."""
        if self._descriptor is None:
            return SpanExportResult.FAILURE
        try:
            _write(self._descriptor, as_line(encode_spans(spans)).encode())
        except OSError as error:
            _logger.warning("otel-flyte: %s can't be written (%s): %d spans are lost.", self.path, error, len(spans))
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Do nothing: nothing is held back."""
        return True


def as_line(request: ExportTraceServiceRequest) -> str:
    """Give the OTLP JSON mapping of a request on one line.

    It is proto3's mapping, with 64-bit integers as strings, but for two things: ids are hexadecimal and enums numbers.
    """
    document = MessageToDict(request, use_integers_for_enums=True)
    for message, resource_spans in zip(request.resource_spans, document.get("resourceSpans", ()), strict=True):
        for scope_message, scope_spans in zip(message.scope_spans, resource_spans.get("scopeSpans", ()), strict=True):
            for span_message, span in zip(scope_message.spans, scope_spans.get("spans", ()), strict=True):
                span.update(_ids(span_message, span))
                for link_message, link in zip(span_message.links, span.get("links", ()), strict=True):
                    link.update(_ids(link_message, link))
    return json.dumps(document, separators=(",", ":")) + "\n"


def _ids(message: Any, mapped: Mapping[str, Any]) -> dict[str, str]:
    return {key: getattr(message, field).hex() for key, field in _IDS.items() if key in mapped}


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]
