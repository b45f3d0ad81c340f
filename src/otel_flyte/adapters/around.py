"""Our bookkeeping around user code."""

from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Around(Generic[T]):
    """Closes a span when a block of user code ends: ``with Around(begin(), end): user_code()``.

    ``begin`` and ``end`` are guarded, and ``end`` may be called twice. The block is not guarded: its exceptions pass
    unchanged, with no frame of this class in their tracebacks. Coroutines are awaited in such a block as well.

    Args:
        opened: result of ``begin``; ``None`` where nothing is to be closed.
        end: called with that result and the exception of the block, ``None`` without one.
    """

    __slots__ = ("_end", "_opened")

    def __init__(self, opened: T | None, end: Callable[[T, BaseException | None], object]) -> None:
        self._opened = opened
        self._end = end

    def __enter__(self) -> T | None:
        return self._opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is None:
            return
        try:
            self._end(self._opened, error)
        except BaseException:
            # A signal handler of the user has raised it. What is open must be closed all the same.
            self._end(self._opened, error)
            raise
