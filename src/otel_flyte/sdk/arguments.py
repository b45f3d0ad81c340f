"""Arguments of the SDK's constructors, from the usable values of standard variables.

Without an argument the SDK reads its variable itself. It answers a wrong value with a traceback, a line of its own or
an error.
"""

import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from otel_flyte import semconv
from otel_flyte.config import standard
from otel_flyte.runtime import forks
from otel_flyte.runtime.forks import ForkLock

UNLIMITED = -1
"""``SpanLimits.UNSET`` and ``LogRecordLimits.UNSET``."""

_READERS = ("opentelemetry.sdk.resources", "opentelemetry.sdk.environment_variables._internal")

_lock = ForkLock(0.5)
"""Held while the modules change, not while the SDK reads them: its constructors acquire locks of ours."""

_threads: list[int] = []
"""The thread of each open context."""


@contextmanager
def usable_environment(changes: Mapping[str, str] = MappingProxyType({})) -> Iterator[Mapping[str, str]]:
    """Return the usable standard values with changes, and let the SDK read them where it has no arguments for them.

    These are the variables of the resource and of the SDK's own metrics. The modules that read them see these values as
    their ``environ`` until the last context ends, of nested ones and of other threads; ``os.environ`` is not changed.
    """
    values = {**standard.usable(os.environ), **changes}
    with _lock:
        _threads.append(threading.get_ident())
        _set_environ(values)
    try:
        yield values
    finally:
        with _lock:
            _threads.remove(threading.get_ident())
            if not _threads:
                _set_environ(os.environ)


def _set_environ(values: Mapping[str, str]) -> None:
    modules: list[Any] = [sys.modules[name] for name in _READERS if hasattr(sys.modules.get(name), "environ")]
    for module in modules:
        module.environ = values


def _begin_child() -> None:
    """Leave the contexts of threads that a forked child does not have."""
    if _threads:
        _threads[:] = [thread for thread in _threads if thread == threading.get_ident()]
        if not _threads:
            _set_environ(os.environ)


forks.register(after_in_child=_begin_child)


def batches(values: Mapping[str, str], batch: str) -> dict[str, Any]:
    """Return the arguments of the batch processor of another package's exporter; its defaults are those of our queues.

    Args:
        values: usable standard values.
        batch: one of ``semconv.BATCHES``.
    """
    variables = {
        "max_queue_size": semconv.BATCH_QUEUE,
        "schedule_delay_millis": semconv.BATCH_DELAY,
        "max_export_batch_size": semconv.BATCH_SIZE,
        "export_timeout_millis": semconv.BATCH_TIMEOUT,
    }
    return {name: int(standard.number(values, variable.format(batch=batch))) for name, variable in variables.items()}


def limits(values: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, int]:
    """Return the arguments of ``SpanLimits`` or ``LogRecordLimits``, from the variable of each argument."""
    found = {name: standard.limit(values, variable) for name, variable in variables.items()}
    return {name: UNLIMITED if limit is None else limit for name, limit in found.items()}


def accepted(constructor: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return the arguments that the installed version of the SDK has parameters for."""
    parameters = inspect.signature(constructor).parameters
    return {name: value for name, value in arguments.items() if name in parameters}
