"""What happened in an execution, as a tree: workflows, task attempts, their phases and the spans of users.

It is built from spans alone, so one tree serves local runs, pods and whatever store the spans come from. Nothing here
needs flytekit or the OpenTelemetry SDK.
"""

import enum
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike

from otel_flyte import semconv
from otel_flyte.recording import otlp_file, unended
from otel_flyte.recording.otlp_file import AttributeValue, Event, LogRecord, Span

NEVER_ENDED = "never ended"
"""The result of a span without an end: its process was killed, or still runs."""

UNKNOWN = "unknown"
"""The result of an execution of which only parts are recorded, none of them with a failure."""

_LOCAL_RUN = "local"
_FRAME = re.compile(r'^ *File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
_WRAPPING = re.compile(r"(Error encountered while executing '[^']*':\s*)+")
_MAP_SUFFIX = re.compile(r"_[0-9a-f]{32}-arraynode$")
_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]|/lib/python3\.\d+/|\\Lib\\|^<frozen ")


class Role(enum.Enum):
    """What a span stands for."""

    EXECUTION = "execution"
    WORKFLOW = "workflow"
    TASK = "task"
    PHASE = "phase"
    MAP_ITEM = "map item"
    SUBMIT = "submit"
    USER = "span"


@dataclass(frozen=True, slots=True)
class Error:
    """Why a span failed.

    Attributes:
        type: class of the exception, or whatever ``error.type`` says.
        message: the exception's own words, of one or more lines.
        stacktrace: as Python prints it, empty where none was recorded.
    """

    type: str
    message: str
    stacktrace: str = ""

    @property
    def summary(self) -> str:
        """The type and the first line of the message."""
        first_line = self.message.strip().partition("\n")[0]
        return ": ".join(part for part in (self.type, first_line) if part)

    @property
    def frame(self) -> str:
        """The innermost frame of the user's own code, ``file:line in function``; empty without a stack trace."""
        frames = list(_FRAME.finditer(self.stacktrace))
        own = [frame for frame in frames if not _LIBRARY.search(frame["file"])]
        chosen = (own or frames)[-1:]
        return "".join(f"{frame['file']}:{frame['line']} in {frame['function']}" for frame in chosen)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where an attempt that never ended was seen last.

    Attributes:
        phase: the phase.
        seconds: how long it had been in the phase by then; 0 where it is only known to have been there.
        is_over: whether the phase had ended, and nothing is known of the next.
        seen_ns: when that was, in nanoseconds since the epoch.
    """

    phase: str
    seconds: float
    is_over: bool
    seen_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class TreeSpan:
    """A span in its place.

    Attributes:
        span: the span itself.
        role: what it stands for.
        children: the spans below it, by start.
        orphan: whether its parent is named but not among the spans.
        error: why it failed, where this is the innermost span that says so: an error is told once.
        errors_below: what the spans below it tell.
    """

    span: Span
    role: Role
    children: tuple["TreeSpan", ...] = ()
    orphan: bool = False
    error: Error | None = None
    errors_below: tuple[Error, ...] = ()

    @property
    def start_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.span.start_ns

    @property
    def end_ns(self) -> int | None:
        """Nanoseconds since the epoch, ``None`` where it never ended."""
        return self.span.end_ns

    @property
    def seconds(self) -> float | None:
        """How long it took, ``None`` where it never ended."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns) / 1e9

    @property
    def result(self) -> str:
        """``success``, ``failure``, ``cancellation``, ``skip``, or ``never ended``."""
        return _result(self.span)

    @property
    def seen_ns(self) -> int:
        """When it ended, or was seen last, in nanoseconds since the epoch."""
        if self.end_ns is not None:
            return self.end_ns
        return max([self.start_ns, *(event.time_ns for event in self.span.events)])

    @property
    def whereabouts(self) -> Whereabouts | None:
        """Where an attempt that never ended was seen last, ``None`` for all others."""
        if self.end_ns is not None or self.role is not Role.TASK:
            return None
        ended = [child for child in self.children if child.role is Role.PHASE and child.end_ns is not None]
        last = max(ended, key=lambda child: child.seen_ns, default=None)
        if last is not None and last.seen_ns > self.seen_ns:
            return Whereabouts(last.span.name, last.seconds or 0.0, is_over=True, seen_ns=last.seen_ns)
        phase = self.span.attributes.get(semconv.PHASE)
        if not isinstance(phase, str):
            return None
        elapsed = self.span.attributes.get(semconv.PHASE_ELAPSED)
        seconds = float(elapsed) if isinstance(elapsed, (int, float)) else 0.0
        return Whereabouts(phase, seconds, is_over=False, seen_ns=self.seen_ns)

    @property
    def attempt(self) -> int | None:
        """The attempt's number from 0, ``None`` outside a pod."""
        return _integer(self.attribute(semconv.ATTEMPT))

    @property
    def array_index(self) -> int | None:
        """The index of a map item."""
        return _integer(self.attribute(semconv.ARRAY_INDEX))

    @property
    def node_path(self) -> str:
        """Ids of the nodes that lead to the task, outermost first, joined by ``/``; empty where unknown."""
        return str(self.attribute(semconv.NODE_PATH) or self.attribute(semconv.ACTION_NAME) or "")

    def attribute(self, name: str) -> AttributeValue:
        """Give an attribute of the span, else of its resource, else ``None``."""
        return self.span.attributes.get(name, self.span.resource.get(name))

    def walk(self) -> Iterator["TreeSpan"]:
        """Give this span and all below it, parents first."""
        waiting = [self]
        while waiting:
            span = waiting.pop()
            yield span
            waiting += reversed(span.children)


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """An execution of Flyte, or a local run: one trace, or several where map subtasks have traces of their own.

    Attributes:
        name: the execution's name, empty for a local run.
        scope: ``project/domain``, empty for a local run.
        trace_ids: hexadecimal, the execution's own first.
        roots: what has no parent among the spans, by start.
    """

    name: str
    scope: str
    trace_ids: tuple[str, ...]
    roots: tuple[TreeSpan, ...]

    def walk(self) -> Iterator[TreeSpan]:
        """Give all spans, parents first."""
        for root in self.roots:
            yield from root.walk()


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionTree:
    """Executions, by start, and what could not be read of them."""

    executions: tuple[Execution, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, *paths: str | PathLike[str]) -> "ExecutionTree":
        """Read OTLP files, or folders of them.

        Raises:
            UnreadableError: a file is missing or not OTLP, or none has a span.
        """
        recording = otlp_file.read(*paths)
        return cls(_executions(recording.spans, recording.records), recording.remarks)

    @classmethod
    def from_spans(cls, spans: Iterable[Span], records: Iterable[LogRecord] = ()) -> "ExecutionTree":
        """Build the tree from spans of any source, in any order, and log records of attempts that never ended."""
        return cls(_executions(spans, records))

    def walk(self) -> Iterator[TreeSpan]:
        """Give all spans of all executions, parents first."""
        for execution in self.executions:
            yield from execution.walk()

    def attempts(self) -> dict[str, tuple[TreeSpan, ...]]:
        """Give the attempts of each node, in order, by ``execution/node path``."""
        grouped: dict[str, list[TreeSpan]] = defaultdict(list)
        for span in self.walk():
            key = node_key(span)
            if key:
                grouped[key].append(span)
        return {key: in_order(attempts) for key, attempts in grouped.items()}

    def errors(self) -> list[tuple[TreeSpan, Error]]:
        """Give each error once, with the innermost span that tells it."""
        return [(span, span.error) for span in self.walk() if span.error]

    def explain(self) -> str:
        """Tabulate every operation with its start, end, duration, share of its parent, entity, and how it went.

        It has the shape of ``FlyteExecutionSpan.explain()``. Times are UTC, durations seconds.
        """
        from otel_flyte.recording import table

        return table.render(self)

    def dump(self) -> str:
        """Give everything as YAML, ``{id: {breakdown, nodes: {n0: {breakdown, task_attempts: {0: …}}}}}``.

        It has the shape of ``FlyteExecutionSpan.dump()``. Durations are seconds, times ISO 8601 in UTC.
        """
        from otel_flyte.recording import document

        return document.as_yaml(self)


def own_words(message: str) -> str:
    """Give an exception's message without what flytekit puts before it, once for each task that it passes."""
    return _WRAPPING.sub("", message, count=1)


def short_name(name: str) -> str:
    """Give the name of a span without what flytekit adds to a map task's: a hash of its function and its settings."""
    return _MAP_SUFFIX.sub("", name)


def node_key(span: TreeSpan) -> str:
    """Tell which node a task attempt is of, ``execution/node path``; empty for all else, and in local runs."""
    if span.role is not Role.TASK or span.attempt is None or not span.node_path:
        return ""
    return f"{span.attribute(semconv.RUN_NAME) or span.span.trace_id}/{span.node_path}"


def in_order(attempts: Iterable[TreeSpan]) -> tuple[TreeSpan, ...]:
    """Sort the attempts of one node: by number, then replica, then start."""
    return tuple(
        sorted(attempts, key=lambda span: (span.attempt or 0, str(span.attribute(semconv.REPLICA)), span.start_ns))
    )


def last_end_ns(spans: Iterable[TreeSpan]) -> int | None:
    """Give when the last of several spans ended; ``None`` where one never did."""
    latest: int | None = None
    for span in spans:
        if span.end_ns is None:
            return None
        latest = max(latest or 0, span.end_ns)
    return latest


def _executions(spans: Iterable[Span], records: Iterable[LogRecord]) -> tuple[Execution, ...]:
    by_trace: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_trace[span.trace_id].append(span)
    told: dict[str, list[LogRecord]] = defaultdict(list)
    for record in records:
        told[record.trace_id].append(record)
    planted = {trace_id: _plant(*unended.stand_ins(trace, told[trace_id])) for trace_id, trace in by_trace.items()}
    roots = {trace_id: trees for trace_id, trees in planted.items() if trees}
    traces_of: dict[str, list[str]] = defaultdict(list)
    for trace_id in sorted(roots, key=lambda trace_id: roots[trace_id][0].start_ns):
        traces_of[_run_name(roots[trace_id]) or trace_id].append(trace_id)
    return tuple(_execution(trace_ids, roots) for trace_ids in traces_of.values())


def _execution(trace_ids: Sequence[str], roots: dict[str, tuple[TreeSpan, ...]]) -> Execution:
    own = sorted((root for trace_id in trace_ids for root in roots[trace_id]), key=lambda root: root.start_ns)
    name = _run_name(own)
    scope = (own[0].attribute(semconv.PROJECT), own[0].attribute(semconv.DOMAIN)) if name else ()
    return Execution(name, "/".join(str(part) for part in scope if part), tuple(trace_ids), tuple(own))


def _run_name(roots: Iterable[TreeSpan]) -> str:
    names = (root.attribute(semconv.RUN_NAME) for root in roots)
    return next((name for name in names if isinstance(name, str) and name != _LOCAL_RUN), "")


def _plant(spans: Sequence[Span], adopted: Mapping[str, str]) -> tuple[TreeSpan, ...]:
    """Build the trees of one trace, without recursion: users' spans nest as deep as their code does.

    ``adopted`` names what some spans are below, by id, because their parent is missing.
    """
    spans = sorted(spans, key=lambda span: span.start_ns)
    known = {span.span_id for span in spans}
    below: dict[str, list[Span]] = defaultdict(list)
    tops = []
    for span in spans:
        parent_id = adopted.get(span.span_id, span.parent_id)
        if parent_id in known and parent_id != span.span_id:
            below[parent_id or ""].append(span)
        else:
            tops.append(span)
    roots: list[Span] = []
    order: dict[str, Span] = {}
    # Spans that are each other's parents hang from no root: the earliest of them is taken for one.
    for top in (*tops, *spans):
        if top.span_id not in order:
            roots.append(top)
            _descend(top, below, order)
    grown: dict[str, TreeSpan] = {}
    for span in reversed(order.values()):
        children = tuple(grown[child.span_id] for child in below[span.span_id] if child.span_id in grown)
        grown[span.span_id] = replace(_grow(span, children), orphan=span.span_id in adopted)
    return tuple(replace(grown[root.span_id], orphan=root.parent_id is not None) for root in roots)


def _descend(top: Span, below: Mapping[str, Sequence[Span]], order: dict[str, Span]) -> None:
    """Add a span and all below it to ``order``, parents first."""
    waiting = [top]
    while waiting:
        span = waiting.pop()
        if span.span_id not in order:
            order[span.span_id] = span
            waiting += reversed(below.get(span.span_id, ()))


def _grow(span: Span, children: tuple[TreeSpan, ...]) -> TreeSpan:
    told = [*(error for child in children for error in child.errors_below), *(child.error for child in children)]
    errors_below = tuple(error for error in told if error)
    return TreeSpan(span, _role(span), children, error=_untold_error(span, errors_below), errors_below=errors_below)


def _untold_error(span: Span, told: tuple[Error, ...]) -> Error | None:
    """Give a span's error unless a span below tells it: as it is, or as what Flyte wrapped its own words around."""
    if _result(span) != semconv.RESULT_FAILURE:
        return None
    exception = next((event for event in reversed(span.events) if event.name == semconv.EVENT_EXCEPTION), None)
    if exception is not None:
        own = _error_from_event(exception)
        return None if any(_tells(error, own) for error in told) else own
    if told:
        return None
    kind = span.attributes.get(semconv.ERROR_TYPE) or span.attributes.get(semconv.ERROR_CODE) or ""
    return Error(str(kind), own_words(span.status_message))


def _tells(inner: Error, outer: Error) -> bool:
    return inner.message in outer.message if inner.message else inner.type == outer.type


def _result(span: Span) -> str:
    if span.end_ns is None:
        return NEVER_ENDED
    verdict = span.attributes.get(semconv.RESULT)
    if isinstance(verdict, str):
        return verdict
    return semconv.RESULT_FAILURE if span.status_code == "error" else semconv.RESULT_SUCCESS


def _role(span: Span) -> Role:
    if span.scope.name != semconv.SCOPE:
        return Role.USER
    for pattern, role in (
        (semconv.SPAN_WORKFLOW, Role.WORKFLOW),
        (semconv.SPAN_TASK, Role.TASK),
        (semconv.SPAN_SUBMIT, Role.SUBMIT),
    ):
        if span.name.startswith(pattern.format(name="")):
            return role
    return Role.MAP_ITEM if span.name == semconv.SPAN_MAP_ITEM else Role.PHASE


def _error_from_event(event: Event) -> Error:
    kind, message, stacktrace = (
        str(event.attributes.get(name, ""))
        for name in (semconv.EXCEPTION_TYPE, semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE)
    )
    return Error(kind.removeprefix("builtins."), own_words(message), stacktrace)


def _integer(value: AttributeValue) -> int | None:
    return value if isinstance(value, int) else None
