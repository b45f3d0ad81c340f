"""The last spans that ended, kept in this process for the deck of a task."""

from collections import deque
from collections.abc import Iterable, Iterator

from opentelemetry.sdk.trace import ReadableSpan

from otel_flyte import semconv
from otel_flyte.sdk.processors import Processor

__all__ = ["KeptSpans", "ReadableSpan"]

KEPT = 1000
"""Spans of ours that are kept, and as many spans of the user; the oldest are dropped first."""


def _span_id(span: ReadableSpan) -> int:
    return span.context.span_id if span.context is not None else 0


class KeptSpans(Processor):
    """Keeps the last spans that ended. The spans of a loop in user code do not displace the phases of their task."""

    def __init__(self) -> None:
        self._ours: deque[ReadableSpan] = deque(maxlen=KEPT)
        self._others: deque[ReadableSpan] = deque(maxlen=KEPT)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        scope = span.instrumentation_scope
        kept = self._ours if scope is not None and scope.name == semconv.SCOPE else self._others
        kept.append(span)

    def below(self, tops: Iterable[ReadableSpan]) -> Iterator[ReadableSpan]:
        """Return the descendants of some spans, as far as all spans between are kept."""
        spans = [*self._ours, *self._others]
        parents = {_span_id(span): span.parent.span_id for span in spans if span.parent is not None}
        wanted = {_span_id(top) for top in tops}
        for span in spans:
            above, seen = parents.get(_span_id(span)), {_span_id(span)}
            while above is not None and above not in wanted and above not in seen:
                seen.add(above)
                above = parents.get(above)
            if above in wanted:
                yield span
