"""Records of ``logging`` as they are exported: bounded, with attributes that every version of the SDK can hold."""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from otel_flyte import semconv
from otel_flyte.runtime.interrupts import pass_on
from otel_flyte.runtime.limits import ELLIPSIS, ENTRIES_LIMIT, attribute, bounded, encodable
from otel_flyte.tasks.failures import STACKTRACE_LIMIT, Failure

BODY_LIMIT = 2**15
"""Characters of a message. A longer one is cut, and its end shows it."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Fields that every record has. All others are the user's ``extra``."""

_LOCATION = {
    semconv.CODE_FILE_PATH: "pathname",
    semconv.CODE_FUNCTION_NAME: "funcName",
    semconv.CODE_LINE_NUMBER: "lineno",
}


def copy(record: logging.LogRecord, attributes: Mapping[str, Any]) -> logging.LogRecord:
    """Return a copy of a record with its message formatted, and its other fields as attributes."""
    exported = logging.LogRecord(
        record.name, record.levelno, record.pathname, record.lineno, _body(record), (), None, record.funcName
    )
    exported.levelname, exported.created = record.levelname, record.created
    vars(exported).update(islice(_extra(record), ENTRIES_LIMIT))
    located = {name: getattr(record, field) for name, field in _LOCATION.items() if getattr(record, field)}
    vars(exported).update({**located, **_failure(record), **attributes})
    return exported


def event(name: str, body: str, attributes: Mapping[str, Any]) -> logging.LogRecord:
    """Return a record of severity ERROR that is an event of OpenTelemetry."""
    exported = logging.LogRecord(semconv.SCOPE, logging.ERROR, "", 0, body, (), None)
    vars(exported).update({semconv.EVENT_NAME: name, **attributes})
    return exported


def _body(record: logging.LogRecord) -> str:
    try:
        body = record.getMessage()
    except Exception as fault:
        pass_on(fault)
        # `logging` prints a traceback for it; here the unformatted message is kept.
        body = str(record.msg) if isinstance(record.msg, str) else object.__repr__(record.msg)
    return encodable(body if len(body) <= BODY_LIMIT else body[: BODY_LIMIT - len(ELLIPSIS)] + ELLIPSIS)


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for name, value in vars(record).items():
        if name not in _OWN and value is not None:
            try:
                yield bounded(name), attribute(value)
            except Exception as fault:
                pass_on(fault)


def _failure(record: logging.LogRecord) -> dict[str, str]:
    """Return the exception that was logged, and the stack where the user asked for it."""
    found = {}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        found = Failure.of_exception(error).exception()
    elif record.exc_text:
        found[semconv.EXCEPTION_STACKTRACE] = encodable(record.exc_text[-STACKTRACE_LIMIT:])
    if record.stack_info:
        found[semconv.CODE_STACKTRACE] = encodable(record.stack_info[-STACKTRACE_LIMIT:])
    return found
