"""The spans that are open in this process, so that a signal can be told on each of them."""

import os

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from otel_flyte import semconv
from otel_flyte.guard import guarded

LIMIT = 4096
"""Spans that are tracked; users may start spans that they never end."""

inherited: set[int] = set()
"""In a forked child: ids of the spans that were open when it was forked. Its parent ends them."""

_open: dict[int, Span] = {}


class OpenSpans(SpanProcessor):
    """Keep the registry."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Add a span."""
        if len(_open) < LIMIT and span.context is not None:
            _open[span.context.span_id] = span

    def on_end(self, span: ReadableSpan) -> None:
        """Remove a span."""
        if span.context is not None:
            _open.pop(span.context.span_id, None)

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # nothing is held back
        """Do nothing; OpenTelemetry 1.27 takes the base class's answer for a failure."""
        return True


@guarded
def tell(signal_name: str, phases: dict[int, str]) -> None:
    """Add an event to each open span: the signal, and the phase that it came in.

    Args:
        signal_name: such as ``SIGTERM``.
        phases: the phase that is open in each task, by the span ids of the task and of the phase.
    """
    for span in list(_open.values()):
        attributes = {semconv.SIGNAL_NAME: signal_name}
        phase = _phase_of(span, phases)
        if phase:
            attributes[semconv.PHASE] = phase
        span.add_event(semconv.EVENT_SIGNAL, attributes)


@guarded
def end_all(signal_name: str) -> None:
    """End each open span as failed by a signal that the process is about to die of, the innermost first."""
    for span in reversed(list(_open.values())):
        span.set_status(Status(StatusCode.ERROR, f"ended by {signal_name}"))
        span.set_attribute(semconv.ERROR_TYPE, signal_name)
        span.end()


def _phase_of(span: Span, phases: dict[int, str]) -> str:
    """Follow the parents to the nearest task or phase."""
    step: Span | None = span
    while step is not None and step.context is not None:
        if step.context.span_id in phases:
            return phases[step.context.span_id]
        step = _open.get(step.parent.span_id) if step.parent is not None else None
    return ""


def _inherit() -> None:
    inherited.update(_open)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inherit)
