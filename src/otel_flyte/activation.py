"""Whether the instrumentation is on, and which providers it speaks to.

Every way in leads here: the ``flytekit.plugins`` and ``opentelemetry_instrumentor`` entry points and
:func:`otel_flyte.instrument`. Switching on is idempotent, sets hooks and never a provider: providers are made when the
first dispatch or local workflow begins, and only where nobody has set one, so that a program that imports flytekit and
sets its own provider later keeps it.

Every process that imports flytekit imports this module, so OpenTelemetry is imported only once something is to be
recorded.
"""

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_flyte import semconv, settings
from otel_flyte.guard import guarded, say_once

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_lock = threading.Lock()
_settings: settings.Settings | None = None
_remove_hooks: Callable[[], None] | None = None
_ready: bool | None = None
"""Whether this process delivers of its own accord; ``None`` until the first dispatch asks."""

tracer_provider_given: "TracerProvider | None" = None
meter_provider_given: "MeterProvider | None" = None
logger_provider_given: "LoggerProvider | None" = None


def activate(
    *,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    logger_provider: "LoggerProvider | None" = None,
) -> None:
    """Set the hooks where flytekit is imported, once; providers that are given are used from now on.

    Where flytekit is not imported yet, its own import calls this again through ``flytekit.plugins``. A variable that
    switches the instrumentation off has the last word.
    """
    global tracer_provider_given, meter_provider_given, logger_provider_given, _remove_hooks, _ready
    if settings.switched_off_by(os.environ) is not None:
        return
    with _lock:
        tracer_provider_given = tracer_provider or tracer_provider_given
        meter_provider_given = meter_provider or meter_provider_given
        logger_provider_given = logger_provider or logger_provider_given
        if _ready is False:
            _ready = None
        if _remove_hooks is None and "flytekit.core.base_task" in sys.modules:
            from otel_flyte.flytekit_v1 import hooks

            _remove_hooks = hooks.install()


def deactivate() -> None:
    """Restore every hook exactly and forget the providers that were given."""
    global tracer_provider_given, meter_provider_given, logger_provider_given, _remove_hooks, _ready
    with _lock:
        if _remove_hooks is not None:
            _remove_hooks()
        tracer_provider_given = meter_provider_given = logger_provider_given = None
        _remove_hooks = _ready = None


def is_active() -> bool:
    """Whether the hooks are set."""
    return _remove_hooks is not None


def current_settings() -> settings.Settings:
    """Return this project's settings, read once, when something is first recorded."""
    global _settings
    if _settings is None:
        _settings = settings.read(os.environ)
        for problem in _settings.problems:
            say_once(problem)
    return _settings


def tracer_provider_is_set() -> bool:
    """Whether someone has set a tracer provider, be it the program, its launcher or ourselves."""
    if tracer_provider_given is not None:
        return True
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    try:
        if not _can_be_asked():
            return trace._TRACER_PROVIDER is not None
        return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    except Exception as error:
        # Asking for the provider loads the one that this variable names.
        say_once(f"{semconv.TRACER_PROVIDER}={os.environ.get(semconv.TRACER_PROVIDER)} fails ({error!r}): no spans.")
        return False


@functools.cache
def _can_be_asked() -> bool:
    """Whether there is the provider that a variable names, if it does: who asks for the provider would load it."""
    chosen = os.environ.get(semconv.TRACER_PROVIDER)
    if not chosen:
        return True
    from otel_flyte.standard_variables import unusable

    return not unusable({semconv.TRACER_PROVIDER: chosen})


def records() -> bool:
    """Whether what begins now is recorded; makes the providers if that is so and nobody has set one."""
    global _ready
    if _remove_hooks is None:
        return False
    if _ready is None:
        _ready = bool(_make_providers())
    return _ready or tracer_provider_is_set()


@guarded
def _make_providers() -> bool:
    current_settings()
    for signal in settings.SIGNALS:
        for problem in settings.plan(signal, os.environ).problems:
            say_once(problem)
    if not os.environ.get(semconv.TRACER_PROVIDER) and not settings.configured(os.environ):
        return False
    from otel_flyte.standard_variables import unusable, usable_only

    for problem in unusable(os.environ).values():
        say_once(problem)
    with usable_only():
        if os.environ.get(semconv.TRACER_PROVIDER):
            importlib.import_module("opentelemetry.trace")
            if not tracer_provider_is_set():
                return False
        if not settings.configured(os.environ):
            return False
        from otel_flyte.lifecycle.late_psutil import psutil_later

        with psutil_later():
            from otel_flyte.lifecycle import providers
        given = {"traces": tracer_provider_given, "metrics": meter_provider_given, "logs": logger_provider_given}
        providers.ensure([signal for signal, provider in given.items() if provider is None])
    # Metrics and log records are told without spans, too.
    return tracer_provider_is_set() or any(settings.plan(each, os.environ).exporters for each in ("metrics", "logs"))
