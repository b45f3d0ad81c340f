"""Spans of this project: its tracer, and a span that is current from its start until it is closed."""

import sys
from typing import TYPE_CHECKING

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags, Tracer

from otel_flyte import providers, semconv
from otel_flyte._version import __version__
from otel_flyte.tracing.flyte_span import FlyteSpan
from otel_flyte.tracing.span_context import SPAN_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Token
    from typing import TypeGuard

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.util.types import AttributeValue

_tracer: tuple[trace.TracerProvider, Tracer] | None = None


def tracer() -> Tracer:
    """Return this project's tracer of the tracer provider in use."""
    global _tracer
    provider = providers.given_tracer_provider
    if provider is None:
        provider = trace.get_tracer_provider() if providers.is_loadable() else providers.tracer_provider()
    if _tracer is None or _tracer[0] is not provider:
        _tracer = provider, provider.get_tracer(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
    return _tracer[1]


def is_suppressed(context: Context) -> bool:
    """Return whether the user has suppressed instrumentation in a context."""
    return bool(context.get(context_api._SUPPRESS_INSTRUMENTATION_KEY))


def uses_our_ids() -> bool:
    """Return whether the provider's id generator is ours, so that a span can have derived ids."""
    return bool(getattr(getattr(tracer(), "id_generator", None), "takes_derived_ids", False))


def is_readable(span: object) -> "TypeGuard[ReadableSpan]":
    """Return whether a span has the fields of the SDK's ``ReadableSpan``, so that it can be encoded."""
    # Another thread may be importing it.
    of_sdk = getattr(sys.modules.get("opentelemetry.sdk.trace"), "ReadableSpan", FlyteSpan)
    return type(span) is FlyteSpan or isinstance(span, of_sdk)


def link(span_context: SpanContext, kind: str, **attributes: str) -> Link:
    """Return a link with its kind as an attribute."""
    return Link(span_context, {semconv.LINK: kind, **attributes})


def derived_context(trace_id: int, span_id: int) -> SpanContext:
    """Return the context of a span of another process, by ids that were derived."""
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class OpenSpan:
    """A span that is current from its start until it is closed."""

    token: "Token[Context] | None" = None

    def __init__(
        self,
        name: str,
        parent: Context,
        role: str,
        *,
        attributes: "Mapping[str, AttributeValue]",
        kind: SpanKind = SpanKind.INTERNAL,
        links: "Sequence[Link]" = (),
        start_time: int | None = None,
    ) -> None:
        self.tracer = tracer()
        if semconv.SPAN_ROLE not in attributes:
            attributes = {**attributes, semconv.SPAN_ROLE: role}
        self.span: Span = self.tracer.start_span(
            name, parent, kind, attributes, links, start_time, record_exception=False, set_status_on_exception=False
        )
        self.context = Context({**parent, SPAN_KEY: self.span})
        self.token = context_api.attach(self.context)

    def close(self) -> None:
        """Make the parent current again and end the span. A second call ends what an exception has left open."""
        token, self.token = self.token, None
        if token is not None:
            context_api.detach(token)
        if self.span.is_recording():
            self.span.end()
