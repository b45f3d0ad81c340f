"""The span of a context. OpenTelemetry's own functions cost a short task as much as its spans."""

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

(SPAN_KEY,) = set_span_in_context(INVALID_SPAN, Context())
"""The key under which a context has its span."""


def with_span(span: Span, context: Context) -> Context:
    """Return a copy of a context with another span."""
    return Context({**context, SPAN_KEY: span})
