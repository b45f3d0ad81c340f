"""Records of ``logging`` inside a task: captured, and with the ids of their span in flytekit's own JSON output."""

import logging
from functools import partial
from typing import Any

from flytekit import loggers
from opentelemetry.trace import get_current_span

from otel_flyte.adapters import patching
from otel_flyte.logs import capture as captured
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import here

LOGGERS = (loggers.logger.name, loggers.user_space_logger.name, loggers.developer_logger.name)
"""The loggers to which flytekit adds a handler."""

_FIELDS = "add_fields"
"""The method of a formatter of ``pythonjsonlogger`` that adds fields to a line:
https://nhairs.github.io/python-json-logger/"""


@guarded
def capture(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Capture a record before its handlers get it."""
    name = record.name.partition(".")[0]
    if name in LOGGERS:
        _add_ids(logging.getLogger(name))
    captured.capture(logger, record)


@guarded
def _add_ids(logger: logging.Logger) -> None:
    """Make flytekit's JSON formatter write the ids of the span, whichever handler has it by now."""
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
    context = here.context()
    if context is None:
        return {}
    span = get_current_span(context).get_span_context()
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if span.is_valid else {}
