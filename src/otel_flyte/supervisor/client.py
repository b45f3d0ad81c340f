"""What a supervised process tells its supervisor: which span it has to answer for, and when that is settled.

Nothing here waits or raises. What does not fit into the pipe is dropped, and so is what the supervisor is not there to
read.
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
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

_told: dict[int, bool] = {}
"""The spans that the supervisor answers for, by id, and whether they have ended. A forked child has none."""

forks.register(after_in_child=_told.clear)


def is_supervised() -> bool:
    """Whether ``otel-flyte exec`` started this process or one that it descends from."""
    return semconv.EXEC_PIPE in os.environ


@guarded
def opened(span: Any) -> None:
    """Tell of a task's span that has begun; tell it again where it has got attributes that would be missed.

    If this process dies, the supervisor ends it with what was told last.
    """
    if getattr(span, "context", None) is not None and span.context.trace_flags.sampled:
        _told[span.context.span_id] = False
        _tell_of(span)


@guarded
def ended(span: "ReadableSpan") -> None:
    """Tell of a span that was told of and has ended: if this process dies before it is settled, it is sent as it is."""
    if span.context is not None and span.context.span_id in _told:
        _told[span.context.span_id] = True
        _tell_of(span)


@guarded
def settled(span_id: int) -> None:
    """Tell that a span needs nobody else: it was acknowledged or spooled, or it is counted as lost.

    Spans that were never told of may be among those that are told so.
    """
    if _told.pop(span_id, None) is not None:
        _tell(b"%s %016x" % (protocol.DONE, span_id))


def settled_all(spans: "Sequence[ReadableSpan]") -> None:
    """Tell of each span of a batch that it needs nobody else."""
    for span in spans:
        if _told and span.context is not None:
            settled(span.context.span_id)


@guarded
def pumping() -> None:
    """Tell that a process which this one has started has to outlive it for a moment."""
    _tell(b"%s %d" % (protocol.PUMP, os.getpid()))


@guarded
def pumped(process: int) -> None:
    """Tell that what a process has started has nothing more to do."""
    _tell(b"%s %d" % (protocol.PUMPED, process))


def done() -> None:
    """Tell that this process has brought its delivery to an end: what ended and was not delivered is counted as lost.

    The supervisor would try for as long again, and count it again. It still answers for spans that are open.
    """
    for span_id in [span_id for span_id, has_ended in _told.items() if has_ended]:
        settled(span_id)


def _tell_of(span: "ReadableSpan") -> None:
    with importing:
        from otel_flyte.export.otlp_json import spans_line
    _tell(b"%s %016x %s" % (protocol.OPEN, span.context.span_id, spans_line([span]).rstrip()))


def _tell(message: bytes) -> None:
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

    It is opened for reading too, so that a supervisor that is gone makes no ``SIGPIPE``, which a user may have set to
    end the process. Where a file can't be opened by its descriptor, or no longer by this user, it is shared.

    Raises:
        OSError: it is neither here nor there.
        ValueError: the address is none.
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
