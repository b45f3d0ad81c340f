"""The meter provider that is created with its first meter."""

from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import Meter

from otel_flyte import providers
from otel_flyte.sdk import other_providers
from otel_flyte.sdk.lazy import Lazy
from otel_flyte.sdk.replaceable import let_replace


class LazyMeterProvider(Lazy[metrics.MeterProvider], metrics.MeterProvider):
    """A meter provider of the SDK that is created with its first meter."""

    is_ours = True

    def __init__(self) -> None:
        super().__init__("otel_flyte.sdk.metrics", metrics.NoOpMeterProvider)

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        """Return a meter of the SDK's provider."""
        return self._provider().get_meter(*args, **kwargs)


def set_provider() -> None:
    """Set the global meter provider, unless there is one. The program can replace it."""
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        provider = LazyMeterProvider()
        metrics.set_meter_provider(provider)
        let_replace("metrics", lambda: _replaced(provider))


def _replaced(provider: LazyMeterProvider) -> None:
    providers.keep(meter_provider=provider)
    other_providers.adopt_in_a_pod(metrics.get_meter_provider())
