"""The tree of an execution as rows, top to bottom, for every rendering of it.

Attempts of one node have a row for the node above them. More than :data:`MANY` similar siblings, such as the items of a
map or the steps of a loop, have one row above the failed and the slowest of them.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from statistics import median

from otel_flyte import semconv
from otel_flyte.recording import usage
from otel_flyte.recording.cells import duration
from otel_flyte.recording.failures import Error
from otel_flyte.recording.roles import Role, entity_name, short_name
from otel_flyte.recording.span_tree import NEVER_ENDED, UNKNOWN, Execution, TreeSpan, in_order
from otel_flyte.recording.wall import wall_ns

MANY = 10
"""The largest number of similar siblings that are not rolled up."""

DEEPEST = 30
"""The depth below which spans are only counted: a recursive function may nest them by the thousand."""

SHOWN = 5
"""The number of failed, and of slowest, members that a roll-up shows."""

_NOTED = "flyte."
"""Begins the names of all attributes that are notes."""

SUM = "\N{GREEK CAPITAL LETTER SIGMA}"
"""Precedes the duration of a group."""

_ORPHAN = "parent not recorded"
_SHOWN_KINDS = (semconv.KIND_MAP, semconv.KIND_DYNAMIC, semconv.KIND_EAGER)
_INNER = (Role.USER, Role.PHASE, Role.TRANSFER)
"""The roles of spans that belong to the entity above them, and have neither attempts nor items."""

_WORST_FIRST = (semconv.RESULT_FAILURE, semconv.RESULT_CANCELLATION, NEVER_ENDED)


@dataclass(eq=False)
class Row:
    """One row: a span, the attempts of a node, similar siblings, or an execution. :func:`rows_of` places it.

    Attributes:
        label: such as ``task demo.train``.
        notes: further facts, a few words each.
        entity: the workflow or task attempt that the row belongs to, such as ``node/n0/task/1``.
        result: ``success``, ``failure``, ``cancellation``, ``skip``, ``never ended``, or ``unknown``.
        spans: the spans of the row.
        members: the rows below where ``spans`` are several; a single span has its children below.
        depth: 0 for the outermost.
        share: its duration as a fraction of the duration of the row above, ``None`` where either is unknown.
        is_group: whether it stands for several, between which time may pass in which none runs.
        start_ns: nanoseconds since the epoch.
        end_ns: nanoseconds since the epoch, ``None`` where it never ended.
    """

    label: str
    notes: tuple[str, ...]
    entity: str
    result: str
    spans: tuple[TreeSpan, ...]
    role: Role
    members: "tuple[Row, ...]" = ()
    depth: int = 0
    share: float | None = None
    is_group: bool = False
    start_ns: int = field(init=False)
    end_ns: int | None = field(init=False)

    def __post_init__(self) -> None:
        spans = self.spans
        if len(spans) == 1:
            self.start_ns, self.end_ns = spans[0].span.start_ns, spans[0].span.end_ns
            return
        self.start_ns = min([span.start_ns for span in spans])
        ends = [span.end_ns for span in spans if span.end_ns is not None]
        self.end_ns = None if self.result == NEVER_ENDED else max(ends)

    @cached_property
    def seen_ns(self) -> int:
        """The time of its end or last sign, not before its start, in nanoseconds since the epoch."""
        spans = self.spans
        latest = spans[0].seen_ns if len(spans) == 1 else max([span.seen_ns for span in spans])
        return max(self.start_ns, latest)

    @property
    def seconds(self) -> float | None:
        """The duration, of a group the sum of its members' durations; ``None`` where it never ended."""
        if self.end_ns is None or not self.is_group:
            return self.elapsed_seconds
        return sum(span.seconds or 0.0 for span in self.spans)

    @property
    def elapsed_seconds(self) -> float | None:
        """The time from its first start to its last end, ``None`` where it never ended."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns) / 1e9

    @property
    def wall_seconds(self) -> float | None:
        """The time in which at least one of its spans ran, ``None`` where it never ended."""
        return None if self.end_ns is None else wall_ns(self.spans) / 1e9

    @property
    def took(self) -> str:
        """The duration in words, that of a group marked as a sum."""
        if self.seconds is None:
            return NEVER_ENDED
        return f"{SUM} {duration(self.seconds)}" if self.is_group else duration(self.seconds)

    @property
    def span(self) -> TreeSpan | None:
        """The span of the row, ``None`` where there are several."""
        return None if self.members else self.spans[0]

    @property
    def error(self) -> Error | None:
        """The error of the row's span, where no span below has the same."""
        return self.span.error if self.span else None


def rows_of(execution: Execution, *, complete: bool = False) -> Iterator[Row]:
    """Return the rows of an execution; ``complete`` includes all members of each roll-up. It needs no recursion."""
    most = sys.maxsize if complete else MANY
    waiting = [_top(execution, most)]
    while waiting:
        row = waiting.pop()
        children = row.spans[0].children
        below: Sequence[Row] = row.members or (_siblings(children, row.entity, most) if children else ())
        if below and row.depth == DEEPEST:
            count = sum(1 for member in below for span in member.spans for _ in span.walk())
            row.notes, below = (*row.notes, f"{count} spans below"), ()
        yield row
        seconds = row.seconds if below else None
        for member in reversed(below):
            # Rows are made for one list only, and copying each of them would take longer than making it.
            member.depth, member.entity = row.depth + 1, member.entity or row.entity
            # Members of a group may run side by side.
            took = None if member.is_group else member.seconds
            member.share = None if took is None or not seconds else took / seconds
            waiting.append(member)


def _top(execution: Execution, most: int) -> Row:
    """Return the row of the one root, else a row for the execution."""
    rows = _siblings(execution.roots, "", most)
    if len(rows) == 1 and not execution.name and not execution.roots[0].orphan:
        return rows[0]
    notes = [execution.scope]
    if all(root.orphan for root in execution.roots):
        notes.append("parents not recorded" if len(execution.roots) > 1 else _ORPHAN)
        for row in rows:
            _remove_orphan_notes(row)
    return Row(
        f"execution {execution.name}" if execution.name else f"trace {execution.trace_ids[0]}",
        _known(*notes),
        f"execution/{execution.name}" if execution.name else "",
        _result(execution, rows),
        execution.roots,
        Role.EXECUTION,
        tuple(rows),
    )


def _result(execution: Execution, rows: Iterable[Row]) -> str:
    """Return the result of a local run, else a failure or ``unknown``, never success: pods may be missing."""
    roots = [root for root in execution.roots if not root.orphan]
    workflows = [root.result for root in roots if root.role is Role.EXECUTION]
    if workflows:
        return _worst(workflows)
    # A task without a number ran outside of a pod.
    is_local_task = len(execution.roots) == len(roots) == 1 and roots[0].attempt is None
    return roots[0].result if is_local_task else _worst((row.result for row in rows), UNKNOWN)


def _remove_orphan_notes(row: Row) -> None:
    if _ORPHAN in row.notes:
        row.notes = tuple([note for note in row.notes if note != _ORPHAN])
    for member in row.members:
        _remove_orphan_notes(member)


def _siblings(spans: Iterable[TreeSpan], entity: str, most: int) -> list[Row]:
    """Return rows of siblings: attempts by node, then items by map, then any that are more than ``MANY``."""
    nodes: dict[str, list[TreeSpan]] = defaultdict(list)
    for span in spans:
        nodes[(span.role is Role.ATTEMPT and span.node_key) or span.span.span_id].append(span)
    similar: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for attempts in nodes.values():
        first = attempts[0]
        row = _single(first, entity) if len(attempts) == 1 else _node(in_order(attempts), entity)
        name = f"{semconv.SPAN_MAP_ITEM}s" if first.role is Role.ITEM else _short(first)
        similar[_map_of(first), name].append(row)
    rows: list[Row] = []
    for (map_node, name), members in similar.items():
        rows += [_roll_up(name, map_node, members, most)] if map_node or len(members) > MANY else members
    return sorted(rows, key=attrgetter("start_ns"))


def _single(span: TreeSpan, entity: str) -> Row:
    if span.role in _INNER:
        return Row(_short(span), _known(*_outcome(span)), entity, span.result, (span,), span.role)
    attempt = f"attempt {span.attempt}" if span.role is Role.ATTEMPT and span.attempt else ""
    notes = _known(*_declared(span), attempt, *_outcome(span))
    return Row(_label(span), notes, _entity(span, entity), span.result, (span,), span.role)


def _node(attempts: tuple[TreeSpan, ...], entity: str) -> Row:
    """Return the row of a node with several attempts; its result is that of the last attempt."""
    last = attempts[-1].attempt
    numbers = {attempt.attempt for attempt in attempts}
    replicas = {attempt.attribute(semconv.REPLICA) for attempt in attempts}
    members = tuple([_attempt(attempt, entity) for attempt in attempts])
    notes = _known(
        *_declared(attempts[0]),
        f"{len(numbers)} attempts" if len(numbers) > 1 else "",
        f"{len(replicas)} replicas" if len(replicas) > 1 else "",
    )
    result = _worst(attempt.result for attempt in attempts if attempt.attempt == last)
    entity = f"node/{attempts[0].node_path}"
    row = Row(_label(attempts[0]), notes, entity, result, attempts, Role.ATTEMPT, members, is_group=True)
    row.notes = _known(*notes, _wall(row))
    return row


def _attempt(span: TreeSpan, entity: str) -> Row:
    """Return the row of one of the attempts of a node."""
    notes = _known(*_outcome(span))
    return Row(f"attempt {span.attempt}", notes, _entity(span, entity), span.result, (span,), span.role)


def _roll_up(name: str, map_node: str, members: Sequence[Row], most: int) -> Row:
    """Return the row of similar siblings; above ``most`` only the failed and the slowest are below it."""
    unsuccessful = [member for member in members if member.result != semconv.RESULT_SUCCESS]
    slowest = sorted(members, key=lambda member: -(member.seconds or 0.0))[:SHOWN]
    selected = members if len(members) <= most else (*unsuccessful[:SHOWN], *slowest)
    shown = sorted(dict.fromkeys(selected), key=lambda member: member.start_ns)
    retried = sum(len(member.members) > 1 for member in members)
    durations = [member.seconds for member in members if member.seconds is not None]
    node_path = map_node.partition("/")[2]
    notes = _known(
        f"{len(members)} items" if map_node or members[0].role is Role.ITEM else f"{len(members)} times",
        *_counts(unsuccessful),
        f"{retried} retried" if retried else "",
        f"median {duration(median(durations))}" if durations else "",
        f"slowest {duration(max(durations))}" if durations else "",
        f"{len(shown)} shown" if len(shown) < len(members) else "",
        node_path,
    )
    spans = tuple(span for member in members for span in member.spans)
    result = _worst(member.result for member in members)
    entity = f"node/{node_path}" if map_node else ""
    row = Row(name, notes, entity, result, spans, members[0].role, tuple(shown), is_group=True)
    row.notes = _known(notes[0], _wall(row), *notes[1:])
    return row


def _wall(group: Row) -> str:
    seconds = group.wall_seconds
    return "" if seconds is None else f"wall {duration(seconds)}"


def _counts(unsuccessful: Sequence[Row]) -> Iterator[str]:
    """Return counts by result and type of error: ``37 failure (30 ValueError, 7 KeyError)``."""
    by_result: dict[str, list[TreeSpan]] = defaultdict(list)
    for member in unsuccessful:
        by_result[member.result].append(member.spans[-1])
    for result, spans in by_result.items():
        errors = [error for span in spans if (error := span.error or next(iter(span.errors_below), None))]
        types = Counter(error.type for error in errors)
        reasons = ", ".join(f"{count} {kind}" for kind, count in types.most_common(3) if kind)
        yield f"{len(spans)} {result}" + (f" ({reasons})" if reasons else "")


def _known(*notes: str) -> tuple[str, ...]:
    return tuple([note for note in notes if note])


def _worst(results: Iterable[str], default: str = semconv.RESULT_SUCCESS) -> str:
    present = set(results)
    return next((result for result in _WORST_FIRST if result in present), default)


def _map_of(span: TreeSpan) -> str:
    """Return ``execution/node path`` of the map of a subtask in a pod."""
    if span.role is not Role.ATTEMPT or span.array_index is None:
        return ""
    return f"{span.attribute(semconv.RUN_NAME) or ''}/{span.node_path.rpartition('/')[0]}"


def _short(span: TreeSpan) -> str:
    return span.span.name if span.role is Role.USER else short_name(span.span.name)


def _label(span: TreeSpan) -> str:
    if span.role in (Role.ITEM, Role.ATTEMPT) and span.array_index is not None:
        return f"{semconv.SPAN_MAP_ITEM} {span.array_index}"
    return _short(span)


def _entity(span: TreeSpan, outer: str) -> str:
    match span.role:
        case Role.EXECUTION:
            return f"workflow/{entity_name(_short(span), span.role)}"
        case Role.NODE if span.node_path:
            return f"node/{span.node_path}"
        case Role.ATTEMPT if span.node_path:
            return f"node/{span.node_path}/task/{span.attempt or 0}"
        case Role.ATTEMPT:
            return f"task/{entity_name(_short(span), span.role)}"
        case Role.ITEM:
            return f"{outer}/item/{span.array_index}"
    return outer


def _declared(span: TreeSpan) -> tuple[str, ...]:
    """Return the kind of a task and its node; a map subtask leaves both to the map."""
    if span.role is not Role.ATTEMPT or span.array_index is not None:
        return ()
    kind = str(span.attribute(semconv.TASK_KIND))
    return (kind if kind in _SHOWN_KINDS else "", span.node_path)


def _outcome(span: TreeSpan) -> tuple[str, ...]:
    """Return the facts of one span of a node: replica, cache, Flyte's verdict, last sign, usage, missing parent."""
    own = span.span.attributes
    if not (span.levels or span.orphan or span.end_ns is None or _NOTED in "\n".join(own)):
        return ()
    cache, run = own.get(semconv.CACHE_STATUS), own.get(semconv.SUBMITTED_RUN_NAME)
    kind = str(own.get(semconv.ERROR_KIND) or "").lower().replace("_", "-")
    return (
        f"replica {own[semconv.REPLICA]!s}" if own.get(semconv.REPLICA) else "",
        f"cache {cache!s}" if cache else "",
        f"run {run!s}" if run else "",
        ", ".join([str(part) for part in (own.get(semconv.ERROR_CODE), kind) if part]),
        str(span.last_seen or ""),
        ", ".join([f"{count} {level}" for level, count in span.levels.items()]) if span.levels else "",
        *(usage.notes(span.usage, span.quota) if span.usage else ()),
        _ORPHAN if span.orphan else "",
    )
