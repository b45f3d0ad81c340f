"""``otel-flyte exec``: a parent that outlives the task's process, and ends its span if the process could not.

While the command runs, only a few small modules of the standard library are loaded.
"""

import os
import resource
import time
from contextlib import suppress
from typing import NoReturn

from otel_flyte import semconv
from otel_flyte.supervisor import cgroup, process
from otel_flyte.supervisor.listener import Listener

_START_SECONDS = 0.5
"""The time in which a pump starts the process that sends."""

_PAUSE_SECONDS = 0.005
_FORM = "use otel-flyte exec -- COMMAND [ARGUMENT]..."
_USAGE, _NOT_EXECUTABLE, _NOT_FOUND = 2, 126, 127


def supervise(arguments: list[str]) -> NoReturn:
    """Run the command in the arguments, and end as it ends."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if command is arguments and command and command[0].startswith("-"):
        _refuse(f"unknown option {command[0]}: {_FORM}", _USAGE)
    if not command or not command[0]:
        _refuse(f"no command is given: {_FORM}", _USAGE)
    kills_before = cgroup.oom_kills()
    try:
        listener = Listener()
    except OSError as error:
        _run_unsupervised(command, error)
    try:
        child = process.start(command, {**os.environ, semconv.EXEC_PIPE: listener.address})
    except (OSError, ValueError) as error:
        _refuse_command(command, error)
    status = process.wait(child, listener.listen)
    ended_at = time.monotonic()
    listener.listen()
    if listener.unacknowledged:
        _deliver(listener, status, (cgroup.oom_kills() or 0) > (kills_before or 0), ended_at)
    if listener.pumps:
        _wait_for_pumps(listener, ended_at)
    process.end_as(status)


def _run_unsupervised(command: list[str], error: OSError) -> NoReturn:
    """Run the command without a pipe for its spans: the task matters more."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    problem = f"no pipe can be created ({error.strerror}; the limit of open files is {most})"
    _write(f"{problem}: the command runs unsupervised")
    try:
        process.become(command)
    except (OSError, ValueError) as reason:
        _refuse_command(command, reason)


def _deliver(listener: Listener, status: int, is_oom_killed: bool, ended_at: float) -> None:
    from otel_flyte.runtime.guard import guarded
    from otel_flyte.supervisor import ending

    how = ending.Ending.of(status, is_oom_killed)
    guarded(ending.deliver)(list(listener.unacknowledged.values()), how, ended_at)


def _wait_for_pumps(listener: Listener, ended_at: float) -> None:
    """Wait until the last lines of the task are written and sent: all processes of a container end with its first."""
    from otel_flyte.config import settings

    deadline = ended_at + settings.read(os.environ).exit_timeout + _START_SECONDS
    while time.monotonic() < deadline and listener.pumps:
        time.sleep(_PAUSE_SECONDS)
        listener.listen()


def _refuse_command(command: list[str], error: OSError | ValueError) -> NoReturn:
    is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    reason = getattr(error, "strerror", None) or error
    problem = f"{command[0]} can't be run ({reason}): check the command and its permissions"
    _refuse(problem, _NOT_FOUND if is_missing else _NOT_EXECUTABLE)


def _refuse(problem: str, code: int) -> NoReturn:
    _write(problem)
    os._exit(code)


def _write(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"otel-flyte: {line}\n".encode(errors="backslashreplace"))
