"""OpenTelemetry for Flyte: installed in a task image, it traces every task attempt with no line of user code changed.

Programs that want their own providers used call :func:`instrument`; everybody else sets ``OTEL_*`` and nothing more.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["__version__", "flush", "instrument", "uninstrument"]
__version__ = "0.1.0"


def instrument(
    *,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    logger_provider: "LoggerProvider | None" = None,
) -> None:
    """Instrument flytekit; a provider that is given is used instead of the global one. May be called again."""
    from otel_flyte import activation

    activation.activate(tracer_provider=tracer_provider, meter_provider=meter_provider, logger_provider=logger_provider)


def flush(timeout: float | None = None) -> bool:
    """Wait until everything that was recorded so far is delivered, or given up and counted.

    Args:
        timeout: seconds; never longer than ``OTEL_FLYTE_EXIT_TIMEOUT``, which is the default.

    Returns:
        Whether that came about in time. Nothing is lost where it did not: delivery goes on in the background.
    """
    import sys

    if "otel_flyte.lifecycle.shutdown" not in sys.modules:
        return True
    from otel_flyte.lifecycle import shutdown

    return shutdown.flush(timeout)


def uninstrument() -> None:
    """Restore every hook exactly."""
    from otel_flyte import activation

    activation.deactivate()
