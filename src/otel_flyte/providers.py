"""The providers in use: those that the program passed to :func:`otel_flyte.instrument`, else the global ones.

Every process that imports flytekit imports this module. OpenTelemetry is imported only where a provider is needed.
"""

import functools
import os
import sys
from typing import TYPE_CHECKING

from otel_flyte import semconv
from otel_flyte.config import standard
from otel_flyte.runtime.guard import say_once
from otel_flyte.runtime.interrupts import pass_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

given_tracer_provider: "TracerProvider | None" = None
given_meter_provider: "MeterProvider | None" = None
given_logger_provider: "LoggerProvider | None" = None
"""Used instead of the global providers: given by the program, or ours that the program has replaced globally."""

recorded_meter_provider: "Callable[[], MeterProvider] | None" = None
recorded_logger_provider: "Callable[[], LoggerProvider] | None" = None
"""Return the provider of a local run, which writes to its recording beside the provider in use."""

meters_are_ours_when_imported: bool = False
"""Whether a meter provider of ours is set once OpenTelemetry's API of metrics is imported."""

resource_attributes: "Callable[[], Mapping[str, str | int]]" = dict
"""Returns the identity of the attempt that owns this process, for the resource. Set by ``activation``."""


def give(
    tracer_provider: "TracerProvider | None",
    meter_provider: "MeterProvider | None",
    logger_provider: "LoggerProvider | None",
) -> None:
    """Use these providers from now on; ``None`` leaves the one in use."""
    global given_tracer_provider, given_meter_provider, given_logger_provider
    given_tracer_provider = tracer_provider or given_tracer_provider
    given_meter_provider = meter_provider or given_meter_provider
    given_logger_provider = logger_provider or given_logger_provider


def keep(
    *,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    logger_provider: "LoggerProvider | None" = None,
) -> None:
    """Go on to use a provider of ours after the program has set its own, unless the program has given one."""
    give(
        given_tracer_provider or tracer_provider,
        given_meter_provider or meter_provider,
        given_logger_provider or logger_provider,
    )


def forget() -> None:
    """Use the global providers again."""
    global given_tracer_provider, given_meter_provider, given_logger_provider
    given_tracer_provider = given_meter_provider = given_logger_provider = None


def tracer_provider() -> "TracerProvider":
    """Return the tracer provider in use."""
    if given_tracer_provider is not None:
        return given_tracer_provider
    from opentelemetry import trace

    if is_loadable():
        return trace.get_tracer_provider()
    return trace._TRACER_PROVIDER or trace.NoOpTracerProvider()


def global_tracer_provider() -> "TracerProvider | None":
    """Return the global tracer provider, ``None`` where none is set. It loads the provider that a variable names."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    # Another thread may be importing it.
    from opentelemetry import trace

    if not is_loadable():
        set_by_program: TracerProvider | None = trace._TRACER_PROVIDER
        return set_by_program
    provider: TracerProvider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider


def meter_provider() -> "MeterProvider | None":
    """Return the meter provider in use, ``None`` where its instruments would record nothing."""
    if given_meter_provider is not None:
        return None if is_shut_down(given_meter_provider) else given_meter_provider
    # This form of the statement is cheap, and waits for another thread that is importing the module.
    import opentelemetry.metrics

    provider = opentelemetry.metrics.get_meter_provider()
    is_idle = type(provider).__name__ in ("_ProxyMeterProvider", "NoOpMeterProvider") or is_shut_down(provider)
    return None if is_idle else provider


def is_shut_down(provider: object) -> bool:
    """Return whether a meter provider of the SDK is shut down: it prints a line for each meter that is requested."""
    return getattr(provider, "_shutdown", False) is True


def logger_provider() -> "LoggerProvider | None":
    """Return the logger provider in use, ``None`` where its loggers would record nothing."""
    if given_logger_provider is not None:
        return given_logger_provider
    from opentelemetry import _logs

    provider = _logs.get_logger_provider()
    return None if type(provider).__name__ in ("ProxyLoggerProvider", "NoOpLoggerProvider") else provider


def tracer_provider_is_set() -> bool:
    """Return whether the program, its launcher or this package has set a tracer provider."""
    if given_tracer_provider is not None:
        return True
    try:
        return global_tracer_provider() is not None
    except Exception as error:
        pass_on(error)
        named = f"{semconv.TRACER_PROVIDER}={os.environ.get(semconv.TRACER_PROVIDER)}"
        say_once(f"{named} fails ({error!r}), no spans are recorded: correct it, or unset it")
        return False


@functools.cache
def is_loadable() -> bool:
    """Return whether the global tracer provider can be read: OpenTelemetry loads the one that a variable names."""
    chosen = os.environ.get(semconv.TRACER_PROVIDER)
    return chosen is None or (bool(chosen.strip()) and not standard.unusable({semconv.TRACER_PROVIDER: chosen}))
