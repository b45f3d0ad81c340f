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
    "ExecutionTree": "otel_flyte.recording.tree",
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
    """Instrument flytekit; a given provider is used instead of the global one. May be called again."""
    from otel_flyte import activation

    activation.activate(tracer_provider=tracer_provider, meter_provider=meter_provider, logger_provider=logger_provider)


def flush(timeout: float | None = None) -> bool:
    """Wait until all records so far are delivered, or dropped and counted.

    Args:
        timeout: seconds; never longer than ``OTEL_FLYTE_EXIT_TIMEOUT``, which is the default.

    Returns:
        Whether that happened in time. Nothing is lost where it did not: delivery goes on in the background.
    """
    import sys

    if "otel_flyte.process.shutdown" not in sys.modules:
        return True
    from otel_flyte.process import shutdown

    return shutdown.flush(timeout)


def uninstrument() -> None:
    """Restore every hooked function exactly."""
    from otel_flyte import activation

    activation.deactivate()
