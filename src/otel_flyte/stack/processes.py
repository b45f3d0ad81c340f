"""Processes that outlive the command that starts them. A process that has reused a pid is never mistaken for ours."""

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_CLOCK_SLACK = 2.0
"""Seconds. The start time of a process is relative to the boot time, which moves when the clock is set."""

_POLL_INTERVAL = 0.05
_TAIL_BYTES = 16_384
_ERROR = re.compile(
    r'\blevel="?(error|fatal|critical)|"level":"(error|fatal)|\t(error|fatal)\t|^(error|panic|fatal)\b', re.IGNORECASE
)
"""An error as marked by the parts' loggers and by Go."""

_LIKE_AN_ERROR = re.compile("error|panic|fatal|failed|cannot", re.IGNORECASE)


@dataclass(frozen=True)
class Process:
    """A process that we have started. Its start time tells it from a later process with the same pid."""

    pid: int
    started: float
    """Seconds since the epoch."""


def new_log(log: Path) -> None:
    """Start a new log file; the previous one gets the suffix ``.log.1``.

    Raises:
        OSError: the file can't be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    log.touch()


def start(command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path) -> Process:
    """Start a process in a session of its own, so that neither Ctrl-C nor the end of a terminal reaches it.

    Its working directory is ``folder``, because the caller's may be deleted while the process runs. Its stdout and
    stderr are appended to ``log``.

    Raises:
        OSError: the executable can't be started, or the log can't be written.
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
    try:
        return Process(child.pid, psutil.Process(child.pid).create_time())
    except psutil.NoSuchProcess:
        return Process(child.pid, 0.0)


def is_running(process: Process) -> bool:
    """Return whether the process is running and is still the one that we have started."""
    try:
        found = psutil.Process(process.pid)
        return abs(found.create_time() - process.started) < _CLOCK_SLACK and _is_alive(found)
    except psutil.Error:
        return False


def is_any_left(process: Process) -> bool:
    """Return whether the process, or a process that it has started, is running."""
    return bool(_group(process))


def stop(graces: Mapping[Process, float]) -> None:
    """Stop processes and all that they have started: SIGTERM, then SIGKILL after each one's grace period in seconds.

    A process that is not ours any more is left alone.
    """
    began = time.monotonic()
    terminated = [(process, _signal_group(process, signal.SIGTERM), grace) for process, grace in graces.items()]
    for process, members, grace in terminated:
        _wait(members, until=began + grace)
        # Kills also processes that a member has started meanwhile.
        _wait(_signal_group(process, signal.SIGKILL), until=math.inf)


def last_error(log: Path) -> str:
    """Return the last line of a log that reports an error, else its last line."""
    lines = _tail(log)
    if not lines:
        return "no output"
    errors = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    errors = errors or [number for number, line in enumerate(lines) if _LIKE_AN_ERROR.search(line)]
    if not errors:
        return lines[-1]
    # A line that ends in a colon is continued on the next.
    end = next((number for number in range(errors[-1], len(lines)) if not lines[number].endswith(":")), len(lines) - 1)
    return " ".join(lines[errors[-1] : end + 1])


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []


def _group(process: Process) -> list[psutil.Process]:
    """Return the running members of a process's group: itself, and all that it has started.

    The kernel does not reuse the id of a group that has members; after a reboot it does.
    """
    if process.started < psutil.boot_time() - _CLOCK_SLACK:
        return []
    with suppress(psutil.Error):
        if _is_alive(psutil.Process(process.pid)) and not is_running(process):
            return []
    return [found for found in psutil.process_iter() if _is_member(found, process)]


def _is_member(found: psutil.Process, process: Process) -> bool:
    try:
        return (
            os.getpgid(found.pid) == process.pid
            and found.create_time() > process.started - _CLOCK_SLACK
            and _is_alive(found)
        )
    except (psutil.Error, OSError):
        return False


def _is_alive(found: psutil.Process) -> bool:
    """Return whether a process has not ended. One that has ended is a zombie until its parent waits for it.

    In a container the parent may be an init that never does.
    """
    try:
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(members: Iterable[psutil.Process], *, until: float) -> None:
    while any(_is_alive(member) for member in members) and time.monotonic() < until:
        time.sleep(_POLL_INTERVAL)


def _signal_group(process: Process, number: signal.Signals) -> list[psutil.Process]:
    members = _group(process)
    for member in members:
        with suppress(psutil.Error):
            member.send_signal(number)
    return members
