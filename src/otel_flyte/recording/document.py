"""The tree as YAML, in the shape of ``FlyteExecutionSpan.dump()``, with all attributes of each span."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, TypeAlias

from otel_flyte import semconv
from otel_flyte.recording import yaml_text
from otel_flyte.recording.breakdown import breakdown
from otel_flyte.recording.cells import moment
from otel_flyte.recording.model import Attributes
from otel_flyte.recording.roles import Role, entity_name
from otel_flyte.recording.span_tree import Execution, TreeSpan, in_order

Entry: TypeAlias = dict[str, Any]

DEEPEST = 50
"""The depth below which spans are only counted: YAML's writer is recursive."""

_KEYED = {Role.EXECUTION: "workflows", Role.PHASE: "phases", Role.TRANSFER: "phases", Role.ITEM: "items"}
"""Collections with the name as key; spans of other roles are a list."""


def as_yaml(executions: Iterable[Execution]) -> str:
    """Return ``{id: {breakdown, nodes: {n0: {breakdown, task_attempts: {0: …}}}}}``, by start; durations in seconds.

    The id is the execution's name, for a local run the name of its workflow or task. The key of a node is its path, in
    a local run its task. A breakdown sums up phases, without the time of tasks that ran inside a phase.
    """
    document: Entry = {}
    for execution in executions:
        document[_unique(execution.name or _entity(execution.roots[0]), document)] = _execution(execution)
    return yaml_text.written(document)


def _execution(execution: Execution) -> Entry:
    traces, roots = execution.trace_ids, execution.roots
    entry: Entry = {"trace_id": traces[0]} if len(traces) == 1 else {"trace_ids": list(traces)}
    if not execution.name and len(roots) == 1 and roots[0].role is Role.EXECUTION:
        return entry | _entry(roots[0], {}, 0)
    return entry | {"breakdown": breakdown(roots)} | _below(roots, {}, 0)


def _entry(span: TreeSpan, resource_above: Attributes, depth: int) -> Entry:
    """Return one span as an entry, with its resource where it differs from that of the span above."""
    resource = span.span.resource
    entry: Entry = {
        "start": _time(span.start_ns),
        "end": None if span.end_ns is None else _time(span.end_ns),
        "duration": span.seconds,
        "result": span.result,
    }
    if seen := span.last_seen:
        entry["last_seen"] = {"after" if seen.is_over else "in": seen.phase, "time": _time(seen.time_ns)}
        if not seen.is_over:
            entry["last_seen"]["seconds_in_phase"] = seen.seconds
    if span.error:
        entry["error"] = {"type": span.error.type, "message": span.error.message, "stacktrace": span.error.stacktrace}
        if causes := [{cause.relation: cause.text, "at": cause.frame} for cause in span.error.causes]:
            entry["error"]["causes"] = causes
    if span.orphan:
        entry["missing_parent"] = span.span.parent_id
    if span.span.attributes:
        entry["attributes"] = dict(span.span.attributes)
    if resource != resource_above:
        entry["resource"] = dict(resource)
    events = [
        {"name": event.name, "time": _time(event.time_ns), "attributes": dict(event.attributes)}
        for event in span.span.events
        if event.name != semconv.EVENT_EXCEPTION
    ]
    if events:
        entry["events"] = events
    if span.role in (Role.EXECUTION, Role.ATTEMPT):
        entry["breakdown"] = breakdown((span,))
    return entry | _below(span.children, resource, depth + 1)


def _below(spans: Iterable[TreeSpan], resource: Attributes, depth: int) -> Entry:
    """Return siblings, in a collection for each role."""
    if depth > DEEPEST:
        deeper = sum(1 for span in spans for _ in span.walk())
        return {"deeper_spans": deeper} if deeper else {}
    entry: Entry = {}
    nodes: dict[str, list[TreeSpan]] = defaultdict(list)
    for span in spans:
        if span.role is Role.ATTEMPT:
            nodes[span.node_key or span.span.span_id].append(span)
            entry.setdefault("nodes", {})
        elif span.role in _KEYED:
            collection = entry.setdefault(_KEYED[span.role], {})
            is_numbered = span.role is Role.ITEM and span.array_index is not None
            key = span.array_index if is_numbered else _entity(span)
            collection[_unique(key, collection)] = _entry(span, resource, depth)
        else:
            entry.setdefault("spans", []).append({"name": span.span.name} | _entry(span, resource, depth))
    for attempts in nodes.values():
        key = _unique(attempts[0].node_path or _entity(attempts[0]), entry["nodes"])
        entry["nodes"][key] = _node(in_order(attempts), resource, depth)
    return entry


def _node(attempts: Iterable[TreeSpan], resource: Attributes, depth: int) -> Entry:
    by_number: dict[Any, Entry] = {}
    for attempt in attempts:
        replica = attempt.attribute(semconv.REPLICA)
        number = attempt.attempt or 0
        by_number[_unique(f"{number}/{replica!s}" if replica else number, by_number)] = _entry(attempt, resource, depth)
    return {"breakdown": breakdown(attempts), "task_attempts": by_number}


def _entity(span: TreeSpan) -> str:
    return entity_name(span.span.name, span.role)


def _unique(key: Any, taken: Mapping[Any, Any]) -> Any:
    """Return the key, with a number where it is taken: ``demo.clean (2)``."""
    if key not in taken:
        return key
    return next(numbered for number in count(2) if (numbered := f"{key} ({number})") not in taken)


def _time(nanoseconds: int) -> str:
    return moment(nanoseconds).isoformat()
