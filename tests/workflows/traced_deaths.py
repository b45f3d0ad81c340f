"""Tasks whose process ends before they do."""
# mypy: allow-untyped-decorators

import ctypes
import os
import signal

from flytekit import task


@task
def be_killed(name: str) -> None:
    """Kill the process, like the kernel's OOM killer or an administrator."""
    os.kill(os.getpid(), signal.Signals[name])


@task
def crash() -> None:
    """Crash, like a library written in C."""
    ctypes.string_at(0)


@task
def leave(code: int) -> None:
    os._exit(code)


@task
def succeed(value: int) -> int:
    return value


@task
def fail() -> None:
    raise ValueError("no such luck")
