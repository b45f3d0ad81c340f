"""Spans: the tracer provider that we make, and how it hands spans to their queue."""

import os
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_flyte import semconv
from otel_flyte.export import destinations, pending_spans
from otel_flyte.export.queue import ExportQueue
from otel_flyte.process import shutdown, signals
from otel_flyte.runtime.guard import say_once
from otel_flyte.sdk import resource
from otel_flyte.sdk.id_generator import FlyteIdGenerator
from otel_flyte.sdk.processors import OpenSpans, SupervisedSpans
from otel_flyte.supervisor import client
from otel_flyte.tracing import open_spans


class QueueSpanProcessor(SpanProcessor):
    """Hand every span that ended to its queue."""

    def __init__(self, queue: ExportQueue) -> None:
        self._put = queue.put
        self._queue = queue

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span; in a forked child, one that its parent has open too is its parent's."""
        context = span.context
        if context is not None and context.trace_flags.sampled and context.span_id not in open_spans.inherited:
            self._put(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until what ended is delivered, never longer than the exit bound."""
        return shutdown.wait_for(self._queue, timeout_millis / 1000)

    def shutdown(self) -> None:
        """Wait likewise, unless it is the end of the process, which waits itself."""
        shutdown.wait_for(self._queue)


def set_provider() -> None:
    """Set the global tracer provider, unless somebody has set one."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(build_provider())


def build_provider(*, extra_processors: Sequence[SpanProcessor] = ()) -> TracerProvider:
    """Make an SDK tracer provider with our resource and id generator.

    It delivers to the exporters that the environment configures, and to ``extra_processors``.
    """
    provider = TracerProvider(resource=resource.ours(), id_generator=_id_generator(), shutdown_on_exit=False)
    provider.add_span_processor(OpenSpans())
    if client.is_supervised():
        provider.add_span_processor(SupervisedSpans())
        shutdown.at_the_end(client.done)
        destinations.on_acknowledged["traces"] = client.settled_all
    found = destinations.of("traces")
    for queue in found.queues:
        provider.add_span_processor(QueueSpanProcessor(queue))
    for exporter in found.exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    for processor in extra_processors:
        provider.add_span_processor(processor)
    shutdown.at_exit(provider)
    pending_spans.begin()
    signals.install()
    return provider


def _id_generator() -> IdGenerator:
    """Return our id generator, unless the user has chosen one: X-Ray, for one, wants ids of its own shape."""
    chosen = os.environ.get(semconv.ID_GENERATOR, "").strip()
    if chosen in ("", "flyte", "random"):
        return FlyteIdGenerator()
    from importlib.metadata import entry_points

    try:
        for entry in entry_points(group="opentelemetry_id_generator", name=chosen):
            generator = entry.load()()
            if isinstance(generator, IdGenerator):
                return generator
        reason = "there is no id generator of that name here"
    except Exception as error:
        reason = str(error)
    say_once(f"{semconv.ID_GENERATOR}={chosen}: {reason}: flyte is used instead.")
    return FlyteIdGenerator()
