"""Code that runs around a fork: one registry, and locks that no other thread holds while a process forks.

A child inherits locks as they are, and none of the threads that would release them. It inherits modules that a thread
is importing, and they never become complete. So a fork waits for our threads, and every module that has state for its
process registers here how a child resets it.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from otel_flyte.runtime import held_signals

Hook = Callable[[], object]

_before: list[Hook] = []
_after_in_parent: list[Hook] = []
_after_in_child: list[Hook] = []
_locks: list["ForkLock"] = []
"""All locks, in the order in which they were created."""


def register(
    *, before: Hook | None = None, after_in_parent: Hook | None = None, after_in_child: Hook | None = None
) -> None:
    """Call functions around every fork of this process.

    As with ``os.register_at_fork``, functions for ``before`` run in reverse order of registration, the others in order.
    """
    for hooks, hook in ((_before, before), (_after_in_parent, after_in_parent), (_after_in_child, after_in_child)):
        if hook is not None:
            hooks.append(hook)


class ForkLock:
    """A re-entrant lock that no other thread holds while this process forks.

    Args:
        patience: seconds that a fork waits for the lock; a thread that holds it longer may be stuck.
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

    @contextmanager
    def for_a_moment(self) -> Iterator[None]:
        """Hold the lock if it is free within the patience: a thread that holds it may wait for one of this thread's."""
        lock = self._lock
        is_held = lock.acquire(timeout=self._patience)
        try:
            yield
        finally:
            if is_held:
                lock.release()

    def hold(self) -> None:
        """Acquire the lock before a fork."""
        self._forking.holds = self._lock.acquire(timeout=self._patience)

    def give_up(self) -> None:
        """Release the lock in the parent, after a fork."""
        # Another thread may have created the lock during the fork.
        if getattr(self._forking, "holds", False):
            self._forking.holds = False
            self._lock.release()

    def begin_child(self) -> None:
        """Release the lock in the child, or replace it where another thread holds it."""
        if getattr(self._forking, "holds", False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


class Imports:
    """Imports by our threads: a fork waits until they are complete.

    The threads do not wait for each other. An import may log a line, and that may need a module that another thread is
    importing.

    Args:
        patience: seconds that a fork waits.
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
        """The number of imports of this thread that are under way, one inside the other."""
        return getattr(self._mine, "open", 0)

    def hold(self) -> None:
        """Wait for the imports of other threads, and let none begin, before a fork."""
        self._change.acquire()
        self._change.wait_for(lambda: self._open == self.open_here, self._patience)

    def give_up(self) -> None:
        """Let imports begin again in the parent, after a fork."""
        self._change.release()

    def begin_child(self) -> None:
        """Forget the imports of other threads in the child."""
        self._change, self._open = threading.Condition(), self.open_here


importing = Imports(5.0)


def _prepare() -> None:
    try:
        _call(reversed(_before))
    finally:
        # An import may need any of the locks to log a line: the fork would wait for ever if it held one.
        importing.hold()
        for lock in reversed(_locks):
            lock.hold()
        held_signals.hold_back()


def _end_in_parent() -> None:
    try:
        held_signals.let_through()
    finally:
        for lock in _locks:
            lock.give_up()
        importing.give_up()
    _call(_after_in_parent)


def _begin_child() -> None:
    for lock in _locks:
        lock.begin_child()
    importing.begin_child()
    _call(_after_in_child)


def _call(hooks: Iterable[Hook]) -> None:
    """Call all hooks, even if one raises an error; Python prints the first error, as for its own hooks."""
    first: BaseException | None = None
    for hook in tuple(hooks):
        try:
            hook()
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_prepare, after_in_parent=_end_in_parent, after_in_child=_begin_child)
