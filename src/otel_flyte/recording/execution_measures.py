"""An execution measured node by node, without its spans: all that a comparison needs to know of it."""

from dataclasses import dataclass

from otel_flyte.recording.measures import Measures, measures_of
from otel_flyte.recording.nodes import Node, nodes_of
from otel_flyte.recording.rows import rows_of
from otel_flyte.recording.span_tree import Execution


@dataclass(frozen=True, slots=True)
class Side:
    """An execution as a whole; seconds are ``None`` where it has not ended.

    Attributes:
        label: such as ``execution f1c0ffee`` or ``workflow shop.main``.
        start_ns: nanoseconds since the epoch.
        result: ``unknown`` where only a part is recorded, without a failure.
    """

    label: str
    name: str
    scope: str
    trace_ids: tuple[str, ...]
    start_ns: int
    result: str
    seconds: float | None


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredNode:
    """A node with its measures; ``name``, ``task``, ``path`` and ``around`` are those of :class:`Node`.

    Attributes:
        span_id: that of the last attempt, of a map in pods that of its first item.
    """

    name: str
    task: str
    path: str
    around: tuple[str, ...]
    is_map: bool
    span_id: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class Measured:
    """An execution with its nodes by start."""

    side: Side
    nodes: tuple[MeasuredNode, ...]


def measured(execution: Execution) -> Measured:
    """Measure an execution."""
    return Measured(_side(execution), tuple(map(_node, nodes_of(execution))))


def _node(node: Node) -> MeasuredNode:
    last = node.attempts[-1] if node.attempts else node.items[0][-1]
    span_id = last.span.span_id
    return MeasuredNode(node.name, node.task, node.path, node.around, node.is_map, span_id, measures_of(node))


def _side(execution: Execution) -> Side:
    top = next(rows_of(execution))
    return Side(
        top.label,
        execution.name,
        execution.scope,
        execution.trace_ids,
        top.start_ns,
        top.result,
        top.seconds,
    )
