"""Processes that outlive the command that starts them, and are never taken for others."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_CLOCK_SLACK = 2.0
"""Seconds: the start of a process is told from the start of the machine, which follows when its clock is set."""

_TAIL_BYTES = 16_384
_ERROR = re.compile(
    r'\blevel="?(error|fatal|critical)|"level":"(error|fatal)|\t(error|fatal)\t|^(error|panic|fatal)\b', re.IGNORECASE
)
"""How the parts' loggers and Go itself mark a line that tells of an error."""

_LIKE_AN_ERROR = re.compile("error|panic|fatal|failed|cannot", re.IGNORECASE)


@dataclass(frozen=True)
class Process:
    """A process that we have started, told from a later one with its number by when it began."""

    pid: int
    started: float
    """Seconds since the epoch."""


def new_log(log: Path) -> None:
    """Begin a log; the last run's goes to the same name with ``.1``.

    Raises:
        OSError: it can't be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    log.touch()


def start(command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path) -> Process:
    """Start a process in a session of its own: neither Ctrl-C nor the end of a terminal reaches it.

    Args:
        command: The executable and its arguments.
        env: Its environment.
        folder: Where it is started: that of whoever starts it may be gone tomorrow.
        log: What it writes is appended to this file.

    Raises:
        OSError: it can't be executed, or the log can't be written.
    """
    with log.open("ab") as stream:
        child = subprocess.Popen(  # noqa: S603  # a part of the stack
            command,
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(child.pid, _started(child.pid))


def is_running(process: Process) -> bool:
    """Whether it is there, and still the one that we have started."""
    try:
        found = psutil.Process(process.pid)
        # A child of this very command that has ended is a zombie until it is waited for.
        return abs(found.create_time() - process.started) < _CLOCK_SLACK and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_anything_left(process: Process) -> bool:
    """Whether it, or a process that it has started, is there."""
    return bool(_group(process))


def stop(graces: Mapping[Process, float]) -> None:
    """End processes with all that they have started: ask them, and kill what has not ended after its seconds of grace.

    What isn't ours any more is left alone.
    """
    began = time.monotonic()
    asked = [(process, _signalled(process, signal.SIGTERM), grace) for process, grace in graces.items()]
    for process, members, grace in asked:
        _, left = psutil.wait_procs(members, max(0.0, began + grace - time.monotonic()))
        # One that was started meanwhile is killed too.
        psutil.wait_procs([*left, *_signalled(process, signal.SIGKILL)])


def last_words(log: Path) -> str:
    """Return the line of a log that says what is wrong: the last that tells of an error, else the last of all."""
    lines = _tail(log)
    if not lines:
        return "it has written nothing"
    telling = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    telling = telling or [number for number, line in enumerate(lines) if _LIKE_AN_ERROR.search(line)]
    if not telling:
        return lines[-1]
    # What is announced follows.
    end = next((number for number in range(telling[-1], len(lines)) if not lines[number].endswith(":")), len(lines) - 1)
    return " ".join(lines[telling[-1] : end + 1])


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []


def _group(process: Process) -> list[psutil.Process]:
    """Return what is there of a process and of those that it has started: they are of its group.

    The number of a group is given to nobody else as long as one of it is there, but all numbers are given anew when
    the machine was started anew.
    """
    if process.started < psutil.boot_time() - _CLOCK_SLACK or (_is_there(process.pid) and not is_running(process)):
        return []
    return [found for found in psutil.process_iter() if _is_member(found, process)]


def _is_member(found: psutil.Process, process: Process) -> bool:
    try:
        return (
            os.getpgid(found.pid) == process.pid
            and found.create_time() > process.started - _CLOCK_SLACK
            and found.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, OSError):
        return False


def _is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signalled(process: Process, number: signal.Signals) -> list[psutil.Process]:
    members = _group(process)
    for member in members:
        with suppress(psutil.Error):
            member.send_signal(number)
    return members


def _started(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
