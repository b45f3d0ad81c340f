"""The answers of the API. Times are nanoseconds since the epoch, durations seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

from otel_flyte import semconv
from otel_flyte.recording.attempt_usage import usage_of_points
from otel_flyte.recording.attempts import NO_SOURCE, Attempt, selectors
from otel_flyte.recording.failures import Error
from otel_flyte.recording.model import Attributes, LogRecord
from otel_flyte.recording.span_tree import TreeSpan
from otel_flyte.recording.usage import Quota, Usage
from otel_flyte.report.data import plain
from otel_flyte.server.store.reader import Listed

_LEFT_OUT = (semconv.USAGE_SERIES.format(name=""), semconv.USAGE_CURVE_DEVICE.partition("{")[0])
"""The beginnings of the names of attributes with many values."""


@dataclass
class Problem:
    """Why there is no answer: one line with a remedy."""

    detail: str


@dataclass
class Execution:
    """An execution.

    Attributes:
        key: `project:domain:name`, or `trace:` and the trace id of a local run.
        workflow: the name of the workflow, else of its first task.
        state: `running`, `succeeded`, `failed`, or `unknown`, where an attempt has not ended and gives no sign.
        end_ns: the time of its last record so far.
        spans: the number of spans that have ended.
        errors: the number of failures; one that a span passes on to its parent is one.
    """

    key: str
    project: str
    domain: str
    name: str
    workflow: str
    state: str
    start_ns: int
    end_ns: int
    spans: int
    errors: int


@dataclass
class Executions:
    """A page of executions, the newest first. `next` is the `after` of the next page, `null` on the last."""

    executions: list[Execution]
    next: str | None


@dataclass
class Failure:
    """An error of a span, where no span below has the same."""

    type: str
    message: str
    frame: str
    stacktrace: str


@dataclass
class SpanInTree:
    """A span in its place.

    Attributes:
        parent_id: the span above; `null` at the top.
        depth: 0 for the outermost of this answer.
        children: the number of spans directly below, whether this answer has them or not.
        role: `execution`, `node`, `attempt`, `phase`, `transfer`, `item`, `submission` or `user`.
        result: `success`, `failure`, `cancellation`, `skip`, or `never ended`, which a running one is, too.
        orphan: whether its parent is named but not recorded.
        attributes: without series and curves.
    """

    id: str
    trace_id: str
    parent_id: str | None
    depth: int
    children: int
    name: str
    role: str
    result: str
    start_ns: int
    end_ns: int | None
    seconds: float | None
    orphan: bool
    error: Failure | None
    attributes: dict[str, Any]


@dataclass
class Tree:
    """An execution with its spans, parents first. `next` is the `after` for more of them, `null` where there are none.

    A span whose `children` are not here is the `below` of a question for them. `remarks` are lines that say which
    records are missing, and why.
    """

    execution: Execution
    spans: list[SpanInTree]
    next: str | None
    remarks: list[str]


@dataclass
class AttemptOf:
    """An attempt of a task, in cores, bytes and fractions of 1.

    Attributes:
        task: the name by which to ask for its series.
        name: of the task.
        path: the node, or the node and the index of a map.
        number: counted from 0, `null` outside a pod.
        worker: which of several processes of the attempt.
        result: `success`, `failure`, `cancellation`, `skip`, or `never ended`, which a running one is, too.
        minutes: the number of values in a series of one a minute.
        usage: of an attempt that runs or was killed, what its metrics tell; `null` where nothing was measured.
        source: where its series come from, `null` where it has none.
    """

    task: str
    name: str
    version: str
    path: str
    number: int | None
    worker: str
    span_id: str
    trace_id: str
    start_ns: int
    end_ns: int
    seconds: float
    minutes: int
    result: str
    error_type: str
    is_cached: bool
    quota: Quota
    usage: Usage | None
    source: str | None


@dataclass
class Attempts:
    """A page of attempts by start. `next` is the `after` of the next page, `null` on the last.

    `remarks` are lines that say which records are missing, and why.
    """

    attempts: list[AttemptOf]
    next: str | None
    remarks: list[str]


@dataclass
class Series:
    """A series: percent, cores or bytes, `null` where there is no value."""

    name: str
    values: list[float | None]


@dataclass
class SeriesOf:
    """The series of an attempt, all equally long; the first value begins `from_seconds` after its start."""

    task: str
    start_ns: int
    from_seconds: int
    step_seconds: int
    series: list[Series]


@dataclass
class LogLine:
    """A log record; `severity` is empty for lines of stdout and stderr."""

    time_ns: int
    severity: str
    text: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass
class Logs:
    """A page of log records by time. `next` is the `after` of the next page, `null` on the last.

    A page may be short, or empty, and have a `next`: a question reads a limited number of records. `remarks` are lines
    that say which records are missing, and why.
    """

    logs: list[LogLine]
    next: str | None
    remarks: list[str]


def execution(listed: Listed) -> Execution:
    """Return an execution."""
    return Execution(**{each.name: getattr(listed, each.name) for each in fields(Execution)})


def spans(roots: Sequence[TreeSpan], depth: int) -> Iterator[SpanInTree]:
    """Return spans to a depth, parents first."""
    waiting: list[tuple[TreeSpan, str | None, int]] = [(root, None, 0) for root in reversed(roots)]
    while waiting:
        span, parent_id, level = waiting.pop()
        yield _span(span, parent_id, level)
        if level + 1 < depth:
            waiting += [(child, span.span.span_id, level + 1) for child in reversed(span.children)]


def attempts(found: Sequence[Attempt]) -> list[AttemptOf]:
    """Return attempts."""
    return [_attempt(attempt, task) for attempt, task in zip(found, selectors(found), strict=True)]


def log_line(record: LogRecord) -> LogLine:
    """Return a log record."""
    return LogLine(
        time_ns=record.time_ns,
        severity=record.severity,
        text=plain(record.body or ""),
        trace_id=record.trace_id,
        span_id=record.span_id,
        attributes=_attributes(record.attributes),
    )


def _span(span: TreeSpan, parent_id: str | None, depth: int) -> SpanInTree:
    return SpanInTree(
        id=span.span.span_id,
        trace_id=span.span.trace_id,
        parent_id=parent_id,
        depth=depth,
        children=len(span.children),
        name=span.span.name,
        role=span.role.value,
        result=span.result,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        seconds=span.seconds,
        orphan=span.orphan,
        error=None if span.error is None else _failure(span.error),
        attributes={
            name: plain(value) for name, value in span.span.attributes.items() if not name.startswith(_LEFT_OUT)
        },
    )


def _failure(error: Error) -> Failure:
    return Failure(error.type, plain(error.message), plain(error.frame), plain(error.stacktrace))


def _attempt(attempt: Attempt, task: str) -> AttemptOf:
    own = {each.name: getattr(attempt, each.name) for each in islice(fields(AttemptOf), 2, None)}
    own["usage"] = attempt.usage or usage_of_points(attempt)
    own["source"] = None if attempt.source == NO_SOURCE else attempt.source
    return AttemptOf(task=task, name=attempt.task, **own)


def _attributes(attributes: Attributes) -> dict[str, Any]:
    return {name: plain(value) for name, value in attributes.items() if not name.startswith(_LEFT_OUT)}
