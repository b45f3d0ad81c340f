"""Failures as log records, where the user opted for it."""

from opentelemetry import context as context_api
from opentelemetry.trace import Span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.logs import emitter, records
from otel_flyte.logs.capture import task_attributes
from otel_flyte.tasks.failures import Failure


def emit(span: Span, failure: Failure) -> bool:
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
