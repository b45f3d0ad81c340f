"""The SDK's tracer provider: for users' tracers, and for what only the SDK has."""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.sdk.trace import SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from otel_flyte import semconv
from otel_flyte.config import standard
from otel_flyte.export import destinations
from otel_flyte.runtime.guard import say_once
from otel_flyte.runtime.limits import first_line, in_brief
from otel_flyte.sdk import arguments, resource
from otel_flyte.sdk.flyte_ids import OUR_IDS
from otel_flyte.sdk.id_generator import FlyteIdGenerator
from otel_flyte.sdk.processors import OpenSpans, QueueSpans, SupervisedSpans
from otel_flyte.sdk.user_tracers import TracerProvider, share_context_with_threads
from otel_flyte.supervisor import client

_SAMPLERS = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    f"{standard.PARENT_BASED}always_on": DEFAULT_ON,
    f"{standard.PARENT_BASED}always_off": DEFAULT_OFF,
}
_LIMITS = {
    "max_attributes": semconv.ATTRIBUTE_COUNT_LIMIT,
    "max_events": semconv.SPAN_EVENT_COUNT_LIMIT,
    "max_links": semconv.SPAN_LINK_COUNT_LIMIT,
    "max_span_attributes": semconv.SPAN_ATTRIBUTE_COUNT_LIMIT,
    "max_event_attributes": semconv.EVENT_ATTRIBUTE_COUNT_LIMIT,
    "max_link_attributes": semconv.LINK_ATTRIBUTE_COUNT_LIMIT,
    "max_attribute_length": semconv.ATTRIBUTE_LENGTH_LIMIT,
    "max_span_attribute_length": semconv.SPAN_ATTRIBUTE_LENGTH_LIMIT,
}


def create_provider(values: Mapping[str, str]) -> TracerProvider:
    """Create a provider that delivers to the destinations of spans.

    Args:
        values: usable standard values.
    """
    share_context_with_threads()
    provider = provider_without_processors(values)
    for processor in _processors(values):
        provider.add_span_processor(processor)
    return provider


def provider_without_processors(values: Mapping[str, str]) -> TracerProvider:
    """Create an SDK tracer provider that exports nothing.

    Args:
        values: usable standard values.
    """
    return TracerProvider(
        sampler=_sampler(values),
        resource=resource.ours(),
        id_generator=_id_generator(values),
        span_limits=SpanLimits(**arguments.limits(values, _LIMITS)),
        shutdown_on_exit=False,
    )


def _processors(values: Mapping[str, str]) -> Sequence[SpanProcessor]:
    processors: list[SpanProcessor] = [OpenSpans()]
    if client.is_supervised():
        processors.append(SupervisedSpans())
    found = destinations.of("traces")
    processors += map(QueueSpans, found.queues)
    options = arguments.batches(values, "BSP")
    processors += [BatchSpanProcessor(exporter, **options) for exporter in found.exporters]
    return processors


def _sampler(values: Mapping[str, str]) -> Sampler:
    name = values.get(semconv.SAMPLER, standard.DEFAULT_SAMPLER)
    if name in _SAMPLERS:
        return _SAMPLERS[name]
    if name in standard.SAMPLERS:
        kind = ParentBasedTraceIdRatio if name.startswith(standard.PARENT_BASED) else TraceIdRatioBased
        return kind(float(values[semconv.SAMPLER_ARG]))
    try:
        sampler: Sampler = _made(Sampler, standard.SAMPLER_GROUP, name, values.get(semconv.SAMPLER_ARG))
        return sampler
    except Exception as error:
        say_once(_unloaded(semconv.SAMPLER, name, error, standard.DEFAULT_SAMPLER))
        return _SAMPLERS[standard.DEFAULT_SAMPLER]


def _id_generator(values: Mapping[str, str]) -> IdGenerator:
    """Return our id generator, unless the user has chosen another one: X-Ray requires ids of its own format."""
    chosen = values.get(semconv.ID_GENERATOR, "flyte")
    if chosen in OUR_IDS:
        return FlyteIdGenerator()
    try:
        generator: IdGenerator = _made(IdGenerator, "opentelemetry_id_generator", chosen)
        return generator
    except Exception as error:
        say_once(_unloaded(semconv.ID_GENERATOR, chosen, error, "flyte"))
        return FlyteIdGenerator()


def _made(kind: Any, group: str, name: str, *arguments: str | None) -> Any:
    """Call an installed entry point, as the SDK does.

    Raises:
        TypeError: the result is of another kind.
        Exception: the package of the entry point fails.
    """
    made = next(iter(entry_points(group=group, name=name))).load()(*arguments)
    if not isinstance(made, kind):
        raise TypeError(f"{type(made).__name__} is no {kind.__name__}")
    return made


def _unloaded(variable: str, name: str, error: Exception, instead: str) -> str:
    return f"{variable}={name} can't be loaded ({in_brief(first_line(error))}): {instead} is used"
