"""The failure of a task as a value. It imports nothing of OpenTelemetry.

An exception is recorded once, on the innermost span that it fails. The spans around it carry the status and
``error.type``. SystemExit, KeyboardInterrupt and cancellation are failures too: Flyte finds no outputs after them.
"""

import asyncio
import concurrent.futures
import traceback
from contextlib import suppress
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.runtime.interrupts import keyboard_interrupt_of, pass_on
from otel_flyte.runtime.limits import bounded, encodable
from otel_flyte.runtime.tracebacks import without_our_frames
from otel_flyte.tasks import state

STACKTRACE_LIMIT = 8192
"""Characters of a stack trace. The innermost frames, at its end, are kept."""

_CANCELLATIONS = (KeyboardInterrupt, asyncio.CancelledError, concurrent.futures.CancelledError)
_CHAIN_LIMIT = 8
_RECORDED = "_otel_flyte_recorded"


class Rules(NamedTuple):
    """The meaning of exceptions of an engine.

    Attributes:
        wrappers: exceptions that the engine wraps around another, which is their ``value``.
        no_outputs: exceptions by which a task reports that it has no outputs; they are no failures.
    """

    wrappers: tuple[type[BaseException], ...] = ()
    no_outputs: tuple[type[BaseException], ...] = ()


_rules = Rules()


def add_rules(rules: Rules) -> None:
    """Add the rules of an engine that is instrumented."""
    global _rules
    added = (tuple(dict.fromkeys((*known, *new))) for known, new in zip(_rules, rules, strict=True))
    _rules = Rules(*added)


class Failure(NamedTuple):
    """A failure, made from an exception or from the error message of an engine.

    Attributes:
        type: qualified name of the exception's class, else the engine's error code.
        message: text of the exception or the error message, bounded.
        stack: stack trace without our frames, bounded; empty where there is no exception to record.
        kind: ``USER``, ``SYSTEM`` or ``UNKNOWN``; empty where the engine has not decided.
        code: the engine's error code.
        recoverable: whether the engine may run the task again; ``None`` where it has not decided.
        result: ``failure`` or ``cancellation``, as in the ``cicd.pipeline`` convention.
    """

    type: str
    message: str
    stack: str = ""
    kind: str = ""
    code: str = ""
    recoverable: bool | None = None
    result: str = semconv.RESULT_FAILURE

    @classmethod
    def of_exception(cls, error: BaseException, *, with_stack: bool = True) -> "Failure":
        """Return the failure of an exception."""
        origin = _origin(error)
        interrupt = keyboard_interrupt_of(origin)
        origin = interrupt or origin
        is_cancelled = isinstance(origin, _CANCELLATIONS)
        return cls(
            bounded(_type_name(type(origin))),
            _message(origin),
            _stack(interrupt or error) if with_stack else "",
            result=semconv.RESULT_CANCELLATION if is_cancelled else semconv.RESULT_FAILURE,
        )

    def exception(self) -> dict[str, str]:
        """Return the attributes of the ``exception`` convention."""
        return {
            semconv.EXCEPTION_TYPE: self.type,
            semconv.EXCEPTION_MESSAGE: self.message,
            semconv.EXCEPTION_STACKTRACE: self.stack,
        }

    def decision(self) -> dict[str, str]:
        """Return the attributes of the engine's decision on the failure; none where it has not decided."""
        if self.recoverable is None:
            return {}
        return {
            semconv.ERROR_CODE: self.code,
            semconv.ERROR_KIND: semconv.ERROR_RECOVERABLE if self.recoverable else semconv.ERROR_NON_RECOVERABLE,
            semconv.ERROR_ORIGIN: self.kind,
        }


def of_exception_once(error: BaseException) -> Failure | None:
    """Return the failure of an exception, with its stack the first time only; ``None`` if it is none.

    Having no outputs is no failure, unless a signal has asked the process to end.
    """
    if not _is_failure(error):
        return None
    origin = _origin(error)
    failure = Failure.of_exception(origin, with_stack=not _is_recorded(error))
    if failure.stack:
        with suppress(AttributeError, TypeError):
            # On the exception itself: a reference to it would keep its frames and their objects alive.
            origin.__dict__[_RECORDED] = True
    return failure


def result(error: BaseException) -> str:
    """Return the result of a task that an exception ended: ``skip``, ``cancellation`` or ``failure``."""
    return Failure.of_exception(error, with_stack=False).result if _is_failure(error) else semconv.RESULT_SKIP


def _is_failure(error: BaseException) -> bool:
    return bool(state.signalled) or not isinstance(_origin(error), _rules.no_outputs)


def _origin(error: BaseException) -> BaseException:
    """Return the exception that user code raised, out of those that the engine has wrapped around it."""
    for _ in range(_CHAIN_LIMIT):
        wrapped = getattr(error, "value", None) if isinstance(error, _rules.wrappers) else None
        if not isinstance(wrapped, BaseException):
            return error
        error = wrapped
    return error


def _is_recorded(error: BaseException) -> bool:
    """Return whether an exception, or one that it was raised from, is on a span already."""
    step: BaseException | None = error
    for _ in range(_CHAIN_LIMIT):
        if step is None:
            return False
        if _RECORDED in getattr(_origin(step), "__dict__", ()):
            return True
        step = step.__cause__
    return False


def _type_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    """Return the text of an exception; a broken ``__str__`` must not become a second failure."""
    try:
        return bounded(str(error))
    except Exception as fault:
        pass_on(fault)
        return ""


def _stack(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(type(error), error, without_our_frames(error.__traceback__)))
    return encodable(lines[-STACKTRACE_LIMIT:])
