"""Captures the records of ``logging`` that are made while a task is open, each once, and failures as records."""

import logging
from functools import cache
from typing import TYPE_CHECKING

from opentelemetry import context as context_api
from opentelemetry.trace import Span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.logs import emitter, records
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import here, state
from otel_flyte.tasks.failures import Failure
from otel_flyte.tracing.spans import is_suppressed

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

_NEVER = (semconv.SCOPE, "opentelemetry")
"""Our loggers and those of OpenTelemetry: a line about an export must not become a record to export."""


@guarded
def capture(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Emit a record that has passed a logger and its filters, where a task is open."""
    if record.name.partition(".")[0] in _NEVER or not emitter.is_wanted():
        return
    if is_suppressed(context_api.get_current()):
        return
    context = here.context()
    if context is None or _has_handler_of_opentelemetry(logger):
        return
    token = context_api.attach(context)
    try:
        emitter.emit(records.copy(record, task_attributes()))
    finally:
        context_api.detach(token)


def emit_failure(span: Span, failure: Failure) -> bool:
    """Emit a failure with the ids of the span that it fails; return whether a logger provider is configured.

    https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/
    """
    if not emitter.is_wanted():
        return False
    body = ": ".join(filter(None, (failure.type, failure.message)))
    token = context_api.attach(set_span_in_context(span))
    try:
        return emitter.emit(records.event(semconv.EVENT_EXCEPTION, body, {**failure.exception(), **task_attributes()}))
    finally:
        context_api.detach(token)


def task_attributes() -> "dict[str, AttributeValue]":
    """Return the name of the open task, and its identity where the resource does not have it."""
    task = state.open_here()
    attributes = dict(task.identity_attributes) if task is not None else {}
    while task is not None and not task.task_name:
        task = task.outer
    return attributes if task is None else {**attributes, semconv.TASK_NAME: task.task_name}


def _has_handler_of_opentelemetry(logger: logging.Logger) -> bool:
    """Return whether a handler of OpenTelemetry, attached by the user or a launcher, gets the record too."""
    step: logging.Logger | None = logger
    while step is not None:
        if any(_is_of_opentelemetry(type(handler).__mro__) for handler in step.handlers):
            return True
        step = step.parent if step.propagate else None
    return False


@cache
def _is_of_opentelemetry(kinds: tuple[type, ...]) -> bool:
    return any(kind.__name__ == "LoggingHandler" and kind.__module__.startswith("opentelemetry.") for kind in kinds)
