"""The task's end: redirects its stdout and stderr to a pump, and sets the task to which lines belong."""

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.runtime import forks
from otel_flyte.runtime.descriptors import identity
from otel_flyte.runtime.guard import guarded, say_once

if TYPE_CHECKING:
    from otel_flyte.stdio_capture.session import Session
    from otel_flyte.tasks.open_task import OpenTask

_CONTEXT_SECONDS = 1.0

_recording = ""
"""The file of a local run."""

_session: "Session | None" = None
_is_disabled = False
_open: "list[tuple[OpenTask, str]]" = []
"""The open tasks, each with the template of its records."""

_beginning = threading.RLock()


def record_to(path: str) -> None:
    """Write lines to the file of a local run, too; capture is on by default then."""
    global _recording
    _recording = path


@guarded
def begin(task: "OpenTask") -> None:
    """Record the next lines as those of a task, or of no task while attempts share this process."""
    if not _is_enabled():
        return
    from otel_flyte.stdio_capture import records

    with _beginning:
        _open.append((task, records.template(task.span)))
        _flush()
        if _session is None:
            _start(_template())
        else:
            _session.set_context(_template(), _CONTEXT_SECONDS)


@guarded
def end(task: "OpenTask") -> None:
    """Record the next lines as those of the task that was open before."""
    if _session is None:
        return
    with _beginning:
        _flush()
        _open[:] = [each for each in _open if each[0] is not task]
        # Until the pump has the context, the lines that flytekit prints next would be recorded as the task's.
        _session.set_context(_template(), _CONTEXT_SECONDS)


@guarded
def finish() -> None:
    """Wait until all bytes so far are at their original destination and all lines are sent; restore the streams."""
    if _session is not None:
        _flush()
        _session.finish()


def beside(stream: TextIO) -> TextIO:
    """Return a stream for text that is not the task's: it keeps its order among captured lines, and is not captured."""
    return cast("TextIO", _Beside(stream))


class _Beside:
    """Writes by way of the pump if there is one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = semconv.STDOUT if stream is sys.stdout else semconv.STDERR

    def write(self, text: str) -> None:
        if _session is None or not _session.say(self._name, text):
            self._stream.write(text)

    def flush(self) -> None:
        if _session is None or not _session.is_redirected:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_enabled() -> bool:
    """Return whether stdout and stderr are to be captured; if not, that is checked once."""
    global _is_disabled
    if _session is None and not _is_disabled:
        chosen = settings.current().capture_output
        _is_disabled = not (bool(_recording) if chosen is None else chosen) or not _is_possible()
    return not _is_disabled


def _is_possible() -> bool:
    from otel_flyte.stdio_capture import handover

    if not handover.targets(_recording):
        return False
    if os.getpid() == 1:
        # All processes of a container end with its first one: the last bytes in the pipe would be lost.
        say_once(
            f"{semconv.OTEL_FLYTE_CAPTURE_OUTPUT} is ignored in the first process of a container: use `otel-flyte exec`"
            " as the entrypoint of the image"
        )
        return False
    return not _is_captured_by_ancestor()


def _is_captured_by_ancestor() -> bool:
    marks = os.environ.get(semconv.CAPTURED_OUTPUT, "").split(",")
    return any(":".join(map(str, found)) in marks for found in map(identity, (1, 2)) if found)


def _template() -> str:
    """Return the template of the next lines, empty where no task is open.

    While several attempts that share this process are open, the attempt of a line is unknown.
    """
    if not _open:
        return ""
    template = _open[-1][1]
    if len({task.attempt for task, _ in _open if task.identity_attributes}) > 1:
        from otel_flyte.stdio_capture import records

        return records.without_attempt(template)
    return template


def _start(template: str) -> None:
    global _session, _is_disabled
    from otel_flyte.stdio_capture.session import Session

    # After any error, the next task must not try again.
    _is_disabled = True
    try:
        _session = Session(template, _recording, finish)
        _is_disabled = False
    except OSError as error:
        say_once(f"stdout capture can't be started ({error}): stdout and stderr are not recorded")


def _flush() -> None:
    """Write the buffers of Python and of C, so that earlier bytes do not come later."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    with suppress(Exception):
        _flush_c()


def _flush_c() -> None:
    """Flush C's standard output alone: another stream may be locked by a thread that waits for input."""
    import ctypes

    libc = ctypes.CDLL(None)
    name = "__stdoutp" if sys.platform == "darwin" else "stdout"
    libc.fflush(ctypes.c_void_p.in_dll(libc, name))


def _begin_child() -> None:
    global _beginning, _session, _is_disabled
    _beginning = threading.RLock()
    if _session is not None:
        _is_disabled = True
        _open.clear()
        _session.leave_to_parent()
        # A task that ends in the child would use the connection, whose lock may be held by no thread.
        _session = None


forks.register(after_in_child=_begin_child)
