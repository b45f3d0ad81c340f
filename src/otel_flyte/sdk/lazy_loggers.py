"""The logger provider that is created with its first logger."""

import sys
from typing import Any

from opentelemetry import _logs
from opentelemetry._logs import Logger

from otel_flyte import providers
from otel_flyte.process import shutdown
from otel_flyte.sdk import other_providers
from otel_flyte.sdk.lazy import Lazy
from otel_flyte.sdk.replaceable import let_replace


class LazyLoggerProvider(Lazy[_logs.LoggerProvider], _logs.LoggerProvider):
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


def set_provider() -> None:
    """Set the global logger provider, unless there is one. The program can replace it."""
    if type(_logs.get_logger_provider()).__name__ == "ProxyLoggerProvider":
        provider = LazyLoggerProvider()
        _logs.set_logger_provider(provider)
        let_replace("logs", lambda: _replaced(provider))


def _replaced(provider: LazyLoggerProvider) -> None:
    providers.keep(logger_provider=provider)
    other_providers.adopt_in_a_pod(_logs.get_logger_provider())


def _handler_flushes_in_a_thread() -> bool:
    """Return whether the SDK's handler flushes in a thread; older ones call ``force_flush``, which must exist then."""
    handler = getattr(sys.modules.get("opentelemetry.sdk._logs"), "LoggingHandler", None)
    return handler is None or "Thread" in handler.flush.__code__.co_names
