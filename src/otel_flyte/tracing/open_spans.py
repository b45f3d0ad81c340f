"""The open spans of this process, so that a signal can be recorded on each of them."""

from opentelemetry.trace import Span, Status, StatusCode

from otel_flyte import semconv
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded

LIMIT = 4096
"""Spans that are tracked: users may start spans that they never end."""

inherited: set[int] = set()
"""In a forked child: ids of the spans that were open at the fork. The parent process ends them."""

registry: dict[int, Span] = {}
"""The open spans by id. The tracer of our own spans, each of which ends, adds and removes them by itself."""


def add(span_id: int, span: Span) -> None:
    """Add a span that has started."""
    if len(registry) < LIMIT:
        registry[span_id] = span


def discard(span_id: int) -> None:
    """Remove a span that has ended."""
    registry.pop(span_id, None)


@guarded
def add_signal(signal_name: str, phases: dict[int, str]) -> None:
    """Add an event to each open span: the signal, and the phase in which it arrived.

    Args:
        signal_name: such as ``SIGTERM``.
        phases: the phase that is open in each task, by the span ids of the task and of the phase.
    """
    for span in list(registry.values()):
        attributes = {semconv.SIGNAL_NAME: signal_name}
        phase = _phase_of(span, phases)
        if phase:
            attributes[semconv.PHASE] = phase
        span.add_event(semconv.EVENT_SIGNAL, attributes)


@guarded
def end_all(signal_name: str) -> None:
    """End each open span as failed by the signal that is about to end the process, the innermost first."""
    for span in reversed(list(registry.values())):
        span.set_status(Status(StatusCode.ERROR, f"ended by {signal_name}"))
        span.set_attribute(semconv.ERROR_TYPE, signal_name)
        span.end()


def _phase_of(span: Span, phases: dict[int, str]) -> str:
    """Follow the parents to the nearest task or phase."""
    step: Span | None = span
    while step is not None:
        span_id = step.get_span_context().span_id
        if span_id in phases:
            return phases[span_id]
        parent = getattr(step, "parent", None)
        step = registry.get(parent.span_id) if parent is not None else None
    return ""


def _inherit() -> None:
    inherited.update(registry)
    registry.clear()


forks.register(after_in_child=_inherit)
