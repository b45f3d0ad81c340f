"""A thread beside the task, for periodic work and for descriptors, while the task is busy."""

import functools
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from otel_flyte.runtime import forks
from otel_flyte.runtime.descriptors import Owned, owned_pipe
from otel_flyte.runtime.guard import report, start_thread

INTERVAL_SECONDS = 1.0

_lock = threading.RLock()
_thread_of = 0
_functions: list[Callable[[], None]] = []
_when_woken: list[Callable[[], None]] = []
_descriptors: dict[int, tuple[Owned, Callable[[], object]]] = {}
_news: tuple[Owned, Owned] | None = None
"""The reading and the writing end of the pipe that wakes the thread."""


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
    # Without the pipe, the thread calls those of the interval. A pipe without a reader raises ``SIGPIPE``, which may
    # end the process.
    if _news is not None and all(end.is_ours for end in _news):
        with suppress(OSError):
            os.write(_news[1].number, b"\0")


def when_readable(descriptor: int, function: Callable[[], object]) -> None:
    """Call a function as soon as a descriptor is readable; the function must read it.

    A descriptor that the program has closed, or whose other end, is watched no longer. So is a file of the program that
    has got its number.
    """
    _descriptors[descriptor] = Owned(descriptor), function
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
        reading, writing = _news = owned_pipe()
        os.set_blocking(writing.number, False)
        start_thread("otel-flyte-watch", functools.partial(_run, reading))


def _run(news: Owned) -> None:
    while True:
        ready = _wait(news)
        try:
            for end in ready:
                if end is news:
                    _read(news)
                elif watched := _descriptors.get(end.number):
                    watched[1]()
            if not ready:
                for function in tuple(_functions):
                    function()
        except Exception as fault:
            report("watch", fault)


def _read(news: Owned) -> None:
    if not os.read(news.number, 512):
        news.close()
    for function in tuple(_when_woken):
        function()


def _wait(news: Owned) -> list[Owned]:
    """Wait for a descriptor or the interval, and return the readable ones."""
    watched = {end.number: end for end in _watched(news)}
    poll = select.poll()
    for number in watched:
        poll.register(number, select.POLLIN)
    happened = poll.poll(INTERVAL_SECONDS * 1000)
    for number, event in happened:
        # With nothing to read, each poll would return at once.
        if not event & select.POLLIN:
            _leave(watched[number], news)
    readable = [watched[number] for number, event in happened if event & select.POLLIN]
    # Another file may have got the number since the poll began.
    return [end for end in readable if end.is_ours]


def _watched(news: Owned) -> Iterator[Owned]:
    for end in (news, *(end for end, _ in tuple(_descriptors.values()))):
        if end.is_ours:
            yield end
        else:
            _leave(end, news)


def _leave(end: Owned, news: Owned) -> None:
    """Watch a descriptor no longer that the program has closed, or whose other end is closed."""
    if end is news:
        news.close()
    elif _descriptors.get(end.number, (None,))[0] is end:
        forget(end.number)


def _forget_all() -> None:
    global _lock
    _lock = threading.RLock()
    _functions.clear()
    _when_woken.clear()
    _descriptors.clear()


forks.register(after_in_child=_forget_all)
