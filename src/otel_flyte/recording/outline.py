"""The tree as lines, top to bottom: what every rendering of it has in common.

Attempts of one node are gathered under a line for the node, and many siblings alike (the items of a map, the steps of a
loop) under one line that counts them and shows those worth a look.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from otel_flyte import semconv
from otel_flyte.recording import usage
from otel_flyte.recording.cells import duration
from otel_flyte.recording.tree import (
    NEVER_ENDED,
    UNKNOWN,
    Error,
    Execution,
    Role,
    TreeSpan,
    in_order,
    node_key,
    short_name,
)

MANY = 10
"""Siblings alike above this number are rolled up."""

DEEPEST = 30
"""Below this depth spans are counted, not shown: a recursive function may nest them by the thousand."""

SHOWN = 5
"""Of a roll-up, as many of the failed and as many of the slowest are shown."""

_ORPHAN = "parent not recorded"
_KINDS_WORTH_A_WORD = (semconv.KIND_MAP, semconv.KIND_DYNAMIC, semconv.KIND_EAGER)
_WORST_FIRST = (semconv.RESULT_FAILURE, semconv.RESULT_CANCELLATION, NEVER_ENDED)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the outline.

    Attributes:
        depth: 0 for the outermost.
        label: what it is, such as ``task demo.train``.
        notes: what else there is to know, a few words each.
        role: what it stands for.
        entity: the workflow or task attempt that it is part of, such as ``node/n0/task/1``.
        start_ns: nanoseconds since the epoch.
        end_ns: nanoseconds since the epoch, ``None`` where it never ended.
        seen_ns: when it ended, or was seen last.
        result: ``success``, ``failure``, ``cancellation``, ``skip``, ``never ended``, or ``unknown``.
        share: its duration as a fraction of its parent's, ``None`` where either is unknown.
        error: why it failed, on the innermost line only.
        span: the span that it stands for, ``None`` where it sums up several.
    """

    depth: int
    label: str
    notes: tuple[str, ...]
    role: Role
    entity: str
    start_ns: int
    end_ns: int | None
    seen_ns: int
    result: str
    share: float | None
    error: Error | None
    span: TreeSpan | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, ``None`` where it never ended."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    """What one line stands for: a span, the attempts of a node, siblings alike, or an execution.

    Attributes:
        entity: what the line is part of; empty where that is what the line above is part of.
        spans: the spans that the line sums up.
        members: the branches below where ``spans`` are several; a single span has its children below.
    """

    label: str
    notes: tuple[str, ...]
    entity: str
    result: str
    spans: tuple[TreeSpan, ...]
    members: "tuple[_Branch, ...]" = ()
    role: Role = Role.USER

    @property
    def start_ns(self) -> int:
        return min(span.start_ns for span in self.spans)

    @property
    def end_ns(self) -> int | None:
        if self.result == NEVER_ENDED:
            return None
        return max(span.end_ns for span in self.spans if span.end_ns is not None)

    @property
    def seen_ns(self) -> int:
        return max(span.seen_ns for span in self.spans)

    def below(self, entity: str, most: int) -> "Sequence[_Branch]":
        return self.members or _arranged(self.spans[0].children, entity, most)


def lines(execution: Execution, *, complete: bool = False) -> Iterator[Line]:
    """Give the lines of one execution, without recursion; on demand with all members of every roll-up."""
    most = sys.maxsize if complete else MANY
    waiting: list[tuple[_Branch, int, float | None, str]] = [(_whole(execution, most), 0, None, "")]
    while waiting:
        branch, depth, parents_seconds, entity = waiting.pop()
        line = _line(branch, depth, parents_seconds, entity)
        below = branch.below(line.entity, most)
        if below and depth == DEEPEST:
            count = sum(1 for member in below for span in member.spans for _ in span.walk())
            line, below = replace(line, notes=(*line.notes, f"{count} spans below")), ()
        yield line
        waiting += [(member, depth + 1, line.seconds, line.entity) for member in reversed(below)]


def _line(branch: _Branch, depth: int, parents_seconds: float | None, entity: str) -> Line:
    end_ns = branch.end_ns
    seconds = None if end_ns is None else max(0, end_ns - branch.start_ns) / 1e9
    return Line(
        depth=depth,
        label=branch.label,
        notes=tuple(note for note in branch.notes if note),
        role=branch.role,
        entity=branch.entity or entity,
        start_ns=branch.start_ns,
        end_ns=end_ns,
        seen_ns=branch.seen_ns,
        result=branch.result,
        share=seconds / parents_seconds if seconds is not None and parents_seconds else None,
        error=None if branch.members else branch.spans[0].error,
        span=None if branch.members else branch.spans[0],
    )


def _whole(execution: Execution, most: int) -> _Branch:
    """Give what an execution hangs from: its one root, or a line of its own where none is recorded.

    Such a line tells of failures, but not of success: nobody knows what is missing.
    """
    arranged = _arranged(execution.roots, "", most)
    if len(arranged) == 1 and not execution.name and not execution.roots[0].orphan:
        return arranged[0]
    label = f"execution {execution.name}" if execution.name else f"trace {execution.trace_ids[0]}"
    notes = [execution.scope]
    if all(root.orphan for root in execution.roots):
        notes.append("parents not recorded" if len(execution.roots) > 1 else _ORPHAN)
        arranged = [_without_orphan_notes(branch) for branch in arranged]
    return _Branch(
        label=label,
        notes=tuple(notes),
        entity=f"execution/{execution.name}" if execution.name else "",
        result=_worst((branch.result for branch in arranged), UNKNOWN),
        spans=execution.roots,
        members=tuple(arranged),
        role=Role.EXECUTION,
    )


def _without_orphan_notes(branch: _Branch) -> _Branch:
    return replace(
        branch,
        notes=tuple(note for note in branch.notes if note != _ORPHAN),
        members=tuple(map(_without_orphan_notes, branch.members)),
    )


def _arranged(spans: Iterable[TreeSpan], entity: str, most: int) -> list[_Branch]:
    """Gather siblings: attempts by node, then items by map, then whatever there are many of.

    Of siblings alike above ``most`` those worth a look are shown.
    """
    nodes: dict[object, list[TreeSpan]] = defaultdict(list)
    for span in spans:
        nodes[node_key(span) or span.span.span_id].append(span)
    alike: dict[tuple[str, str], list[_Branch]] = defaultdict(list)
    for attempts in nodes.values():
        branch = _node(in_order(attempts), entity) if len(attempts) > 1 else _single(attempts[0], entity)
        alike[_map_of(attempts[0]), _name(attempts[0])].append(branch)
    arranged: list[_Branch] = []
    for (map_node, name), members in alike.items():
        if map_node or len(members) > MANY:
            arranged.append(_roll_up(name, map_node, members, most))
        else:
            arranged += members
    return sorted(arranged, key=lambda branch: branch.start_ns)


def _single(span: TreeSpan, entity: str) -> _Branch:
    return _Branch(_label(span), _notes(span), _entity(span, entity), span.result, (span,), role=span.role)


def _node(attempts: tuple[TreeSpan, ...], entity: str) -> _Branch:
    """Give the line of a node that was attempted more than once: it went as its last attempt did."""
    last = attempts[-1].attempt
    numbers = {attempt.attempt for attempt in attempts}
    replicas = {attempt.attribute(semconv.REPLICA) for attempt in attempts}
    members = tuple(
        replace(_single(attempt, entity), label=f"attempt {attempt.attempt}", notes=_outcome(attempt))
        for attempt in attempts
    )
    return _Branch(
        label=_label(attempts[0]),
        notes=(
            *_declared(attempts[0]),
            f"{len(numbers)} attempts" if len(numbers) > 1 else "",
            f"{len(replicas)} replicas" if len(replicas) > 1 else "",
        ),
        entity=f"node/{attempts[0].node_path}",
        result=_worst(attempt.result for attempt in attempts if attempt.attempt == last),
        spans=attempts,
        members=members,
        role=Role.TASK,
    )


def _roll_up(name: str, map_node: str, members: Sequence[_Branch], most: int) -> _Branch:
    """Give the line of siblings alike, and of those the failed and the slowest where they are many."""
    unsuccessful = [member for member in members if member.result != semconv.RESULT_SUCCESS]
    slowest = sorted(members, key=lambda member: -_seconds(member))[:SHOWN]
    worth_a_look = members if len(members) <= most else (*unsuccessful[:SHOWN], *slowest)
    shown = sorted(dict.fromkeys(worth_a_look), key=lambda member: member.start_ns)
    retried = sum(len(member.members) > 1 for member in members)
    notes = [
        f"{len(members)} items" if map_node or members[0].role is Role.MAP_ITEM else f"{len(members)} times",
        *_counts(unsuccessful),
        f"{retried} retried" if retried else "",
        f"median {duration(sorted(map(_seconds, members))[len(members) // 2])}",
        f"{len(shown)} shown" if len(shown) < len(members) else "",
        map_node.partition("/")[2],
    ]
    return _Branch(
        label=name,
        notes=tuple(notes),
        entity=f"node/{map_node.partition('/')[2]}" if map_node else "",
        result=_worst(member.result for member in members),
        spans=tuple(span for member in members for span in member.spans),
        members=tuple(shown),
        role=members[0].role,
    )


def _counts(unsuccessful: Sequence[_Branch]) -> Iterator[str]:
    """Count what did not succeed, by how it went and why: ``37 failure (30 ValueError, 7 KeyError)``."""
    by_result: dict[str, list[_Branch]] = defaultdict(list)
    for member in unsuccessful:
        by_result[member.result].append(member)
    for result, members in by_result.items():
        types = Counter(error.type for member in members for error in _errors(member.spans[-1]))
        reasons = ", ".join(f"{count} {kind}" for kind, count in types.most_common(3) if kind)
        yield f"{len(members)} {result}" + (f" ({reasons})" if reasons else "")


def _errors(span: TreeSpan) -> tuple[Error, ...]:
    return (span.error,) if span.error else span.errors_below[:1]


def _seconds(branch: _Branch) -> float:
    return 0.0 if branch.end_ns is None else (branch.end_ns - branch.start_ns) / 1e9


def _worst(results: Iterable[str], otherwise: str = semconv.RESULT_SUCCESS) -> str:
    found = set(results)
    return next((result for result in _WORST_FIRST if result in found), otherwise)


def _map_of(span: TreeSpan) -> str:
    """Name the node of the map that a subtask in a pod is of, ``execution/node path``; empty for all else."""
    if span.role is not Role.TASK or span.array_index is None:
        return ""
    return f"{span.attribute(semconv.RUN_NAME) or ''}/{span.node_path.rpartition('/')[0]}"


def _name(span: TreeSpan) -> str:
    return f"{semconv.SPAN_MAP_ITEM}s" if span.role is Role.MAP_ITEM else _short(span)


def _short(span: TreeSpan) -> str:
    return span.span.name if span.role is Role.USER else short_name(span.span.name)


def _label(span: TreeSpan) -> str:
    if span.array_index is not None and span.role in (Role.MAP_ITEM, Role.TASK):
        return f"{semconv.SPAN_MAP_ITEM} {span.array_index}"
    return _short(span)


def _entity(span: TreeSpan, outer: str) -> str:
    match span.role:
        case Role.WORKFLOW:
            return f"workflow/{_short(span).removeprefix(semconv.SPAN_WORKFLOW.format(name=''))}"
        case Role.TASK if span.node_path:
            return f"node/{span.node_path}/task/{span.attempt or 0}"
        case Role.TASK:
            return f"task/{_short(span).removeprefix(semconv.SPAN_TASK.format(name=''))}"
        case Role.MAP_ITEM:
            return f"{outer}/item/{span.array_index}"
    return outer


def _notes(span: TreeSpan) -> tuple[str, ...]:
    attempt = f"attempt {span.attempt}" if span.role is Role.TASK and span.attempt else ""
    return (*_declared(span), attempt, *_outcome(span))


def _declared(span: TreeSpan) -> tuple[str, ...]:
    """Say what was known before it ran: the kind of the task and its node; a map's items leave both to the map."""
    if span.role is not Role.TASK or span.array_index is not None:
        return ()
    kind = str(span.attribute(semconv.TASK_KIND))
    return (kind if kind in _KINDS_WORTH_A_WORD else "", span.node_path)


def _outcome(span: TreeSpan) -> tuple[str, ...]:
    """Say what only this span of a node can tell: replica, cache, Flyte's verdict, usage, a missing parent."""
    own = span.span.attributes
    cache, code = own.get(semconv.CACHE_STATUS), own.get(semconv.ERROR_CODE)
    kind = str(own.get(semconv.ERROR_KIND) or "").lower().replace("_", "-")
    return (
        f"replica {own[semconv.REPLICA]!s}" if own.get(semconv.REPLICA) else "",
        f"cache {cache!s}" if cache else "",
        f"run {own[semconv.SUBMITTED_RUN_NAME]!s}" if own.get(semconv.SUBMITTED_RUN_NAME) else "",
        ", ".join(str(part) for part in (code, kind) if part),
        _whereabouts(span),
        *usage.notes(own),
        _ORPHAN if span.orphan else "",
    )


def _whereabouts(span: TreeSpan) -> str:
    """Say where an attempt that never ended was seen last."""
    seen = span.whereabouts
    if seen is None:
        return ""
    if seen.is_over:
        return f"last seen after {seen.phase}"
    return f"last seen in {seen.phase}" + (f" for {duration(seen.seconds)}" if seen.seconds else "")
