"""What is remembered between two commands: which stack runs, where, and as which processes."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from otel_flyte.stack import files
from otel_flyte.stack.processes import Process
from otel_flyte.stack.settings import PORTS, Settings
from otel_flyte.stack.status import StackError

NATIVE = "native"
COMPOSE = "compose"

_VARIABLE = "XDG_STATE_HOME"


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
        """Return what was started last, or None where nothing was or all of it was stopped.

        Raises:
            StackError: it can't be read.
        """
        try:
            held = json.loads(self._file.read_text(encoding="utf-8"))
            processes = {name: Process(**each) for name, each in held["processes"].items()}
            settings = Settings(**held["settings"])
            return State(held["mode"], settings, processes) if settings.ports.keys() == PORTS.keys() else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            # Cut off, or of another version. Its processes can't be told from others any more, and are left alone.
            return None
        except OSError as error:
            raise self._unusable("read", error) from None

    def save(self, state: State) -> None:
        """Remember what runs, all of it or nothing.

        Raises:
            StackError: it can't be written.
        """
        beside = self._file.with_suffix(".new")
        with self.written():
            try:
                beside.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
                beside.replace(self._file)
            except OSError:
                with suppress(OSError):
                    beside.unlink()
                raise

    def forget(self) -> None:
        """Remember that nothing runs.

        Raises:
            StackError: it can't be written.
        """
        with self.written():
            self._file.unlink(missing_ok=True)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Have what can't be written told with the name of this folder: a full disk says none.

        Raises:
            StackError: the folder, and the variable that moves it.
        """
        try:
            yield
        except OSError as error:
            raise self._unusable("written", error) from None

    @contextmanager
    def locked(self, tell_of_waiting: Callable[[], None]) -> Iterator[None]:
        """Have one command at a time change what runs; the lock goes with its process, however that ends.

        Raises:
            StackError: the folder can't be written.
        """
        with self.written():
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "lock").open("w")
        with file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell_of_waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _unusable(self, what: str, error: OSError) -> StackError:
        return StackError(f"{self.path} can't be {what}: {error.strerror or error}. {_VARIABLE} moves it")


def folder(environ: Mapping[str, str] = os.environ) -> Folder:
    """Return ``$XDG_STATE_HOME/otel-flyte/stack``."""
    return Folder(files.of_user(environ, _VARIABLE, ".local/state") / "otel-flyte" / "stack")
