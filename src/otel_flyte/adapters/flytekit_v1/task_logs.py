"""Records of ``logging`` inside a task: delivered, and with the ids of their span in flytekit's own JSON output."""

import logging
from functools import partial
from typing import Any

from flytekit import loggers
from opentelemetry.trace import get_current_span

from otel_flyte.adapters import patching
from otel_flyte.logs import capture
from otel_flyte.runtime.guard import guarded

LOGGERS = (loggers.logger.name, loggers.user_space_logger.name, loggers.developer_logger.name)
"""Those that flytekit gives a handler."""

_FIELDS = "add_fields"
"""Where ``pythonjsonlogger`` has a formatter add to a line: https://nhairs.github.io/python-json-logger/"""


@guarded
def note(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Take note of a record before its handlers do."""
    name = record.name.partition(".")[0]
    if name in LOGGERS:
        _identify(logging.getLogger(name))
    capture.note(logger, record)


@guarded
def _identify(logger: logging.Logger) -> None:
    """Have the ids of the span written by flytekit's JSON formatter, whichever handler has it by now."""
    for handler in logger.handlers:
        formatter: Any = handler.formatter
        if type(formatter) is loggers.jsonlogger.JsonFormatter and _FIELDS not in vars(formatter):
            setattr(formatter, _FIELDS, _with_ids(formatter.add_fields))
            patching.on_removal(partial(vars(formatter).pop, _FIELDS, None))


def _with_ids(add_fields: Any) -> Any:
    def call(line: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        add_fields(line, *args, **kwargs)
        for name, value in (_ids() or {}).items():
            line.setdefault(name, value)

    return call


@guarded
def _ids() -> dict[str, str]:
    context = capture.context_here()
    if context is None:
        return {}
    span = get_current_span(context).get_span_context()
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if span.is_valid else {}
