"""Span processors of ours, for providers of ours and of others."""

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from otel_flyte.supervisor import client
from otel_flyte.tracing import open_spans

__all__ = ["ForeignSpans", "OpenSpans", "Processor", "ReadableSpan", "Span", "SupervisedSpans", "TracerProvider"]


class Processor(SpanProcessor):
    """A processor that holds no span back, so that a flush has nothing to do."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # nothing is held back
        """Do nothing; OpenTelemetry 1.27 takes the base class's answer for a failure."""
        return True


class OpenSpans(Processor):
    """Keep the registry of open spans."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Add a span."""
        open_spans.add(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Remove a span."""
        if span.context is not None:
            open_spans.discard(span.context.span_id)


class SupervisedSpans(Processor):
    """Report a task's end to ``otel-flyte exec`` before the span is queued, so that only one of them sends it."""

    def on_end(self, span: ReadableSpan) -> None:
        """Report a span."""
        client.ended(span)


class ForeignSpans(Processor):
    """Report to ``otel-flyte exec`` that another provider delivers the spans that end: it reports no more."""

    def on_end(self, span: ReadableSpan) -> None:
        """Report a span."""
        client.settled_all([span])
