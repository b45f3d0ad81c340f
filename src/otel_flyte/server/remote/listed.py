"""Executions that searches have found, in tables as those of the embedded database.

States, names and filters are by its rules then, which are written once.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import blake2b
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.server.remote.found import Group
from otel_flyte.server.remote.tempo import FoundSpan
from otel_flyte.server.store import batches, reader, schema
from otel_flyte.server.store.reader import Filter, Listed

_Identity: TypeAlias = tuple[str | None, ...]

_ALL = -1
"""SQLite's limit that is none."""
_AFTERWARDS_NS = 10**9
"""How long after the end of an attempt its last pending span may be."""


def matching(groups: Iterable[Group], wanted: Filter) -> list[Listed]:
    """Return the executions that fulfil all conditions but those on attributes, which Tempo has checked."""
    with closing(schema.in_memory()) as connection:
        for group in groups:
            number = _number(group.owner.key)
            connection.execute(_EXECUTION, (number, *_totals(group)))
            rows = ((number, index, number, *row) for index, row in enumerate(_attempts(group.spans)))
            connection.executemany(_ATTEMPT, rows)
        return reader.executions(connection, replace(wanted, attributes={}), _ALL, time.time_ns())


_EXECUTION = """
INSERT INTO executions (id, key, project, domain, name, workflow, start_ns, end_ns, spans, errors, seen_ns, bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
"""
_ATTEMPT = """
INSERT INTO attempts (trace_id, span_id, execution, start_ns, seen_ns, result, name, node, is_execution)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _number(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def _totals(group: Group) -> tuple[str | int, ...]:
    begin, end, count, errors = zip(*_extents(group), strict=True)
    return *group.owner, _workflow(group), min(begin), max(end), sum(count), sum(errors)


def _extents(group: Group) -> Iterator[tuple[int, int, int, int]]:
    """Return start, end, and the numbers of spans and of failed ones of each trace."""
    for trace in group.traces.values():
        if trace.trace_id not in group.shared:
            failed = sum(map(_is_error, trace.spans))
            yield trace.start_ns, trace.end_ns, trace.total or trace.matched, trace.errors if trace.total else failed
    if group.shared:
        # The totals of the trace are those of all its executions: only the spans are this one's.
        failed = sum(map(_is_error, group.spans))
        begins, ends = [span.start_ns for span in group.spans], [span.end_ns for span in group.spans]
        yield min(begins), max(ends), len(group.spans), failed


def _workflow(group: Group) -> str:
    """Return the workflow of an execution; the database knows that of a local run by its spans only."""
    if not group.owner.name:
        return ""
    by_start = sorted(group.spans, key=lambda span: span.start_ns)
    return next((name for span in by_start if (name := span.attributes.get(semconv.WORKFLOW_NAME))), "")


def _attempts(spans: Iterable[FoundSpan]) -> Iterator[tuple[int, int, str | None, str, str, bool]]:
    """Return the attempts that have ended, and the pending spans of others."""
    ended: dict[_Identity, list[FoundSpan]] = defaultdict(list)
    pending: list[FoundSpan] = []
    for span in spans:
        if span.attributes[semconv.SPAN_ROLE] == semconv.SPAN_ROLE_PENDING:
            pending.append(span)
        else:
            ended[_identity(span)].append(span)
            yield _row(span, _result(span))
    for span in pending:
        if not any(_has_ended(span, attempt) for attempt in ended[_identity(span)]):
            yield _row(span, None)


def _row(span: FoundSpan, result: str | None) -> tuple[int, int, str | None, str, str, bool]:
    own = span.attributes
    name, node = batches.entity(span.name, own), batches.node(own)
    return span.start_ns, span.end_ns, result, name, node, own[semconv.SPAN_ROLE] == semconv.SPAN_ROLE_EXECUTION


def _identity(span: FoundSpan) -> _Identity:
    """Return what a pending span has in common with its attempt: the answer to a search has no parents."""
    own = span.attributes
    names = (semconv.ACTION_NAME, semconv.ATTEMPT, semconv.ARRAY_INDEX, semconv.REPLICA)
    return (batches.entity(span.name, own) or own.get(semconv.WORKFLOW_NAME), *map(own.get, names))


def _has_ended(pending: FoundSpan, attempt: FoundSpan) -> bool:
    return attempt.start_ns <= pending.start_ns <= attempt.end_ns + _AFTERWARDS_NS


def _result(span: FoundSpan) -> str:
    by_status = semconv.RESULT_FAILURE if _is_error(span) else semconv.RESULT_SUCCESS
    return span.attributes.get(semconv.RESULT, by_status)


def _is_error(span: FoundSpan) -> bool:
    return span.attributes.get("status") == "error"
