"""The state that one command leaves for the next: how the stack runs, with which settings and processes."""

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
    """A stack that was started.

    Attributes:
        mode: ``native`` or ``compose``.
        settings: The settings that it was started with.
        processes: Natively, its processes by name of the part.
    """

    mode: str
    settings: Settings
    processes: Mapping[str, Process]


class Folder:
    """The folder with the state, the logs and the data of one stack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.logs = path / "logs"
        self._file = path / "state.json"

    def log(self, part: str) -> Path:
        """Return the log file of a part."""
        return self.logs / f"{part}.log"

    def load(self) -> State | None:
        """Return the state, or ``None`` where nothing was started or all of it was stopped.

        Raises:
            StackError: the file can't be read.
        """
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            processes = {name: Process(**each) for name, each in document["processes"].items()}
            settings = Settings(**document["settings"])
            return State(document["mode"], settings, processes) if settings.ports.keys() == PORTS.keys() else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            # Missing, truncated or from another version. Processes that can't be identified are left alone.
            return None
        except OSError as error:
            raise self._error("read", error) from None

    def save(self, state: State) -> None:
        """Write the state, completely or not at all.

        Raises:
            StackError: the file can't be written.
        """
        new = self._file.with_suffix(".new")
        with self.writing():
            try:
                new.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
                new.replace(self._file)
            except OSError:
                with suppress(OSError):
                    new.unlink()
                raise

    def forget(self) -> None:
        """Delete the state.

        Raises:
            StackError: the file can't be deleted.
        """
        with self.writing():
            self._file.unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Convert an OSError into one that names this folder, which a full disk's error does not.

        Raises:
            StackError: something could not be written.
        """
        try:
            yield
        except OSError as error:
            raise self._error("written", error) from None

    @contextmanager
    def locked(self, report: Callable[[str], None]) -> Iterator[None]:
        """Let one command at a time change the stack. The lock ends with its process, however that ends.

        Raises:
            StackError: the folder can't be written.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "lock").open("w")
        with file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("another `otel-flyte stack` command is running: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _error(self, action: str, error: OSError) -> StackError:
        return StackError(
            f"{self.path} can't be {action}, {error.strerror or error}: set {_VARIABLE} to another folder"
        )


def folder(environ: Mapping[str, str] = os.environ) -> Folder:
    """Return ``$XDG_STATE_HOME/otel-flyte/stack``."""
    return Folder(files.user_folder(environ, _VARIABLE, ".local/state") / "otel-flyte" / "stack")
