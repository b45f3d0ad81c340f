"""Backends without which an execution is shown all the same, with a remark."""

import time
from collections.abc import Callable

from otel_flyte.server.source import UnavailableError

_SHARE = 10
"""A backend that fails late is left alone this many times as long: who looks at a page waits for it."""
_LONGEST = 60.0
"""Seconds of that."""


class Lenient:
    """Asks a backend, from any thread.

    Args:
        missing: the beginning of a remark: what is missing.
    """

    def __init__(self, missing: str) -> None:
        self._missing = missing
        self._left_alone: tuple[float, str] = (0.0, "")

    def ask(self, call: Callable[[], object]) -> str:
        """Call a function that asks the backend, and return why something is missing, empty where nothing is."""
        until, remark = self._left_alone
        begun = time.monotonic()
        if begun < until:
            return remark
        try:
            call()
        except UnavailableError as error:
            now = time.monotonic()
            remark = f"{self._missing}, as {error}"
            self._left_alone = now + min(_LONGEST, _SHARE * (now - begun)), remark
            return remark
        return ""
