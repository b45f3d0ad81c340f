"""Conversion of each signal's records to OTLP. The SDK of a signal is imported with its first record."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message

from otel_flyte.export import dropped, otlp_logs, otlp_metrics, otlp_requests
from otel_flyte.export.otlp_json import line_of, request_of, spans_line
from otel_flyte.export.otlp_spans import encode_spans
from otel_flyte.runtime.guard import report
from otel_flyte.tracing.spans import is_readable


class Codec(NamedTuple):
    """Conversion of the records of one signal.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        encode: returns records as a request.
        line: returns records as a line of OTLP JSON.
        count: returns the number of spans, log records or metric data points.
    """

    signal: str
    encode: Callable[[Sequence[Any]], Message]
    line: Callable[[Sequence[Any]], bytes]
    count: Callable[[Sequence[Any]], int] = len

    def requests(self, records: Sequence[Any]) -> deque[Message]:
        """Return records as requests. Those that can't be encoded are dropped and counted."""
        try:
            return deque([self.encode(records)] if records else ())
        except Exception as error:
            if len(records) == 1:
                report("Codec", error)
                dropped.count(self.signal, dropped.UNENCODABLE, self.count(records))
                return deque()
        middle = len(records) // 2
        return self.requests(records[:middle]) + self.requests(records[middle:])

    def parsed(self, lines: Iterable[bytes]) -> Message:
        """Return the request that lines of OTLP JSON hold. Broken lines are dropped and counted."""
        request: Message = otlp_requests.request(self.signal)
        for line in lines:
            try:
                request.MergeFrom(request_of(line)[1])
            except ValueError:
                dropped.count(self.signal, dropped.UNENCODABLE)
        return request


def spans_of(span: Any) -> Any:
    """Return the ``ResourceSpans`` of one span of the SDK, or ``None`` for any other span."""
    return encode_spans([span]).resource_spans[0] if is_readable(span) else None


CODECS = {
    "traces": Codec("traces", encode_spans, spans_line),
    "metrics": Codec(
        "metrics", otlp_metrics.encode, lambda records: line_of(otlp_metrics.encode(records)), otlp_metrics.count_points
    ),
    "logs": Codec("logs", otlp_logs.encode, lambda records: line_of(otlp_logs.encode(records))),
}
