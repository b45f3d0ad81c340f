"""Records of forked children: they append them to files in a folder that the process which forked them reads.

A forked child has none of its parent's threads, shares its connections, and mostly ends by ``os._exit``, so it must not
use the network. A span that it ends is one appended line, which is whole however the child ends.
"""

import itertools
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded

FILE_BYTES = 8 * 2**20
"""Size from which a child begins another file, so that its parent can remove the first."""

_LINES_AT_ONCE = 512

_folder: Path | None = None
_owner = 0
_files: dict[str, tuple[int, int]] = {}
"""In a child: descriptor and number of the current file of each signal."""

_offsets: dict[Path, int] = {}
"""In the parent: the offset up to which each file was read."""


def prepare() -> None:
    """Choose the folder before any fork. The first child that writes creates it."""
    global _folder, _owner
    if _folder is None:
        _folder = Path(tempfile.gettempdir()) / f"otel-flyte-{os.getpid()}-{secrets.token_hex(4)}"
        _owner = os.getpid()
        shutdown.at_the_end(remove)


def is_child() -> bool:
    """Return whether this process was forked from one that exports."""
    return _owner not in (0, os.getpid())


def append(signal: str, line: bytes) -> None:
    """In a child: write a line.

    Raises:
        OSError: it can't be written, or the parent is gone.
    """
    descriptor, number = _files.get(signal, (-1, 0))
    if descriptor >= 0 and os.lseek(descriptor, 0, os.SEEK_END) > FILE_BYTES:
        os.close(descriptor)
        descriptor = -1
    if descriptor < 0 and _folder is not None:
        os.kill(_owner, 0)
        _folder.mkdir(mode=0o700, exist_ok=True)
        path = _folder / f"{os.getpid()}-{number + 1}.{signal}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _files[signal] = descriptor, number + 1
    os.write(descriptor, line)


def read(signal: str) -> list[bytes]:
    """In the parent: return some whole lines that were not read yet, without their ends."""
    if _folder is None or not _folder.exists():
        return []
    for path in sorted(_folder.glob(f"*.{signal}.jsonl")):
        is_complete = _is_complete(path, signal)
        if lines := _new_lines(path):
            return lines
        if is_complete:
            path.unlink(missing_ok=True)
            _offsets.pop(path, None)
    return []


@guarded
def remove() -> None:
    """In the parent, at its end: remove the folder."""
    if _folder is not None and not is_child():
        shutil.rmtree(_folder, ignore_errors=True)


def _new_lines(path: Path) -> list[bytes]:
    offset = _offsets.get(path, 0)
    with suppress(OSError), path.open("rb") as file:
        file.seek(offset)
        lines = [line for line in itertools.islice(file, _LINES_AT_ONCE) if line.endswith(b"\n")]
        _offsets[path] = offset + sum(map(len, lines))
        return [line.rstrip(b"\n") for line in lines]
    return []


def _is_complete(path: Path, signal: str) -> bool:
    """Return whether a file gets no more lines, because its child has begun the next one or is gone."""
    child, number = path.name.partition(".")[0].split("-")
    if path.with_name(f"{child}-{int(number) + 1}.{signal}.jsonl").exists():
        return True
    try:
        os.kill(int(child), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _begin_child() -> None:
    for descriptor, _ in _files.values():
        with suppress(OSError):
            os.close(descriptor)
    _files.clear()


forks.register(after_in_child=_begin_child)
