"""Trace context in environment variables, as W3C defines it for processes."""

import os
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Span, SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded
from otel_flyte.tracing.flyte_span import FlyteSpan

_propagator = TraceContextTextMapPropagator()
_VARIABLES = {"traceparent": semconv.TRACEPARENT, "tracestate": semconv.TRACESTATE}

exposed: dict[str, str] = {}
"""Variables that this process has set in its own environment: a parent for its children, never for itself."""

_hidden: dict[str, str] = {}
"""Their values before."""


def incoming(environ: Mapping[str, str]) -> SpanContext:
    """Return the span that the environment names as parent, an invalid one where there is none."""
    traceparent = environ.get(semconv.TRACEPARENT)
    if not traceparent or traceparent == exposed.get(semconv.TRACEPARENT):
        return INVALID_SPAN_CONTEXT
    return parse(environ)


def launched_by(environ: Mapping[str, str]) -> SpanContext:
    """Return the span that launched this execution, an invalid one where the variable is not set."""
    return parse({semconv.TRACEPARENT: environ.get(semconv.OTEL_FLYTE_LAUNCHED_BY, "")})


def parse(environ: Mapping[str, str]) -> SpanContext:
    """Return the span that variables name, an invalid one where there is none."""
    fields = {field: environ[variable] for field, variable in _VARIABLES.items() if environ.get(variable)}
    return get_current_span(_propagator.extract(fields, Context())).get_span_context()


def variables(span: Span) -> dict[str, str]:
    """Return the variables that make a span the parent of another process; none for an invalid span."""
    # Spans of ours have the fields of their context, which each property of a context would take a call to read.
    context: Any = span if type(span) is FlyteSpan else span.get_span_context()
    if context is not span and not context.is_valid:
        return {}
    flags = context.trace_flags & TraceFlags.SAMPLED
    found = {semconv.TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"}
    if context.trace_state:
        found[semconv.TRACESTATE] = context.trace_state.to_header()
    return found


def expose(span: Span, *, is_environment_free: bool = False) -> bool:
    """Make a span the parent of every process that this one starts from now on.

    Only the outermost span of a process is exposed, the first where threads have several. Returns whether it was.

    Args:
        span: the span.
        is_environment_free: whether the variables are known to be unset.
    """
    if exposed or not (type(span) is FlyteSpan or span.get_span_context().trace_flags.sampled):
        return False
    exposed.update(variables(span))
    # One look-up is enough: a state without a parent has no meaning.
    if not is_environment_free and semconv.TRACEPARENT in os.environ:
        for name in _VARIABLES.values():
            if name in os.environ:
                _hidden[name] = os.environ.pop(name)
    for name, value in exposed.items():
        os.environ[name] = value
    return True


@guarded
def hide() -> None:
    """Restore the variables that :func:`expose` has set, unless the task has changed them."""
    for name, value in exposed.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    exposed.clear()
    if _hidden:
        for name, value in _hidden.items():
            os.environ.setdefault(name, value)
        _hidden.clear()
