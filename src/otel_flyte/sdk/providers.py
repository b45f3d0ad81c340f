"""The providers that we create where none is set: from the standard variables, each signal by itself."""

import os
import threading
from collections.abc import Collection
from importlib import import_module

from otel_flyte import providers, semconv
from otel_flyte.config import endpoints
from otel_flyte.runtime.guard import guarded, say_once
from otel_flyte.runtime.limits import first_line
from otel_flyte.runtime.when_imported import when_imported
from otel_flyte.sdk import traces

_lock = threading.RLock()
_file_was_read = False


def ensure(signals: Collection[str] = endpoints.SIGNALS) -> None:
    """Create the providers of the signals that are exported, and set them where none is set."""
    global _file_was_read
    with _lock:
        path = os.environ.get(semconv.CONFIG_FILE)
        if path and not _file_was_read and providers.global_tracer_provider() is None:
            _file_was_read = True
            if _configure_by_file(path):
                return
        for signal in signals:
            if endpoints.plan(signal, os.environ).exporters:
                guarded(_SETTERS[signal])()


def _set_meter_provider() -> None:
    # A task that measures nothing does not need OpenTelemetry's API of metrics, either.
    providers.meters_are_ours_when_imported = True
    when_imported("opentelemetry.metrics", lambda: import_module("otel_flyte.sdk.lazy_meters").set_provider())


def _set_logger_provider() -> None:
    when_imported("opentelemetry._logs", lambda: import_module("otel_flyte.sdk.lazy_loggers").set_provider())


_SETTERS = {"traces": traces.set_provider, "metrics": _set_meter_provider, "logs": _set_logger_provider}


def _configure_by_file(path: str) -> bool:
    chosen, instead = f"{semconv.CONFIG_FILE}={path}", "the environment variables are used"
    try:
        from opentelemetry.configuration import configure_sdk, load_config_file

        configure_sdk(load_config_file(path))
    except ModuleNotFoundError:
        needed = "opentelemetry-configuration (pip install 'otel-flyte[configuration]')"
        say_once(f"{chosen} requires {needed}: {instead}")
        return False
    except Exception as error:
        say_once(f"{chosen} can't be used ({first_line(error)}): {instead}")
        return False
    return True
