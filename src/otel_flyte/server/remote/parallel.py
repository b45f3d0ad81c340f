"""Several questions at once, by threads that a server which ends does not wait for."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Q = TypeVar("_Q")
_A = TypeVar("_A")


def answers(ask: Callable[[_Q], _A], questions: Iterable[_Q], at_once: int) -> Iterator[tuple[_Q, _A]]:
    """Return each question with its answer, as they come; an error of one ends all.

    Args:
        ask: answers a question.
        questions: the questions.
        at_once: the number of threads.
    """
    waiting: queue.SimpleQueue[_Q] = queue.SimpleQueue()
    count = 0
    for question in questions:
        waiting.put(question)
        count += 1
    done: queue.SimpleQueue[tuple[_Q, _A] | BaseException] = queue.SimpleQueue()
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                question = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((question, ask(question)))
            except BaseException as error:
                done.put(error)

    for _ in range(min(count, at_once)):
        threading.Thread(target=work, name="otel-flyte-ask", daemon=True).start()
    try:
        for _ in range(count):
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        ended.set()
