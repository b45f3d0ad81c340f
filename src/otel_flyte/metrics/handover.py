"""Measurements of users' threads, which a thread of ours records.

The instruments of the SDK take locks that are not re-entrant. A signal handler, a finalizer or a callback of the
garbage collector may measure something while the thread that it interrupts holds one, and would wait for ever. So a
user's thread only appends to a deque.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.context import Context

from otel_flyte import semconv
from otel_flyte._version import __version__
from otel_flyte.export import dropped, relay
from otel_flyte.process import shutdown
from otel_flyte.runtime import forks, ticker
from otel_flyte.runtime.forks import ForkLock
from otel_flyte.runtime.guard import report

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

_BATCH = 1000
"""Measurements after which our thread is woken before its time."""

_MOST = 10_000
"""Measurements that wait. A user's thread that is faster than ours waits for it, and drops the oldest ones at last."""

_AT_ONCE = 100
"""Measurements that are recorded while a fork waits."""

_PATIENCE_SECONDS = 0.1

_waiting: deque[tuple[Context, Callable[..., object], tuple[Any, ...]]] = deque()
_known: "set[MeterProvider]" = set()
_new: "deque[MeterProvider]" = deque()
"""Providers whose collections record nothing yet."""

_recording = ForkLock(0.5)
_is_ready = False
_lost = 0


def later(
    function: Callable[..., object], provider: "MeterProvider", *args: object, context: Context | None = None
) -> None:
    """Call a function that records a measurement, in a thread of ours and before the provider collects.

    Args:
        function: takes ``provider`` and ``args``; its faults are reported.
        provider: the meter provider.
        args: further arguments.
        context: the context for exemplars, by default the current one.
    """
    if not _is_ready:
        _prepare()
    if provider not in _known:
        _known.add(provider)
        _new.append(provider)
    _waiting.append((context_api.get_current() if context is None else context, function, (provider, *args)))
    waiting = len(_waiting)
    if waiting % _BATCH == 0:
        ticker.wake()
        if waiting >= _MOST:
            _make_room()


def is_waiting() -> bool:
    """Return whether a measurement is not recorded yet."""
    return bool(_waiting)


def record_waiting() -> None:
    """Record the measurements that wait now; another thread that does so already is waited for."""
    global _lost
    with suppress(IndexError):
        while True:
            # Not while the lock is held: a collection holds one of the SDK, and waits for ours.
            meter = _new.popleft().get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
            meter.create_observable_gauge(semconv.BEFORE_COLLECTION, [_before_collection])
    _record_all()
    lost, _lost = _lost, 0
    dropped.count("metrics", dropped.QUEUE_FULL, lost)


def _record_all() -> None:
    # A task may measure faster than they are recorded: those that come meanwhile are left for the next time.
    for _ in range(len(_waiting) // _AT_ONCE + 1):
        _record_some()


def _record_some() -> None:
    # A fork waits for the lock.
    with _recording:
        for _ in range(_AT_ONCE):
            try:
                context, function, args = _waiting.popleft()
            except IndexError:
                return
            token = context_api.attach(context)
            try:
                function(*args)
            except Exception as fault:
                report(function.__qualname__, fault)
            finally:
                context_api.detach(token)


def _before_collection(_: "CallbackOptions") -> "Iterable[Observation]":
    _record_all()
    return ()


def _make_room() -> None:
    global _lost
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(_waiting) >= _MOST and time.monotonic() < deadline:
        time.sleep(0.001)
    while len(_waiting) >= _MOST:
        _waiting.popleft()
        _lost += 1


def _prepare() -> None:
    global _is_ready
    _is_ready = True
    with suppress(RuntimeError):  # Without a thread, they are recorded before a collection.
        ticker.when_woken(record_waiting)
        ticker.every_second(record_waiting)
        if relay.is_child():
            shutdown.collect_with(record_waiting)
        else:
            shutdown.before_the_end(record_waiting)


def _begin_child() -> None:
    """In a forked child: the parent records its own measurements."""
    global _is_ready, _lost
    _is_ready, _lost = False, 0
    _waiting.clear()


forks.register(after_in_child=_begin_child)
