"""What the database answers."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_flyte import semconv
from otel_flyte.export import otlp_requests
from otel_flyte.recording import otlp_messages
from otel_flyte.recording.model import Attributes, LogRecord, Point, Recording, Scope, Span

RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"
CANCELLED, UNKNOWN = "cancelled", "unknown"
STATES = (RUNNING, SUCCEEDED, FAILED, CANCELLED, UNKNOWN)

_SOON_NS = 5 * 10**9
"""The time in which a span comes, or its pending span, when a span in it has come."""

SILENT_NS = 90 * 10**9
"""The time without a sign after which an open attempt no longer counts as running: pending spans come once a minute."""

_LONGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """An execution in a list.

    Attributes:
        id: its number in this database, which orders executions that begin at once.
        key: ``project:domain:name``, or ``trace:`` and the trace id of a local run.
        workflow: the name of the workflow, else of its first task.
        state: one of ``STATES``.
        start_ns: nanoseconds since the epoch.
        end_ns: the time of its last record so far.
        spans: the number of spans that have ended.
        errors: the number of failures; one that a span passes on to its parent is one.
    """

    id: int
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


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list of executions contains; an empty text is no condition.

    Attributes:
        text: part of the name, of the workflow or of the key, in any case of any script.
        attributes: attributes that any of its spans, or a resource, has, as text.
        after: the last execution of the page before, as ``(start_ns, id)``.
    """

    project: str = ""
    domain: str = ""
    workflow: str = ""
    state: str = ""
    text: str = ""
    since_ns: int = 0
    until_ns: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    after: tuple[int, int] | None = None


def executions(
    connection: sqlite3.Connection, wanted: Filter, limit: int, now_ns: int, offset: int = 0
) -> list[Listed]:
    """Return executions, the newest first."""
    query, parameters = _selected(wanted, now_ns)
    query += " ORDER BY start_ns DESC, id DESC LIMIT ? OFFSET ?"
    parameters += [min(limit, _LONGEST_PAGE), offset]
    return [Listed(*row) for row in connection.execute(query, parameters)]


def count(connection: sqlite3.Connection, wanted: Filter, now_ns: int) -> int:
    """Return the number of executions."""
    query, parameters = _selected(wanted, now_ns)
    (number,) = connection.execute(query.replace("SELECT *", "SELECT count(*)", 1), parameters).fetchone()
    return int(number)


def _selected(wanted: Filter, now_ns: int) -> tuple[str, list[Any]]:
    """Return the query for executions, and its parameters."""
    conditions = ["start_ns < 9223372036854775807"]
    parameters: list[Any] = [now_ns - SILENT_NS, now_ns - _SOON_NS]
    for column, expression in (("project", "project"), ("domain", "domain"), ("workflow", _WORKFLOW)):
        if value := getattr(wanted, column):
            conditions.append(f"{expression} = ?")
            parameters.append(value)
    if wanted.text:
        conditions.append(f"(instr(casefold(name), ?) OR instr(casefold({_WORKFLOW}), ?) OR instr(casefold(key), ?))")
        parameters += [wanted.text.casefold()] * 3
    if wanted.since_ns:
        conditions.append("end_ns >= ?")
        parameters.append(wanted.since_ns)
    if wanted.until_ns:
        conditions.append("start_ns <= ?")
        parameters.append(wanted.until_ns)
    for name, value in wanted.attributes.items():
        conditions.append("id IN (SELECT execution FROM attributes WHERE name = ? AND value = ?)")
        parameters += [name, value]
    if wanted.after is not None:
        conditions.append("(start_ns, id) < (?, ?)")
        parameters += wanted.after
    query = f"SELECT * FROM ({_LIST} WHERE {' AND '.join(conditions)})"  # noqa: S608
    if wanted.state:
        query += " WHERE state = ?"
        parameters.append(wanted.state)
    return query, parameters


_OUTCOME = f"""
CASE WHEN result IS NULL THEN '{UNKNOWN}' WHEN result = '{semconv.RESULT_FAILURE}' THEN '{FAILED}'
WHEN result = '{semconv.RESULT_CANCELLATION}' THEN '{CANCELLED}' ELSE '{SUCCEEDED}' END
"""
_LAST_ATTEMPTS = """
FROM attempts AS one WHERE one.execution = executions.id AND NOT EXISTS (
    SELECT 1 FROM attempts AS later WHERE later.execution = one.execution AND later.node = one.node
    AND later.node != '' AND later.start_ns > one.start_ns
)
"""

_WORKFLOW = """coalesce(nullif(executions.workflow, ''), (
        SELECT name FROM attempts WHERE execution = executions.id ORDER BY start_ns LIMIT 1
    ), executions.root)"""

_LIST = f"""
SELECT id, key, project, domain, name, {_WORKFLOW} AS workflow,
    CASE
        WHEN EXISTS (
            SELECT 1 FROM attempts WHERE execution = executions.id AND result IS NULL AND seen_ns > ?1
        ) THEN '{RUNNING}'
        WHEN end_ns > ?2 AND EXISTS (
            SELECT 1 FROM attempts WHERE execution = executions.id AND length(outer) = 8 AND NOT EXISTS (
                SELECT 1 FROM spans WHERE spans.trace_id = attempts.trace_id AND spans.span_id = attempts.outer
            )
        ) THEN '{RUNNING}'
        WHEN NOT EXISTS (SELECT 1 FROM attempts WHERE execution = executions.id) THEN
            CASE
                WHEN root = '' AND end_ns > ?1 THEN '{RUNNING}'
                WHEN errors THEN '{FAILED}'
                WHEN root = '' THEN '{UNKNOWN}'
                ELSE '{SUCCEEDED}'
            END
        WHEN EXISTS (SELECT 1 FROM attempts WHERE execution = executions.id AND is_execution) THEN
            (SELECT {_OUTCOME} FROM attempts WHERE execution = executions.id AND is_execution ORDER BY start_ns LIMIT 1)
        WHEN EXISTS (SELECT 1 {_LAST_ATTEMPTS} AND one.result = '{semconv.RESULT_FAILURE}') THEN '{FAILED}'
        WHEN EXISTS (SELECT 1 {_LAST_ATTEMPTS} AND one.result = '{semconv.RESULT_CANCELLATION}') THEN '{CANCELLED}'
        WHEN EXISTS (SELECT 1 FROM attempts WHERE execution = executions.id AND result IS NULL) THEN '{UNKNOWN}'
        ELSE '{SUCCEEDED}'
    END AS state,
    start_ns, end_ns, spans, errors
FROM executions
"""  # noqa: S608


def execution(connection: sqlite3.Connection, key: str, now_ns: int) -> Listed | None:
    """Return the execution with a key."""
    row = connection.execute(f"{_LIST} WHERE key = ?", (now_ns - SILENT_NS, now_ns - _SOON_NS, key)).fetchone()
    return None if row is None else Listed(*row)


def keys(connection: sqlite3.Connection, execution_ids: Iterable[int]) -> set[str]:
    """Return the keys of executions."""
    found = (
        connection.execute("SELECT key FROM executions WHERE id = ?", (each,)).fetchone() for each in execution_ids
    )
    return {row[0] for row in found if row is not None}


def recording(connection: sqlite3.Connection, execution_id: int) -> Recording:
    """Return the records of an execution."""
    connection.execute("BEGIN")
    try:
        messages = _Messages(connection)
        spans = tuple(_spans(connection, execution_id, messages))
        logs = tuple(_logs(connection, execution_id))
        return Recording(spans, logs, tuple(_points(connection, execution_id, messages)))
    finally:
        connection.execute("ROLLBACK")


def outline(connection: sqlite3.Connection, execution_id: int) -> Recording:
    """Return the spans of an execution that are more than parts of an attempt, or failed."""
    return Recording(tuple(_spans(connection, execution_id, _Messages(connection), " AND is_outline")))


class _Messages:
    """Parses resources and scopes once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._resources: dict[int, Attributes] = {}
        self._scopes: dict[int, Scope] = {}

    def resource(self, number: int) -> Attributes:
        """Return the attributes of a resource."""
        found = self._resources.get(number)
        if found is None:
            message = _message(self._bytes("resources", number), "Resource")
            found = self._resources[number] = otlp_messages.attributes(message.attributes)
        return found

    def scope(self, number: int) -> Scope:
        """Return a scope."""
        found = self._scopes.get(number)
        if found is None:
            message = _message(self._bytes("scopes", number), "InstrumentationScope")
            found = self._scopes[number] = otlp_messages.scope(message)
        return found

    def _bytes(self, table: str, number: int) -> bytes:
        row = self._connection.execute(f"SELECT message FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
        return bytes(row[0]) if row is not None else b""


def _spans(
    connection: sqlite3.Connection, execution_id: int, messages: _Messages, condition: str = ""
) -> Iterator[Span]:
    query = f"SELECT resource, scope, message FROM spans WHERE execution = ?{condition}"  # noqa: S608
    rows = connection.execute(query, (execution_id,))
    for resource, scope, message in rows:
        yield otlp_messages.span(_message(message, "Span"), messages.scope(scope), messages.resource(resource))


def _logs(connection: sqlite3.Connection, execution_id: int) -> Iterator[LogRecord]:
    rows = connection.execute("SELECT message FROM logs WHERE execution = ? ORDER BY time_ns", (execution_id,))
    for (message,) in rows:
        record = otlp_messages.log(_message(message, "LogRecord"))
        if record is not None:
            yield record


def _points(connection: sqlite3.Connection, execution_id: int, messages: _Messages) -> Iterator[Point]:
    """Return points: those of local runs name no execution, and belong to it by their process."""
    for resource, _, message in connection.execute(_METRICS, (execution_id, execution_id)):
        yield from otlp_messages.points(_message(message, "Metric"), messages.resource(resource))


_METRICS = """
SELECT resource, scope, message FROM metrics WHERE execution = ?
UNION ALL
SELECT resource, scope, message FROM metrics
WHERE execution = 0 AND resource IN (SELECT resource FROM uses WHERE execution = ?)
"""


def version(connection: sqlite3.Connection, execution_id: int) -> int:
    """Return a number that changes with the records of an execution."""
    (size,) = connection.execute("SELECT bytes FROM executions WHERE id = ?", (execution_id,)).fetchone() or (0,)
    (points,) = connection.execute(_UNOWNED, (execution_id,)).fetchone()
    return int(size) + int(points)


_UNOWNED = """
SELECT count(*) FROM metrics
WHERE execution = 0 AND resource IN (SELECT resource FROM uses WHERE execution = ?)
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A log record, and its place among those of its execution.

    Attributes:
        record: ``None`` where it has no body.
        level: the number of its severity in OpenTelemetry, 0 where it has none.
    """

    time_ns: int
    digest: str
    level: int
    record: LogRecord | None


def lines(connection: sqlite3.Connection, execution_id: int, after: tuple[int, str]) -> Iterator[Line]:
    """Return the log records of an execution by time."""
    query = "SELECT time_ns, digest, message FROM logs WHERE execution = ? AND (time_ns, digest) > (?, ?)"
    parameters = (execution_id, after[0], bytes.fromhex(after[1]))
    for time_ns, digest, content in connection.execute(f"{query} ORDER BY time_ns, digest", parameters):
        message = _message(content, "LogRecord")
        record = otlp_messages.log(message)
        level = message.severity_number or LEVELS.get(message.severity_text.upper(), 0)
        yield Line(time_ns, digest.hex(), level, None if record is None or record.body is None else record)


LEVELS = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21, "WARNING": 13, "CRITICAL": 21}
"""The first number of each severity in OpenTelemetry, and of Python's names for two of them."""


def requests(connection: sqlite3.Connection, execution_id: int) -> Iterator[tuple[str, Any]]:
    """Return the records of an execution as requests of OTLP with their signals, of some hundred records each.

    Each request is a question of its own: a slow download must not hold a snapshot, which would let the database grow.
    """
    for signal, condition, place, before_all in _DOWNLOADED:
        query = (
            f"SELECT {place}, resource, scope, message FROM {_TABLES[signal]} "  # noqa: S608
            f"WHERE {condition} AND ({place}) > (:a, :b) ORDER BY {place} LIMIT {_SLICE}"
        )
        last: Sequence[Any] = before_all
        while rows := connection.execute(query, {"execution": execution_id, "a": last[0], "b": last[1]}).fetchall():
            yield signal, _request(connection, signal, [row[2:] for row in rows])
            last = rows[-1][:2]


_SLICE = 500
"""The number of records of a request."""

_TABLES = {"traces": "spans", "logs": "logs", "metrics": "metrics"}

_OWN = "execution = :execution"
_OF_SPANS, _OF_OTHERS = "trace_id, span_id", "time_ns, digest"

_DOWNLOADED: tuple[tuple[str, str, str, Sequence[Any]], ...] = (
    ("traces", _OWN, _OF_SPANS, (b"", b"")),
    ("logs", _OWN, _OF_OTHERS, (-1, b"")),
    ("metrics", _OWN, _OF_OTHERS, (-1, b"")),
    (
        "metrics",
        "execution = 0 AND resource IN (SELECT resource FROM uses WHERE execution = :execution)",
        _OF_OTHERS,
        (-1, b""),
    ),
)
"""The parts of a download: signal, condition, the columns of its order, and what is before all of them."""


def _request(connection: sqlite3.Connection, signal: str, rows: Sequence[tuple[int, int, bytes]]) -> Any:
    shape, request = otlp_requests.SHAPES[signal], otlp_requests.request(signal)
    groups: dict[tuple[int, int], Any] = {}
    for resource, scope, message in rows:
        if (resource, scope) not in groups:
            in_resource = getattr(request, shape.resources).add()
            in_resource.resource.MergeFromString(_stored(connection, "resources", resource))
            groups[resource, scope] = getattr(in_resource, shape.scopes).add()
            groups[resource, scope].scope.MergeFromString(_stored(connection, "scopes", scope))
        getattr(groups[resource, scope], shape.records).add().MergeFromString(message)
    return request


def _stored(connection: sqlite3.Connection, table: str, number: int) -> bytes:
    row = connection.execute(f"SELECT message FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
    return bytes(row[0]) if row is not None else b""


def _message(content: bytes, name: str) -> Any:
    return _TYPES[name].FromString(content)


def _types() -> Mapping[str, Any]:
    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogMessage
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

    kinds = (InstrumentationScope, LogMessage, Metric, Resource, SpanMessage)
    return {kind.DESCRIPTOR.name: kind for kind in kinds}


_TYPES = _types()
