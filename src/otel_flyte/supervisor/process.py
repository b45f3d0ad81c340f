"""One child process: it gets all signals to this process, and this process ends as it ended.

All signals are blocked and waited for. So none is lost or handled half-way, and the source of each is known. There are
no handlers and no threads.
"""

import os
import resource
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)
_BACKGROUND = (signal.SIGTTIN, signal.SIGTTOU)
_WATCHED = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *_FAULTS, *_BACKGROUND}
_KEYS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)
"""Signals of a terminal to the whole process group, and so to the child, too."""

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_SI_KERNEL = 0x80


def start(command: list[str], environ: Mapping[str, str]) -> int:
    """Start the child and return its process id; from here on signals wait for :func:`wait`.

    The child has the signal mask and dispositions of this process, with the default for those that Python ignores.

    Raises:
        OSError: it can't be started.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # With SIG_IGN there would be no child to wait for.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    child = os.posix_spawnp(command[0], command, environ, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)
    _outlive()
    return child


def become(command: list[str]) -> NoReturn:
    """Replace this process by the command.

    Raises:
        OSError: it can't be started.
    """
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606  # the user's command


def wait(child: int, listen: Callable[[], None]) -> int:
    """Forward signals until the child has ended, and return its wait status; every signal calls ``listen``."""
    while True:
        number, is_from_terminal = _next_signal()
        listen()
        if number == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                return status
        elif number != signal.SIGIO and not is_from_terminal:
            os.kill(child, number)


def end_as(status: int) -> NoReturn:
    """End this process as the child ended: by the same signal, without a second core dump, or with its exit code.

    The first process of a container can't kill itself: it exits with 128 plus the signal's number.
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        # One byte holds no dump. A limit of 0 would still start a handler that reads dumps from a pipe.
        resource.setrlimit(resource.RLIMIT_CORE, (0 if most == 0 else 1, most))
        with suppress(OSError):  # SIGKILL has no disposition.
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(exit_code(status))


def exit_code(status: int) -> int:
    """Return a container's exit code for a wait status."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _outlive() -> None:
    """Ask the kernel not to OOM-kill this process with the whole container; few users have the right to."""
    with suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"-1000")
        os.close(descriptor)


def _next_signal() -> tuple[int, bool]:
    """Wait for a signal, and return it and whether a terminal sent it, to the child as well."""
    if hasattr(signal, "sigwaitinfo"):
        received = signal.sigwaitinfo(_WATCHED)
        return received.si_signo, received.si_signo in _KEYS and received.si_code == _SI_KERNEL
    number = signal.sigwait(_WATCHED)
    return number, number in _KEYS and _has_terminal()


def _has_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _reap(child: int) -> int | None:
    """Reap all processes that have ended, orphans as well; return the child's wait status if it is among them.

    A child that its terminal has stopped stops this process, too: the shell watches this process.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            if pid == child and os.WSTOPSIG(status) in (signal.SIGTSTP, *_BACKGROUND):
                os.kill(os.getpid(), signal.SIGSTOP)
        elif pid == child:
            return status
