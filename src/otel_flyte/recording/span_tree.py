"""Spans in their place: executions, attempts, phases and the spans of users.

The tree is built from spans alone, so that local runs, pods and any store have the same tree.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Literal

from otel_flyte import semconv
from otel_flyte.recording.cells import duration
from otel_flyte.recording.failures import Error, error_of
from otel_flyte.recording.model import AttributeValue, LogRecord, Span
from otel_flyte.recording.pending import with_unfinished
from otel_flyte.recording.roles import Role, role_of
from otel_flyte.recording.usage import Quota, Usage, quota_of, usage_of

NEVER_ENDED = "never ended"
"""The result of a span without an end: its process was killed, or still runs."""

_NO_LEVELS: Mapping[str, int] = MappingProxyType({})

UNKNOWN = "unknown"
"""The result of an execution of which only a part is recorded, without a failure."""

LOCAL = "local"
"""The run name of local runs."""


@dataclass(frozen=True, slots=True)
class LastSeen:
    """The last sign of an attempt that never ended.

    Attributes:
        seconds: how long it had been in the phase; 0 where that is unknown.
        is_over: whether the phase had ended.
    """

    phase: str
    seconds: float
    is_over: bool
    time_ns: int

    def __str__(self) -> str:
        if self.is_over:
            return f"last seen after {self.phase}"
        return f"last seen in {self.phase}" + (f" for {duration(self.seconds)}" if self.seconds else "")


@dataclass(slots=True, eq=False)
class TreeSpan:
    """A span in its place.

    Attributes:
        children: the spans below it, by start.
        orphan: whether its parent is named but not recorded.
        error: the span's error, where no span below has the same.
        errors_below: the errors of the spans below.
        levels: the numbers of log records by their severity; lines of stdout and stderr have none of their own.
    """

    span: Span
    role: Role
    children: tuple["TreeSpan", ...] = ()
    orphan: bool = False
    error: Error | None = None
    errors_below: tuple[Error, ...] = ()
    levels: Mapping[str, int] = field(default_factory=dict)
    _usage: Usage | Literal[False] | None = field(default=False, init=False, repr=False)
    _quota: Quota | None = field(default=None, init=False, repr=False)

    @property
    def usage(self) -> Usage | None:
        """The usage; ``None`` where nothing was measured."""
        # Reading it takes long, and several parts of a page ask for it: ``False`` stands for not read.
        if self._usage is False:
            self._usage = usage_of(self.span.attributes)
        return self._usage

    @property
    def quota(self) -> Quota:
        """The quota; of an attempt that was killed, from the resources that its task declares."""
        if self._quota is None:
            self._quota = quota_of(self.span.attributes)
        return self._quota

    @property
    def start_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.span.start_ns

    @property
    def end_ns(self) -> int | None:
        """Nanoseconds since the epoch, ``None`` for a span that never ended."""
        return self.span.end_ns

    @property
    def seconds(self) -> float | None:
        """The duration, ``None`` for a span that never ended."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns) / 1e9

    @property
    def result(self) -> str:
        """``success``, ``failure``, ``cancellation``, ``skip``, or ``never ended``."""
        return _result(self.span)

    @property
    def seen_ns(self) -> int:
        """The time of its end, else of its last event, in nanoseconds since the epoch."""
        if self.end_ns is not None:
            return self.end_ns
        return max([self.start_ns, *(event.time_ns for event in self.span.events)])

    @property
    def last_seen(self) -> LastSeen | None:
        """The last sign of an attempt that never ended, ``None`` for other spans."""
        if self.end_ns is not None or self.role is not Role.ATTEMPT:
            return None
        ended = [child for child in self.children if child.role in (Role.PHASE, Role.TRANSFER) and child.end_ns]
        last = max(ended, key=lambda child: child.seen_ns, default=None)
        if last is not None and last.seen_ns > self.seen_ns:
            return LastSeen(last.span.name, last.seconds or 0.0, is_over=True, time_ns=last.seen_ns)
        phase = self.span.attributes.get(semconv.PHASE)
        if not isinstance(phase, str):
            return None
        elapsed = self.span.attributes.get(semconv.PHASE_ELAPSED)
        seconds = float(elapsed) if isinstance(elapsed, (int, float)) else 0.0
        return LastSeen(phase, seconds, is_over=False, time_ns=self.seen_ns)

    @property
    def attempt(self) -> int | None:
        """The number of the attempt from 0, ``None`` outside a pod."""
        return _integer(self.attribute(semconv.ATTEMPT))

    @property
    def array_index(self) -> int | None:
        """The index of a map item."""
        return _integer(self.attribute(semconv.ARRAY_INDEX))

    @property
    def node_path(self) -> str:
        """Ids of the nodes that lead to the task, outermost first, joined by ``/``; empty where unknown."""
        return str(self.attribute(semconv.NODE_PATH) or self.attribute(semconv.ACTION_NAME) or "")

    @property
    def node_key(self) -> str:
        """``execution/node path`` of a task attempt in a pod; empty for other spans."""
        if self.role is not Role.ATTEMPT or self.attempt is None or not self.node_path:
            return ""
        return f"{self.attribute(semconv.RUN_NAME) or self.span.trace_id}/{self.node_path}"

    def attribute(self, name: str) -> AttributeValue:
        """Return an attribute of the span, else of its resource, else ``None``."""
        return self.span.attributes.get(name, self.span.resource.get(name))

    def walk(self) -> Iterator["TreeSpan"]:
        """Return this span and all below it, parents first."""
        return _walk((self,))


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """An execution, or a local run: one trace, or several where map subtasks have traces of their own.

    Attributes:
        name: the execution's name, empty for a local run.
        scope: ``project/domain``, empty for a local run.
        trace_ids: hexadecimal, the execution's own first.
        roots: the spans without a recorded parent, by start.
    """

    name: str
    scope: str
    trace_ids: tuple[str, ...]
    roots: tuple[TreeSpan, ...]

    def walk(self) -> Iterator[TreeSpan]:
        """Return all spans, parents first."""
        return _walk(self.roots)


def executions(spans: Iterable[Span], logs: Iterable[LogRecord]) -> tuple[Execution, ...]:
    """Return the executions of spans in any order, by start; log records hold the phase of attempts without an end."""
    spans_of: dict[str, list[Span]] = defaultdict(list)
    logs_of: dict[str, list[LogRecord]] = defaultdict(list)
    for span in spans:
        spans_of[span.trace_id].append(span)
    for record in logs:
        logs_of[record.trace_id].append(record)
    trees = {trace_id: _trees(trace, logs_of[trace_id]) for trace_id, trace in spans_of.items()}
    traces_of: dict[str, list[str]] = defaultdict(list)
    for trace_id, roots in sorted(trees.items(), key=lambda item: item[1][0].start_ns if item[1] else 0):
        if roots:
            traces_of[_run_name(roots) or trace_id].append(trace_id)
    return tuple(
        _execution(trace_ids, [root for trace_id in trace_ids for root in trees[trace_id]])
        for trace_ids in traces_of.values()
    )


def in_order(attempts: Iterable[TreeSpan]) -> tuple[TreeSpan, ...]:
    """Return the attempts of one node by number, then replica, then start."""
    return tuple(
        sorted(attempts, key=lambda span: (span.attempt or 0, str(span.attribute(semconv.REPLICA)), span.start_ns))
    )


def _walk(spans: Sequence[TreeSpan]) -> Iterator[TreeSpan]:
    waiting = list(reversed(spans))
    while waiting:
        span = waiting.pop()
        yield span
        if span.children:
            waiting += reversed(span.children)


def _execution(trace_ids: Sequence[str], roots: Sequence[TreeSpan]) -> Execution:
    roots = sorted(roots, key=lambda root: root.start_ns)
    name = _run_name(roots)
    scope = (roots[0].attribute(semconv.PROJECT), roots[0].attribute(semconv.DOMAIN)) if name else ()
    return Execution(name, "/".join(str(part) for part in scope if part), tuple(trace_ids), tuple(roots))


def _run_name(roots: Iterable[TreeSpan]) -> str:
    names = (root.attribute(semconv.RUN_NAME) for root in roots)
    return next((name for name in names if isinstance(name, str) and name != LOCAL), "")


def _trees(recorded: Sequence[Span], logs: Sequence[LogRecord]) -> tuple[TreeSpan, ...]:
    """Return the trees of one trace, built without recursion: users' spans nest as deep as their code does."""
    spans, adopted = with_unfinished(recorded, logs)
    by_id = {span.span_id: span for span in sorted(spans, key=attrgetter("start_ns"))}
    children: dict[str, list[Span]] = defaultdict(list)
    tops: list[Span] = []
    for span_id, span in by_id.items():
        parent_id = adopted.get(span_id, span.parent_id)
        if parent_id in by_id and parent_id != span_id:
            children[parent_id].append(span)
        else:
            tops.append(span)
    order: dict[str, Span] = {}
    roots = set()
    # Spans that are each other's parents have no top: the earliest of them becomes a root.
    for top in (*tops, *by_id.values()):
        if top.span_id not in order:
            roots.add(top.span_id)
            _add_below(top, children, order)
    levels = _levels(logs)
    trees: dict[str, TreeSpan] = {}
    for span_id, span in reversed(order.items()):
        below: tuple[TreeSpan, ...] = ()
        errors: tuple[Error, ...] = ()
        if span_id in children:
            below = tuple([trees[child.span_id] for child in children[span_id] if child.span_id in trees])
            errors = tuple(_errors_of(below))
        trees[span_id] = TreeSpan(
            span,
            role_of(span),
            below,
            span_id in adopted or (span_id in roots and span.parent_id is not None),
            error_of(span, errors) if _result(span) == semconv.RESULT_FAILURE else None,
            errors,
            levels.get(span_id, _NO_LEVELS),
        )
    return tuple(trees[span_id] for span_id in order if span_id in roots)


def _levels(logs: Iterable[LogRecord]) -> Mapping[str, Mapping[str, int]]:
    """Return the numbers of log records by their severity, by span."""
    levels: dict[str, Counter[str]] = defaultdict(Counter)
    for record in logs:
        if record.severity and not record.event and semconv.LOG_IOSTREAM not in record.attributes:
            levels[record.span_id][record.severity] += 1
    return levels


def _errors_of(trees: Sequence[TreeSpan]) -> Iterator[Error]:
    for tree in trees:
        yield from tree.errors_below
    for tree in trees:
        if tree.error:
            yield tree.error


def _add_below(top: Span, children: Mapping[str, list[Span]], order: dict[str, Span]) -> None:
    """Add a span and all below it, parents first."""
    waiting = [top]
    while waiting:
        span = waiting.pop()
        if span.span_id not in order:
            order[span.span_id] = span
            if span.span_id in children:
                waiting += reversed(children[span.span_id])


def _result(span: Span) -> str:
    if span.end_ns is None:
        return NEVER_ENDED
    verdict = span.attributes.get(semconv.RESULT)
    if isinstance(verdict, str):
        return verdict
    return semconv.RESULT_FAILURE if span.status_code == "error" else semconv.RESULT_SUCCESS


def _integer(value: AttributeValue) -> int | None:
    return value if isinstance(value, int) else None
