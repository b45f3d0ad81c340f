"""Tasks that receive SIGTERM."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import flytekit
from flytekit import task
from flytekit.core.base_task import IgnoreOutputs


def _ready() -> None:
    Path("ready").touch()


@task
def wait(seconds: int) -> int:
    _ready()
    time.sleep(seconds)
    return seconds


@task
async def wait_async(seconds: int) -> int:
    _ready()
    await asyncio.sleep(seconds)
    return seconds


@flytekit.eager
async def wait_eager(seconds: int) -> int:
    _ready()
    for _ in range(seconds * 10):
        await asyncio.sleep(0.1)
    return seconds


@task
def wait_with_asyncios_handler(seconds: int) -> int:
    """Set a handler for another signal: asyncio uses Python's wakeup descriptor for it."""

    async def handle_and_wait() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        _ready()
        await asyncio.sleep(seconds)

    asyncio.run(handle_and_wait())
    return seconds


def _wait_for(received: list[int], seconds: int) -> None:
    _ready()
    deadline = time.monotonic() + seconds
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)


@task
def finish_early(seconds: int) -> int:
    """Finish early, like a task that saves a checkpoint."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    _wait_for(received, seconds)
    return len(received)


@task
def leave_early(seconds: int) -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    _ready()
    time.sleep(seconds)
    return seconds


@task
def skip_early(seconds: int) -> int:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    _wait_for(received, seconds)
    if received:
        raise IgnoreOutputs("another rank gives them")
    return seconds


@task
def skip(rank: int) -> int:
    if rank != 0:
        raise IgnoreOutputs("another rank gives them")
    return rank


@task
def restore_and_repeat(seconds: int) -> int:
    """Restore the previous handler and repeat the signal, like a library that only observes it."""

    def handle(number: int, frame: object) -> None:
        signal.signal(number, before)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, handle)
    _ready()
    time.sleep(seconds)
    return seconds


@task
def terminate_a_child(seconds: int) -> list[int]:
    """Return a forked child's signal settings and exit status; the wakeup descriptor is -1 if there is none."""
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    child = context.Process(target=_tell_and_wait, args=(found, seconds))
    child.start()
    told = [found.get(), found.get()]
    child.terminate()
    child.join()
    return [*told, child.exitcode or 0]


def _tell_and_wait(found: "multiprocessing.Queue[int]", seconds: int) -> None:
    found.put(int(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL))
    found.put(signal.set_wakeup_fd(-1))
    time.sleep(seconds)
