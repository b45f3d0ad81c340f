"""The tracer of this project's scope where the tracer provider is ours."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry.context import Context
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

from otel_flyte.tracing.flyte_span import FlyteSpan, SpanLimits

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


class Processor(Protocol):
    """A span processor, as the SDK's."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Take note of a span that has started."""

    def on_end(self, span: Any) -> None:
        """Take note of a span that has ended."""


class FlyteTracer(Tracer):
    """Starts spans.

    Attributes:
        id_generator: generates their ids.
        limits: their limits.
        processors: told of their starts and ends, in this order.
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
        processors: Sequence[Processor],
        *,
        resource: Any,
        scope: Any,
        readable: Callable[[FlyteSpan], Any],
    ) -> None:
        self.id_generator = ids
        self.limits = limits
        self.processors = processors
        self.resource = resource
        self.scope = scope
        self.readable = readable
        self.instead: Tracer | None = None
        self._sampling = sampling

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
        above = get_current_span(context).get_span_context()
        parent = above if above.is_valid else None
        is_sampled = self._sampling.roots
        if parent is None:
            trace_id, trace_state, is_random = self.id_generator.generate_trace_id(), None, True
        else:
            trace_id, trace_state = parent.trace_id, parent.trace_state
            is_random = bool(parent.trace_flags & _RANDOM)
            if self._sampling.follows_parent:
                is_sampled = parent.trace_flags.sampled
        flags = _FLAGS[is_sampled, is_random]
        own = SpanContext(trace_id, self.id_generator.generate_span_id(), False, flags, trace_state)
        if not is_sampled:
            return NonRecordingSpan(own)
        span = FlyteSpan(
            self,
            name,
            own,
            parent,
            kind=kind,
            attributes=attributes,
            links=links or (),
            start_time=start_time,
            records_exception=record_exception,
            sets_status=set_status_on_exception,
        )
        for processor in self.processors:
            processor.on_start(span, context)
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

    def ended(self, span: FlyteSpan) -> None:
        """Tell the processors that a span has ended."""
        for processor in self.processors:
            processor.on_end(span)
