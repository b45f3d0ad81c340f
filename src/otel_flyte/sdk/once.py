"""A value that is created once."""

from collections.abc import Callable
from typing import Generic, TypeVar

from otel_flyte.runtime.forks import ForkLock

P = TypeVar("P")


class Once(Generic[P]):
    """A value that is created by the first thread that needs it."""

    def __init__(self, create: Callable[[], P]) -> None:
        self._create = create
        self._value: P | None = None
        self._lock = ForkLock(0.5)

    @property
    def is_made(self) -> bool:
        """Return whether the value exists."""
        return self._value is not None

    def __call__(self) -> P:
        """Return the value."""
        if self._value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._create()
        return self._value
