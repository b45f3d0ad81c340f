"""Wires the parts together and switches the instrumentation on.

Every entry leads here: the ``flytekit.plugins`` and ``opentelemetry_instrumentor`` entry points, and
:func:`otel_flyte.instrument`. Switching on is idempotent. It installs hooks and sets no provider.

Every process that imports flytekit imports this module, so OpenTelemetry is imported only once something is recorded.
"""

import importlib
import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_flyte import providers, semconv
from otel_flyte.adapters import patching, switch
from otel_flyte.adapters.base import Adapter
from otel_flyte.adapters.flytekit_v1.adapter import FlytekitV1
from otel_flyte.config import endpoints, settings, standard
from otel_flyte.runtime.guard import guarded, say_once
from otel_flyte.tasks import failures, state
from otel_flyte.tasks.failures import Failure, Rules

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

ADAPTERS: tuple[Adapter, ...] = (FlytekitV1(),)
"""The engines that can be instrumented."""

_lock = threading.RLock()


def activate(
    *,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    logger_provider: "LoggerProvider | None" = None,
) -> None:
    """Install the hooks of each engine that is imported, once, and use the given providers from now on.

    An engine that is imported later calls this again. A variable that switches the instrumentation off has precedence
    over every caller.
    """
    if settings.switched_off_by(os.environ) is not None:
        return
    with _lock:
        providers.give(tracer_provider, meter_provider, logger_provider)
        providers.resource_attributes = resource_attributes
        for adapter in ADAPTERS:
            if adapter.is_imported():
                # Hooks do without them in a version of the engine whose exceptions have other names.
                failures.add_rules(guarded(adapter.failure_rules)() or Rules())
                patching.install(adapter.hooks())
                state.log_failure = _log_failure
                switch.turn_on(_create_providers)


def deactivate() -> None:
    """Restore every hooked function exactly, and use the global providers again."""
    with _lock:
        patching.remove()
        providers.forget()
        switch.turn_off()


def _log_failure(span: Any, failure: Failure) -> bool:
    from otel_flyte.logs import capture

    return capture.emit_failure(span, failure)


def resource_attributes() -> Mapping[str, str | int]:
    """Return the identity of the attempt that owns this process, by all engines."""
    found: dict[str, str | int] = {}
    for adapter in ADAPTERS:
        found |= adapter.resource_attributes(os.environ, sys.argv)
    return found


@guarded
def _create_providers() -> bool:
    """Set the providers that the environment configures and that are not set; return whether anything is exported."""
    settings.current()
    for signal in endpoints.SIGNALS:
        for problem in endpoints.plan(signal, os.environ).problems:
            say_once(problem)
    is_configured = endpoints.configured(os.environ)
    if not is_configured and not os.environ.get(semconv.TRACER_PROVIDER):
        return False
    for problem in standard.unusable(os.environ).values():
        say_once(problem)
    if semconv.TRACER_PROVIDER in standard.usable(os.environ):
        # With this module imported, the check loads the provider that the variable names.
        importlib.import_module("opentelemetry.trace")
        if not providers.tracer_provider_is_set():
            return False
    if not is_configured:
        return False
    from otel_flyte.sdk import providers as created

    given = {
        "traces": providers.given_tracer_provider,
        "metrics": providers.given_meter_provider,
        "logs": providers.given_logger_provider,
    }
    created.ensure([signal for signal, provider in given.items() if provider is None])
    # Metrics and log records are exported without spans, too.
    return providers.tracer_provider_is_set() or any(
        endpoints.plan(each, os.environ).exporters for each in ("metrics", "logs")
    )
