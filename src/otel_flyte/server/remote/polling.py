"""Looks for changes of executions while clients wait for them. All clients of an execution share a look."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

Key: TypeAlias = str | None
"""The key of an execution, ``None`` for the list."""

SHORTEST, LONGEST = 2.0, 5.0
"""Seconds between two looks where something changes, and where nothing has changed for long."""
LONGEST_AFTER_FAILURE = 60.0

_QUIET = 300.0
"""Seconds without a change after which the pauses become longer."""
_SHARE = 10
"""A pause is this many times as long as the look before it, at least: the backend has other users."""
_AT_ONCE = 4


@dataclass
class _Watch:
    """What is watched.

    Attributes:
        waiting: the number of those who wait.
        due: when the next look begins, in monotonic seconds.
        changed: when the last change was.
        failures: looks in a row that have failed.
    """

    waiting: int = 0
    due: float = 0.0
    changed: float = 0.0
    failures: int = 0
    is_looking: bool = False


class Poller:
    """Calls a function for each key that is watched, again and again; it returns whether something has changed."""

    def __init__(self, look: Callable[[Key], bool]) -> None:
        self._look = look
        self._watches: dict[Key, _Watch] = {}
        self._condition = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="otel-flyte-poller", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self, key: Key) -> Iterator[None]:
        """Watch a key; it does not block."""
        now = time.monotonic()
        with self._condition:
            watch = self._watches.setdefault(key, _Watch(due=now + SHORTEST, changed=now))
            watch.waiting += 1
            self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                watch.waiting -= 1
                if not watch.waiting and self._watches.get(key) is watch:
                    del self._watches[key]

    def close(self) -> None:
        """End; looks that have begun are not waited for."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._is_closed:
                    return
                now = time.monotonic()
                free = _AT_ONCE - sum(watch.is_looking for watch in self._watches.values())
                idle = [(watch.due, key) for key, watch in self._watches.items() if not watch.is_looking]
                idle = sorted(idle, key=lambda each: each[0])[:free]
                for due, key in idle:
                    if due <= now:
                        self._begin(key)
                # The end of a look notifies, too.
                later = [due - now for due, _ in idle if due > now]
                self._condition.wait(min(later, default=None))

    def _begin(self, key: Key) -> None:
        watch = self._watches[key]
        watch.is_looking = True
        # A server that ends does not wait for it.
        threading.Thread(target=self._look_at, args=(key, watch), name="otel-flyte-look", daemon=True).start()

    def _look_at(self, key: Key, watch: _Watch) -> None:
        begun = time.monotonic()
        try:
            has_changed = self._look(key)
            failures = 0
        except Exception:
            # The next request gets the error.
            has_changed, failures = False, watch.failures + 1
        now = time.monotonic()
        with self._condition:
            watch.failures = failures
            watch.changed = now if has_changed else watch.changed
            watch.due = now + _pause(now - begun, now - watch.changed, failures)
            watch.is_looking = False
            self._condition.notify()


def _pause(took: float, unchanged: float, failures: int) -> float:
    if failures:
        return min(LONGEST_AFTER_FAILURE, SHORTEST * 2.0 ** min(failures, 10))
    usual = SHORTEST if unchanged < _QUIET else min(LONGEST, SHORTEST * unchanged / _QUIET)
    return max(usual, _SHARE * took)
