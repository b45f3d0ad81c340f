"""Providers of metrics and logs that are made when somebody asks for the first meter or logger.

The SDKs of both signals cost a task as much start-up time as that of traces, and most tasks use neither.
"""

import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from opentelemetry import _logs, metrics
from opentelemetry._logs import Logger
from opentelemetry.metrics import Meter

from otel_flyte.config.standard import usable_only
from otel_flyte.process import shutdown
from otel_flyte.runtime.forks import ForkLock, importing
from otel_flyte.runtime.guard import guarded

P = TypeVar("P")


class Once(Generic[P]):
    """Something that is made when it is first asked for, by whichever thread asks first."""

    def __init__(self, make: Callable[[], P]) -> None:
        self._make = make
        self._made: P | None = None
        self._lock = ForkLock(0.5)

    @property
    def is_made(self) -> bool:
        """Whether anybody has asked for it."""
        return self._made is not None

    def __call__(self) -> P:
        """Return it."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        return self._made


class LazyMeterProvider(metrics.MeterProvider):
    """A meter provider of the SDK that is made with its first meter."""

    def __init__(self) -> None:
        self._provider: Once[metrics.MeterProvider] = Once(
            lambda: _make_meter_provider() or metrics.NoOpMeterProvider()
        )

    @property
    def is_made(self) -> bool:
        """Whether anybody has asked for a meter."""
        return self._provider.is_made

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        """Return a meter of the SDK's provider."""
        return self._provider().get_meter(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Whoever looks for what is private must not have the provider made by that.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._provider(), name)


class LazyLoggerProvider(_logs.LoggerProvider):
    """A logger provider of the SDK that is made with its first logger.

    Once the process has delivered all, it has no ``force_flush`` any more where the SDK's ``LoggingHandler``, which
    Python flushes last, would start a thread to call it: Python 3.12 answers that with a traceback by then.
    """

    def __init__(self) -> None:
        self._provider: Once[_logs.LoggerProvider] = Once(lambda: _make_logger_provider() or _logs.NoOpLoggerProvider())

    def get_logger(self, *args: Any, **kwargs: Any) -> Logger:
        """Return a logger of the SDK's provider."""
        return self._provider().get_logger(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        at_the_end = name == "force_flush" and shutdown.has_begun_to_end()
        if name.startswith("_") or (at_the_end and _handler_flushes_in_a_thread()):
            raise AttributeError(name)
        return getattr(self._provider(), name)


def _handler_flushes_in_a_thread() -> bool:
    """Older SDKs' handler calls ``force_flush`` itself, and needs it to be there."""
    handler = getattr(sys.modules.get("opentelemetry.sdk._logs"), "LoggingHandler", None)
    return handler is None or "Thread" in handler.flush.__code__.co_names


def set_meter_provider() -> None:
    """Set the global meter provider, unless somebody has set one."""
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        metrics.set_meter_provider(LazyMeterProvider())


def set_logger_provider() -> None:
    """Set the global logger provider, unless somebody has set one."""
    if type(_logs.get_logger_provider()).__name__ == "ProxyLoggerProvider":
        _logs.set_logger_provider(LazyLoggerProvider())


@guarded
def _make_meter_provider() -> metrics.MeterProvider:
    with importing:
        from otel_flyte.sdk.metrics import make_provider

    with usable_only():
        return make_provider()


@guarded
def _make_logger_provider() -> _logs.LoggerProvider:
    with importing:
        from otel_flyte.sdk.logs import make_provider

    with usable_only():
        return make_provider()
