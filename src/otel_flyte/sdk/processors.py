"""Span processors of ours, for our providers and for other providers."""

from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.util.types import AttributeValue

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk.queued import Queued
from otel_flyte.supervisor import client
from otel_flyte.tasks import state
from otel_flyte.tracing import open_spans

__all__ = [
    "AcknowledgedSpans",
    "OpenSpans",
    "Processor",
    "QueueSpans",
    "ReadableSpan",
    "Shared",
    "Span",
    "SupervisedSpans",
    "TracerProvider",
]


class QueueSpans(Queued, SpanProcessor):
    """Puts each span that ends into a queue."""

    def on_end(self, span: ReadableSpan) -> None:
        """Put a span into the queue, unless this is a forked child and the parent has the span open, too."""
        context = span.context
        if context is not None and context.trace_flags.sampled and context.span_id not in open_spans.inherited:
            self._queue.put(span)


class Processor(SpanProcessor):
    """A processor that delays no span, so that a flush has nothing to do. It takes spans of ours, too."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # nothing is delayed
        """Do nothing, with success: OpenTelemetry 1.27 takes the base class's answer for a failure."""
        return True


class Shared(Processor):
    """Has a processor see the spans of a second provider, whose shutdown does not concern it."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Show a span that has started."""
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Show a span that has ended."""
        self._processor.on_end(span)


class OpenSpans(Processor):
    """Keeps the registry of open spans, and sets the identity of their attempt where attempts share a process.

    Spans of ours have that identity, and their tracer keeps the registry.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Add a span."""
        open_spans.add(span.get_span_context().span_id, span)
        task = state.current.get()
        if task is not None and task.identity_attributes:
            _identify(span, task.identity_attributes)

    def on_end(self, span: ReadableSpan) -> None:
        """Remove a span."""
        if span.context is not None:
            open_spans.discard(span.context.span_id)


@guarded
def _identify(span: Span, identity: Mapping[str, AttributeValue]) -> None:
    """Set the identity of the open task on a user's span; spans of ours have the identity of their own task."""
    scope = span.instrumentation_scope
    if scope is None or scope.name != semconv.SCOPE:
        span.set_attributes(identity)


class SupervisedSpans(Processor):
    """Reports a task's end to ``otel-flyte exec`` before the span is queued, so that only one process sends it."""

    def on_end(self, span: ReadableSpan) -> None:
        """Report a span."""
        client.ended(span)


class AcknowledgedSpans(Processor):
    """Reports each span that ends to ``otel-flyte exec`` as acknowledged: another provider delivers it."""

    def on_end(self, span: ReadableSpan) -> None:
        """Report a span."""
        client.acknowledged([span])
