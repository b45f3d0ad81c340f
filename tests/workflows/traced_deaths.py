"""Tasks whose process ends before they do."""
# mypy: allow-untyped-decorators

import ctypes
import os
import signal

from flytekit import task


@task
def be_killed(name: str) -> None:
    """As the kernel does it where memory runs out, or an administrator."""
    os.kill(os.getpid(), signal.Signals[name])


@task
def crash() -> None:
    """As a library written in C does it."""
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
