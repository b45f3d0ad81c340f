"""Where log records go: to the logger provider in use, by the handler that OpenTelemetry has for ``logging``.

The handler is never attached to a logger: one at the root would keep ``logging.basicConfig`` from doing anything, and
the warnings of a program that has configured nothing from stderr. It is made, and the SDK of logs imported, with the
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
from otel_flyte.runtime.forks import ForkLock

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

_OF_INSTRUMENTATION = "opentelemetry.instrumentation.logging.handler"

_lock = ForkLock(0.5)
"""What the SDK locks is locked by one thread at a time, so that no child inherits it so."""

_here = threading.local()
"""Whether this thread is delivering a record."""

_made: "tuple[LoggerProvider, logging.Handler] | None" = None


def is_wanted() -> bool:
    """Whether anybody takes log records, and this thread is not about to deliver one."""
    return not getattr(_here, "emits", False) and _provider() is not None


def emit(record: logging.LogRecord) -> bool:
    """Deliver a record with the ids of the current span; return whether anybody takes it.

    Records that are made by delivering one are not delivered.
    """
    provider = _provider()
    if provider is None or getattr(_here, "emits", False):
        return False
    with _lock:
        _here.emits = True
        try:
            _handler(provider).emit(record)
        finally:
            _here.emits = False
    return True


def _provider() -> "LoggerProvider | None":
    """Return the provider that was given, else the global one, unless the user wants no log records."""
    provider = providers.logger_provider()
    if provider is None or provider is providers.given_logger_provider:
        return provider
    return None if _is_none(os.environ.get(_EXPORTER, "")) else provider


_EXPORTER = semconv.EXPORTER.format(signal="LOGS")


@cache
def _is_none(exporters: str) -> bool:
    return bool(exporters.strip()) and not endpoints.plan("logs", {_EXPORTER: exporters}).exporters


def _handler(provider: "LoggerProvider") -> logging.Handler:
    global _made
    if _made is None or _made[0] is not provider:
        _made = provider, _make(provider)
    return _made[1]


def _make(provider: "LoggerProvider") -> logging.Handler:
    kind: Any = _kind()
    if kind is None:
        return logging.NullHandler()

    class Handler(kind):  # type: ignore[misc]
        def flush(self) -> None:
            """Do nothing: ``logging`` calls it last of all, and again where a user configures ``logging`` anew."""

    handler: logging.Handler = Handler(logger_provider=provider)
    return handler


def _kind() -> type[logging.Handler] | None:
    """Return the handler of ``opentelemetry-instrumentation-logging``; older versions leave it to the SDK."""
    with suppress(ImportError):
        for module in (_OF_INSTRUMENTATION, "opentelemetry.sdk._logs"):
            if module != _OF_INSTRUMENTATION or _is_there():
                kind: type[logging.Handler] = importlib.import_module(module).LoggingHandler
                return kind
    return None


def _is_there() -> bool:
    """Whether the instrumentation has the handler; versions that don't are slow to import, and warn on stderr."""
    package = importlib.util.find_spec(_OF_INSTRUMENTATION.rpartition(".")[0])
    folders = (package.submodule_search_locations if package is not None else None) or ()
    return any(Path(folder, "handler.py").exists() for folder in folders)
