"""The providers that we make where nobody has set one: from the standard variables, each signal on its own."""

import os
import threading
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_flyte import identity, semconv, settings
from otel_flyte.guard import guarded, say_once
from otel_flyte.lifecycle import exporters, shutdown
from otel_flyte.lifecycle.id_generator import FlyteIdGenerator

_lock = threading.Lock()
_file_was_read = False


def ensure(signals: Collection[str] = settings.SIGNALS) -> None:
    """Make the providers of the signals that are to be delivered, and set those that nobody has set."""
    global _file_was_read
    with _lock:
        unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        if os.environ.get(semconv.CONFIG_FILE) and unset and not _file_was_read:
            _file_was_read = True
            if _configure_by_file():
                return
        for signal in signals:
            if settings.plan(signal, os.environ).exporters:
                guarded(_SETTERS[signal])()


def build_tracer_provider(*, extra_processors: Sequence[SpanProcessor] = ()) -> TracerProvider:
    """Make an SDK tracer provider with our resource and id generator.

    It delivers to the exporters that the environment configures, and to ``extra_processors``. What it could not send
    at the end of the process is given up after the exit bound.
    """
    provider = TracerProvider(resource=resource(), id_generator=_id_generator(), shutdown_on_exit=False)
    for exporter in exporters_of("traces"):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    for processor in extra_processors:
        provider.add_span_processor(processor)
    shutdown.at_exit(provider)
    return provider


@cache
def resource() -> Resource:
    """Return what this process is: the service, the pod where the downward API says so, the execution in a pod.

    What ``OTEL_RESOURCE_ATTRIBUTES`` says stands.
    """
    created = Resource.create()
    ours: dict[str, str] = {}
    for name, variables in semconv.K8S_VARIABLES.items():
        ours[name] = identity.first(os.environ, variables)
    execution = identity.execution_from_environment(os.environ)
    if execution is not None:
        ours[semconv.PROJECT] = execution.project
        ours[semconv.DOMAIN] = execution.domain
        ours[semconv.RUN_NAME] = execution.name
    missing = {name: value for name, value in ours.items() if value and name not in created.attributes}
    if str(created.attributes[SERVICE_NAME]).startswith("unknown_service"):
        missing[SERVICE_NAME] = semconv.DEFAULT_SERVICE_NAME
    return created.merge(Resource(missing))


def _configure_by_file() -> bool:
    chosen = f"{semconv.CONFIG_FILE}={os.environ[semconv.CONFIG_FILE]}"
    instead = "the environment variables are used instead."
    try:
        from opentelemetry.configuration import configure_sdk, load_config_file

        configure_sdk(load_config_file(os.environ[semconv.CONFIG_FILE]))
    except ModuleNotFoundError:
        needed = "opentelemetry-configuration (pip install 'otel-flyte[configuration]')"
        say_once(f"{chosen} needs {needed}: {instead}")
        return False
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        say_once(f"{chosen} can't be used ({reason}): {instead}")
        return False
    return True


def _set_tracer_provider() -> None:
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(build_tracer_provider())


def _set_meter_provider() -> None:
    from otel_flyte.lifecycle import lazy

    lazy.set_meter_provider()


def _set_logger_provider() -> None:
    from otel_flyte.lifecycle import lazy

    lazy.set_logger_provider()


_SETTERS = {"traces": _set_tracer_provider, "metrics": _set_meter_provider, "logs": _set_logger_provider}


def exporters_of(signal: str) -> list[Any]:
    """Make the exporters of a signal; what can't be had is said in one line, with what is used instead."""
    signal_plan = settings.plan(signal, os.environ)
    found = []
    for name in signal_plan.exporters:
        try:
            found.append(exporters.load(name, signal_plan))
        except exporters.ExporterError as error:
            found += _instead(name, signal_plan, error)
    return found


def _instead(name: str, signal_plan: settings.SignalPlan, error: Exception) -> list[Any]:
    """Use OTLP where an endpoint covers the signal and the exporter that was asked for can't be had."""
    exporter_variable = semconv.EXPORTER.format(signal=signal_plan.signal.upper())
    variable = signal_plan.decided_by or exporter_variable
    value = name if variable == exporter_variable else settings.without_password(os.environ[variable])
    wrong = f"{variable}={value}: {error}"
    others = [other for other in signal_plan.exporters if other != name]
    without_exporter = {key: value for key, value in os.environ.items() if key != variable}
    fallback = settings.plan(signal_plan.signal, without_exporter)
    if others or name in settings.OTLP_PROTOCOLS or not fallback.exporters:
        used = f"{', '.join(others)} alone is used" if others else f"{signal_plan.signal} are not exported"
        say_once(f"{wrong}: {used}.")
        return []
    try:
        instead = exporters.load(settings.OTLP, fallback)
    except exporters.ExporterError as second_error:
        say_once(f"{wrong}, and {second_error}: {signal_plan.signal} are not exported.")
        return []
    say_once(f"{wrong}: otlp is used instead.")
    return [instead]


def _id_generator() -> IdGenerator:
    """Return our id generator, unless the user has chosen one: X-Ray, for one, wants ids of its own shape."""
    chosen = os.environ.get(semconv.ID_GENERATOR, "").strip()
    if chosen in ("", "flyte", "random"):
        return FlyteIdGenerator()
    from importlib.metadata import entry_points

    try:
        for entry in entry_points(group="opentelemetry_id_generator", name=chosen):
            generator = entry.load()()
            if isinstance(generator, IdGenerator):
                return generator
        reason = "there is no id generator of that name here"
    except Exception as error:
        reason = str(error)
    say_once(f"{semconv.ID_GENERATOR}={chosen}: {reason}: flyte is used instead.")
    return FlyteIdGenerator()
