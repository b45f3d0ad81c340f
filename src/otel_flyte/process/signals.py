"""SIGTERM, by which Kubernetes ends a pod: it is recorded on every open span, and spans that ended are delivered.

Python runs a signal's handler in the main thread, between two bytecodes. While that thread is inside C code, a handler
would keep a process alive that ended at once without it. So a thread acts: it is woken by ``signal.set_wakeup_fd``, to
which the C part of Python's handling writes. An existing handler stays. Without one, the process still ends by the
signal, once all records are sent or the exit bound is over.

Limits: C code that holds the GIL, handlers that are installed from C, a wakeup descriptor that the program sets later
(as asyncio's ``add_signal_handler`` does), and children that C code forks without Python's hooks: their signals are
taken for those of their parent. Where a program closes all descriptors, Python writes to the number of ours until the
next signal or the end of the phase: only the main thread may change that.
"""

import functools
import os
import select
import signal
import threading
from contextlib import suppress
from types import FrameType

from otel_flyte.process import shutdown
from otel_flyte.runtime import forks, held_signals, ticker
from otel_flyte.runtime.descriptors import Owned, owned_pipe
from otel_flyte.runtime.guard import guarded, start_thread
from otel_flyte.tasks import state
from otel_flyte.tracing import open_spans

_descriptors: tuple[Owned, Owned] | None = None
"""The reading and the writing end of the pipe."""

_pending: "select.poll | None" = None
"""Of the reading end, ``None`` without a pipe that can be used."""

_asked_for_default = False
"""Whether a handler of the program has called ours."""

_lock = threading.RLock()
"""Held while a signal is read and recorded, so that a thread that acquires it knows that it is recorded."""


@guarded
def install() -> None:
    """Watch for SIGTERM from now on. It has no effect outside the main thread."""
    global _descriptors, _pending
    if _descriptors is not None or threading.current_thread() is not threading.main_thread():
        return
    disposition = signal.getsignal(signal.SIGTERM)
    if disposition in (None, signal.SIG_IGN):
        return
    reading, writing = owned_pipe()
    for end in (reading, writing):
        os.set_blocking(end.number, False)
    others = signal.set_wakeup_fd(writing.number, warn_on_full_buffer=False)
    if others != -1:
        signal.set_wakeup_fd(others)
        reading.close()
        writing.close()
        return
    _descriptors = reading, writing
    held_signals.held.add(signal.SIGTERM)
    _pending = select.poll()
    _pending.register(reading.number, select.POLLIN)
    ticker.when_readable(reading.number, _check)
    state.check_signals = _check
    if disposition is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _handle)
        # System calls are restarted, as without a handler.
        signal.siginterrupt(signal.SIGTERM, False)
    shutdown.at_the_end(uninstall)


@guarded
def uninstall() -> None:
    """Restore the previous disposition and wakeup descriptor."""
    global _descriptors
    if _descriptors is None or threading.current_thread() is not threading.main_thread():
        return
    (reading, writing), _descriptors = _descriptors, None
    if _is_ours():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    others = signal.set_wakeup_fd(-1)
    if others not in (-1, writing.number):
        signal.set_wakeup_fd(others)
    held_signals.held.discard(signal.SIGTERM)
    # The descriptors stay open: another file could get their numbers while the thread still reads them.
    ticker.forget(reading.number)


def _handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler is given both
    """Wake the thread, as Python has done already unless the program has replaced our wakeup descriptor.

    A handler that was installed later may call this one as its predecessor: it asks for the default action.
    """
    global _asked_for_default
    _asked_for_default = _asked_for_default or not _is_ours()
    if _descriptors is None or os.getpid() == 1:
        return
    if not _is_open():  # The program has closed our descriptor: the thread can't be woken.
        guarded(_let_go_of_closed)()
        _received(bytes([number]))
        return
    with suppress(BlockingIOError):
        os.write(_descriptors[1].number, bytes([number]))


@guarded
def _is_open() -> bool:
    """Return whether both ends are open: writing without a reader raises ``SIGPIPE``, which may end the process."""
    return _descriptors is not None and all(end.is_ours for end in _descriptors)


def _let_go_of_closed() -> None:
    """Stop Python from writing the numbers of signals to a file that has got the number of our descriptor."""
    global _pending
    if _descriptors is None or threading.current_thread() is not threading.main_thread():
        return
    _pending = None
    others = signal.set_wakeup_fd(-1)
    if others not in (-1, _descriptors[1].number):
        signal.set_wakeup_fd(others)


def _is_ours() -> bool:
    return signal.getsignal(signal.SIGTERM) is _handle


@guarded
def _check() -> None:
    """Act on a signal that has arrived; a phase that ends because of it may be here before the thread."""
    with _lock:
        # A poll costs a task's phases half as much as a read without data.
        if _descriptors is None or _pending is None:
            return
        reading = _descriptors[0]
        if reading.is_ours and _pending.poll(0):
            with suppress(BlockingIOError):
                _received(os.read(reading.number, 512))
        if not _is_open():
            ticker.forget(reading.number)
            _let_go_of_closed()


def _received(numbers: bytes) -> None:
    if signal.SIGTERM not in numbers:
        return
    name = signal.Signals.SIGTERM.name
    is_first, state.signalled = not state.signalled, name
    if is_first:
        _record(name)
    # The kernel does not apply the default action of a signal to the first process of a container.
    if (_is_ours() or _asked_for_default) and os.getpid() != 1:
        _send_and_die(signal.SIGTERM)
    else:
        shutdown.kick()


@guarded
def _record(name: str) -> None:
    open_spans.add_signal(name, _phases())


def _send_and_die(number: signal.Signals) -> None:
    """Send all records in a separate thread, as the task may hold a lock that sending needs; then end the process."""
    try:
        sending = start_thread("otel-flyte-last", functools.partial(_end_all, number.name))
        sending.join(shutdown.exit_timeout())
    finally:
        _die_of(number)


def _end_all(name: str) -> None:
    open_spans.end_all(name)
    guarded(shutdown.end_before_death)()


def _phases() -> dict[int, str]:
    phases: dict[int, str] = {}
    for task in list(state.open_tasks.values()):
        for span in filter(None, (task.span, task.phase)):
            phases[span.get_span_context().span_id] = task.phase_name
    return phases


def _die_of(number: signal.Signals) -> None:
    """End the process as the signal would have: the module ``signal`` restores dispositions in the main thread only."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        libc.signal(int(number), None)
        os.kill(os.getpid(), number)
        threading.Event().wait(1)
    finally:
        os._exit(128 + number)


def _begin_child() -> None:
    try:
        _restore_default()
    finally:
        held_signals.let_through()


@guarded
def _restore_default() -> None:
    """In a forked child: restore the default action, and do not use the parent's pipe."""
    global _descriptors, _lock
    if _descriptors is None:
        return
    reading, writing = _descriptors
    _descriptors, _lock = None, threading.RLock()
    held_signals.held.discard(signal.SIGTERM)
    state.signalled = ""
    with suppress(ValueError):
        if _is_ours():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        others = signal.set_wakeup_fd(-1)
        if others not in (-1, writing.number):
            signal.set_wakeup_fd(others)
    for end in (reading, writing):
        end.close()


forks.register(after_in_child=_begin_child)
