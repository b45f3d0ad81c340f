"""Spools at a URL: files are copied to any filesystem of fsspec, and replayed from there.

A bucket has no locks: each file is copied and replayed at least once, and twice if two replays of one URL meet.
"""

import secrets
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_flyte.config.urls import without_password
from otel_flyte.export.otlp_json import count_records
from otel_flyte.export.spool import files as spool
from otel_flyte.export.spool.filesystem import RemoteError, check, is_local, is_url, opened, prepare
from otel_flyte.export.spool.replay import Replay, Summary, problem_with, untouched

__all__ = ["Pushed", "RemoteError", "check", "is_url", "prepare", "push", "replay"]

_CHUNK_BYTES = 2**20


@dataclass(slots=True)
class Pushed:
    """Result of a push.

    Attributes:
        files: number of copied files.
        size: number of copied bytes.
        problems: one line for each file that was not copied.
        remarks: one line for each other thing that the user should know.
    """

    files: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def push(folder: Path, url: str, deadline: float | None = None) -> Pushed:
    """Copy the unacknowledged lines of each file in a folder to a URL, and acknowledge them here.

    Spool files are removed then, other files are kept. Files that are in use are skipped, and so are those that are not
    begun before ``deadline`` (``time.monotonic``). The copy of a file is not interrupted.

    Raises:
        RemoteError: the folder can't be read, or nothing can be written to the URL.
    """
    try:
        paths = spool.files(folder)
    except OSError as error:
        problem = f"{folder} can't be read ({error.strerror or error})"
        raise RemoteError(problem, "check the path and its permissions") from None
    pushed = Pushed()
    try:
        with opened(url) as (files, root):
            _check_that_they_differ(folder, url, files, root)
            if is_local(files):
                Path(root or "/").mkdir(spool.FOLDER_MODE, parents=True, exist_ok=True)
            for path in paths:
                if deadline is not None and time.monotonic() >= deadline:
                    pushed.problems.append(f"{path.name} and the files after it could not be copied in time")
                    break
                problem = _push(path, files, root, pushed)
                if problem:
                    pushed.problems.append(f"{path.name}: {problem}")
            if not (pushed.files or pushed.problems or is_local(files)):
                pushed.remarks.append(f"there is nothing left to copy: {without_password(url)} is not tested")
    except RemoteError as error:
        if not pushed.files:
            raise
        left = sum(untouched(path).left > 0 for path in paths)
        pushed.problems.append(f"{pushed.files} of {pushed.files + left} files copied, {left} left ({error})")
    return pushed


def replay(url: str, work: Replay) -> Summary:
    """Replay the spool files at a URL. Each is removed, or replaced by its remaining records.

    A URL that ends in ``.jsonl`` names one file, which is removed only if it is a spool file.

    Raises:
        RemoteError: the URL can't be read.
    """
    summary = Summary()
    with opened(url) as (files, root), tempfile.TemporaryDirectory(prefix="otel-flyte-") as name:
        for source in [root] if root.endswith(".jsonl") else _listed(files, root, spool.SUFFIX):
            remote_folder, _, file_name = source.rpartition("/")
            local = Path(name) / file_name
            files.get_file(source, str(local))
            done = work.run([local])
            summary.files += done.files
            summary.stopped = done.stopped
            _put_back(local, source, files, remote_folder)
            if summary.stopped:
                break
        for source in _listed(files, root, spool.REJECTED_SUFFIX):
            with files.open(source, "rb") as remote:
                summary.rejected += count_records(remote)
    return summary


def _check_that_they_differ(folder: Path, url: str, files: Any, root: str) -> None:
    """Prevent that a file is copied to itself and removed then.

    Raises:
        RemoteError: the URL is the folder or a folder in it.
    """
    if not is_local(files):
        return
    source, target = folder.resolve(), Path(root or "/").resolve()
    is_same = target.exists() and source.samefile(target)
    if is_same or source in target.parents:
        problem = f"{without_password(url)} {'is' if is_same else 'is in'} the folder that is to be copied"
        raise RemoteError(problem, "give a URL outside of it")


def _push(path: Path, files: Any, root: str, pushed: Pushed) -> str:
    """Copy a file and acknowledge it. Return the problem of the local file; errors of the URL are raised."""
    try:
        held = spool.Held(path)
    except FileNotFoundError:
        return ""  # A replay has sent all of it.
    except spool.LockedError as reason:
        return str(reason)
    except OSError as error:
        return problem_with(path, error)
    with held:
        start, end = held.acknowledged, held.size
        try:
            if start < end and spool.has_foreign_offset(path):
                name = spool.sent_path(path).name
                pushed.remarks.append(f"{path.name}: {name} belongs to another file: all of it is copied")
            # Without a note of the acknowledged offset, the next push would copy all of it again.
            held.acknowledge(start)
        except OSError as error:
            return problem_with(path, error)
        if start < end:
            _copy(path, files, f"{root}/{_remote_name(path)}")
            pushed.files += 1
            pushed.size += end - start
        try:
            held.acknowledge(end)
            if spool.is_spool(path):
                spool.remove(path)
        except OSError as error:
            return f"it is copied and can't be removed ({error.strerror or error}): remove it"
    return ""


def _copy(path: Path, files: Any, target: str) -> None:
    """Copy the unacknowledged lines of a file. On this machine, it gets its name when it is complete."""
    if not is_local(files):
        _write(path, files, target)
        return
    part = Path(f"{target}.part")
    try:
        part.touch(spool.FILE_MODE)
        _write(path, files, str(part))
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _write(path: Path, files: Any, target: str) -> None:
    with path.open("rb") as source, files.open(target, "wb") as remote:
        source.seek(spool.acknowledged_offset(path))
        shutil.copyfileobj(source, remote, _CHUNK_BYTES)


def _listed(files: Any, root: str, suffix: str) -> list[str]:
    """Return the files in the folder of a URL. A folder of a bucket does not exist without files."""
    if root.endswith(".jsonl"):
        return []
    try:
        return sorted(source for source in files.ls(root, detail=False) if source.endswith(suffix))
    except FileNotFoundError:
        bucket = root.partition("/")[0] or root.rpartition("/")[0]
        if bucket in ("", root) or not files.exists(bucket):
            raise
        return []


def _put_back(local: Path, source: str, files: Any, root: str) -> None:
    """Update the remote folder from the local one: first rejected records and split requests, then the rest."""
    for path in sorted(local.parent.glob("*.jsonl")):
        if path != local:
            _copy(path, files, f"{root}/{_remote_name(path)}")
            spool.remove(path)
    if not local.exists():
        files.rm_file(source)
    elif spool.is_spool(local) and spool.acknowledged_offset(local):
        _copy(local, files, source)
    spool.remove(local)


def _remote_name(path: Path) -> str:
    """Return the name of a copy. Other files than spool files may have the same name on two machines."""
    if spool.is_spool(path):
        return path.name
    suffix = spool.REJECTED_SUFFIX if path.name.endswith(spool.REJECTED_SUFFIX) else ".jsonl"
    stem = f"{path.name.removesuffix(suffix)}-{socket.gethostname()}-{secrets.token_hex(4)}"
    return f"{stem}{suffix if suffix == spool.REJECTED_SUFFIX else spool.SUFFIX}"
