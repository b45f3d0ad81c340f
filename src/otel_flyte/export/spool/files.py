"""Files that hold what is yet to be delivered: OTLP as JSON lines, and how much of them has been acknowledged.

``NAME.spool.jsonl`` is written ahead of each attempt to send; ``NAME.spool.jsonl.sent`` beside it holds the byte offset
up to which all is settled: acknowledged, or counted as lost; and the inode of the file that this is said of, for
another one may get its name. Whoever works on a file, its writer or a replay, holds an exclusive ``flock`` on it. Any
other ``*.jsonl`` file, such as what ``otel-flyte run`` records, is treated the same but never removed.

What is written survives the death of the process, though not that of the machine: nothing is synced to the disk. Only
its owner may read it: attributes and logs hold what users put there.
"""

import fcntl
import os
import secrets
import socket
import stat
import threading
import weakref
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from otel_flyte.runtime import forks

if TYPE_CHECKING:
    from typing_extensions import Self

SUFFIX = ".spool.jsonl"
SENT_SUFFIX = ".sent"
REJECTED_SUFFIX = ".rejected.jsonl"
FILE_MODE = 0o600
FOLDER_MODE = 0o700
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_DIGITS = 20


class LockedError(Exception):
    """Another process, or another part of this one, works on the file."""


class _Opened:
    """A file that is being written, how long it is and up to where it is settled, in bytes."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.sent_descriptor: int | None = None
        self.end = 0
        self.settled = 0

    def close(self) -> None:
        """Close the descriptors, which unlocks nothing while another process has them too."""
        for descriptor in (self.descriptor, self.sent_descriptor):
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)


class SpoolFile:
    """One writer's file in a spool folder, made with the first line that is appended to it.

    A forked child starts without one: it neither writes to its parent's file nor keeps it locked, and what it appends
    goes to a file of its own. All methods may be called from any thread.
    """

    def __init__(self, folder: str | os.PathLike[str], signal: str) -> None:
        self._folder = Path(folder)
        self._signal = signal
        self._opened: _Opened | None = None
        self._lock = threading.Lock()
        _of_this_process.add(self)

    @property
    def path(self) -> Path | None:
        """The file, ``None`` as long as nothing was appended."""
        opened = self._opened
        return opened.path if opened else None

    @property
    def size(self) -> int:
        """Bytes that were appended to the file, 0 without one."""
        opened = self._opened
        return opened.end if opened else 0

    def append(self, line: bytes) -> int:
        """Write one line, which ends with a newline, and give the offset of its end in bytes.

        Raises:
            OSError: it can't be written; the file is as it was before.
        """
        with self._lock:
            opened = self._opened = self._opened or self._open()
            _append(opened.descriptor, line, opened.end)
            opened.end += len(line)
            return opened.end

    def read(self, start: int, end: int) -> bytes:
        """Read back what was appended between two offsets."""
        with self._lock:
            opened = self._opened
            return os.pread(opened.descriptor, end - start, start) if opened else b""

    def settle(self, end_offset: int) -> None:
        """Remember that all before an offset is settled; it never goes back.

        Raises:
            OSError: it can't be written: a replay would send again what was acknowledged.
        """
        with self._lock:
            opened = self._opened
            if opened is None or end_offset <= opened.settled:
                return
            opened.settled = end_offset
            if opened.sent_descriptor is None:
                opened.sent_descriptor = os.open(sent_path(opened.path), _FLAGS, FILE_MODE)
            _write_mark(opened.sent_descriptor, end_offset, opened.descriptor)

    def close(self) -> None:
        """Unlock the file; remove it where all of it is settled."""
        with self._lock:
            opened, self._opened = self._opened, None
            if opened is None:
                return
            if opened.settled >= opened.end:
                remove(opened.path)
            # A child that was forked behind Python's back may have the descriptor too, and with it the lock.
            with suppress(OSError):
                fcntl.flock(opened.descriptor, fcntl.LOCK_UN)
            opened.close()

    def _open(self) -> _Opened:
        """Make the file under a name that no replay looks for, which must not get hold of it before it is locked."""
        self._folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        path = self._folder / _name(self._signal)
        unlocked = path.with_name(path.name + ".new")
        descriptor = os.open(unlocked, _FLAGS | os.O_APPEND | os.O_EXCL, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(path)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                unlocked.unlink()
            raise
        return _Opened(path, descriptor)

    def _leave_to_the_parent(self) -> None:
        opened, self._opened = self._opened, None
        self._lock = threading.Lock()
        if opened:
            opened.close()


class Held:
    """A file that is locked for reading it and settling it, until it is closed or the context ends."""

    def __init__(self, path: Path) -> None:
        """Lock a file.

        Raises:
            LockedError: somebody else works on it.
            FileNotFoundError: it is gone.
            OSError: it can't be opened.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._descriptor), path.stat()):
                raise FileNotFoundError(path)
        except BlockingIOError:
            self.close()
            raise LockedError(path) from None
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def descriptor(self) -> int:
        """The file, open for reading."""
        return self._descriptor

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._descriptor).st_size

    def settled(self) -> int:
        """Give the offset up to which all is settled, 0 where nothing says so."""
        return settled(self.path)

    def settle(self, end_offset: int) -> None:
        """Remember that all before an offset is settled."""
        descriptor = os.open(sent_path(self.path), _FLAGS, mode(self.path))
        try:
            _write_mark(descriptor, end_offset, self._descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Unlock the file."""
        os.close(self._descriptor)


def sent_path(path: Path) -> Path:
    """Name the file that says how much of a file is settled."""
    return path.with_name(path.name + SENT_SUFFIX)


def rejected_path(path: Path) -> Path:
    """Name the file that keeps what receivers do not take of a file."""
    return path.with_name(path.name + REJECTED_SUFFIX)


def mode(path: Path) -> int:
    """Give the permissions of a file, which what lies beside it is made with."""
    return stat.S_IMODE(path.stat().st_mode)


def is_spool(path: Path) -> bool:
    """Whether a file was made to be delivered, and is removed once it is."""
    return path.name.endswith(SUFFIX)


def files(folder: Path) -> list[Path]:
    """Name the files of a folder that may hold something to deliver, the oldest first.

    Raises:
        OSError: the folder can't be read.
    """
    return [path for path in _lines_in(folder) if not path.name.endswith(REJECTED_SUFFIX)]


def set_aside(folder: Path) -> list[Path]:
    """Name the files of a folder that keep what receivers did not take.

    Raises:
        OSError: the folder can't be read.
    """
    return [path for path in _lines_in(folder) if path.name.endswith(REJECTED_SUFFIX)]


def settled(path: Path) -> int:
    """Give the offset up to which all of a file is settled, 0 where nothing says so of this very file."""
    return 0 if is_marked_for_another(path) else _mark(path)[0]


def is_marked_for_another(path: Path) -> bool:
    """Whether what lies beside a file was said of another one, which had its name before."""
    offset, inode = _mark(path)
    found = path.stat()
    return offset > found.st_size or inode not in (None, found.st_ino)


def remove(path: Path) -> None:
    """Remove a file, then what says how much of it was settled: the other way round, it could be sent twice."""
    path.unlink(missing_ok=True)
    sent_path(path).unlink(missing_ok=True)


def _append(descriptor: int, line: bytes, end: int) -> None:
    """Write a line; a disk that takes only a part of it is left without that part."""
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    except OSError:
        os.ftruncate(descriptor, end)
        raise


def _lines_in(folder: Path) -> list[Path]:
    # `Path.glob` finds nothing in a folder that can't be read, and says nothing.
    return sorted(path for path in folder.iterdir() if path.name.endswith(".jsonl"))


def _mark(path: Path) -> tuple[int, int | None]:
    """Read up to where a file is settled, and its inode, which was not written in former times."""
    try:
        offset, *inode = map(int, sent_path(path).read_bytes().partition(b"\n")[0].split())
    except (FileNotFoundError, ValueError):
        return 0, None
    return max(0, offset), next(iter(inode), None)


def _write_mark(descriptor: int, offset: int, of: int) -> None:
    os.pwrite(descriptor, f"{offset:0{_DIGITS}} {os.fstat(of).st_ino:0{_DIGITS}}\n".encode(), 0)


def _name(signal: str) -> str:
    now = datetime.now(timezone.utc)
    return f"{now:%Y%m%dT%H%M%S.%fZ}-{socket.gethostname()}-{os.getpid()}-{signal}-{secrets.token_hex(4)}{SUFFIX}"


def _after_fork_in_child() -> None:
    for file in list(_of_this_process):
        file._leave_to_the_parent()


_of_this_process: "weakref.WeakSet[SpoolFile]" = weakref.WeakSet()
forks.register(after_in_child=_after_fork_in_child)
