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

from otel_flyte import held_signals, semconv

logger = logging.getLogger(semconv.SCOPE)

P = ParamSpec("P")
R = TypeVar("R")

_reported: set[str] = set()


_locks: list["ForkLock"] = []
"""All there are, in the order in which they were made."""


class ForkLock:
    """A lock that nobody forks while another thread holds it.

    A child inherits locks as they are, and none of the threads that would give them up: it would wait for ever.

    Args:
        patience: seconds after which a thread that forks nevertheless does, since what holds the lock may be stuck.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.RLock()
        self._forking = threading.local()
        _locks.append(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def hold(self) -> None:
        """Keep other threads from it, before a fork."""
        self._forking.holds = self._lock.acquire(timeout=self._patience)

    def give_up(self) -> None:
        """Let other threads have it again, after a fork."""
        # It may have been made by another thread during the fork.
        if getattr(self._forking, "holds", False):
            self._lock.release()

    def begin_child(self) -> None:
        """Make it one that can be had, in the child."""
        if getattr(self._forking, "holds", False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


_saying = ForkLock(0.5)


class Imports:
    """Imports by threads of ours: nobody forks before they end.

    A module that is half imported never becomes whole in a child: whoever imports it there waits for ever. Threads do
    not wait for one another: what one imports may log a line, which makes it want what another one is importing.

    Args:
        patience: seconds after which a thread that forks nevertheless does.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._change = threading.Condition()
        self._open = 0
        self._mine = threading.local()

    def __enter__(self) -> None:
        with self._change:
            self._open += 1
            self._mine.open = self.open_here + 1

    def __exit__(self, *error: object) -> None:
        with self._change:
            self._open -= 1
            self._mine.open -= 1
            self._change.notify_all()

    @property
    def open_here(self) -> int:
        """How many are open in this thread, one inside the other."""
        return getattr(self._mine, "open", 0)

    def hold(self) -> None:
        """Wait for those of other threads, and let none begin, before a fork."""
        self._change.acquire()
        self._change.wait_for(lambda: self._open == self.open_here, self._patience)

    def give_up(self) -> None:
        """Let them begin again, after a fork."""
        self._change.release()

    def begin_child(self) -> None:
        """Forget those of other threads, in the child."""
        self._change, self._open = threading.Condition(), self.open_here


importing = Imports(5.0)


def _before_fork() -> None:
    # What is imported may want any of the locks, to log a line: while a fork held one, it would not end.
    importing.hold()
    for lock in reversed(_locks):
        lock.hold()
    held_signals.hold_back()


def _after_fork() -> None:
    try:
        held_signals.let_through()
    finally:
        for lock in _locks:
            lock.give_up()
        importing.give_up()


def _begin_child() -> None:
    for lock in _locks:
        lock.begin_child()
    importing.begin_child()


# Before all others of ours, which import this: so it runs last before a fork, and first after it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_begin_child)


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
