"""The tracer provider that we create where only OTLP is configured: our spans are cheap, and users' are the SDK's.

The SDK's provider is created when a user's tracer or a processor of another package needs it. Only then is the SDK of
traces imported.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import Tracer

from otel_flyte import semconv
from otel_flyte._version import __version__
from otel_flyte.export.queue import ExportQueue
from otel_flyte.process import shutdown
from otel_flyte.sdk.once import Once
from otel_flyte.tracing.flyte_span import FlyteSpan, SpanLimits
from otel_flyte.tracing.flyte_tracer import FlyteTracer, Ids, Sampling

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider


class FlyteTracerProvider(trace.TracerProvider):
    """Our tracer provider.

    Args:
        create: creates the SDK's provider, which delivers to the same queues.
        resource: the resource of all spans.
        sampling: the decision of the sampler.
        ids: the id generator.
        limits: the limits of all spans.
        queues: take the spans that have ended.

    Attributes:
        resource: the resource of all spans.
        on_end: called with each span of ours that has ended.
    """

    def __init__(
        self,
        create: "Callable[[], TracerProvider]",
        resource: Resource,
        sampling: Sampling,
        ids: Ids,
        limits: SpanLimits,
        *,
        queues: Sequence[ExportQueue] = (),
    ) -> None:
        self.resource = resource
        self._sdk = Once(create)
        self._queues = queues
        self._scope = InstrumentationScope(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
        self._tracer = FlyteTracer(sampling, ids, limits, resource=resource, scope=self._scope, readable=self._readable)
        self.on_end = self._tracer.on_end
        self.on_end.extend(queue.put for queue in queues)

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> Tracer:
        """Return the tracer of our scope, or a tracer of the SDK."""
        if instrumenting_module_name == semconv.SCOPE:
            return self._tracer
        return self._sdk().get_tracer(instrumenting_module_name, *args, **kwargs)

    def add_span_processor(self, span_processor: "SpanProcessor") -> None:
        """Add a processor. One of another package gets spans of the SDK from now on."""
        from otel_flyte.sdk.processors import Processor

        self._sdk().add_span_processor(span_processor)
        if isinstance(span_processor, Processor):
            ours: Any = span_processor
            self._tracer.on_start.append(ours.on_start)
            self.on_end.append(ours.on_end)
            return
        # It gets the ends of spans that are open now.
        self.on_end.append(lambda span: span_processor.on_end(self._readable(span)))
        self._tracer.instead = self._sdk().get_tracer(self._scope.name, self._scope.version, self._scope.schema_url)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until all spans so far are delivered."""
        if self._sdk.is_made:
            return self._sdk().force_flush(timeout_millis)
        is_flushed = [shutdown.wait_for(queue, timeout_millis / 1000) for queue in self._queues]
        return all(is_flushed)

    def shutdown(self) -> None:
        """Shut all processors down; the end of the process waits for the queues itself."""
        if self._sdk.is_made:
            self._sdk().shutdown()
        else:
            self.force_flush()

    def _readable(self, span: FlyteSpan) -> "ReadableSpan":
        from opentelemetry.sdk.trace import Event

        from otel_flyte.sdk.readable_span import ReadableFlyteSpan

        events = [Event(event.name, event.attributes, event.timestamp) for event in span.events]
        return ReadableFlyteSpan(
            span,
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=self.resource,
            attributes=span.attributes,
            events=events,
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_info=self._scope_info,
            instrumentation_scope=self._scope,
        )

    @functools.cached_property
    def _scope_info(self) -> InstrumentationInfo:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return InstrumentationInfo(self._scope.name, str(self._scope.version), self._scope.schema_url)

    def __getattr__(self, name: str) -> Any:
        # A look for a private attribute must not create the provider.
        if name == "_sdk" or (name.startswith("_") and not self._sdk.is_made):
            raise AttributeError(name)
        return getattr(self._sdk(), name)

    @property  # type: ignore[misc]  # of `object` it can be set as well
    def __class__(self) -> Any:
        # Users ask with `isinstance` whether a provider is one of the SDK; who asks has imported it.
        sdk = sys.modules.get("opentelemetry.sdk.trace")
        return getattr(sdk, "TracerProvider", FlyteTracerProvider)
