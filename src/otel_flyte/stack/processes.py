"""Processes that outlive the command that starts them, and are never taken for others."""

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
_ERROR_MARKS = ("error", "panic", "fatal", "failed", "cannot")


@dataclass(frozen=True)
class Process:
    """A process that we have started, told from a later one with its number by when it began."""

    pid: int
    started: float
    """Seconds since the epoch."""


def start(command: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
    """Start a process in a session of its own: neither Ctrl-C nor the end of a terminal reaches it.

    Args:
        command: The executable and its arguments.
        env: Its environment.
        log: What it writes is appended to this file, the last run's goes to the same with ``.1``.

    Raises:
        OSError: it can't be executed, or the log can't be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603  # a part of the stack
            command,
            env=dict(env),
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


def stop(graces: Mapping[Process, float]) -> None:
    """End processes together: ask them, and kill those that have not ended after their seconds of grace.

    What isn't ours any more is left alone.
    """
    began = time.monotonic()
    asked = [(found, grace) for process, grace in graces.items() if (found := _asked_to_end(process))]
    for found, grace in asked:
        try:
            found.wait(max(0.0, began + grace - time.monotonic()))
        except psutil.TimeoutExpired:
            with suppress(psutil.NoSuchProcess):
                found.kill()
                found.wait()


def last_words(log: Path) -> str:
    """Return the line of a log that says why its process ended: the last that names an error, else the last."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "it has no log"
    if not lines:
        return "it has written nothing"
    telling = [line for line in lines if any(mark in line.lower() for mark in _ERROR_MARKS)]
    return (telling or lines)[-1]


def _asked_to_end(process: Process) -> psutil.Process | None:
    if not is_running(process):
        return None
    try:
        found = psutil.Process(process.pid)
        found.terminate()
    except psutil.NoSuchProcess:
        return None
    return found


def _started(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
