"""What stands between a fault of ours and a user's task.

User code is never called from inside a guard: only our bookkeeping before and after it is.
"""

import functools
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from otel_flyte import semconv

logger = logging.getLogger(semconv.SCOPE)

P = ParamSpec("P")
R = TypeVar("R")

_SILENCE_SECONDS = 0.5

_reported: set[str] = set()
_saying = threading.RLock()
_silenced = threading.local()
"""Whether the thread that forks has silenced the others: several may fork at once."""


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make bookkeeping harmless: what it raises is logged once and becomes ``None``.

    Only this project's own tests see the exception itself, by a variable of their own: users run their workflows
    under pytest too, so its presence says nothing.
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
    """Log a fault of ours once for each place; raise it where our own tests ask for it."""
    if os.environ.get(semconv.RAISE_INTERNAL_ERRORS):
        raise error
    if where in _reported:
        return
    _reported.add(where)
    say("otel-flyte failed in %s (%r): the task is not affected, its telemetry may be incomplete.", where, error)
    logger.debug("The fault in %s:", where, exc_info=error)


def say_once(problem: str) -> None:
    """Say what was wrong with the configuration and what is used instead, once in a process."""
    if problem not in _reported:
        _reported.add(problem)
        say("otel-flyte: %s", problem)


def start_thread(name: str, function: Callable[[], object]) -> threading.Thread:
    """Start a daemon thread whose faults are logged like all of ours; Python would print them while others fork.

    Raises:
        RuntimeError: the process can have no more threads.
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


def say(text: str, *args: object) -> None:
    """Log a warning, of which a thread of ours may be the author: nobody forks meanwhile.

    A child that is forked while a thread writes to stderr inherits its lock, and hangs with its own first line.
    """
    with _saying:
        logger.warning(text, *args)


def _let_nobody_speak() -> None:
    # Where stderr itself is stuck, a fork is not to be.
    _silenced.here = _saying.acquire(timeout=_SILENCE_SECONDS)


def _let_all_speak() -> None:
    if getattr(_silenced, "here", False):
        _saying.release()


def _renew() -> None:
    global _saying
    _saying = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_let_nobody_speak, after_in_parent=_let_all_speak, after_in_child=_renew)
