"""The tracer of this project's scope where the tracer provider is ours."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    get_current_span,
    use_span,
)
from opentelemetry.util._decorator import _agnosticcontextmanager

from otel_flyte.tracing import open_spans
from otel_flyte.tracing.flyte_span import DEFAULT_LIMIT, FlyteSpan, SpanLimits
from otel_flyte.tracing.span_context import SPAN_KEY

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

_RANDOM = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)
_NOT_SAMPLED, _SAMPLED = TraceFlags(TraceFlags.DEFAULT), TraceFlags(TraceFlags.SAMPLED)
_FLAGS = {
    (is_sampled, is_random): TraceFlags(flags | (_RANDOM if is_random else 0))
    for is_sampled, flags in ((False, _NOT_SAMPLED), (True, _SAMPLED))
    for is_random in (False, True)
}


class Sampling(NamedTuple):
    """The decision of a sampler that needs no look at the span.

    Attributes:
        roots: whether a span without a parent is sampled.
        follows_parent: whether other spans take the decision of their parent, instead of that of a root.
    """

    roots: bool = True
    follows_parent: bool = True


class Ids(Protocol):
    """An id generator, as the SDK's."""

    takes_derived_ids: bool

    def generate_span_id(self) -> int:
        """Return a new span id."""

    def generate_trace_id(self) -> int:
        """Return a new trace id."""


class FlyteTracer(Tracer):
    """Starts spans, and keeps the registry of open ones.

    Attributes:
        id_generator: generates their ids.
        limits: their limits.
        has_default_limits: whether these are the SDK's own.
        on_start: called with each span that starts, and with its context.
        on_end: called with each span that ends.
        resource: their resource, as the SDK's ``Resource``.
        scope: their scope, as the SDK's ``InstrumentationScope``.
        readable: returns a span as the SDK's ``ReadableSpan``.
        instead: a tracer of the SDK that starts the spans from now on, once there is a processor of another package.
    """

    def __init__(
        self,
        sampling: Sampling,
        ids: Ids,
        limits: SpanLimits,
        *,
        resource: Any,
        scope: Any,
        readable: Callable[[FlyteSpan], Any],
    ) -> None:
        self.id_generator = ids
        self.limits = limits
        self.has_default_limits = limits.attributes == DEFAULT_LIMIT and limits.value_length is None
        self.on_start: list[Callable[[FlyteSpan, Context], object]] = []
        self.on_end: list[Callable[[FlyteSpan], object]] = []
        self.resource = resource
        self.scope = scope
        self.readable = readable
        self.instead: Tracer | None = None
        self._sampling = sampling
        self._root_flags = _FLAGS[sampling.roots, True]

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: "Attributes" = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """Start a span. It does not record where the sampler drops it."""
        if self.instead is not None:
            return self.instead.start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
        context = get_current() if context is None else context
        above: FlyteSpan | SpanContext | None = context.get(SPAN_KEY)  # type: ignore[assignment]  # or another span
        if type(above) is FlyteSpan and self._sampling.follows_parent:
            trace_id, trace_flags, trace_state = above.trace_id, above.trace_flags, above.trace_state
        else:
            if above is not None:
                inherited = get_current_span(context).get_span_context()
                above = inherited if inherited.is_valid else None
            if above is None:
                trace_id, trace_flags, trace_state = self.id_generator.generate_trace_id(), self._root_flags, None
            else:
                trace_id, trace_flags, trace_state = above.trace_id, self._flags_below(above), above.trace_state
        span_id = self.id_generator.generate_span_id()
        if not trace_flags & TraceFlags.SAMPLED:
            return NonRecordingSpan(SpanContext(trace_id, span_id, False, trace_flags, trace_state))
        span = FlyteSpan(
            self,
            name,
            above,
            trace_id=trace_id,
            span_id=span_id,
            trace_flags=trace_flags,
            trace_state=trace_state,
            kind=kind,
            attributes=attributes,
            links=links or (),
            start_time=start_time,
            records_exception=record_exception,
            sets_status=set_status_on_exception,
        )
        open_spans.registry[span_id] = span
        for on_start in self.on_start:
            on_start(span, context)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: "Attributes" = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        """Start a span that is current in a ``with`` block or in a decorated function."""
        span = self.start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
        with use_span(span, end_on_exit, record_exception, set_status_on_exception) as current:
            yield current

    def _flags_below(self, parent: SpanContext) -> TraceFlags:
        is_sampled = parent.trace_flags.sampled if self._sampling.follows_parent else self._sampling.roots
        return _FLAGS[is_sampled, bool(parent.trace_flags & _RANDOM)]
