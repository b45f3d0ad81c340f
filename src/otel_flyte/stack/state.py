"""What is remembered between two commands: which stack runs, where, and as which processes."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from otel_flyte.stack.processes import Process
from otel_flyte.stack.settings import Settings

NATIVE = "native"
COMPOSE = "compose"


@dataclass(frozen=True)
class State:
    """A stack that was started: ``native`` or ``compose``, with its settings and, natively, its processes by part."""

    mode: str
    settings: Settings
    processes: Mapping[str, Process]


class Folder:
    """Where a stack keeps its state, its logs and its data: one stack for each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self._file = path / "state.json"

    def log(self, part: str) -> Path:
        """Return the file that a part writes to."""
        return self.path / "logs" / f"{part}.log"

    def load(self) -> State | None:
        """Return what was started last, or None where nothing was or all of it was stopped."""
        try:
            held = json.loads(self._file.read_text(encoding="utf-8"))
            processes = {name: Process(**each) for name, each in held["processes"].items()}
            return State(held["mode"], Settings(**held["settings"]), processes)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            # Cut off, or of another version. Its processes can't be told from others any more, and are left alone.
            return None

    def save(self, state: State) -> None:
        """Remember what runs, all of it or nothing."""
        self.path.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".new")
        beside.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
        beside.replace(self._file)

    def forget(self) -> None:
        """Remember that nothing runs."""
        self._file.unlink(missing_ok=True)

    @contextmanager
    def locked(self, tell_of_waiting: Callable[[], None]) -> Iterator[None]:
        """Have one command at a time change what runs; the lock goes with its process, however that ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell_of_waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def folder(environ: Mapping[str, str] = os.environ) -> Folder:
    """Return ``$XDG_STATE_HOME/otel-flyte/stack``.

    The convention: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    home = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Folder(Path(home) / "otel-flyte" / "stack")
