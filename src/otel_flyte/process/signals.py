"""SIGTERM, by which Kubernetes takes a pod away: it is told on every open span, and what ended is delivered.

Python runs a signal's handler in the main thread, between two bytecodes: while that is inside C code, a handler would
keep a process alive that used to die at once. So a thread acts, woken through ``signal.set_wakeup_fd``, which the C
part of Python's handling writes to. Whatever handler there was stays: without one, the process still dies of the
signal, once everything is sent or the exit bound is over.

Limits: C code that holds the GIL, handlers that are installed from C, a wakeup descriptor that others set after us
(asyncio's ``add_signal_handler`` does), and children that C code forks past Python's hooks: what these are sent is
taken for their parent's.
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
from otel_flyte.runtime.guard import guarded, start_thread
from otel_flyte.tasks import state
from otel_flyte.tracing import open_spans

_descriptors: tuple[int, int] | None = None
_news: "select.poll | None" = None
_asked_for_default = False
"""Whether somebody's own handler has called ours."""

_lock = threading.RLock()
"""Held while a signal is read and told, so that who waits for it knows that it is told."""


@guarded
def install() -> None:
    """Watch for SIGTERM from now on; call it in the main thread, elsewhere it does nothing."""
    global _descriptors, _news
    if _descriptors is not None or threading.current_thread() is not threading.main_thread():
        return
    disposition = signal.getsignal(signal.SIGTERM)
    if disposition in (None, signal.SIG_IGN):
        return
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if others != -1:
        signal.set_wakeup_fd(others)
        os.close(reading)
        os.close(writing)
        return
    _descriptors = reading, writing
    held_signals.held.add(signal.SIGTERM)
    _news = select.poll()
    _news.register(reading, select.POLLIN)
    ticker.when_readable(reading, _take_note)
    state.check_signals = _take_note
    if disposition is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _wake_the_thread)
        # System calls go on as they would without a handler.
        signal.siginterrupt(signal.SIGTERM, False)
    shutdown.at_the_end(uninstall)


@guarded
def uninstall() -> None:
    """Give back the disposition and the wakeup descriptor from before."""
    global _descriptors
    if _descriptors is None or threading.current_thread() is not threading.main_thread():
        return
    (reading, writing), _descriptors = _descriptors, None
    if _is_ours():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    others = signal.set_wakeup_fd(-1)
    if others not in (-1, writing):
        signal.set_wakeup_fd(others)
    held_signals.held.discard(signal.SIGTERM)
    # The descriptors stay open: others could get their numbers while the thread still reads them.
    ticker.forget(reading)


def _wake_the_thread(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler is given both
    """Do what Python has done already, unless somebody else's descriptor has taken the place of ours.

    A handler that was installed later may call this one, as the one that was there before: it asks for the default.
    """
    global _asked_for_default
    _asked_for_default = _asked_for_default or not _is_ours()
    if _descriptors is None or os.getpid() == 1:
        return
    try:
        os.write(_descriptors[1], bytes([number]))
    except BlockingIOError:
        pass
    except OSError:  # Somebody has closed what is not theirs: there is nobody else to act.
        _received(bytes([number]))


def _is_ours() -> bool:
    return signal.getsignal(signal.SIGTERM) is _wake_the_thread


@guarded
def _take_note() -> None:
    """Act on a signal that has come; a phase that ends of it may be faster here than the thread."""
    with _lock:
        # Looking costs a task's phases half of what a read in vain does.
        if _descriptors is not None and _news is not None and _news.poll(0):
            with suppress(BlockingIOError):
                _received(os.read(_descriptors[0], 512))


def _received(numbers: bytes) -> None:
    if signal.SIGTERM not in numbers:
        return
    name = signal.Signals.SIGTERM.name
    is_news, state.signalled = not state.signalled, name
    if is_news:
        _tell(name)
    # The kernel spares the first process of a container the default action of a signal.
    if (_is_ours() or _asked_for_default) and os.getpid() != 1:
        _die_when_sent(signal.SIGTERM)
    else:
        shutdown.kick()


@guarded
def _tell(name: str) -> None:
    open_spans.add_signal(name, _phases())


def _die_when_sent(number: signal.Signals) -> None:
    """Send what there is, then die; in a thread of its own, since the task may hold a lock that it would wait for."""
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
    for scope in list(state.open_tasks.values()):
        for span in filter(None, (scope.span, scope.phase)):
            phases[span.get_span_context().span_id] = scope.phase_name
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
        _give_back()
    finally:
        held_signals.let_through()


@guarded
def _give_back() -> None:
    """In a forked child: die of the signal at once, as without us, and leave the parent's pipe alone."""
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
        if others not in (-1, writing):
            signal.set_wakeup_fd(others)
    for descriptor in (reading, writing):
        with suppress(OSError):
            os.close(descriptor)


forks.register(after_in_child=_begin_child)
