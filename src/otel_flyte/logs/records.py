"""A record of ``logging`` as it is delivered: bounded, with attributes that every version of the SDK can hold."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from otel_flyte import semconv
from otel_flyte.runtime.limits import ELLIPSIS, ENTRIES_LIMIT, attribute, bounded, encodable
from otel_flyte.tasks import failures

BODY_LIMIT = 2**15
"""Characters of a message; what is longer is cut, as its end shows."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has: the rest is what users give as ``extra``."""

_LOCATION = {
    semconv.CODE_FILE_PATH: "pathname",
    semconv.CODE_FUNCTION_NAME: "funcName",
    semconv.CODE_LINE_NUMBER: "lineno",
}


def delivered(record: logging.LogRecord, attributes: Mapping[str, Any]) -> logging.LogRecord:
    """Return a copy of a record with its message made, and all that it says as attributes."""
    copy = logging.LogRecord(
        record.name, record.levelno, record.pathname, record.lineno, _body(record), (), None, record.funcName
    )
    copy.levelname, copy.created = record.levelname, record.created
    vars(copy).update(islice(_given(record), ENTRIES_LIMIT))
    vars(copy).update({name: getattr(record, field) for name, field in _LOCATION.items() if getattr(record, field)})
    vars(copy).update(_failure(record))
    vars(copy).update(attributes)
    return copy


def event(name: str, body: str, attributes: Mapping[str, Any]) -> logging.LogRecord:
    """Return a record of severity ERROR that is an event of OpenTelemetry's."""
    copy = logging.LogRecord(semconv.SCOPE, logging.ERROR, "", 0, body, (), None)
    vars(copy).update({semconv.EVENT_NAME: name, **attributes})
    return copy


def _body(record: logging.LogRecord) -> str:
    try:
        body = record.getMessage()
    except Exception:
        # `logging` prints a traceback for it; here the message is worth more than its form.
        body = str(record.msg) if isinstance(record.msg, str) else object.__repr__(record.msg)
    return encodable(body if len(body) <= BODY_LIMIT else body[: BODY_LIMIT - len(ELLIPSIS)] + ELLIPSIS)


def _given(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for name, value in vars(record).items():
        if name not in _OWN and value is not None:
            with suppress(Exception):
                yield bounded(name), attribute(value)


def _failure(record: logging.LogRecord) -> dict[str, str]:
    """Return what is known of the exception that was logged, and of the stack, where that was asked for."""
    found = {}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        found = failures.attributes(error)
    elif record.exc_text:
        found[semconv.EXCEPTION_STACKTRACE] = encodable(record.exc_text[-failures.STACKTRACE_LIMIT :])
    if record.stack_info:
        found[semconv.CODE_STACKTRACE] = encodable(record.stack_info[-failures.STACKTRACE_LIMIT :])
    return found
