"""Guards that keep our own faults from a user's task.

User code never runs inside a guard, only our bookkeeping before and after it.
"""

import functools
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import ParamSpec, TypeVar

from otel_flyte import semconv
from otel_flyte.runtime.forks import ForkLock
from otel_flyte.runtime.interrupts import pass_on

logger = logging.getLogger(semconv.SCOPE)

P = ParamSpec("P")
R = TypeVar("R")

_THREADS = ("otel-flyte", "Otel")
_reported: set[str] = set()

_AT_SHUTDOWN = "at interpreter shutdown"
"""Part of Python's message where no thread can be started any more."""

_saying = ForkLock(0.5)


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Return a function that logs an exception once and returns ``None``.

    A variable raises the exception in this project's own tests. Users run their workflows under pytest, too, so the
    presence of pytest is no sign of our tests.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            report(function.__qualname__, error)
            return None

    return call


def report(where: str, error: Exception) -> None:
    """Log a fault of ours once for each place; raise it in our own tests.

    An exception that a signal handler of the user has raised meanwhile is no fault: it is raised again.
    """
    pass_on(error)
    if isinstance(error, RuntimeError) and _AT_SHUTDOWN in str(error):
        # One of our threads is at work while the interpreter ends: the end of the process does what is left.
        return
    if os.environ.get(semconv.RAISE_INTERNAL_ERRORS):
        raise error
    if where in _reported:
        return
    _reported.add(where)
    say("otel-flyte: %s failed (%r): the task is not affected, its telemetry may be incomplete", where, error)
    logger.debug("The fault in %s:", where, exc_info=error)


def say_once(problem: str) -> None:
    """Log a problem once in a process."""
    if problem not in _reported:
        _reported.add(problem)
        say("otel-flyte: %s", problem)


def say(text: str, *args: object) -> None:
    """Log a warning while no other thread forks."""
    with no_fork():
        logger.warning(text, *args)


def no_fork() -> AbstractContextManager[None]:
    """Return a context in which no other thread forks, for a line of a thread that the task has not started.

    A child that is forked while a thread writes to stderr inherits the stream's lock, and hangs at its first line.
    """
    return _saying.for_a_moment()


def is_for_telemetry(thread: str | None) -> bool:
    """Return whether a thread of this name is one of otel-flyte or of OpenTelemetry's SDK."""
    return thread is not None and thread.startswith(_THREADS)


def start_thread(name: str, function: Callable[[], object]) -> threading.Thread:
    """Start a daemon thread whose faults are logged like all of ours; Python would print them during a fork.

    Raises:
        RuntimeError: the process can start no more threads.
    """

    def run() -> None:
        try:
            function()
        except Exception as fault:
            with suppress(Exception):
                report(name, fault)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
