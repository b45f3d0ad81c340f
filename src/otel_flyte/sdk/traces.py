"""Spans: the tracer provider that we create."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry import trace

from otel_flyte import providers, semconv
from otel_flyte.config import standard
from otel_flyte.export import destinations, pending_spans
from otel_flyte.process import shutdown, signals
from otel_flyte.sdk import arguments, other_providers, resource
from otel_flyte.sdk.flyte_ids import OUR_IDS, FlyteIds
from otel_flyte.sdk.flyte_provider import FlyteTracerProvider
from otel_flyte.sdk.replaceable import let_replace
from otel_flyte.supervisor import client
from otel_flyte.tracing.flyte_span import SpanLimits
from otel_flyte.tracing.flyte_tracer import Sampling

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_SAMPLINGS = {
    "always_on": Sampling(roots=True, follows_parent=False),
    "always_off": Sampling(roots=False, follows_parent=False),
    standard.DEFAULT_SAMPLER: Sampling(roots=True),
    f"{standard.PARENT_BASED}always_off": Sampling(roots=False),
}


def set_provider() -> None:
    """Set the global tracer provider, unless there is one. The program can replace it."""
    if providers.global_tracer_provider() is None:
        provider = create_provider()
        trace.set_tracer_provider(provider)
        let_replace("traces", lambda: _replaced(provider))


def create_provider() -> "TracerProvider | FlyteTracerProvider":
    """Create a tracer provider with our resource and ids for the exporters that the environment configures."""
    if client.is_supervised():
        shutdown.at_the_end(client.end_delivery)
        destinations.on_acknowledged["traces"] = client.acknowledged
    with arguments.usable_environment() as values:
        provider = _ours(values) or _of_the_sdk(values)
    shutdown.at_exit(provider)
    pending_spans.begin()
    signals.install()
    return provider


def _replaced(provider: "TracerProvider | FlyteTracerProvider") -> None:
    from otel_flyte.sdk import watching

    replacing = providers.global_tracer_provider()
    providers.keep(tracer_provider=provider)
    watching.follow(replacing)
    other_providers.adopt_in_a_pod(replacing)


def _ours(values: Mapping[str, str]) -> FlyteTracerProvider | None:
    """Return a provider with spans of our own, ``None`` where the user has chosen what only the SDK has."""
    sampling = _SAMPLINGS.get(values.get(semconv.SAMPLER, standard.DEFAULT_SAMPLER))
    has_internal_metrics = values.get(semconv.INTERNAL_METRICS, "").strip().lower() == "true"
    if sampling is None or has_internal_metrics or values.get(semconv.ID_GENERATOR, "flyte") not in OUR_IDS:
        return None
    found = destinations.of("traces")
    if found.exporters:
        return None

    def create() -> "TracerProvider":
        with arguments.usable_environment():
            return _of_the_sdk(values)

    provider = FlyteTracerProvider(create, resource.ours(), sampling, FlyteIds(), _limits(values), queues=found.queues)
    if client.is_supervised():
        # Before the queues: a span that is acknowledged must be known to have ended.
        provider.on_end.insert(0, client.ended)
    return provider


def _of_the_sdk(values: Mapping[str, str]) -> "TracerProvider":
    from otel_flyte.sdk import sdk_spans

    return sdk_spans.create_provider(values)


def _limits(values: Mapping[str, str]) -> SpanLimits:
    return SpanLimits(
        attributes=standard.limit(values, semconv.SPAN_ATTRIBUTE_COUNT_LIMIT),
        events=standard.limit(values, semconv.SPAN_EVENT_COUNT_LIMIT),
        links=standard.limit(values, semconv.SPAN_LINK_COUNT_LIMIT),
        event_attributes=standard.limit(values, semconv.EVENT_ATTRIBUTE_COUNT_LIMIT),
        link_attributes=standard.limit(values, semconv.LINK_ATTRIBUTE_COUNT_LIMIT),
        value_length=standard.limit(values, semconv.SPAN_ATTRIBUTE_LENGTH_LIMIT),
        other_value_length=standard.limit(values, semconv.ATTRIBUTE_LENGTH_LIMIT),
    )
