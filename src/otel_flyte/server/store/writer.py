"""The thread that writes to the database: all requests that wait become one transaction, which is on disk when it ends.

A request is acknowledged after that. A record that is sent again has the key of the one that is there, and is ignored.
"""

import sqlite3
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

from otel_flyte.runtime.guard import say_once
from otel_flyte.server.store import retention, schema
from otel_flyte.server.store.batches import Group, Owner, SpanRow, digest
from otel_flyte.server.store.retention import Limits

QUEUE_BYTES = 64 * 2**20
"""Bytes of the requests that wait. A request beyond them is refused, and its sender waits."""

TRANSACTION_BYTES = 8 * 2**20
"""Bytes of the requests of one transaction."""

_REMEMBERED = 50_000
"""Attributes that are known to be in the database."""
_KNOWN = 20_000
"""Ids of rows that are kept in memory: resources, traces, executions."""

_CHECK_SECONDS = 1.0
"""The time between two checks of the limits."""


class BusyError(Exception):
    """Too many requests wait."""


class _Waiting(NamedTuple):
    groups: list[Group]
    size: int
    future: "Future[None]"


@dataclass(slots=True)
class _Total:
    """What records add to the totals of an execution; times are ``None`` where none has one that counts."""

    start_ns: int | None = None
    end_ns: int = 0
    seen_ns: int = 0
    spans: int = 0
    errors: int = 0
    size: int = 0
    root: str = ""


class Writer:
    """Writes requests to the database, in the order in which they arrive.

    Attributes:
        changed: called with the ids of the executions that a transaction has changed, in the writer's thread.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.changed: list[Callable[[set[int]], object]] = []
        self._path = path
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._condition = threading.Condition()
        self._is_ending = False
        self._prune_at = 0.0
        self._connection = schema.writable(path)
        self._ids: dict[tuple[str, bytes], int] = {}
        self._executions: dict[str, int] = {}
        self._traces: dict[bytes, int] = {}
        self._uses: set[tuple[int, int]] = set()
        self._known_attributes: set[tuple[str, str, int]] = set()
        self._thread = threading.Thread(target=self._run, name="otel-flyte-writer", daemon=True)
        self._thread.start()

    def put(self, groups: list[Group], size: int) -> "Future[None]":
        """Write the rows of a request; the future ends once they are on disk.

        Args:
            groups: the rows.
            size: bytes of the request.

        Raises:
            BusyError: too many requests wait.
        """
        future: Future[None] = Future()
        # One that a sender could cancel would end this thread when its result is set.
        future.set_running_or_notify_cancel()
        with self._condition:
            if self._bytes and self._bytes + size > QUEUE_BYTES:
                raise BusyError
            self._bytes += size
            self._waiting.append(_Waiting(groups, size, future))
            self._condition.notify()
        return future

    def close(self) -> None:
        """Write what waits, and stop."""
        with self._condition:
            self._is_ending = True
            self._condition.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._is_ending, _CHECK_SECONDS)
                if not self._waiting and self._is_ending:
                    return
                taken = self._take()
            self._tell(self._write_all(taken))
            if not self._waiting or time.monotonic() >= self._prune_at:
                self._prune()

    def _tell(self, changed: set[int]) -> None:
        """Call those who wait for changes of executions."""
        try:
            for call in self.changed if changed else ():
                call(changed)
        except sqlite3.Error as error:
            # The records are on disk, and the requests after them must be written, too.
            say_once(schema.problem(self._path, error))

    def _write_all(self, taken: "list[_Waiting]") -> set[int]:
        """Write requests, together or, where one of them can't be written, each by itself."""
        try:
            changed = self._write([group for each in taken for group in each.groups])
        except sqlite3.Error as error:
            problem = schema.problem(self._path, error)
            say_once(problem)
            for each in taken:
                each.future.set_exception(schema.DatabaseError(problem))
            return set()
        except Exception as error:
            if len(taken) > 1:
                return set().union(*(self._write_all([each]) for each in taken))
            taken[0].future.set_exception(error)
            return set()
        for each in taken:
            each.future.set_result(None)
        return changed

    def _prune(self) -> None:
        """Remove what exceeds the limits; where there was something, do so again after the next transaction."""
        self._prune_at = time.monotonic() + _CHECK_SECONDS
        try:
            if retention.prune(self._connection, self._limits):
                self._prune_at = 0.0
                self._forget()
        except sqlite3.Error:
            # A full disk, or another program that holds the database: the next request is told.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _take(self) -> "list[_Waiting]":
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and (not taken or size + self._waiting[0].size <= TRANSACTION_BYTES):
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        self._bytes -= size
        return taken

    def _write(self, groups: list[Group]) -> set[int]:
        """Write rows in one transaction, and return the ids of the executions that they belong to."""
        if not groups:
            return set()
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            changed: set[int] = set()
            for group in groups:
                changed |= self._write_group(group)
            run("COMMIT")
        except BaseException:
            # SQLite has ended the transaction itself where the disk is full.
            if self._connection.in_transaction:
                run("ROLLBACK")
            self._forget()
            raise
        if len(self._ids) > _KNOWN or len(self._traces) > _KNOWN or len(self._uses) > _KNOWN:
            self._forget()
        return changed

    def _write_group(self, group: Group) -> set[int]:
        resource, scope = self._id("resources", group.resource), self._id("scopes", group.scope)
        changed: set[int] = set()
        totals: dict[int, _Total] = defaultdict(_Total)
        run = self._connection.execute
        for span in group.spans:
            execution = self._execution(span.owner, span.trace_id)
            changed.add(execution)
            is_new = run(
                "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?)",
                (span.trace_id, span.span_id, execution, span.is_outline, resource, scope, span.message),
            ).rowcount
            if not is_new:
                continue
            total = totals[execution]
            total.start_ns = min(total.start_ns or span.start_ns, span.start_ns)
            total.end_ns = max(total.end_ns, span.end_ns)
            total.seen_ns = max(total.seen_ns, span.end_ns)
            total.spans += not span.is_pending
            total.size += len(span.message)
            total.root = total.root or span.root
            if span.is_error:
                total.errors += self._add_error(span, execution)
            if span.attempt is not None:
                run(_ATTEMPT, (span.trace_id, span.attempt.span_id, execution, *span.attempt[1:]))
            self._add_attributes(span.attributes, execution)
        for table, rows in (("logs", group.logs), ("metrics", group.metrics)):
            for row in rows:
                execution = self._execution(row.owner, row.trace_id)
                values = (row.digest, execution, row.time_ns, resource, scope, row.message)
                if run(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?, ?, ?)", values).rowcount:  # noqa: S608
                    changed.add(execution)
                    total = totals[execution]
                    # Metrics come after the last span, and must not make the execution longer.
                    total.end_ns = max(total.end_ns, row.time_ns if row.trace_id else 0)
                    total.seen_ns = max(total.seen_ns, row.time_ns)
                    total.size += len(row.message)
        for execution in changed:
            self._add_use(resource, execution)
            self._add_attributes(group.attributes.items(), execution)
        for execution, total in totals.items():
            run(_TOTALS, (*astuple(total), execution))
        return changed - {0}

    def _add_error(self, span: SpanRow, execution: int) -> int:
        """Note a span that failed; return how many more errors there are: one that its parents pass on is one."""
        run = self._connection.execute
        is_innermost = run(_ERROR_BELOW, (span.trace_id, span.span_id)).fetchone() is None
        run("INSERT INTO errors VALUES (?, ?, ?, ?, ?)", (*span[1:4], execution, is_innermost))
        return is_innermost - run(_PASSED_ON, (span.trace_id, span.parent_id)).rowcount

    def _id(self, table: str, message: bytes) -> int:
        """Return the id of a resource or a scope, which is kept once."""
        known = (table, message)
        if known not in self._ids:
            key = digest(message)
            run = self._connection.execute
            run(f"INSERT OR IGNORE INTO {table} (digest, message) VALUES (?, ?)", (key, message))  # noqa: S608
            (self._ids[known],) = run(f"SELECT id FROM {table} WHERE digest = ?", (key,)).fetchone()  # noqa: S608
        return self._ids[known]

    def _execution(self, owner: Owner, trace_id: bytes) -> int:
        """Return the id of the execution that a record belongs to, 0 where that is unknown.

        Spans of a trace that name no execution belong to the one that another span of the trace names.
        """
        if not owner.key:
            return 0
        of_trace = self._of_trace(trace_id) if trace_id else None
        if of_trace is not None and not owner.name:
            return of_trace
        execution = self._executions.get(owner.key)
        if execution is None:
            run = self._connection.execute
            run(_EXECUTION, owner)
            (execution,) = run("SELECT id FROM executions WHERE key = ?", (owner.key,)).fetchone()
            self._executions[owner.key] = execution
        if trace_id and of_trace != execution:
            self._assign(trace_id, of_trace, execution)
        return execution

    def _of_trace(self, trace_id: bytes) -> int | None:
        if trace_id not in self._traces:
            row = self._connection.execute("SELECT execution FROM traces WHERE trace_id = ?", (trace_id,)).fetchone()
            if row is None:
                return None
            (self._traces[trace_id],) = row
        return self._traces[trace_id]

    def _assign(self, trace_id: bytes, before: int | None, execution: int) -> None:
        """Make a trace part of an execution, with those of its records that came before its name."""
        run = self._connection.execute
        run("INSERT OR REPLACE INTO traces VALUES (?, ?)", (trace_id, execution))
        self._traces[trace_id] = execution
        if before is not None and run("SELECT 1 FROM executions WHERE id = ? AND name = ''", (before,)).fetchone():
            for table in ("spans", "attempts", "errors", "logs", "metrics"):
                run(f"UPDATE {table} SET execution = ? WHERE execution = ?", (execution, before))  # noqa: S608
            for table in ("attributes", "uses"):
                run(f"UPDATE OR REPLACE {table} SET execution = ? WHERE execution = ?", (execution, before))  # noqa: S608
            run(_MERGED, (execution, before))
            run("DELETE FROM executions WHERE id = ?", (before,))
            self._executions = {key: each for key, each in self._executions.items() if each != before}

    def _add_use(self, resource: int, execution: int) -> None:
        """Note that an execution has a record of a resource, which is removed with the last of them."""
        if (resource, execution) not in self._uses:
            self._uses.add((resource, execution))
            self._connection.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (resource, execution))

    def _add_attributes(self, pairs: Iterable[tuple[str, str]], execution: int) -> None:
        if len(self._known_attributes) > _REMEMBERED:
            self._known_attributes.clear()
        new = [(name, value, execution) for name, value in pairs]
        new = [row for row in new if row not in self._known_attributes]
        if new:
            self._known_attributes.update(new)
            self._connection.executemany("INSERT OR IGNORE INTO attributes VALUES (?, ?, ?)", new)

    def _forget(self) -> None:
        """Forget ids: a transaction that failed has not created them, and pruned ones are gone."""
        for known in (self._ids, self._executions, self._traces, self._uses, self._known_attributes):
            known.clear()


_EXECUTION = """
INSERT OR IGNORE INTO executions (key, project, domain, name, workflow, start_ns, end_ns, seen_ns, spans, errors, bytes)
VALUES (?, ?, ?, ?, ?, 9223372036854775807, 0, 0, 0, 0, 0)
"""
_TOTALS = """
UPDATE executions SET
    start_ns = min(start_ns, coalesce(?, start_ns)), end_ns = max(end_ns, ?), seen_ns = max(seen_ns, ?),
    spans = spans + ?, errors = errors + ?, bytes = bytes + ?, root = coalesce(nullif(root, ''), ?)
WHERE id = ?
"""
_ERROR_BELOW = "SELECT 1 FROM errors WHERE trace_id = ? AND parent_id = ?"
_PASSED_ON = "UPDATE errors SET is_innermost = 0 WHERE trace_id = ? AND span_id = ? AND is_innermost"
_MERGED = """
UPDATE executions SET
    start_ns = min(executions.start_ns, other.start_ns), end_ns = max(executions.end_ns, other.end_ns),
    seen_ns = max(executions.seen_ns, other.seen_ns), spans = executions.spans + other.spans,
    errors = executions.errors + other.errors,
    root = coalesce(nullif(executions.root, ''), other.root), bytes = executions.bytes + other.bytes
FROM executions AS other WHERE executions.id = ? AND other.id = ?
"""
_ATTEMPT = """
INSERT INTO attempts (trace_id, span_id, execution, start_ns, seen_ns, result, name, node, is_execution, outer)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    start_ns = CASE WHEN excluded.result IS NULL THEN min(start_ns, excluded.start_ns) ELSE excluded.start_ns END,
    seen_ns = max(seen_ns, excluded.seen_ns),
    name = CASE WHEN excluded.result IS NULL THEN name ELSE excluded.name END,
    node = CASE WHEN excluded.result IS NULL THEN node ELSE excluded.node END,
    is_execution = is_execution OR excluded.is_execution,
    outer = CASE WHEN excluded.result IS NULL THEN outer ELSE excluded.outer END,
    result = coalesce(excluded.result, result)
"""
