"""The id generator of our SDK providers, which ``OTEL_PYTHON_ID_GENERATOR=flyte`` selects for other providers."""

from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_flyte.sdk.flyte_ids import FlyteIds


class FlyteIdGenerator(FlyteIds, IdGenerator):
    """Ids of spans as an id generator of the SDK."""
