"""A thread beside the task, for periodic work and for descriptors, while the task is busy."""

import functools
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from otel_flyte.runtime import forks
from otel_flyte.runtime.descriptors import Owned, moved
from otel_flyte.runtime.guard import report, start_thread

INTERVAL_SECONDS = 1.0

_lock = threading.RLock()
_thread_of = 0
_functions: list[Callable[[], None]] = []
_when_woken: list[Callable[[], None]] = []
_descriptors: dict[int, Callable[[], object]] = {}
_news: Owned | None = None
"""The writing end of the pipe that wakes the thread."""


def every_second(function: Callable[[], None]) -> None:
    """Call a function once a second from now on."""
    if function not in _functions:
        _functions.append(function)
    _start()


def when_woken(function: Callable[[], None]) -> None:
    """Call a function after each :func:`wake` as well."""
    if function not in _when_woken:
        _when_woken.append(function)


def wake() -> None:
    """Call the functions for it soon. Never waits, so that a signal handler may call it."""
    # Without the pipe, the thread calls those of the interval.
    if _news is not None and _news.is_ours:
        with suppress(BlockingIOError):
            os.write(_news.number, b"\0")


def when_readable(descriptor: int, function: Callable[[], object]) -> None:
    """Call a function as soon as a descriptor is readable; the function must read it."""
    _descriptors[descriptor] = function
    _start()
    wake()


def forget(descriptor: int) -> None:
    """Stop watching a descriptor."""
    _descriptors.pop(descriptor, None)


def _start() -> None:
    global _thread_of, _news
    with _lock:
        if _thread_of == os.getpid():
            return
        _thread_of = os.getpid()
        reading, _news = (Owned(moved(end)) for end in os.pipe())
        os.set_blocking(_news.number, False)
        start_thread("otel-flyte-watch", functools.partial(_run, reading))


def _run(news: Owned) -> None:
    while True:
        ready = _wait(news)
        try:
            for descriptor in ready:
                if descriptor in _descriptors:
                    _descriptors[descriptor]()
                elif descriptor == news.number and news.is_ours:
                    os.read(descriptor, 512)
                    for function in tuple(_when_woken):
                        function()
            if not ready:
                for function in tuple(_functions):
                    function()
        except Exception as fault:
            report("watch", fault)


def _wait(news: Owned) -> list[int]:
    """Wait for a descriptor or the interval; descriptors that the program has closed are forgotten."""
    poll = select.poll()
    for descriptor in (*[news.number] * news.is_ours, *_descriptors):
        poll.register(descriptor, select.POLLIN)
    happened = dict(poll.poll(INTERVAL_SECONDS * 1000))
    for descriptor, event in happened.items():
        if event & select.POLLNVAL:
            forget(descriptor)
    return [descriptor for descriptor, event in happened.items() if event & select.POLLIN]


def _forget_all() -> None:
    global _lock
    _lock = threading.RLock()
    _functions.clear()
    _when_woken.clear()
    _descriptors.clear()


forks.register(after_in_child=_forget_all)
