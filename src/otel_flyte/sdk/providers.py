"""The providers that we make where nobody has set one: from the standard variables, each signal on its own."""

import os
import threading
from collections.abc import Collection

from opentelemetry import trace

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.runtime.guard import guarded, say_once
from otel_flyte.sdk import lazy, traces

_lock = threading.Lock()
_file_was_read = False

_SETTERS = {
    "traces": traces.set_provider,
    "metrics": lazy.set_meter_provider,
    "logs": lazy.set_logger_provider,
}


def ensure(signals: Collection[str] = endpoints.SIGNALS) -> None:
    """Make the providers of the signals that are to be delivered, and set those that nobody has set."""
    global _file_was_read
    with _lock:
        unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        if os.environ.get(semconv.CONFIG_FILE) and unset and not _file_was_read:
            _file_was_read = True
            if _configure_by_file():
                return
        for signal in signals:
            if endpoints.plan(signal, os.environ).exporters:
                guarded(_SETTERS[signal])()


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
