"""What forked children record: they write it to files of a folder that the process which forked them reads and sends.

A forked child has none of its parent's threads, shares its connections, and mostly ends by ``os._exit``: it must not
talk to the network. A span that it ends is one line appended to a file, whole whatever becomes of the child.
"""

import itertools
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded

if TYPE_CHECKING:
    from otel_flyte.export.queue import Outlet

FILE_BYTES = 8 * 2**20
"""A child begins another file beyond this, so that its parent can remove what it has read."""

_LINES_AT_ONCE = 512

outlets: "list[Outlet]" = []
"""Those whose records children write to files."""

_folder: Path | None = None
_owner = 0
_files: dict[str, tuple[int, int]] = {}
"""In a child: descriptor and number of the file of each signal."""

_offsets: dict[Path, int] = {}
"""In the parent: how much of each file is read."""


def prepare() -> None:
    """Choose the folder, before anybody forks; it is made by the first child that has something to say."""
    global _folder, _owner
    if _folder is None:
        _folder = Path(tempfile.gettempdir()) / f"otel-flyte-{os.getpid()}-{secrets.token_hex(4)}"
        _owner = os.getpid()
        shutdown.at_the_end(remove)


def is_child() -> bool:
    """Whether this process was forked from one that delivers."""
    return _owner not in (0, os.getpid())


def append(signal: str, line: bytes) -> None:
    """In a child: write a line.

    Raises:
        OSError: it can't be written, or nobody is there to read it.
    """
    descriptor, number = _files.get(signal, (-1, 0))
    if descriptor >= 0 and os.lseek(descriptor, 0, os.SEEK_END) > FILE_BYTES:
        os.close(descriptor)
        descriptor = -1
    if descriptor < 0 and _folder is not None:
        os.kill(_owner, 0)  # Nobody reads what is written for a parent that is gone.
        _folder.mkdir(mode=0o700, exist_ok=True)
        number += 1
        path = _folder / f"{os.getpid()}-{number}.{signal}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _files[signal] = descriptor, number
    os.write(descriptor, line)


def read(signal: str) -> list[bytes]:
    """In the parent: return whole lines that children have written since, some of them; none where there are none."""
    if _folder is None or not _folder.exists():
        return []
    for path in sorted(_folder.glob(f"*.{signal}.jsonl")):
        ended = _is_ended(path)
        lines = _new_lines(path)
        if lines:
            return lines
        if ended:
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


def _is_ended(path: Path) -> bool:
    """Whether nobody will write to a file any more: its child has begun the next, or is gone."""
    child, _, number = path.name.partition(".")[0].partition("-")
    signal = path.name.split(".")[-2]
    if path.with_name(f"{child}-{int(number) + 1}.{signal}.jsonl").exists():
        return True
    try:
        os.kill(int(child), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@guarded
def _become_child() -> None:
    if _folder is None:
        return
    for descriptor, _ in _files.values():
        with suppress(OSError):
            os.close(descriptor)
    _files.clear()
    for outlet in outlets:
        outlet.become_childs()


forks.register(after_in_child=_become_child)
