"""Energy of devices that report their power and count no joules."""

import time
from collections.abc import Callable


class Energy:
    """Power, integrated over time by the trapezoid rule from the first known value.

    A stretch of time at whose start or end power is unknown does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._joules: float | None = None
        self._last: tuple[float, float] | None = None

    def add(self, watts: float | None) -> float | None:
        """Return the joules until now, ``None`` until power is known."""
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
        """Do not count the time until power is known again."""
        self._last = None
