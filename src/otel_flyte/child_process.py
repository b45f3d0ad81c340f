"""Processes that a traced one has started: workers by ``spawn`` or loky, and subprocesses.

They have ``TRACEPARENT`` in their environment. If telemetry is configured as well, what they record with OpenTelemetry
is delivered below their parent, even if they never import flytekit: Python imports this module when such a process
starts (``otel_flyte.pth``). Providers are created with the first span, meter or logger.
"""

import os
from importlib import import_module
from typing import Any

from otel_flyte import semconv
from otel_flyte.runtime.when_imported import when_imported

_has_begun = False


def begin() -> None:
    """Deliver what this process records, if a traced process has started it."""
    global _has_begun
    if _has_begun or semconv.TRACEPARENT not in os.environ:
        return
    _has_begun = True
    when_imported("opentelemetry.trace", _create_with_the_first_span)
    when_imported("opentelemetry.metrics", lambda: _set_lazy("metrics", "otel_flyte.sdk.lazy_meters"))
    when_imported("opentelemetry._logs", lambda: _set_lazy("logs", "otel_flyte.sdk.lazy_loggers"))


def _is_exported(signal: str) -> bool:
    from otel_flyte.config import endpoints, settings

    if settings.switched_off_by(os.environ) is not None:
        return False
    return bool(os.environ.get(semconv.CONFIG_FILE) or endpoints.plan(signal, os.environ).exporters)


def _set_lazy(signal: str, module: str) -> None:
    if _is_exported(signal):
        _identify()
        import_module(module).set_provider()


def _create_with_the_first_span() -> None:
    """Have the tracers that the API hands out before there is a provider create ours when one of them is used."""
    if not _is_exported("traces"):
        return
    from opentelemetry import trace

    class CreatingTracer(trace.ProxyTracer):
        @property
        def _tracer(self) -> trace.Tracer:
            if self._real_tracer is None:
                _create_tracer_provider()
            return super()._tracer

    class CreatingProvider(trace.ProxyTracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            tracer = super().get_tracer(*args, **kwargs)
            return CreatingTracer(*args, **kwargs) if type(tracer) is trace.ProxyTracer else tracer

    trace._PROXY_TRACER_PROVIDER = CreatingProvider()


def _create_tracer_provider() -> None:
    from otel_flyte.runtime.guard import guarded
    from otel_flyte.sdk import providers
    from otel_flyte.tasks import here, propagation

    _identify()
    guarded(providers.ensure)(["traces"])
    incoming = propagation.incoming(os.environ)
    here.of_process = incoming if incoming.is_valid else None


def _identify() -> None:
    """Have the resource name the attempt that this process belongs to."""
    from otel_flyte import activation, providers

    providers.resource_attributes = activation.resource_attributes


begin()
