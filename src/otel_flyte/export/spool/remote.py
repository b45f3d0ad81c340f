"""Spools at a URL: files are handed over to whatever fsspec can write, and replayed from there.

A bucket knows no locks: a file is handed over and replayed at least once, and twice where two replays of one URL meet.
"""

import asyncio
import queue
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from otel_flyte.config.urls import without_password, without_passwords
from otel_flyte.export.spool import files as spool
from otel_flyte.export.spool.replay import Replay, Summary, records_in, why_not
from otel_flyte.runtime import forks
from otel_flyte.runtime.forks import importing

_CHUNK_BYTES = 2**20
_WORKERS = 4

_Result = TypeVar("_Result")


class RemoteError(Exception):
    """A URL, or the folder for it, can't be read or written; the message is one line that says why."""


@dataclass(slots=True)
class Pushed:
    """What was handed over.

    Attributes:
        files: how many files.
        size: how many bytes.
        problems: one line for each file that was not.
        remarks: one line for each thing that is worth knowing, though nothing is left because of it.
    """

    files: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def is_url(text: str) -> bool:
    """Whether a spool lies where there are no locks, and is to be reached by fsspec."""
    return "://" in text and not text.startswith("file://")


def check(url: str) -> None:
    """See to it that a URL is one that outlives the process; nothing is opened.

    Raises:
        RemoteError: it is not.
    """
    if not url.strip():
        raise RemoteError("the URL is empty")
    if any(part.strip().lower().startswith("memory:") for part in url.split("::")):
        raise RemoteError(f"{without_password(url)} can't be used (it is this process's memory, and gone when it ends)")


def prepare(url: str) -> None:
    """Open the filesystem of a URL, for what this process does there later; nothing is read or written yet.

    At the end of a process it would be too late: Python 3.12 starts no thread then, and buckets are reached by threads.

    Raises:
        RemoteError: the URL can't be used.
    """
    check(url)
    with _filesystem(url):
        pass


def push(folder: Path, url: str, deadline: float | None = None) -> Pushed:
    """Hand over what is unsettled in the files of a folder, one object a file, and settle it here.

    Spool files are removed then; other files are kept. A file that is in use is left alone, and so is what is not
    begun by ``deadline``, a time by ``time.monotonic``; the copy of one file is not interrupted. Where the URL takes no
    more of them, that is a problem, too.

    Raises:
        RemoteError: the folder can't be read, or nothing can be written to the URL.
    """
    check(url)
    try:
        paths = spool.files(folder)
    except OSError as error:
        raise RemoteError(f"{folder} can't be read: {error.strerror or error}") from None
    pushed = Pushed()
    try:
        with _filesystem(url) as (files, root):
            _check_that_they_differ(folder, url, files, root)
            for path in paths:
                if deadline is not None and time.monotonic() >= deadline:
                    pushed.problems.append(f"{path.name} and what comes after it could not be copied in time")
                    break
                _push(path, files, root, pushed)
    except RemoteError as error:
        if not pushed.files:
            raise
        left = sum(map(_is_left, paths))
        pushed.problems.append(f"{pushed.files} of {pushed.files + left} files copied, {left} left ({error})")
    return pushed


def replay(url: str, work: Replay) -> Summary:
    """Send the spool files at a URL, and remove each that was sent wholly; the rest of the others replaces them.

    A URL that ends in ``.jsonl`` names one file, which is removed only where it is a spool file.

    Raises:
        RemoteError: the URL can't be read.
    """
    check(url)
    summary = Summary()
    with _filesystem(url) as (files, root), tempfile.TemporaryDirectory(prefix="otel-flyte-") as name:
        folder = Path(name)
        for source in _sources(files, root):
            remote_folder, _, file_name = source.rpartition("/")
            local = folder / file_name
            files.get_file(source, str(local))
            done = work.run([local])
            summary.files += done.files
            summary.stopped = done.stopped
            _put_back(local, source, files, remote_folder)
            if summary.stopped:
                break
        summary.set_aside = sum(_records(files, source) for source in _listed(files, root, spool.REJECTED_SUFFIX))
    return summary


def _check_that_they_differ(folder: Path, url: str, files: Any, root: str) -> None:
    """See to it that no file is copied onto itself, and removed then.

    Raises:
        RemoteError: the URL is the folder, or lies in it.
    """
    if not _is_local(files):
        return
    source, target = folder.resolve(), Path(root or "/").resolve()
    is_same = target.exists() and source.samefile(target)
    if is_same or source in target.parents:
        raise RemoteError(f"{without_password(url)} {'is' if is_same else 'lies in'} the folder that is to be copied")


def _push(path: Path, files: Any, root: str, pushed: Pushed) -> None:
    """Copy one file, and mark it at once; only what the target fails with is raised."""
    try:
        held = spool.Held(path)
    except FileNotFoundError:
        return  # Somebody else has sent all of it.
    except spool.LockedError:
        pushed.problems.append(f"{path.name} is in use: it is being written, or replayed by another process")
        return
    except OSError as error:
        pushed.problems.append(f"{path.name}: {why_not(path, error)}")
        return
    with held:
        try:
            start, end = held.settled(), held.size
            if start < end and spool.is_marked_for_another(path):
                marker = spool.sent_path(path).name
                pushed.remarks.append(f"{path.name}: {marker} is of another file: all of it is copied")
            # A folder that can't be written would be copied again the next time: better to learn of it now.
            held.settle(start)
        except OSError as error:
            pushed.problems.append(f"{path.name}: {why_not(path, error)}")
            return
        if start < end:
            _copy(path, files, f"{root}/{path.name if spool.is_spool(path) else _unique(path)}")
            pushed.files += 1
            pushed.size += end - start
        try:
            held.settle(end)
            if spool.is_spool(path):
                spool.remove(path)
        except OSError as error:
            pushed.problems.append(f"{path.name} is copied, and can't be removed: {error.strerror or error}")


def _copy(path: Path, files: Any, target: str) -> None:
    """Copy what is unsettled of a file; where a part could be seen before it is whole, it gets its name then."""
    if not _is_local(files):
        _write(path, files, target)
        return
    part = Path(f"{target}.part")
    part.parent.mkdir(spool.FOLDER_MODE, parents=True, exist_ok=True)
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
        source.seek(spool.settled(path))
        shutil.copyfileobj(source, remote, _CHUNK_BYTES)


def _is_local(files: Any) -> bool:
    return "file" in ((files.protocol,) if isinstance(files.protocol, str) else files.protocol)


def _is_left(path: Path) -> bool:
    try:
        return path.stat().st_size > spool.settled(path)
    except OSError:
        return path.exists()


def _sources(files: Any, root: str) -> list[str]:
    """Give the spool files in the folder of a URL, or the one file that it names."""
    return [root] if root.endswith(".jsonl") else _listed(files, root, spool.SUFFIX)


def _listed(files: Any, root: str, suffix: str) -> list[str]:
    """Name the files in the folder of a URL; none where the folder is gone, as it is in a bucket with its last file."""
    if root.endswith(".jsonl"):
        return []
    try:
        return sorted(source for source in files.ls(root, detail=False) if source.endswith(suffix))
    except FileNotFoundError:
        bucket = root.partition("/")[0] or root.rpartition("/")[0]
        if bucket in ("", root) or not files.exists(bucket):
            raise
        return []


def _records(files: Any, source: str) -> int:
    with files.open(source, "rb") as remote:
        return records_in(remote)


def _put_back(local: Path, source: str, files: Any, root: str) -> None:
    """Make the remote folder what the local one has become: what was set aside or split, then what is left."""
    for path in sorted(local.parent.glob("*.jsonl")):
        if path != local:
            _copy(path, files, f"{root}/{path.name if spool.is_spool(path) else _unique(path)}")
            spool.remove(path)
    if not local.exists():
        files.rm_file(source)
    elif spool.is_spool(local) and spool.settled(local):
        _copy(local, files, source)
    spool.remove(local)


def _unique(path: Path) -> str:
    """Name a file that has no name of its own in the world: two machines may record the same at the same time."""
    suffix = next(end for end in (spool.REJECTED_SUFFIX, ".jsonl") if path.name.endswith(end))
    stem = f"{path.name.removesuffix(suffix)}-{socket.gethostname()}-{secrets.token_hex(4)}"
    return f"{stem}{suffix if suffix == spool.REJECTED_SUFFIX else spool.SUFFIX}"


@contextmanager
def _filesystem(url: str) -> Iterator[tuple[Any, str]]:
    """Give the filesystem of a URL and the folder on it; whatever fails there is told in one line."""
    shown = without_password(url)
    try:
        files, root = _opened(url)
        yield files, root.rstrip("/")
    except RemoteError:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0].replace(url, shown)
        reason = without_passwords(said) or type(error).__name__
        raise RemoteError(f"{shown} can't be used ({reason})") from error


@cache
def _opened(url: str) -> tuple[Any, str]:
    """Open a filesystem once for all threads; fsspec itself has one for each."""
    try:
        with importing:
            # It ships no types.
            from fsspec.core import get_filesystem_class, split_protocol, url_to_fs  # type: ignore[import-untyped]
    except ImportError:
        raise RemoteError(f"{without_password(url)} needs fsspec (pip install fsspec)") from None
    is_asynchronous = "::" not in url and get_filesystem_class(split_protocol(url)[0]).async_impl
    files, root = url_to_fs(url, **({"loop": _loop()} if is_asynchronous else {}))
    return files, root


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Run a loop of our own, which goes on at the end of the process, unlike the one that fsspec has for all."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Workers())
    threading.Thread(target=loop.run_forever, name="otel-flyte-spool", daemon=True).start()
    return loop


class _Workers(ThreadPoolExecutor):
    """Threads that are there before the end of the process, and take work then, which those of Python refuse.

    A bucket's client resolves names and reads files in them. asyncio takes no executor of another class.
    """

    def __init__(self) -> None:
        super().__init__(_WORKERS)
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(_WORKERS):
            threading.Thread(target=self._work, name=f"otel-flyte-spool-{number}", daemon=True).start()

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        """Have a function called."""
        future: Future[_Result] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(call)
        return future

    def _work(self) -> None:
        while True:
            self._tasks.get()()


def _after_fork_in_child() -> None:
    """Leave connections and threads to the parent."""
    _opened.cache_clear()
    _loop.cache_clear()


forks.register(after_in_child=_after_fork_in_child)
