"""The instrumentor that ``opentelemetry-instrument``, the Kubernetes operator and programs call."""

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_flyte import activation
from otel_flyte.adapters import switch

INSTRUMENTS = ("flytekit >= 1.15, < 2",)
"""The required packages; equal to the extra ``instruments``, which ``opentelemetry-instrument`` reads."""


class FlyteInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instrument flytekit.

    It never raises: an exception here would keep ``opentelemetry-instrument`` from loading the instrumentors that
    come after this one.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the required packages."""
        return INSTRUMENTS

    def instrument(self, **kwargs: Any) -> None:
        """Install the hooks once, and use the given providers from now on.

        Args:
            **kwargs: ``tracer_provider``, ``meter_provider``, ``logger_provider``; and ``skip_dep_check`` as in the
                base class.
        """
        if switch.is_on() or self._is_instrumented_by_opentelemetry:
            self._instrument(**kwargs)
        else:
            super().instrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        activation.activate(
            tracer_provider=kwargs.get("tracer_provider"),
            meter_provider=kwargs.get("meter_provider"),
            logger_provider=kwargs.get("logger_provider"),
        )

    def uninstrument(self, **kwargs: Any) -> None:
        """Restore every hooked function exactly, however it was instrumented."""
        if not self._is_instrumented_by_opentelemetry:
            self._uninstrument()
        else:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **_: Any) -> None:
        activation.deactivate()
