"""OpenTelemetry for Flyte: installed in a task image, it traces every task attempt with no line of user code changed.

Programs with providers of their own call :func:`instrument`. All others only set ``OTEL_*`` variables.
"""

from typing import TYPE_CHECKING, Any

from otel_flyte._version import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from otel_flyte.recording.tree import ExecutionTree
    from otel_flyte.usage.devices.accelerators import Accelerator, Device, DeviceSample

__all__ = [
    "Accelerator",
    "Device",
    "DeviceSample",
    "ExecutionTree",
    "__version__",
    "flush",
    "instrument",
    "uninstrument",
]

_ELSEWHERE = {
    "Accelerator": "otel_flyte.usage.devices.accelerators",
    "Device": "otel_flyte.usage.devices.accelerators",
    "DeviceSample": "otel_flyte.usage.devices.accelerators",
    # The tree, and what draws it.
    "ExecutionTree": "otel_flyte.report.notebook",
}
"""Public names that are imported when they are used: a task needs none of them to start."""


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ELSEWHERE[name]), name)


def instrument(
    *,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    logger_provider: "LoggerProvider | None" = None,
) -> None:
    """Instrument flytekit.

    The import of flytekit does this already. Call this function to select providers. It may be called again with other
    providers.

    Args:
        tracer_provider: creates the spans, instead of the global tracer provider.
        meter_provider: creates the metrics, instead of the global meter provider.
        logger_provider: creates the log records, instead of the global logger provider.
    """
    from otel_flyte import activation

    activation.activate(tracer_provider=tracer_provider, meter_provider=meter_provider, logger_provider=logger_provider)


def flush(timeout: float | None = None) -> bool:
    """Wait until all records so far are delivered, or dropped and counted.

    Args:
        timeout: maximum time in seconds. ``OTEL_FLYTE_EXIT_TIMEOUT`` is the default and the upper limit.

    Returns:
        Whether this was done in time. Otherwise delivery continues in the background.
    """
    import sys

    if "otel_flyte.process.shutdown" not in sys.modules:
        return True
    from otel_flyte.process import shutdown

    return shutdown.flush(timeout)


def uninstrument() -> None:
    """Remove the instrumentation: all hooked functions are the original objects again."""
    from otel_flyte import activation

    activation.deactivate()
