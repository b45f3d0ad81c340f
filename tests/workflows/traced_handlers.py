"""A module that handles SIGTERM during its import, in the way that the environment names."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import atexit
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from flytekit import task

WAY = os.environ.get("HANDLER", "")
_received: list[int] = []
_reading, _writing = os.pipe()
os.set_blocking(_writing, False)


def _receive(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if WAY == "leave":
        sys.exit(7)


def _tell_what_is_left() -> None:
    """Print the state at exit: the first registered function is called last."""
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.set_wakeup_fd(-1))  # noqa: T201 - users do


if WAY in ("finish", "leave"):
    signal.signal(signal.SIGTERM, _receive)
elif WAY == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif WAY == "wakeup":
    signal.set_wakeup_fd(_writing, warn_on_full_buffer=False)
elif WAY == "tell":
    atexit.register(_tell_what_is_left)


@task
def wait(seconds: float) -> int:
    Path("ready").touch()
    deadline = time.monotonic() + seconds
    while not _received and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(_received)


@task
def find_dispositions() -> list[bool]:
    """Return whether SIGTERM has its default action, is ignored, and whether the wakeup descriptor is the user's."""
    disposition = signal.getsignal(signal.SIGTERM)
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    return [disposition is signal.SIG_DFL, disposition is signal.SIG_IGN, descriptor == _writing]
