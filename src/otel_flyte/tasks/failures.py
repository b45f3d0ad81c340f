"""How a failure appears on spans.

An exception is recorded once, on the innermost span that it fails; the spans around it carry the status and
``error.type``. SystemExit, KeyboardInterrupt and cancellation are failures too: Flyte finds no outputs after them.
"""

import asyncio
import concurrent.futures
import os
import traceback
from contextlib import suppress

from opentelemetry.trace import Span, Status, StatusCode

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import bounded, encodable
from otel_flyte.runtime.tracebacks import without_our_frames
from otel_flyte.tasks import state

STACKTRACE_LIMIT = 8192
"""Characters of a stack trace; its innermost frames, at the end, are the ones that are kept."""

_CANCELLATIONS = (KeyboardInterrupt, asyncio.CancelledError, concurrent.futures.CancelledError)
_CHAIN_LIMIT = 8
_OPT_INS = {semconv.EXCEPTION_SIGNAL_LOGS, semconv.EXCEPTION_SIGNAL_BOTH}
"""https://opentelemetry.io/docs/specs/semconv/exceptions/"""

_RECORDED = "_otel_flyte_recorded"

wrappings: list[type[BaseException]] = []
"""Exceptions that the engine wraps around another, which is their ``value``; an adapter names them."""

no_failures: list[type[BaseException]] = []
"""Exceptions by which a task says that it has no outputs to give; an adapter names those of its engine."""


def cause(error: BaseException) -> BaseException:
    """Return the exception that user code raised, out of what the engine wrapped around it."""
    for _ in range(_CHAIN_LIMIT):
        wrapped = getattr(error, "value", None) if isinstance(error, tuple(wrappings)) else None
        if not isinstance(wrapped, BaseException):
            return error
        error = wrapped
    return error


def result(error: BaseException) -> str:
    """Return the result word for what ended a task, in the words of the ``cicd.pipeline`` convention."""
    if not is_failure(error):
        return semconv.RESULT_SKIP
    return semconv.RESULT_CANCELLATION if isinstance(cause(error), _CANCELLATIONS) else semconv.RESULT_FAILURE


def is_failure(error: BaseException) -> bool:
    """Whether an exception means that the task failed: after a signal to end, having no outputs does too."""
    return bool(state.signalled) or not isinstance(cause(error), tuple(no_failures))


def type_name(error: BaseException) -> str:
    """Return the value of ``error.type`` and ``exception.type``: the qualified name of the exception's class."""
    cls = type(cause(error))
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def fail(span: Span, error: BaseException) -> None:
    """Give a span the status and the ``error.type`` of a failure."""
    span.set_status(Status(StatusCode.ERROR, message(error)))
    span.set_attribute(semconv.ERROR_TYPE, bounded(type_name(error)))


def record(span: Span, error: BaseException) -> None:
    """Add the exception event, or a log record that stands for it, or both, as the user opted.

    Where log records go nowhere it is the event: an exception is not to be lost.
    """
    origin = cause(error)
    with suppress(AttributeError, TypeError):
        # On the exception itself: a reference to it would keep its frames alive, and all that they hold.
        origin.__dict__[_RECORDED] = True
    said = attributes(origin)
    opted = {part.strip() for part in os.environ.get(semconv.EXCEPTION_SIGNAL, "").lower().split(",")}
    as_log = bool(opted & _OPT_INS and _logged(span, said))
    if not as_log or semconv.EXCEPTION_SIGNAL_BOTH in opted:
        span.add_event(semconv.EVENT_EXCEPTION, said)


@guarded
def _logged(span: Span, said: dict[str, str]) -> bool:
    return state.log_exception(span, said)


def attributes(error: BaseException) -> dict[str, str]:
    """Return what the ``exception`` convention says of an exception, bounded."""
    lines = "".join(traceback.format_exception(type(error), error, without_our_frames(error.__traceback__)))
    return {
        semconv.EXCEPTION_TYPE: bounded(type_name(error)),
        semconv.EXCEPTION_MESSAGE: message(error),
        semconv.EXCEPTION_STACKTRACE: encodable(lines[-STACKTRACE_LIMIT:]),
    }


def message(error: BaseException) -> str:
    """Return an exception's own words; a broken ``__str__`` must not become a second failure."""
    try:
        return bounded(str(cause(error)))
    except Exception:
        return ""


def is_recorded(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, is recorded on a span already."""
    step: BaseException | None = error
    for _ in range(_CHAIN_LIMIT):
        if step is None:
            return False
        if _RECORDED in getattr(cause(step), "__dict__", ()):
            return True
        step = step.__cause__
    return False
