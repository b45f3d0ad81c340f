"""The nodes of an execution: each task with all its attempts, a map with all its items."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.recording.roles import Role, entity_name, short_name
from otel_flyte.recording.span_tree import Execution, TreeSpan, in_order

_ENCLOSING = (Role.EXECUTION, Role.ATTEMPT)

DEEPEST = 50
"""The most names of workflows and tasks around a task: a recursive task may nest thousands."""

_Around: TypeAlias = tuple[str, ...]
_Key: TypeAlias = tuple[_Around, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A node of an execution, or a task of a local run.

    Attributes:
        name: the task, with the path of the node or else a number where the execution has several of the name.
        task: name of the task.
        path: ids of the nodes that lead to it joined by ``/``; empty in a local run.
        around: names of the recorded workflows and tasks around it, outermost first, but the nearest
            :data:`DEEPEST`.
        attempts: in order; none for a map in pods, whose items have the attempts.
        items: the attempts of each item of a map, by index.
    """

    name: str
    task: str
    path: str
    around: tuple[str, ...]
    attempts: tuple[TreeSpan, ...]
    items: tuple[tuple[TreeSpan, ...], ...] = ()

    @property
    def spans(self) -> tuple[TreeSpan, ...]:
        """The spans of the attempts; of a map in pods those of the items."""
        return self.attempts or tuple(span for item in self.items for span in item)

    @property
    def is_map(self) -> bool:
        """Whether it is a map."""
        return bool(self.items)


def nodes_of(execution: Execution) -> tuple[Node, ...]:
    """Return the nodes of an execution by start. It needs no recursion."""
    attempts: dict[_Key, list[TreeSpan]] = defaultdict(list)
    for span, around in _attempts(execution):
        path = _path(span)
        attempts[around, path or span.span.span_id, _task(span)].append(span)
    nodes = [_node(around, task, in_order(spans)) for (around, _, task), spans in attempts.items()]
    return _named(sorted(nodes, key=lambda node: min(span.start_ns for span in node.spans)))


def last_attempts(attempts: Sequence[TreeSpan]) -> tuple[TreeSpan, ...]:
    """Return the last attempt; where replicas run at the same time, all of its replicas."""
    return tuple(span for span in attempts if span.attempt == attempts[-1].attempt)


def own_spans(attempt: TreeSpan) -> Iterator[TreeSpan]:
    """Return an attempt and all spans below it, without those of tasks inside it."""
    waiting = [attempt]
    while waiting:
        span = waiting.pop()
        yield span
        waiting += (child for child in reversed(span.children) if child.role is not Role.ATTEMPT)


def _attempts(execution: Execution) -> Iterator[tuple[TreeSpan, _Around]]:
    """Return each attempt with the names of what is around it."""
    waiting: list[tuple[TreeSpan, _Around]] = [(root, ()) for root in reversed(execution.roots)]
    while waiting:
        span, around = waiting.pop()
        if span.role is Role.ATTEMPT:
            yield span, around
        inside = (*around, _task(span))[-DEEPEST:] if span.role in _ENCLOSING else around
        waiting += ((child, inside) for child in reversed(span.children))


def _node(around: _Around, task: str, attempts: tuple[TreeSpan, ...]) -> Node:
    first = attempts[0]
    path = _path(first)
    if path and first.array_index is not None:
        items: dict[str, list[TreeSpan]] = defaultdict(list)
        for span in attempts:
            items[span.node_path].append(span)
        return Node("", task, path, around, (), _by_index(items.values()))
    found = [(span,) for attempt in last_attempts(attempts) for span in own_spans(attempt) if span.role is Role.ITEM]
    return Node("", task, path, around, attempts, _by_index(found))


def _by_index(items: Iterable[Sequence[TreeSpan]]) -> tuple[tuple[TreeSpan, ...], ...]:
    return tuple(sorted(map(in_order, items), key=lambda item: item[0].array_index or 0))


def _named(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Name the nodes, so that no two have the same name."""
    known = Counter(node.task for node in nodes)
    used: Counter[str] = Counter()
    named = []
    for node in nodes:
        name = f"{node.task} ({node.path})" if node.path else node.task
        used[name] += 1
        is_numbered = used[name] > 1 or (not node.path and known[node.task] > 1)
        named.append(replace(node, name=f"{name} ({used[name]})" if is_numbered else name))
    return tuple(named)


def _path(span: TreeSpan) -> str:
    """Return the path of the node of an attempt, for an item of a map that of the map; empty in a local run."""
    if not span.node_key:
        return ""
    if span.array_index is None:
        return span.node_path
    return span.node_path.rpartition("/")[0] or span.node_path


def _task(span: TreeSpan) -> str:
    declared = span.span.attributes.get(semconv.TASK_NAME) if span.role is Role.ATTEMPT else None
    return short_name(str(declared or entity_name(span.span.name, span.role)))
