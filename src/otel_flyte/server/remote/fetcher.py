"""Brings executions from the backends into the database, and only what is new of those that are there."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from otel_flyte import semconv
from otel_flyte.server.receivers import intake
from otel_flyte.server.remote import logql, loki, prometheus, promql, traceql
from otel_flyte.server.remote.found import Owner
from otel_flyte.server.remote.lenient import Lenient
from otel_flyte.server.remote.loki import Loki
from otel_flyte.server.remote.parallel import answers
from otel_flyte.server.remote.processes import Processes
from otel_flyte.server.remote.prometheus import Prometheus
from otel_flyte.server.remote.tempo import Tempo
from otel_flyte.server.source import Database, UnavailableError, UnknownExecutionError
from otel_flyte.server.store.reader import RUNNING, Listed
from otel_flyte.server.store.schema import DatabaseError
from otel_flyte.server.store.writer import BusyError, Writer
from otel_flyte.tasks.identity import Execution

FRESH, FRESH_OLD = 2.0, 60.0
"""Seconds in which an execution is not asked for again, and those for one whose last record is old."""
MOST_TRACES = 2000
"""Traces of an execution: from its 500th subtask on a map has one for each."""
MOST_LINES = 50_000
"""Log records of an execution."""

_OLD_NS = 3600 * 10**9
_WEEK_NS = 7 * 24 * _OLD_NS
_WEEKS = 4
"""Searched for an execution without a trace of its own."""
_MARGIN_NS = 600 * 10**9
"""How far clocks differ, and how late the last records of an execution may be."""
_OVERLAP_NS = 30 * 10**9
"""Log records may arrive out of order."""
_REMEMBERED = 50
"""Executions whose records are known; one more is read again as a whole."""
_TRACES_AT_ONCE = 8
_WRITTEN_WITHIN = 60.0
"""Seconds."""
_TOO_SLOW = "the database is too slow: ask again later"


class Backends(NamedTuple):
    """The backends; ``None`` for those that are not used."""

    tempo: Tempo
    prometheus: Prometheus | None = None
    loki: Loki | None = None


@dataclass
class _Known:
    """What is known of an execution.

    Attributes:
        fetched: when it was fetched, in monotonic seconds.
        failure: why it could not be, if so.
        remarks: what is missing, and why.
        changes: how often the remarks have changed.
        spans: the ids of its traces and spans.
        ended: the ids of the traces of subtasks that have ended.
        logs_until_ns: the time of its last log record.
        last_lines: the keys of its log records that the next answer has, too. Their process may be known by then, and
            the database would take them for others.
        points_until: the time of the last point of each series, in milliseconds.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    fetched: float = float("-inf")
    failure: UnavailableError | None = None
    remarks: tuple[str, ...] = ()
    changes: int = 0
    spans: set[bytes] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    processes: Processes = field(default_factory=Processes)
    lines: int = 0
    logs_until_ns: int = 0
    last_lines: set[loki.Key] = field(default_factory=set)
    points_until: dict[tuple[tuple[str, str], ...], int] = field(default_factory=dict)


class Fetcher:
    """Fetches executions, from any thread; those who ask for the same one at once share the answer.

    Args:
        backends: who is asked.
        database: has what was fetched.
        writer: writes to it.
        remarked: called with the key of an execution whose remarks have changed.
    """

    def __init__(
        self, backends: Backends, database: Database, writer: Writer, remarked: Callable[[str], object]
    ) -> None:
        self._backends = backends
        self._database = database
        self._writer = writer
        self._remarked = remarked
        self._logs = Lenient("Log records are missing")
        self._points = Lenient("The usage of running and killed tasks is missing")
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def fetch(self, owner: Owner) -> None:
        """Bring what is new of an execution.

        Raises:
            UnavailableError: Tempo does not answer.
        """
        known = self._of(owner.key)
        with known.lock:
            age = time.monotonic() - known.fetched
            listed = self._listed(owner.key)
            if listed is None and known.spans:
                # It was removed from the database, to make room.
                self._forget(owner.key, known)
                known = self._of(owner.key)
            elif age < (FRESH_OLD if _is_old(listed) and not known.remarks else FRESH):
                if known.failure is not None:
                    raise known.failure
                return
            try:
                self._fetch(owner, known)
                known.failure = None
            except UnavailableError as error:
                known.failure = error
                raise
            finally:
                known.fetched = time.monotonic()

    def remarks(self, key: str) -> tuple[str, ...]:
        """Return what is missing of an execution that was fetched, and why."""
        known = self._known.get(key)
        return () if known is None else known.remarks

    def changes(self, key: str) -> int:
        """Return how often the remarks of an execution have changed."""
        known = self._known.get(key)
        return 0 if known is None else known.changes

    def _fetch(self, owner: Owner, known: _Known) -> None:
        for trace_id, request in self._traces(owner, known):
            self._write("traces", _without(request, known.spans))
            known.spans.update(_ids(request))
            for in_resource in request.resource_spans:
                known.processes.add(in_resource.resource)
            if trace_id != owner.trace_id and _has_ended(request):
                known.ended.add(trace_id)
        listed = self._listed(owner.key)
        if listed is None:
            return
        begin_ns = listed.start_ns - _MARGIN_NS
        end_ns = time.time_ns() + _MARGIN_NS if not _is_old(listed) else listed.end_ns + _MARGIN_NS
        missing = (
            self._logs.ask(lambda: self._fetch_logs(owner, known, begin_ns, end_ns)),
            self._points.ask(lambda: self._fetch_points(owner, known, begin_ns // 10**9, end_ns // 10**9)),
        )
        self._remark(owner.key, known, tuple(filter(None, missing)))

    def _remark(self, key: str, known: _Known, remarks: tuple[str, ...]) -> None:
        if remarks != known.remarks:
            known.remarks = remarks
            known.changes += 1
            self._remarked(key)

    def _traces(self, owner: Owner, known: _Known) -> Iterator[tuple[str, Any]]:
        """Return the traces of an execution that may have something new: its own, and those of map subtasks."""
        tempo = self._backends.tempo
        own = tempo.trace(owner.trace_id)
        if own is not None:
            yield owner.trace_id, own
        if owner.name:
            others = set(self._other_traces(owner, own)) - known.ended - {owner.trace_id}
            for trace_id, found in answers(tempo.trace, others, _TRACES_AT_ONCE):
                if found is not None:
                    yield trace_id, found

    def _other_traces(self, owner: Owner, own: Any | None) -> Iterator[str]:
        query = traceql.of_execution(Execution(owner.project, owner.domain, owner.name))
        now_ns = time.time_ns() + 60 * 10**9
        starts = [span.start_time_unix_nano for span in _spans(own)] if own is not None else []
        begin_ns = min(starts) - _MARGIN_NS if starts else now_ns - _WEEKS * _WEEK_NS
        end_ns = min(now_ns, begin_ns + _WEEKS * _WEEK_NS)
        count = 0
        while begin_ns < end_ns and count < MOST_TRACES:
            until_ns = min(end_ns, begin_ns + _WEEK_NS - 2 * 10**9)
            found = self._backends.tempo.search(query, begin_ns, until_ns, MOST_TRACES - count)
            count += len(found)
            yield from (each.trace_id for each in found)
            begin_ns = until_ns

    def _fetch_logs(self, owner: Owner, known: _Known, begin_ns: int, end_ns: int) -> None:
        source, left = self._backends.loki, MOST_LINES - known.lines
        if source is None or left <= 0:
            return
        if owner.name:
            query = logql.of_execution(Execution(owner.project, owner.domain, owner.name), owner.trace_id)
        else:
            query = logql.of_trace(owner.trace_id)
        for entries in source.entries(query, max(begin_ns, known.logs_until_ns - _OVERLAP_NS), end_ns, left):
            new = {key: entry for entry in entries if (key := loki.key(entry)) not in known.last_lines}
            self._write("logs", loki.request(list(new.values()), known.processes))
            known.lines += len(new)
            known.last_lines.update(new)
            known.logs_until_ns = max(known.logs_until_ns, entries[-1].time_ns)
        known.last_lines = {key for key in known.last_lines if key[0] >= known.logs_until_ns - _OVERLAP_NS}

    def _fetch_points(self, owner: Owner, known: _Known, begin: int, end: int) -> None:
        source = self._backends.prometheus
        if source is None:
            return
        last = max(known.points_until.values(), default=0) // 1000
        found = []
        until_of = dict(known.points_until)
        for query in _points_queries(owner, known.processes):
            for series in source.series(query, max(begin, last - _MARGIN_NS // 10**9), end):
                key = tuple(sorted(series.labels.items()))
                until = until_of.get(key, 0)
                new = [value for value in series.values if value[0] > until]
                if new:
                    until_of[key] = new[-1][0]
                    found.append(series._replace(values=new))
        if found:
            self._write("metrics", prometheus.request(found, known.processes))
            known.points_until = until_of

    def _write(self, signal: str, request: Any) -> None:
        size = request.ByteSize()
        if not size:
            return
        deadline = time.monotonic() + _WRITTEN_WITHIN
        while (taken := self._taken(signal, request, size)) is None:
            if time.monotonic() > deadline:
                raise UnavailableError(_TOO_SLOW)
            time.sleep(0.05)
        try:
            taken.written.result(max(0.0, deadline - time.monotonic()))
        except DatabaseError as error:
            raise UnavailableError(str(error)) from None
        except FutureTimeoutError:
            raise UnavailableError(_TOO_SLOW) from None

    def _taken(self, signal: str, request: Any, size: int) -> intake.Taken | None:
        """Hand a request to the writer; return ``None`` while too many wait."""
        try:
            return intake.take(self._writer, signal, request, size)
        except BusyError:
            return None

    def _listed(self, key: str) -> Listed | None:
        try:
            return self._database.execution(key)
        except UnknownExecutionError:
            return None

    def _of(self, key: str) -> _Known:
        with self._lock:
            known = self._known.setdefault(key, _Known())
            self._known.move_to_end(key)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _forget(self, key: str, known: _Known) -> None:
        with self._lock:
            if self._known.get(key) is known:
                del self._known[key]


def _points_queries(owner: Owner, known: Processes) -> Iterator[Callable[[int], str]]:
    """Return the queries for points, by seconds: for those that name an execution, and those that name a process."""
    if owner.name:
        yield partial(promql.of_execution, Execution(owner.project, owner.domain, owner.name))
    if known.unnamed:
        yield partial(promql.of_shared_processes if owner.name else promql.of_processes, known.unnamed)


def _is_old(listed: Listed | None) -> bool:
    return listed is not None and listed.state != RUNNING and time.time_ns() - listed.end_ns > _OLD_NS


def _spans(request: Any) -> Iterator[Any]:
    for in_resource in request.resource_spans:
        for in_scope in in_resource.scope_spans:
            yield from in_scope.spans


def _ids(request: Any) -> Iterator[bytes]:
    return (span.trace_id[-8:] + span.span_id for span in _spans(request))


def _without(request: Any, known: Iterable[bytes]) -> Any:
    """Return a request without spans that are known."""
    if not known:
        return request
    made = type(request)()
    for in_resource in request.resource_spans:
        for in_scope in in_resource.scope_spans:
            new = [span for span in in_scope.spans if span.trace_id[-8:] + span.span_id not in known]
            if new:
                of_resource = made.resource_spans.add(resource=in_resource.resource)
                of_resource.scope_spans.add(scope=in_scope.scope).spans.extend(new)
    return made


def _has_ended(request: Any) -> bool:
    """Return whether the attempt of a map subtask has ended."""
    roles = (semconv.SPAN_ROLE, semconv.SPAN_ROLE_ATTEMPT)
    return any((pair.key, pair.value.string_value) == roles for span in _spans(request) for pair in span.attributes)
