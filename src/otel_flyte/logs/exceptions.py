"""Exceptions as log records, where the user opted for it."""

from opentelemetry import context as context_api
from opentelemetry.trace import Span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.logs import emitter, records
from otel_flyte.logs.capture import of_task


def emit(span: Span, said: dict[str, str]) -> bool:
    """Deliver an exception with the ids of the span that it fails; return whether anybody takes it.

    https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/
    """
    if not emitter.is_wanted():
        return False
    body = ": ".join(part for part in (said[semconv.EXCEPTION_TYPE], said[semconv.EXCEPTION_MESSAGE]) if part)
    token = context_api.attach(set_span_in_context(span))
    try:
        return emitter.emit(records.event(semconv.EVENT_EXCEPTION, body, {**said, **of_task()}))
    finally:
        context_api.detach(token)
