"""``otel-flyte exec``: a parent that outlives the task's process, and ends its span where it could not.

While the command runs, nothing but a few small modules of the standard library is loaded.
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
"""What a pump takes to start what sends."""

_PAUSE_SECONDS = 0.005
_USAGE, _NOT_EXECUTABLE, _NOT_FOUND = 2, 126, 127


def supervise(arguments: list[str]) -> NoReturn:
    """Run the command that the arguments name, and end as it ends."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command or (command is arguments and command[0].startswith("-")):
        _refuse("no command is given: otel-flyte exec -- COMMAND [ARGUMENT]...", _USAGE)
    kills_before = cgroup.oom_kills()
    try:
        listener = Listener()
    except OSError as error:
        _step_aside(command, error)
    try:
        child = process.start(command, {**os.environ, semconv.EXEC_PIPE: listener.address})
    except (OSError, ValueError) as error:
        _not_started(command, error)
    status = process.wait(child, listener.listen)
    ended_at = time.monotonic()
    listener.listen()
    if listener.unsettled:
        _speak(listener, status, (cgroup.oom_kills() or 0) > (kills_before or 0), ended_at)
    if listener.pumped:
        _wait_for_pumps(listener, ended_at)
    process.end_as(status)


def _step_aside(command: list[str], error: OSError) -> NoReturn:
    """Run the command where there is no pipe to hear of its spans by: the task matters more."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    _say(f"the command runs unsupervised, no pipe can be had ({error.strerror}; the limit of open files is {most})")
    try:
        process.become(command)
    except (OSError, ValueError) as reason:
        _not_started(command, reason)


def _speak(listener: Listener, status: int, ran_out_of_memory: bool, ended_at: float) -> None:
    from otel_flyte.runtime.guard import guarded
    from otel_flyte.supervisor import ending

    how = ending.Ending.of(status, ran_out_of_memory)
    guarded(ending.deliver)(list(listener.unsettled.values()), how, ended_at)


def _wait_for_pumps(listener: Listener, ended_at: float) -> None:
    """Have the task's last words go on and be sent: with the first process of a container all others die."""
    from otel_flyte.config import settings

    deadline = ended_at + settings.read(os.environ).exit_timeout + _START_SECONDS
    while time.monotonic() < deadline and listener.pumped:
        time.sleep(_PAUSE_SECONDS)
        listener.listen()


def _not_started(command: list[str], error: OSError | ValueError) -> NoReturn:
    is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    why = getattr(error, "strerror", None) or error
    _refuse(f"{command[0]}: {why}", _NOT_FOUND if is_missing else _NOT_EXECUTABLE)


def _refuse(why: str, code: int) -> NoReturn:
    _say(why)
    os._exit(code)


def _say(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"otel-flyte: {line}\n".encode(errors="backslashreplace"))
