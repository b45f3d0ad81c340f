"""A value that is created once."""

from collections.abc import Callable
from typing import Generic, TypeVar

from otel_flyte.runtime.forks import ForkLock, importing
from otel_flyte.runtime.guard import start_thread
from otel_flyte.runtime.wakeup import Wakeup

P = TypeVar("P")

PATIENCE = 5.0
"""Seconds that the creation may take in a thread of its own."""


class Once(Generic[P]):
    """A value that is created when it is first needed, by a thread of its own.

    A signal handler may interrupt the thread that needs it at any point, and need it, too. It waits then, instead of
    entering a half-imported module.
    """

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
        if self._value is not None:
            return self._value
        done = Wakeup()
        errors: list[BaseException] = []

        def create() -> None:
            try:
                with importing, self._lock:
                    if self._value is None:
                        self._value = self._create()
            except BaseException as error:
                errors.append(error)
            finally:
                done.set()

        try:
            start_thread("otel-flyte-once", create)
        except RuntimeError:  # None can be started when the interpreter shuts down.
            create()
        done.wait(PATIENCE)
        if errors:
            raise errors[0]
        if self._value is None:
            # The thread is not in a process that the signal handler has forked, or it waits for a module that this
            # thread is importing.
            self._value = self._create()
        return self._value
