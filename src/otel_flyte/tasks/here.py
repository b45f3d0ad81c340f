"""The span that encloses what runs here, in threads and processes that have no context of their own, too."""

from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, get_current_span

from otel_flyte.tasks import state
from otel_flyte.tracing.span_context import SPAN_KEY

of_process: SpanContext | None = None
"""The span that encloses this process: that of the process which started it."""


def context() -> Context | None:
    """Return the context of the span that encloses this thread, ``None`` outside of tasks.

    In a thread that a task has started without its context it is the task's phase.
    """
    task = state.open_here()
    if task is None:
        return None
    current = get_current()
    if get_current_span(current).get_span_context().is_valid:
        return current
    return Context({**task.context, **current, SPAN_KEY: task.phase or task.span})


def parent() -> Context:
    """Return the context for a new span: the current one, with the span that encloses this thread or process."""
    current = get_current()
    if SPAN_KEY in current:
        return current
    if (found := context()) is not None:
        return found
    if of_process is None:
        return current
    enclosing: Span = NonRecordingSpan(of_process)
    return Context({**current, SPAN_KEY: enclosing})
