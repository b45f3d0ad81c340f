"""Access to files at a URL by fsspec, which also works while the interpreter exits."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from otel_flyte.config.urls import without_password, without_passwords
from otel_flyte.runtime import forks
from otel_flyte.runtime.forks import importing

_WORKERS = 4

_Result = TypeVar("_Result")


class RemoteError(Exception):
    """A URL, or the folder for it, cannot be read or written. The message is the problem, without the remedy."""

    def __init__(self, problem: str, remedy: str = "check the URL and its credentials") -> None:
        super().__init__(problem)
        self.remedy = remedy


def is_url(text: str) -> bool:
    """Return whether a spool has a URL that needs fsspec, and no locks."""
    return "://" in text and not text.startswith("file://")


def check(url: str) -> None:
    """Check that files at a URL outlive the process. Nothing is opened.

    Raises:
        RemoteError: they do not.
    """
    if not url.strip():
        raise RemoteError("the URL is empty", "give a URL such as s3://bucket/folder")
    if any(part.strip().lower().startswith("memory:") for part in url.split("::")):
        problem = f"{without_password(url)} can't be used (this process's memory ends with it)"
        raise RemoteError(problem, "give the URL of a bucket or of a folder")


def prepare(url: str) -> None:
    """Open the filesystem of a URL for later use. Nothing is read or written yet.

    The end of a process would be too late: Python 3.12 starts no threads then, and buckets are accessed by threads.

    Raises:
        RemoteError: the URL can't be used.
    """
    with opened(url):
        pass


@contextmanager
def opened(url: str) -> Iterator[tuple[Any, str]]:
    """Return the filesystem of a URL and the folder there.

    Raises:
        RemoteError: the URL can't be used, or the context has failed there.
    """
    check(url)
    shown = without_password(url)
    try:
        files, root = _opened(url)
        yield files, root.rstrip("/")
    except RemoteError:
        raise
    except Exception as error:
        message = str(getattr(error, "strerror", "") or error).strip().partition("\n")[0].replace(url, shown)
        reason = without_passwords(message) or type(error).__name__
        raise RemoteError(f"{shown} can't be used ({reason})") from error


def is_local(files: Any) -> bool:
    """Return whether a filesystem is that of this machine."""
    return "file" in ((files.protocol,) if isinstance(files.protocol, str) else files.protocol)


@cache
def _opened(url: str) -> tuple[Any, str]:
    """Open a filesystem once for all threads. fsspec itself has one for each thread."""
    try:
        with importing:
            # It ships no types.
            from fsspec.core import get_filesystem_class, split_protocol, url_to_fs  # type: ignore[import-untyped]
    except ImportError:
        raise RemoteError(f"{without_password(url)} requires fsspec", "run pip install fsspec") from None
    is_asynchronous = "::" not in url and get_filesystem_class(split_protocol(url)[0]).async_impl
    files, root = url_to_fs(url, **({"loop": _loop()} if is_asynchronous else {}))
    return files, root


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Run an event loop of our own. It still runs when the process ends, unlike the loop that fsspec shares."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Workers())
    threading.Thread(target=loop.run_forever, name="otel-flyte-spool", daemon=True).start()
    return loop


class _Workers(ThreadPoolExecutor):
    """Threads that resolve names and read files for a bucket's client, also while the interpreter exits.

    Python's own executor accepts no work then, and asyncio accepts no executor of another class.
    """

    def __init__(self) -> None:
        super().__init__(_WORKERS)
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(_WORKERS):
            threading.Thread(target=self._work, name=f"otel-flyte-spool-{number}", daemon=True).start()

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
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
