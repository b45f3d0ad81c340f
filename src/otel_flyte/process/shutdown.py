"""The end of the process: records that are left are sent, within a bound for a receiver that does not answer."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from otel_flyte.config import settings
from otel_flyte.runtime import forks
from otel_flyte.runtime.forks import ForkLock
from otel_flyte.runtime.guard import guarded, start_thread
from otel_flyte.runtime.wakeup import Wakeup


class Queue(Protocol):
    """Records of one signal that wait to be sent: see :class:`otel_flyte.export.queue.ExportQueue`."""

    @property
    def last_answer(self) -> float:
        """The time of the receiver's last answer (``time.monotonic``), 0 if it never answered."""

    def mark(self) -> Wakeup:
        """Return an event that is set once all records that are queued now are done."""

    def kick(self, grace: float = 0.0) -> None:
        """Send the records that are queued now, or after ``grace`` seconds."""

    def hurry(self, deadline: float) -> None:
        """Send all records before a deadline (``time.monotonic``)."""

    def finish(self) -> None:
        """Wait until that deadline at most, and count the records that were not delivered."""


class Provider(Protocol):
    """A provider of any signal."""

    def shutdown(self) -> object:
        """Send buffered records and stop."""


_SHARE = 0.75
"""Of the exit bound, for waiting: the rest is for counting and reporting records that are left."""

_CHILD_SECONDS = 0.5
_DEATH_SECONDS = 1.0

_providers: list[Provider] = []
_queues: list[Queue] = []
_collectors: list[Callable[[], object]] = []
_reports: list[Callable[[], object]] = []
_in_the_time_left: list[Callable[[float], object]] = []
_at_the_end: list[Callable[[], object]] = []
_before_the_end: list[Callable[[], object]] = []
_exiting = threading.Event()
_providers_done = threading.Event()
_sent = threading.Event()
_rest_done = threading.Event()
_all_done = threading.Event()
_dying = threading.Event()
"""Never set: a thread that waits for it waits for the signal."""

_is_dying = False
_deadline_of_the_rest: list[float] = []
_lock = threading.RLock()
_using_providers = ForkLock(0.5)
_owner = 0
_ended = False

_unanswered: tuple[float, float] | None = None
"""The end of the last flush without an answer (``time.monotonic``), and the seconds of all such flushes together."""


def exit_timeout() -> float:
    """Return the seconds that telemetry may add to the end of the process."""
    return settings.current().exit_timeout


def at_exit(provider: Provider) -> None:
    """Shut a provider down at the end of the process, within the bound."""
    _prepare()
    _providers.append(provider)


def add_queue(queue: Queue) -> None:
    """Empty a queue at the end of the process, within the bound."""
    _prepare()
    _queues.append(queue)


def in_the_time_left(function: Callable[[float], object]) -> None:
    """Call a function with the deadline (``time.monotonic``) after delivery, if there is time left."""
    _in_the_time_left.append(function)


def at_the_end(function: Callable[[], object]) -> None:
    """Call a quick function in any thread when nothing more is sent."""
    _at_the_end.append(function)


def collect_with(function: Callable[[], object]) -> None:
    """Call a function that queues the measurements so far, before the last flush."""
    _collectors.append(function)


def before_the_end(function: Callable[[], object]) -> None:
    """Call a quick function that hands records over, at the end of the process and before anything is sent."""
    _prepare()
    _before_the_end.append(function)
    collect_with(function)


def report_with(function: Callable[[], object]) -> None:
    """Call a function that reports dropped records, at the end of this process and of its forked children."""
    if function not in _reports:
        _reports.append(function)


def is_ours(provider: object) -> bool:
    """Return whether a provider is shut down here already."""
    return any(provider is known for known in _providers)


def flush(timeout: float | None = None) -> bool:
    """Send all records so far, and wait no longer than ``timeout`` seconds and the exit bound.

    Returns whether all of them are done: acknowledged, or dropped and counted.
    """
    bound = _bound() if timeout is None else min(timeout, _bound())
    deadline = time.monotonic() + bound
    collected = _collect_metrics(bound)
    return _wait([queue.mark() for queue in _queues], max(0.0, deadline - time.monotonic())) and collected


def has_begun_to_end() -> bool:
    """Return whether the process is at its end, and delivers the records that are left."""
    return _exiting.is_set()


def unless_at_the_end(function: Callable[[], object]) -> None:
    """Call a function that uses providers, unless the process is at its end. They are shut down after it returns."""
    with _using_providers:
        if not has_begun_to_end():
            function()


def wait_for(queue: Queue, timeout: float | None = None) -> bool:
    """Wait until the records in a queue are done, no longer than ``timeout`` seconds and the exit bound."""
    if has_begun_to_end():
        queue.kick()
        return True
    return _wait([queue.mark()], _bound() if timeout is None else min(timeout, _bound()))


def kick(grace: float = 0.0) -> None:
    """Send all records in the background, now or after ``grace`` seconds."""
    for queue in _queues:
        queue.kick(grace)


def end(deadline: float | None = None) -> None:
    """Send the records that are left within the bound, and report dropped records. Only the first call has an effect.

    Args:
        deadline: by ``time.monotonic``, if the bound has begun before.
    """
    global _ended
    if os.getpid() != _owner:
        _end_child()
        return
    with _lock:
        is_first, _ended = not _ended, True
    if is_first:
        try:
            _end(deadline or time.monotonic() + _time_left())
        finally:
            _all_done.set()
    else:
        _all_done.wait(exit_timeout())
    if _is_dying and threading.current_thread() is threading.main_thread():
        # The signal must end the process, and not its main thread.
        _dying.wait(_DEATH_SECONDS)


def end_before_death() -> None:
    """Do the same in a process that a signal is about to end: the main thread does not end it meanwhile."""
    global _is_dying
    _is_dying = True
    end()


def _end(deadline: float) -> None:
    for function in _before_the_end:
        guarded(function)()
    # A meter provider queues its last collection.
    _exiting.set()
    kick()
    _wait_until(deadline, _providers_done)
    queues = tuple(_queues)
    for queue in queues:
        queue.hurry(deadline)
    for queue in queues:
        queue.finish()
    if _in_the_time_left:
        _deadline_of_the_rest.append(deadline)
        _sent.set()
        _wait_until(deadline, _rest_done)
    _report()
    for function in _at_the_end:
        guarded(function)()


def _prepare() -> None:
    """Prepare the end while threads can be started: Python 3.12 starts none once the interpreter is exiting."""
    global _owner, _ended
    with _lock:
        if _owner == os.getpid():
            return
        _owner, _ended = os.getpid(), False
        _providers.clear()
        _queues.clear()
        _before_the_end.clear()
        for event in (_exiting, _providers_done, _sent, _rest_done, _all_done):
            event.clear()
        start_thread("otel-flyte-exit", _work_when_exiting)
        atexit.register(end)
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            # A worker of multiprocessing that was not spawned ends by `os._exit`, past `atexit`.
            util.Finalize(None, end, exitpriority=0)


def _work_when_exiting() -> None:
    _exiting.wait()
    with _using_providers:
        # Whoever uses one now has begun before the end.
        pass
    for provider in _providers:
        guarded(provider.shutdown)()
    _providers_done.set()
    _sent.wait()
    for function in _in_the_time_left:
        guarded(function)(_deadline_of_the_rest[-1])
    _rest_done.set()


def _wait(marks: Sequence[Wakeup], timeout: float) -> bool:
    """Wait for all marks; time without an answer is subtracted from the time that the end of the process may wait."""
    global _unanswered
    began = time.monotonic()
    is_done = all(mark.wait(max(0.0, began + timeout - time.monotonic())) for mark in marks)
    if is_done:
        _unanswered = None
    else:
        now = time.monotonic()
        _unanswered = now, now - began + (_unanswered[1] if _unanswered is not None else 0.0)
    return is_done


def _wait_until(deadline: float, event: threading.Event) -> None:
    event.wait(max(0.0, deadline - time.monotonic()))


def _bound() -> float:
    return exit_timeout() * _SHARE


def _time_left() -> float:
    """Return the exit bound, less the time that a program has waited for a receiver that has not answered since."""
    bound = _bound()
    if _unanswered is None:
        return bound
    when, seconds = _unanswered
    answered = any(queue.last_answer > when for queue in _queues)
    return bound if answered else max(0.0, bound - seconds)


def _end_child() -> None:
    """In a forked child, whose queues are the parent's: hand over its measurements so far."""
    _collect_metrics(_CHILD_SECONDS)
    _report()


def _begin_child() -> None:
    global _lock
    _lock = threading.RLock()


forks.register(after_in_child=_begin_child)


def _collect_metrics(timeout: float) -> bool:
    """Queue the measurements so far; a user's callback may be slow, or wait for a lock that is never released."""
    if not _collectors:
        return True
    with suppress(RuntimeError):  # Python 3.12 starts no thread any more where `atexit` calls this.
        collecting = start_thread("otel-flyte-collect", _collect)
        collecting.join(timeout)
        return not collecting.is_alive()
    return False


def _collect() -> None:
    for function in _collectors:
        function()


def _report() -> None:
    for function in _reports:
        guarded(function)()
