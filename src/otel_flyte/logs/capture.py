"""Which records of ``logging`` are delivered: those that are made while a task is open, each once."""

import logging
from functools import cache

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.logs import emitter, records
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import state

_NEVER = (semconv.SCOPE, "opentelemetry")
"""Loggers of ours, and of those who deliver: what they say of a delivery is not to be delivered."""


@guarded
def note(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Deliver a record that a logger and its filters have let through, where a task is open."""
    if record.name.partition(".")[0] in _NEVER or not emitter.is_wanted() or _is_suppressed():
        return
    context = context_here()
    if context is None or _is_delivered_by_another(logger):
        return
    token = context_api.attach(context)
    try:
        emitter.emit(records.delivered(record, of_task()))
    finally:
        context_api.detach(token)


def context_here() -> Context | None:
    """Return the context that says which span a record belongs to, ``None`` outside of tasks.

    In a thread that a task has started without its context it is the task's phase.
    """
    scope = state.open_around()
    if scope is None:
        return None
    context = context_api.get_current()
    if get_current_span(context).get_span_context().is_valid:
        return context
    return set_span_in_context(scope.phase or scope.span, scope.context)


def of_task() -> dict[str, str]:
    """Return the name of the open task as an attribute."""
    scope = state.open_around()
    while scope is not None and semconv.TASK_NAME not in scope.declared:
        scope = scope.outer
    return {} if scope is None else {semconv.TASK_NAME: str(scope.declared[semconv.TASK_NAME])}


def _is_suppressed() -> bool:
    return bool(context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY))


def _is_delivered_by_another(logger: logging.Logger) -> bool:
    """Whether a handler of OpenTelemetry's, which the user or a launcher has attached, gets the record."""
    step: logging.Logger | None = logger
    while step is not None:
        if any(_is_of_opentelemetry(type(handler).__mro__) for handler in step.handlers):
            return True
        step = step.parent if step.propagate else None
    return False


@cache
def _is_of_opentelemetry(kinds: tuple[type, ...]) -> bool:
    return any(kind.__name__ == "LoggingHandler" and kind.__module__.startswith("opentelemetry.") for kind in kinds)
