"""Two executions, node by node: what changed, what did not, and what can't be compared."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.recording.execution_measures import Measured, MeasuredNode, Side, measured
from otel_flyte.recording.measures import (
    ATTEMPTS,
    DURATION,
    LEAST,
    NO_USAGE,
    OWN_DURATION,
    RESULT,
    SECONDS,
    SHARED_USAGE,
    VERSION,
    Measures,
    Quantity,
)
from otel_flyte.recording.span_tree import NEVER_ENDED, Execution
from otel_flyte.recording.usage import number

A, B, BOTH = "a", "b", "both"

_Pairs: TypeAlias = list[tuple[MeasuredNode, MeasuredNode]]


@dataclass(frozen=True, slots=True)
class Change:
    """A number on both sides.

    Attributes:
        name: such as ``duration``, ``user code`` or ``memory peak``.
        unit: ``s``, ``By``, ``{core}``, ``{count}``, or ``1`` for fractions of 1.
        a: ``None`` where it is unknown.
        b: the same.
        is_notable: whether the change is more than noise.
    """

    name: str
    unit: str
    a: float | None
    b: float | None
    is_notable: bool

    @property
    def difference(self) -> float | None:
        """How much more it became; ``None`` where a side is unknown, or it is no finite number."""
        return None if self.a is None or self.b is None else number(self.b - self.a)

    @property
    def factor(self) -> float | None:
        """How many times as much it became; ``None`` where a side is unknown, or the first is 0."""
        return None if self.b is None or not self.a else number(self.b / self.a)


@dataclass(frozen=True, slots=True)
class Fact:
    """A text that is not the same on both sides; empty where a side has none."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A reason for which something can't be compared, and the side that it is about: ``a``, ``b`` or ``both``."""

    reason: str
    side: str


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node of either execution, or of both.

    Attributes:
        name: unique among the nodes of its side; that of B if both have it.
        task: name of the task.
        side: ``a``, ``b``, or ``both`` for a node that was compared.
        path_a: ids of the nodes that lead to it; empty in a local run.
        path_b: the same.
        results: of both sides; empty for a side without the node.
        span_ids: those of the last attempt of both sides, of a map that of its first item; likewise.
        changes: its numbers, also those that did not change.
        facts: its texts that are not the same.
        gaps: what can't be compared.
    """

    name: str
    task: str
    side: str
    path_a: str
    path_b: str
    is_map: bool
    results: tuple[str, str]
    span_ids: tuple[str, str]
    changes: tuple[Change, ...]
    facts: tuple[Fact, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def change(self, name: str) -> Change | None:
        """Return the number of a name, ``None`` where neither side has it."""
        return next((change for change in self.changes if change.name == name), None)

    @property
    def is_notable(self) -> bool:
        """Whether a change is more than noise. Versions do not count: each registration changes all of them."""
        return any(change.is_notable for change in self.changes) or any(fact.name != VERSION for fact in self.facts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two executions; the nodes are by start, those of A alone last."""

    a: Side
    b: Side
    duration: Change
    nodes: tuple[NodeChange, ...]

    @property
    def notable(self) -> list[NodeChange]:
        """The nodes of both executions with a change that is more than noise, what changed most first.

        Changed results come before the time that nodes took without tasks inside them, and that before the rest.
        """
        return sorted((node for node in self.nodes if node.side == BOTH and node.is_notable), key=_rank)

    @property
    def ranked(self) -> list[NodeChange]:
        """All nodes: those that changed most first, then those of one side only, then the rest by start."""
        first = [*self.notable, *self.only_in(B), *self.only_in(A)]
        known = set(map(id, first))
        return [*first, *(node for node in self.nodes if id(node) not in known)]

    def only_in(self, side: str) -> list[NodeChange]:
        """Return the nodes that only one side has."""
        return [node for node in self.nodes if node.side == side]

    @property
    def is_equal(self) -> bool:
        """Whether both are the same in all that is known, without noise."""
        pairs = all(node.side == BOTH and not node.facts for node in self.nodes)
        numbers = (self.duration, *(change for node in self.nodes for change in node.changes))
        return pairs and self.a.result == self.b.result and all(change.a == change.b for change in numbers)

    @property
    def is_notable(self) -> bool:
        """Whether any difference is more than noise."""
        is_whole = self.duration.is_notable or self.a.result != self.b.result
        return is_whole or any(node.side != BOTH or node.is_notable or node.facts for node in self.nodes)


def compare(a: Execution, b: Execution) -> Comparison:
    """Compare two executions.

    Nodes belong together that have the same path and task; of the others those with the same task, in order; of the
    rest those with the same path, or at the same place of a local run.
    """
    return compare_measured(measured(a), measured(b))


def compare_measured(a: Measured, b: Measured) -> Comparison:
    """Compare two executions that are measured."""
    pairs = _paired(a.nodes, b.nodes)
    partner = {id(of_b): of_a for of_a, of_b in pairs}
    matched = {id(of_a) for of_a, _ in pairs}
    nodes = [_both(partner[id(node)], node) if id(node) in partner else _alone(node, B) for node in b.nodes]
    nodes += [_alone(node, A) for node in a.nodes if id(node) not in matched]
    return Comparison(a.side, b.side, _whole_duration(a.side, b.side), tuple(nodes))


def _paired(nodes_a: Sequence[MeasuredNode], nodes_b: Sequence[MeasuredNode]) -> _Pairs:
    places = {id(node): place for nodes in (nodes_a, nodes_b) for node, place in _places(nodes)}
    keys: tuple[Callable[[MeasuredNode], Hashable], ...] = (
        lambda node: (node.path or node.around, node.task),
        lambda node: node.task,
        lambda node: places[id(node)],
    )
    pairs: _Pairs = []
    for key in keys:
        done = {id(node) for pair in pairs for node in pair}
        grouped = [_grouped([node for node in nodes if id(node) not in done], key) for nodes in (nodes_a, nodes_b)]
        for name, found in grouped[0].items():
            # The nodes that one side has more of are left over.
            pairs += zip(found, grouped[1].get(name, ()), strict=False)
    return pairs


def _grouped(
    nodes: Sequence[MeasuredNode], key: Callable[[MeasuredNode], Hashable]
) -> Mapping[Hashable, list[MeasuredNode]]:
    grouped: dict[Hashable, list[MeasuredNode]] = defaultdict(list)
    for node in nodes:
        grouped[key(node)].append(node)
    return grouped


def _places(nodes: Sequence[MeasuredNode]) -> Iterator[tuple[MeasuredNode, Hashable]]:
    """Return the path of each node, or its place among the tasks inside the same."""
    for around, inside in _grouped(nodes, lambda node: node.around).items():
        for position, node in enumerate(inside):
            yield node, node.path or (around, position)


def _both(a: MeasuredNode, b: MeasuredNode) -> NodeChange:
    of_a, of_b = _with_skipped_phases(a.measures, b.measures)
    names = dict.fromkeys((*of_b.quantities, *of_a.quantities))
    facts = (Fact(name, of_a.facts.get(name, ""), of_b.facts.get(name, "")) for name in {**of_b.facts, **of_a.facts})
    return NodeChange(
        b.name,
        b.task,
        BOTH,
        a.path,
        b.path,
        a.is_map or b.is_map,
        (of_a.facts[RESULT], of_b.facts[RESULT]),
        (a.span_id, b.span_id),
        tuple(_change(name, of_a.quantities.get(name), of_b.quantities.get(name)) for name in names),
        tuple(fact for fact in facts if fact.a != fact.b and _is_told(fact)),
        tuple(_gaps(of_a.gaps, of_b.gaps)),
    )


def _is_told(fact: Fact) -> bool:
    """Return whether a difference of texts tells something: a type that one side does not record does not."""
    return fact.name in (RESULT, "error", "cache") or bool(fact.a and fact.b)


def _alone(node: MeasuredNode, side: str) -> NodeChange:
    measures = node.measures
    is_a = side == A
    changes = (
        _change(name, quantity if is_a else None, None if is_a else quantity)
        for name, quantity in measures.quantities.items()
    )
    result = measures.facts[RESULT]
    return NodeChange(
        node.name,
        node.task,
        side,
        node.path if is_a else "",
        "" if is_a else node.path,
        node.is_map,
        (result, "") if is_a else ("", result),
        (node.span_id, "") if is_a else ("", node.span_id),
        tuple(changes),
    )


def _with_skipped_phases(*both: Measures) -> list[Measures]:
    """Fill in 0 for phases that only one side has; after a failure, the phases that follow are unknown."""
    if any(side.facts[RESULT] != semconv.RESULT_SUCCESS or ATTEMPTS not in side.quantities for side in both):
        return list(both)
    phases = [name for name in semconv.PHASES if any(name in side.quantities for side in both)]
    skipped = {name: Quantity(SECONDS, 0.0, LEAST[SECONDS]) for name in phases}
    return [Measures({**skipped, **side.quantities}, side.facts, side.gaps) for side in both]


def _change(name: str, a: Quantity | None, b: Quantity | None) -> Change:
    unit = (a or b or Quantity("", 0.0, 0.0)).unit
    is_notable = a is not None and b is not None and a.differs_from(b)
    return Change(name, unit, None if a is None else a.value, None if b is None else b.value, is_notable)


def _gaps(a: frozenset[str], b: frozenset[str]) -> Iterator[Gap]:
    for reason in sorted(a | b):
        sides = [
            side for side, gaps, others in ((A, a, b), (B, b, a)) if reason in gaps and _matters(reason, gaps, others)
        ]
        if sides:
            yield Gap(reason, BOTH if len(sides) > 1 else sides[0])


def _matters(reason: str, gaps: frozenset[str], others: frozenset[str]) -> bool:
    """Return whether something is not compared for a reason: usage that neither side has would not be."""
    if reason != NO_USAGE:
        return True
    return NEVER_ENDED not in gaps and others.isdisjoint((NO_USAGE, SHARED_USAGE))


def _whole_duration(a: Side, b: Side) -> Change:
    of_a, of_b = (None if side.seconds is None else Quantity(SECONDS, side.seconds, LEAST[SECONDS]) for side in (a, b))
    change = _change(DURATION, of_a, of_b)
    return change if change.unit else replace(change, unit=SECONDS)


def _rank(node: NodeChange) -> tuple[bool, float, float]:
    own = node.change(OWN_DURATION)
    seconds = abs(own.difference or 0.0) if own and own.is_notable else 0.0
    factors = [_largest_share(change) for change in node.changes if change.is_notable]
    return (node.results[0] == node.results[1], -seconds, -max(factors, default=0.0))


def _largest_share(change: Change) -> float:
    """Return a change as a fraction of the larger side, so that a half and a double weigh the same."""
    larger = max(abs(change.a or 0.0), abs(change.b or 0.0))
    return abs(change.difference or 0.0) / larger if larger else 0.0
