"""An event without a lock: it may be set while the same thread sets it or waits for it.

A signal handler, a finalizer or a callback of the garbage collector interrupts a thread anywhere, also inside
`threading.Event.set`, and would wait for ever for the lock that this thread holds.
"""

from queue import Empty, SimpleQueue


class Wakeup:
    """An event for one thread that waits. `queue.SimpleQueue` is documented to be re-entrant."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Return whether it is set."""
        return not self._calls.empty()

    def set(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        if self._calls.empty():
            self._calls.put(None)

    def clear(self) -> None:
        """Make the next wait a real one."""
        while not self._calls.empty():
            self._take(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, ``timeout`` seconds at most; return whether it is. It stays set."""
        is_set = self._take(timeout)
        if is_set:
            self._calls.put(None)
        return is_set

    def _take(self, timeout: float | None) -> bool:
        try:
            self._calls.get(timeout=timeout) if timeout is None or timeout > 0 else self._calls.get_nowait()
        except Empty:
            return False
        return True
