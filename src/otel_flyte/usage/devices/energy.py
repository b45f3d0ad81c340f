"""Energy of devices that tell their power and count no joules."""

import time
from collections.abc import Callable


class Energy:
    """Integrates power over time, from the first time that it is known.

    Between two times the mean of both powers counts; a time at whose beginning or end power is unknown counts for
    nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._joules: float | None = None
        self._last: tuple[float, float] | None = None

    def add(self, watts: float | None) -> float | None:
        """Give the joules up to now, ``None`` as long as power was never known."""
        if watts is None:
            self.interrupt()
            return self._joules
        now = self._clock()
        self._joules = self._joules or 0.0
        if self._last:
            then, watts_then = self._last
            self._joules += (now - then) * (watts + watts_then) / 2
        self._last = (now, watts)
        return self._joules

    def interrupt(self) -> None:
        """Let the time until power is known again count for nothing."""
        self._last = None
