"""The import of the SDK's spans where a variable keeps them from being imported."""

from otel_flyte import semconv
from otel_flyte.config.imports import import_despite


def import_sdk_of_traces() -> None:
    """Import the SDK of traces if this variable holds no non-negative integer, with which the import itself fails."""
    constants = "opentelemetry.sdk.environment_variables"
    import_despite(semconv.SPAN_ATTRIBUTE_COUNT_LIMIT, "opentelemetry.sdk.trace", constants)
