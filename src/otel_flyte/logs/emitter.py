"""Emits log records to the logger provider in use, through OpenTelemetry's handler for ``logging``.

The handler is never attached to a logger. At the root logger it would disable ``logging.basicConfig``, and keep the
warnings of a program without logging configuration from stderr. It is created, and the SDK of logs imported, with the
first record.
"""

import importlib
import importlib.util
import logging
import os
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_flyte import providers, semconv
from otel_flyte.config import endpoints
from otel_flyte.config.imports import import_despite
from otel_flyte.runtime.forks import ForkLock

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

_INSTRUMENTATION = "opentelemetry.instrumentation.logging.handler"
_EXPORTER = semconv.EXPORTER.format(signal="LOGS")

_lock = ForkLock(0.5)
"""Held while the SDK holds its locks, so that no forked child inherits them held."""

_here = threading.local()
"""Whether this thread is emitting a record."""

_handlers: "dict[int, tuple[LoggerProvider, logging.Handler]]" = {}
"""By the identity of their provider: of the one in use, and of that of a local run."""


def is_wanted() -> bool:
    """Return whether records are exported or recorded, and this thread is not emitting a record already."""
    is_recorded = providers.recorded_logger_provider is not None
    return not getattr(_here, "emits", False) and (is_recorded or _provider() is not None)


def emit(record: logging.LogRecord) -> bool:
    """Emit a record with the ids of the current span; return whether a logger provider is configured.

    The recording of a local run gets it, too, and does not count as one. Records that are made while one is emitted are
    ignored.
    """
    if getattr(_here, "emits", False):
        return False
    provider, recorded = _provider(), providers.recorded_logger_provider
    with _lock:
        _here.emits = True
        try:
            for each in (provider, recorded and recorded()):
                if each is not None:
                    _handler(each).emit(record)
        finally:
            _here.emits = False
    return provider is not None


def _handler(provider: "LoggerProvider") -> logging.Handler:
    if id(provider) not in _handlers:
        _handlers[id(provider)] = provider, _create_handler(provider)
    return _handlers[id(provider)][1]


def _provider() -> "LoggerProvider | None":
    """Return the provider that was given, else the global one unless the user has chosen the exporter ``none``."""
    provider = providers.logger_provider()
    if provider is None or provider is providers.given_logger_provider:
        return provider
    return None if _is_none(os.environ.get(_EXPORTER, "")) else provider


@cache
def _is_none(exporters: str) -> bool:
    return bool(exporters.strip()) and not endpoints.plan("logs", {_EXPORTER: exporters}).exporters


def _create_handler(provider: "LoggerProvider") -> logging.Handler:
    base: Any = _handler_class()
    if base is None:
        return logging.NullHandler()

    class Handler(base):  # type: ignore[misc]
        def flush(self) -> None:
            """Do nothing: ``logging`` calls it at exit, and whenever a user configures ``logging``."""

    handler: logging.Handler = Handler(logger_provider=provider)
    return handler


def _handler_class() -> type[logging.Handler] | None:
    """Return the handler of ``opentelemetry-instrumentation-logging``; older versions have it in the SDK."""
    with suppress(ImportError):
        module = "opentelemetry.sdk._logs"
        if _instrumentation_has_handler():
            module = _INSTRUMENTATION
            # The instrumentation imports the propagators.
            import_despite(semconv.PROPAGATORS, "opentelemetry.propagate", "opentelemetry.environment_variables")
        found: type[logging.Handler] = importlib.import_module(module).LoggingHandler
        return found
    return None


def _instrumentation_has_handler() -> bool:
    """Return whether the instrumentation has the handler; versions without it are slow to import and warn on stderr."""
    package = importlib.util.find_spec(_INSTRUMENTATION.rpartition(".")[0])
    folders = (package.submodule_search_locations if package is not None else None) or ()
    return any(Path(folder, "handler.py").exists() for folder in folders)
