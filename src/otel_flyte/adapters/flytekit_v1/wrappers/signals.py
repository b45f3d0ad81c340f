"""Wrappers of the records of ``logging`` and of the user's statsd metrics."""

import functools
from typing import Any

from otel_flyte.adapters import switch
from otel_flyte.adapters.flytekit_v1 import span_modules
from otel_flyte.adapters.patching import Function
from otel_flyte.runtime.guard import guarded, is_for_telemetry, no_fork
from otel_flyte.tasks import state


def call_handlers(wrapped: Function) -> Function:
    """Capture a record of ``logging`` that is made while a task is open, before its handlers get it.

    A fork waits for the handlers of a record that a thread of telemetry makes.
    """

    def call(self: Any, record: Any) -> Any:
        if state.open_tasks and span_modules.loaded is not None:
            span_modules.loaded.logs.capture(self, record)
        if is_for_telemetry(record.threadName):
            with no_fork():
                return wrapped(self, record)
        return wrapped(self, record)

    return call


def create_stats(wrapped: Function) -> Function:
    """Record the calls of a statsd client, whose methods are attributes of the instance."""

    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        wrapped(self, *args, **kwargs)
        _record_methods(self)

    return call


def call_mock_stats(wrapped: Function) -> Function:
    """Record the calls of a method of flytekit's local replacement of a statsd client."""
    recorded = _recorded(wrapped.__name__)

    def call(self: Any, metric: Any, *args: Any, **kwargs: Any) -> Any:
        return recorded(self, functools.partial(wrapped, self), (metric, *args), kwargs)

    return call


@guarded
def _record_methods(stats: Any) -> None:
    for name in ("incr", "decr", "gauge", "timing", "timer", "set"):
        method = vars(stats).get(name)
        if method is not None:
            setattr(stats, name, _recorded_method(stats, name, method))


def _recorded_method(stats: Any, name: str, method: Function) -> Function:
    recorded = _recorded(name)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return recorded(stats, method, args, kwargs)

    return call


def _recorded(name: str) -> Function:
    """Call a method of a statsd client, and record the call once the client has accepted it."""

    def call(stats: Any, method: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if span_modules.loaded is None or not switch.is_on():
            return method(*args, **kwargs)
        tags = kwargs.get("tags")
        # flytekit adds its own tags to the user's dictionary.
        given = {**kwargs, "tags": dict(tags)} if isinstance(tags, dict) else kwargs
        result = method(*args, **kwargs)
        span_modules.loaded.stats.record(stats, name, args, given, result)
        return result

    return call
