"""The providers that we create where none is set: from the standard variables, each signal by itself."""

import os
import threading
from collections.abc import Collection

from otel_flyte import providers, semconv
from otel_flyte.config import endpoints
from otel_flyte.runtime.guard import guarded, say_once
from otel_flyte.runtime.limits import first_line
from otel_flyte.sdk import lazy, traces

_lock = threading.Lock()
_file_was_read = False

_SETTERS = {"traces": traces.set_provider, "metrics": lazy.set_meter_provider, "logs": lazy.set_logger_provider}


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
