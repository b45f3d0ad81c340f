"""The API's answer to a comparison: seconds, bytes, cores and fractions of 1, ``null`` where a value is unknown."""

from dataclasses import dataclass

from otel_flyte.recording import compare
from otel_flyte.recording.compare import Comparison, NodeChange
from otel_flyte.recording.execution_measures import Side
from otel_flyte.report import comparison as words
from otel_flyte.report.data import plain


@dataclass
class ComparedExecution:
    """An execution as a whole.

    Attributes:
        result: `unknown` where only a part is recorded, without a failure.
        seconds: `null` where it has not ended.
    """

    key: str
    name: str
    start_ns: int
    result: str
    seconds: float | None


@dataclass
class Change:
    """A number on both sides.

    Attributes:
        unit: `s`, `By`, `{core}`, `{count}`, or `1` for fractions of 1.
        difference: how much more it became.
        factor: how many times as much it became.
        is_notable: whether the change is more than noise.
    """

    name: str
    unit: str
    a: float | None
    b: float | None
    difference: float | None
    factor: float | None
    is_notable: bool


@dataclass
class Fact:
    """A text that is not the same on both sides; empty where a side has none."""

    name: str
    a: str
    b: str


@dataclass
class Gap:
    """Why something of a node can't be compared, and the side that lacks it: `a`, `b` or `both`."""

    reason: str
    side: str


@dataclass
class Node:
    """A node of either execution, or of both.

    Attributes:
        side: `a`, `b`, or `both` for a node that was compared.
        path_a: ids of the nodes that lead to it; empty in a local run.
        span_a: the id of its last attempt's span, of a map that of its first item.
        result_a: empty where this side does not have the node.
        changes: its numbers, also those that did not change.
    """

    name: str
    task: str
    side: str
    path_a: str
    path_b: str
    span_a: str
    span_b: str
    result_a: str
    result_b: str
    is_map: bool
    is_notable: bool
    changes: list[Change]
    facts: list[Fact]
    gaps: list[Gap]


@dataclass
class Compared:
    """Two executions, node by node, what changed most first. `next` is the `after` of more nodes, `null` on the last.

    Attributes:
        is_equal: whether both are the same in all that is known, without noise.
        is_notable: whether any difference is more than noise.
        changes: what changed, in sentences.
        not_compared: what can't be compared, in sentences.
    """

    a: ComparedExecution
    b: ComparedExecution
    duration: Change
    is_equal: bool
    is_notable: bool
    changes: list[str]
    not_compared: list[str]
    nodes: list[Node]
    next: str | None


def answer(comparison: Comparison, keys: tuple[str, str], nodes: list[NodeChange], more: str | None) -> Compared:
    """Return the answer for two executions by their keys, with some of their nodes."""
    return Compared(
        a=_execution(keys[0], comparison.a),
        b=_execution(keys[1], comparison.b),
        duration=_change(comparison.duration),
        is_equal=comparison.is_equal,
        is_notable=comparison.is_notable,
        changes=[plain(str(sentence)) for sentence in words.sentences(comparison)],
        not_compared=list(map(plain, words.not_compared(comparison))),
        nodes=list(map(_node, nodes)),
        next=more,
    )


def _execution(key: str, side: Side) -> ComparedExecution:
    return ComparedExecution(key, plain(side.name or side.label), side.start_ns, side.result, side.seconds)


def _change(change: compare.Change) -> Change:
    return Change(
        plain(change.name), change.unit, change.a, change.b, change.difference, change.factor, change.is_notable
    )


def _node(node: NodeChange) -> Node:
    return Node(
        name=plain(node.name),
        task=plain(node.task),
        side=node.side,
        path_a=plain(node.path_a),
        path_b=plain(node.path_b),
        span_a=node.span_ids[0],
        span_b=node.span_ids[1],
        result_a=node.results[0],
        result_b=node.results[1],
        is_map=node.is_map,
        is_notable=node.is_notable,
        changes=list(map(_change, node.changes)),
        facts=[Fact(plain(fact.name), plain(fact.a), plain(fact.b)) for fact in node.facts],
        gaps=[Gap(gap.reason, gap.side) for gap in node.gaps],
    )
