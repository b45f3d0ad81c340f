"""The tracer provider that we create where only OTLP is configured: our spans are cheap, and users' are the SDK's.

The SDK's provider is created when a user's tracer or a processor of another package needs it.
"""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import Tracer

from otel_flyte import semconv
from otel_flyte._version import __version__
from otel_flyte.sdk.lazy import Once
from otel_flyte.sdk.processors import OUR_PROCESSORS, OpenSpans
from otel_flyte.tracing import flyte_span
from otel_flyte.tracing.flyte_span import FlyteSpan
from otel_flyte.tracing.flyte_tracer import FlyteTracer, Ids, Sampling


def _flyte_limits(limits: SpanLimits) -> flyte_span.SpanLimits:
    """Return the limits of the SDK's spans as those of ours."""
    return flyte_span.SpanLimits(
        attributes=limits.max_span_attributes,
        events=limits.max_events,
        links=limits.max_links,
        event_attributes=limits.max_event_attributes,
        link_attributes=limits.max_link_attributes,
        value_length=limits.max_span_attribute_length,
        other_value_length=limits.max_attribute_length,
    )


class FlyteTracerProvider(trace.TracerProvider):
    """Our tracer provider.

    Args:
        create: creates the SDK's provider, without processors.
        resource: the resource of all spans.
        sampling: the decision of the sampler.
        ids: the id generator.
        limits: the limits of all spans.

    Attributes:
        resource: the resource of all spans.
    """

    def __init__(
        self,
        create: Callable[[], TracerProvider],
        resource: Resource,
        sampling: Sampling,
        ids: Ids,
        limits: SpanLimits,
    ) -> None:
        self._create = create
        self.resource = resource
        self._sdk = Once(self._create_sdk)
        self._processors: list[SpanProcessor] = []
        self._scope = InstrumentationScope(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
        self._tracer = FlyteTracer(
            sampling,
            ids,
            _flyte_limits(limits),
            resource=resource,
            scope=self._scope,
            readable=self._readable,
        )

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> Tracer:
        """Return the tracer of our scope, or a tracer of the SDK."""
        if instrumenting_module_name == semconv.SCOPE:
            return self._tracer
        return self._sdk().get_tracer(instrumenting_module_name, *args, **kwargs)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor. One of another package gets spans of the SDK from now on."""
        if isinstance(span_processor, OUR_PROCESSORS):
            self._processors.append(span_processor)
            self._add_to_tracer(span_processor)
            if self._sdk.is_made:
                self._sdk().add_span_processor(span_processor)
            return
        provider = self._sdk()
        provider.add_span_processor(span_processor)
        # It gets the ends of spans that are open now.
        self._tracer.on_end.append(lambda span: span_processor.on_end(self._readable(span)))
        self._tracer.instead = provider.get_tracer(self._scope.name, self._scope.version, self._scope.schema_url)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until all spans so far are delivered."""
        if self._sdk.is_made:
            return self._sdk().force_flush(timeout_millis)
        is_flushed = [processor.force_flush(timeout_millis) for processor in self._processors]
        return all(is_flushed)

    def shutdown(self) -> None:
        """Shut all processors down."""
        if self._sdk.is_made:
            self._sdk().shutdown()
            return
        for processor in self._processors:
            processor.shutdown()

    def _add_to_tracer(self, processor: Any) -> None:
        if isinstance(processor, OpenSpans):
            return
        if type(processor).on_start is not SpanProcessor.on_start:
            self._tracer.on_start.append(processor.on_start)
        self._tracer.on_end.append(processor.on_flyte_end)

    def _readable(self, span: FlyteSpan) -> ReadableSpan:
        events = [Event(event.name, event.attributes, event.timestamp) for event in span.events]
        return _ReadableFlyteSpan(
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

    def _create_sdk(self) -> TracerProvider:
        provider = self._create()
        for processor in self._processors:
            provider.add_span_processor(processor)
        return provider


class _ReadableFlyteSpan(ReadableSpan):
    """A span of ours as one of the SDK, which has no argument for the numbers of dropped parts."""

    def __init__(self, span: FlyteSpan, **fields: Any) -> None:
        super().__init__(**fields)
        self._of = span

    @property
    def dropped_attributes(self) -> int:
        return self._of.dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._of.dropped_events

    @property
    def dropped_links(self) -> int:
        return self._of.dropped_links
