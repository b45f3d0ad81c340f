"""Messages of a supervised process to its supervisor: its task's span, and when that is acknowledged.

Nothing here waits or raises. A message for which the pipe has no room, or that the supervisor can't read, is dropped.
"""

import os
from contextlib import suppress
from stat import S_ISFIFO
from typing import TYPE_CHECKING, Any

from otel_flyte import semconv
from otel_flyte.runtime import forks
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded
from otel_flyte.supervisor import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.trace import ReadableSpan

_reported: dict[int, bool] = {}
"""The spans that the supervisor knows, by id, and whether they have ended. A forked child has none."""

forks.register(after_in_child=_reported.clear)


def is_supervised() -> bool:
    """Return whether ``otel-flyte exec`` started this process or one of its ancestors."""
    return semconv.EXEC_PIPE in os.environ


@guarded
def opened(span: Any) -> None:
    """Report a task's span that has begun; report it again after it got attributes.

    If this process dies, the supervisor ends the span as reported last.
    """
    if getattr(span, "context", None) is not None and span.context.trace_flags.sampled:
        _report(span, has_ended=False)


@guarded
def ended(span: Any) -> None:
    """Report the end of a span that was reported: if this process dies before it is acknowledged, it is sent as is."""
    if span.context is not None and span.context.span_id in _reported:
        _report(span, has_ended=True)


def acknowledged(spans: "Iterable[ReadableSpan]") -> None:
    """Report that spans are acknowledged, or in the spool. Spans that were never reported are ignored."""
    for span in spans:
        if _reported and span.context is not None:
            done(span.context.span_id)


def end_delivery() -> None:
    """Report the end of this process's delivery: spans that ended and are not acknowledged were dropped and counted.

    The supervisor would try to send them again, and count them again. It still ends open spans.
    """
    for span_id in [span_id for span_id, has_ended in _reported.items() if has_ended]:
        done(span_id)


@guarded
def done(span_id: int) -> None:
    """Report that the supervisor need not send a span."""
    if _reported.pop(span_id, None) is not None:
        _send(b"%s %016x" % (protocol.DONE, span_id))


@guarded
def pump_started() -> None:
    """Report that this process has started a pump, which must outlive it."""
    _send(b"%s %d" % (protocol.PUMP_STARTED, os.getpid()))


@guarded
def pump_ended(process: int) -> None:
    """Report that the pump of a process has nothing more to do."""
    _send(b"%s %d" % (protocol.PUMP_ENDED, process))


def _report(span: "ReadableSpan", *, has_ended: bool) -> None:
    _reported[span.context.span_id] = has_ended
    with importing:
        from otel_flyte.export.otlp_json import spans_line
    _send(b"%s %016x %s" % (protocol.OPEN, span.context.span_id, spans_line([span]).rstrip()))


def _send(message: bytes) -> None:
    if len(message) > protocol.LIMIT:
        return
    with suppress(OSError, ValueError):
        pipe = _open_pipe(os.environ[semconv.EXEC_PIPE])
        try:
            for piece in protocol.pieces(message):
                os.write(pipe, piece)
        finally:
            os.close(pipe)


def _open_pipe(address: str) -> int:
    """Open the pipe by the descriptor that was inherited, else by the supervisor's own.

    It is opened for reading, too: writing to a pipe without a reader raises ``SIGPIPE``, which may end the process. A
    pipe that can't be opened by its descriptor, or no longer by this user, is shared.

    Raises:
        OSError: the pipe is not found.
        ValueError: the address is invalid.
    """
    supervisor, descriptor, inode = map(int, address.split(":"))
    for path in (f"/proc/self/fd/{descriptor}", f"/proc/{supervisor}/fd/{descriptor}"):
        with suppress(OSError):
            if _is_pipe(os.stat(path), inode):  # noqa: PTH116  # as its neighbours do
                return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    if _is_pipe(os.fstat(descriptor), inode):
        return os.dup(descriptor)
    raise FileNotFoundError(address)


def _is_pipe(status: os.stat_result, inode: int) -> bool:
    return S_ISFIFO(status.st_mode) and status.st_ino == inode
