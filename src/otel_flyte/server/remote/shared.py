"""Answers that all who ask the same at once share."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

_T = TypeVar("_T")

_MOST = 100


class Shared(Generic[_T]):
    """Keeps answers for some seconds, from any thread; an error is shared, and not kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[Future[_T], float]] = {}

    def get(self, question: Hashable, answer: Callable[[], _T]) -> _T:
        """Return the answer to a question, by a call unless there is one. It raises what the call raises."""
        with self._lock:
            now = time.monotonic()
            self._known = {
                each: (future, since)
                for each, (future, since) in self._known.items()
                if not future.done() or now - since < self._seconds
            }
            known = self._known.get(question)
            if known is not None:
                future = known[0]
            else:
                future = Future()
                if len(self._known) < _MOST:
                    self._known[question] = future, now
        if known is None:
            self._answer(question, answer, future)
        return future.result()

    def _answer(self, question: Hashable, answer: Callable[[], _T], future: "Future[_T]") -> None:
        try:
            found = answer()
        except BaseException as error:
            with self._lock:
                self._known.pop(question, None)
            future.set_exception(error)
        else:
            with self._lock:
                if question in self._known:
                    self._known[question] = future, time.monotonic()
            future.set_result(found)
