"""Spool files: records that are not delivered yet, as lines of OTLP JSON, and how much of them is acknowledged.

``NAME.spool.jsonl`` is written before each attempt to send. ``NAME.spool.jsonl.sent`` beside it holds the acknowledged
offset in bytes, up to which all records are acknowledged, or dropped and counted, and the inode of the file, because
another file may get the same name. A process that writes or replays a file holds an exclusive ``flock`` on it. Any
other ``*.jsonl`` file, such as a recording of ``otel-flyte run``, is treated the same but never removed.

Written lines survive the death of the process but not of the machine: nothing is synced to the disk. Only the owner may
read them, because attributes and logs hold users' data.
"""

import fcntl
import os
import secrets
import socket
import stat
import threading
import weakref
from contextlib import ExitStack, suppress
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


class LockedError(Exception):
    """Another process, or another part of this one, holds the file. The message is for users."""


class Held:
    """A file that is opened and locked until it is closed or the context ends.

    Attributes:
        path: the file.
        descriptor: the open file.
        acknowledged: the acknowledged offset in bytes.
    """

    def __init__(self, path: Path, flags: int = 0) -> None:
        """Open and lock a file; ``flags`` are those of ``os.open``.

        Raises:
            LockedError: it is locked already.
            FileNotFoundError: it does not exist, or was removed meanwhile.
            OSError: it can't be opened.
        """
        self.path = path
        self._sent: int | None = None
        self.descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, FILE_MODE)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self.descriptor), path.stat()):
                raise FileNotFoundError(path)
            self.acknowledged = acknowledged_offset(path)
        except BlockingIOError:
            self.close()
            raise LockedError("in use: another process writes or replays it") from None
        except OSError:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, signal: str) -> "Held":
        """Create a spool file. It gets the name that replays look for when it is locked.

        Raises:
            OSError: it can't be created.
        """
        folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        now = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}"
        path = folder / f"{now}-{socket.gethostname()}-{os.getpid()}-{signal}-{secrets.token_hex(4)}{SUFFIX}"
        unlocked = path.with_name(path.name + ".new")
        with ExitStack() as undo:
            undo.callback(unlocked.unlink, missing_ok=True)
            held = undo.enter_context(cls(unlocked, os.O_CREAT | os.O_APPEND | os.O_EXCL))
            unlocked.rename(path)
            undo.pop_all()
        held.path = path
        return held

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.descriptor).st_size

    def acknowledge(self, offset: int) -> None:
        """Note the acknowledged offset on disk.

        Raises:
            OSError: it can't be written, so that a replay would send acknowledged records again.
        """
        if self._sent is None:
            self._sent = os.open(sent_path(self.path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode(self.path))
        os.pwrite(self._sent, f"{offset:020} {os.fstat(self.descriptor).st_ino:020}\n".encode(), 0)
        self.acknowledged = offset

    def close(self) -> None:
        """Close the file. It stays locked as long as another process has inherited it."""
        for descriptor in (self.descriptor, self._sent):
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)


class SpoolFile:
    """The file of one writer in a spool folder, created with the first line.

    A forked child starts without one: it does not write to the file of its parent or keep it locked, and writes its own
    lines to another file. All methods may be called from any thread.
    """

    def __init__(self, folder: str | os.PathLike[str], signal: str) -> None:
        self._folder = Path(folder)
        self._signal = signal
        self._held: Held | None = None
        self._lock = threading.Lock()
        _of_this_process.add(self)

    @property
    def path(self) -> Path | None:
        """The file, ``None`` before the first line."""
        held = self._held
        return held.path if held else None

    @property
    def size(self) -> int:
        """Bytes in the file, 0 before the first line."""
        held = self._held
        return held.size if held else 0

    def append(self, line: bytes) -> int:
        """Write a line, which ends with a newline, and return the offset of its end in bytes.

        Raises:
            OSError: it can't be written. The file is as it was before.
        """
        with self._lock:
            held = self._held = self._held or Held.create(self._folder, self._signal)
            append_line(held.descriptor, line)
            return held.size

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes between two offsets."""
        with self._lock:
            return os.pread(self._held.descriptor, end - start, start) if self._held else b""

    def acknowledge(self, offset: int) -> None:
        """Note the acknowledged offset. A smaller one than before is ignored.

        Raises:
            OSError: it can't be written, so that a replay would send acknowledged records again.
        """
        with self._lock:
            if self._held and offset > self._held.acknowledged:
                self._held.acknowledge(offset)

    def close(self) -> None:
        """Unlock the file, and remove it if all of it is acknowledged."""
        with self._lock:
            held, self._held = self._held, None
            if held is None:
                return
            if held.acknowledged >= held.size:
                remove(held.path)
            # A child that was forked behind Python's back may have inherited the file, and the lock with it.
            with suppress(OSError):
                fcntl.flock(held.descriptor, fcntl.LOCK_UN)
            held.close()

    def _leave_to_the_parent(self) -> None:
        held, self._held = self._held, None
        self._lock = threading.Lock()
        if held:
            held.close()


def append_line(descriptor: int, line: bytes) -> None:
    """Append a line to a file. If only a part of it can be written, that part is removed again.

    Raises:
        OSError: it can't be written.
    """
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        if written:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise


def sent_path(path: Path) -> Path:
    """Return the file that holds the acknowledged offset of a file."""
    return path.with_name(path.name + SENT_SUFFIX)


def rejected_path(path: Path) -> Path:
    """Return the file for the records of a file that receivers reject."""
    return path.with_name(path.name + REJECTED_SUFFIX)


def mode(path: Path) -> int:
    """Return the permissions of a file, which the files beside it get too."""
    return stat.S_IMODE(path.stat().st_mode)


def is_spool(path: Path) -> bool:
    """Return whether a file is a spool file, which is removed once it is delivered."""
    return path.name.endswith(SUFFIX)


def files(folder: Path, *, rejected: bool = False) -> list[Path]:
    """Return the files of a folder that may hold undelivered records, or rejected ones, the oldest first.

    Raises:
        OSError: the folder can't be read.
    """
    # `Path.glob` returns nothing for a folder that can't be read.
    names = (path.name for path in folder.iterdir())
    found = sorted(name for name in names if name.endswith(".jsonl"))
    return [folder / name for name in found if name.endswith(REJECTED_SUFFIX) == rejected]


def acknowledged_offset(path: Path) -> int:
    """Return the acknowledged offset of a file in bytes, 0 if none is noted for it."""
    return 0 if has_foreign_offset(path) else _noted(path)[0]


def has_foreign_offset(path: Path) -> bool:
    """Return whether the noted offset belongs to another file, which had the same name before."""
    offset, inode = _noted(path)
    found = path.stat()
    return offset > found.st_size or inode not in (None, found.st_ino)


def remove(path: Path) -> None:
    """Remove a file and its acknowledged offset, in the order that never makes a replay send it again."""
    path.unlink(missing_ok=True)
    sent_path(path).unlink(missing_ok=True)


def _noted(path: Path) -> tuple[int, int | None]:
    """Read the acknowledged offset and the inode of the file. The first versions wrote no inode."""
    try:
        offset, *inode = map(int, sent_path(path).read_bytes().partition(b"\n")[0].split())
    except (FileNotFoundError, ValueError):
        return 0, None
    return max(0, offset), next(iter(inode), None)


def _after_fork_in_child() -> None:
    for file in list(_of_this_process):
        file._leave_to_the_parent()


_of_this_process: "weakref.WeakSet[SpoolFile]" = weakref.WeakSet()
forks.register(after_in_child=_after_fork_in_child)
