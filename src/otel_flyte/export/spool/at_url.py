"""The spool of a process at a URL: a temporary folder that is copied there when the process ends."""

import functools
import tempfile
from pathlib import Path

from otel_flyte import semconv
from otel_flyte.config.urls import without_password
from otel_flyte.export import dropped
from otel_flyte.export.spool import remote
from otel_flyte.process import shutdown
from otel_flyte.runtime.guard import say_once, start_thread


def create_folder(url: str) -> str:
    """Return a new folder whose files are copied to a URL in the end, or an empty string if that can't be used."""
    try:
        remote.check(url)
    except remote.RemoteError as error:
        say_once(f"{semconv.OTEL_FLYTE_SPOOL}: {error}: continuing without a spool")
        return ""
    # Some filesystems look for credentials for longer than a task should wait.
    start_thread("otel-flyte-prepare", functools.partial(_prepare, url))
    folder = Path(tempfile.mkdtemp(prefix="otel-flyte-spool-"))
    shutdown.in_the_time_left(lambda deadline: _push(folder, url, deadline))
    shutdown.at_the_end(lambda: _report_rest(folder, url))
    return str(folder)


def _prepare(url: str) -> None:
    try:
        remote.prepare(url)
    except remote.RemoteError as error:
        say_once(f"{semconv.OTEL_FLYTE_SPOOL}: {error}: check the URL and its credentials")


def _push(folder: Path, url: str, deadline: float) -> None:
    try:
        if not remote.push(folder, url, deadline).problems:
            dropped.moved(str(folder), without_password(url))
            folder.rmdir()
    except remote.RemoteError as error:
        say_once(f"{semconv.OTEL_FLYTE_SPOOL}: {error}: check the URL and its credentials")


def _report_rest(folder: Path, url: str) -> None:
    if folder.exists() and any(folder.iterdir()):
        say_once(f"{without_password(url)} was not reached in time: the spool stays in {folder}, copy it from there")
