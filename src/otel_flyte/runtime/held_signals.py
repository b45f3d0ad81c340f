"""Signals that a forked child gets only once it is ready for them.

What is sent to a child as it begins meets what its parent has installed: the parent's handler, and the descriptor that
tells the parent of signals. So the thread that forks blocks it, and the child unblocks it when it has taken both down.

A thread or a process that begins meanwhile would inherit what is blocked: it is, for as short as can be, by the last
hook of ours before a fork and the first one after it. Threads that gRPC begins inside of ``fork`` inherit it.
"""

import signal
import threading

held: set[signal.Signals] = set()
"""Those that a child is to get later."""


class _Forking(threading.local):
    """What this thread has blocked, for each fork that is under way: a hook may fork too."""

    def __init__(self) -> None:
        self.blocked: list[set[signal.Signals]] = []


_forking = _Forking()


def hold_back() -> None:
    """Block them in this thread, which is about to fork."""
    blocked = held - signal.pthread_sigmask(signal.SIG_BLOCK, ()) if held else set()
    # First, since blocking runs handlers, and these may raise.
    _forking.blocked.append(blocked)
    if blocked:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)


def let_through() -> None:
    """Undo it after the fork; in the child that is for whoever has added to ``held``."""
    try:
        if _forking.blocked and _forking.blocked[-1]:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _forking.blocked[-1])
    finally:
        del _forking.blocked[-1:]
