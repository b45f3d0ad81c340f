"""Providers of metrics and logs that are created with the first meter or logger.

The SDKs of both signals cost a task as much start-up time as the SDK of traces, and most tasks use neither.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

from opentelemetry import _logs, metrics
from opentelemetry._logs import Logger
from opentelemetry.metrics import Meter

from otel_flyte.process import shutdown
from otel_flyte.runtime.forks import ForkLock, importing
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk.arguments import usable_environment

P = TypeVar("P")


class Once(Generic[P]):
    """A value that is created by the first thread that needs it."""

    def __init__(self, create: Callable[[], P]) -> None:
        self._create = create
        self._value: P | None = None
        self._lock = ForkLock(0.5)

    @property
    def is_made(self) -> bool:
        """Return whether the value exists."""
        return self._value is not None

    def __call__(self) -> P:
        """Return the value."""
        if self._value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._create()
        return self._value


class _Lazy(Generic[P]):
    """A provider of the SDK that is created when it is first used."""

    def __init__(self, module: str, fallback: Callable[[], P]) -> None:
        self._provider: Once[P] = Once(lambda: _create(module) or fallback())

    @property
    def is_made(self) -> bool:
        """Return whether the provider has been used."""
        return self._provider.is_made

    def __getattr__(self, name: str) -> Any:
        # A look for a private attribute must not create the provider.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._provider(), name)


class LazyMeterProvider(_Lazy[metrics.MeterProvider], metrics.MeterProvider):
    """A meter provider of the SDK that is created with its first meter."""

    is_ours = True
    """All its readers are ours: measurements may be recorded just before they are collected."""

    def __init__(self) -> None:
        super().__init__("otel_flyte.sdk.metrics", metrics.NoOpMeterProvider)

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        """Return a meter of the SDK's provider."""
        return self._provider().get_meter(*args, **kwargs)


class LazyLoggerProvider(_Lazy[_logs.LoggerProvider], _logs.LoggerProvider):
    """A logger provider of the SDK that is created with its first logger."""

    def __init__(self) -> None:
        super().__init__("otel_flyte.sdk.logs", _logs.NoOpLoggerProvider)

    def get_logger(self, *args: Any, **kwargs: Any) -> Logger:
        """Return a logger of the SDK's provider."""
        return self._provider().get_logger(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # The SDK's LoggingHandler, which Python flushes last, would start a thread that calls this. Python 3.12 starts
        # no thread by then. All records are delivered already.
        if name == "force_flush" and shutdown.has_begun_to_end() and _handler_flushes_in_a_thread():
            raise AttributeError(name)
        return super().__getattr__(name)


def set_meter_provider() -> None:
    """Set the global meter provider, unless there is one."""
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        metrics.set_meter_provider(LazyMeterProvider())


def set_logger_provider() -> None:
    """Set the global logger provider, unless there is one."""
    if type(_logs.get_logger_provider()).__name__ == "ProxyLoggerProvider":
        _logs.set_logger_provider(LazyLoggerProvider())


@guarded
def _create(module: str) -> Any:
    with usable_environment() as values:
        # The SDK of logs creates a resource when it is imported.
        with importing:
            create_provider = import_module(module).create_provider
        return create_provider(values)


def _handler_flushes_in_a_thread() -> bool:
    """Return whether the SDK's handler flushes in a thread; older ones call ``force_flush``, which must exist then."""
    handler = getattr(sys.modules.get("opentelemetry.sdk._logs"), "LoggingHandler", None)
    return handler is None or "Thread" in handler.flush.__code__.co_names
