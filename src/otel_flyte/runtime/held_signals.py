"""Signals that are blocked during a fork, until the child is ready for them.

A new child still has its parent's handler, and the descriptor that wakes the parent's thread. A signal to the child
would be handled as the parent's. So the forking thread blocks such signals, and the child unblocks them when it has
removed both.

A thread or a process that is started meanwhile inherits the mask. So the time is short: from our last hook before the
fork to our first hook after it. Threads that gRPC starts inside of ``fork`` inherit the mask.
"""

import signal
import threading

held: set[signal.Signals] = set()
"""The signals that are blocked."""


class _Forking(threading.local):
    """The signals that this thread has blocked, for each fork that is under way: a hook may fork, too."""

    def __init__(self) -> None:
        self.blocked: list[set[signal.Signals]] = []


_forking = _Forking()


def hold_back() -> None:
    """Block the signals in this thread, which is about to fork."""
    blocked = held - signal.pthread_sigmask(signal.SIG_BLOCK, ()) if held else set()
    # First, since blocking runs handlers, and these may raise.
    _forking.blocked.append(blocked)
    if blocked:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)


def let_through() -> None:
    """Unblock them after the fork. In the child, the module that has added a signal to ``held`` calls this."""
    try:
        if _forking.blocked and _forking.blocked[-1]:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _forking.blocked[-1])
    finally:
        del _forking.blocked[-1:]
