"""The tree as a document, in the shape of ``FlyteExecutionSpan.dump()`` and with all that is known of each span."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, TypeAlias

import yaml

try:
    from yaml import CSafeDumper as SafeDumper
except ImportError:
    from yaml import SafeDumper  # type: ignore[assignment]

from otel_flyte import semconv
from otel_flyte.recording.cells import moment
from otel_flyte.recording.otlp_file import AttributeValue, Event
from otel_flyte.recording.tree import Execution, ExecutionTree, Role, TreeSpan, in_order, node_key

Entry: TypeAlias = dict[str, Any]

DEEPEST = 50
"""Users' spans that nest deeper are counted, not shown: YAML's writer is recursive."""

_KEYED = {Role.WORKFLOW: "workflows", Role.PHASE: "phases", Role.MAP_ITEM: "items"}
"""What is found by its name; all other spans make a list."""


def as_yaml(tree: ExecutionTree) -> str:
    """Give the document as YAML, in the order in which things began."""
    return yaml.dump(document(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def document(tree: ExecutionTree) -> Entry:
    """Give ``{id: {breakdown, nodes: {n0: {breakdown, task_attempts: {0: …}}}}}``; durations are seconds.

    The id is the execution's name, in local runs that of what was run. A node is named by its node path, in local runs
    by its task. A breakdown sums up phases; what tasks inside a phase took is theirs and not the phase's.
    """
    whole: Entry = {}
    for execution in tree.executions:
        whole[_free(_identifier(execution), whole)] = _execution(execution)
    return whole


def _execution(execution: Execution) -> Entry:
    traces = execution.trace_ids
    entry: Entry = {"trace_id": traces[0]} if len(traces) == 1 else {"trace_ids": list(traces)}
    if not execution.name and len(execution.roots) == 1 and execution.roots[0].role is Role.WORKFLOW:
        return entry | _entry(execution.roots[0], {}, 0)
    return entry | {"breakdown": _breakdown(execution.roots)} | _below(execution.roots, {}, 0)


def _identifier(execution: Execution) -> str:
    return execution.name or _task_or_workflow(execution.roots[0])


def _entry(span: TreeSpan, resource_above: Mapping[str, AttributeValue], depth: int) -> Entry:
    """Describe one span; its resource is given where it is another than that of the span above."""
    resource = span.span.resource
    entry: Entry = {
        "start": _time(span.start_ns),
        "end": None if span.end_ns is None else _time(span.end_ns),
        "duration": span.seconds,
        "result": span.result,
    }
    if seen := span.whereabouts:
        entry["last_seen"] = {"after" if seen.is_over else "in": seen.phase, "time": _time(seen.seen_ns)}
        if not seen.is_over:
            entry["last_seen"]["seconds_in_phase"] = seen.seconds
    if span.error:
        entry["error"] = {"type": span.error.type, "message": span.error.message, "stacktrace": span.error.stacktrace}
    if span.orphan:
        entry["missing_parent"] = span.span.parent_id
    if span.span.attributes:
        entry["attributes"] = dict(span.span.attributes)
    if resource != resource_above:
        entry["resource"] = dict(resource)
    events = [_event(event) for event in span.span.events if event.name != semconv.EVENT_EXCEPTION]
    if events:
        entry["events"] = events
    if span.role in (Role.WORKFLOW, Role.TASK):
        entry["breakdown"] = _breakdown((span,))
    return entry | _below(span.children, resource, depth + 1)


def _below(spans: Iterable[TreeSpan], resource: Mapping[str, AttributeValue], depth: int) -> Entry:
    """Describe siblings, in a collection for each role."""
    if depth > DEEPEST:
        deeper = sum(1 for span in spans for _ in span.walk())
        return {"deeper_spans": deeper} if deeper else {}
    entry: Entry = {}
    tasks: dict[str, list[TreeSpan]] = defaultdict(list)
    for span in spans:
        if span.role is Role.TASK:
            tasks[node_key(span) or span.span.span_id].append(span)
            entry.setdefault("nodes", {})
        elif span.role in _KEYED:
            collection = entry.setdefault(_KEYED[span.role], {})
            collection[_free(_key(span), collection)] = _entry(span, resource, depth)
        else:
            entry.setdefault("spans", []).append({"name": span.span.name} | _entry(span, resource, depth))
    for attempts in tasks.values():
        nodes = entry["nodes"]
        nodes[_free(attempts[0].node_path or _task_or_workflow(attempts[0]), nodes)] = _node(attempts, resource, depth)
    return entry


def _node(attempts: Iterable[TreeSpan], resource: Mapping[str, AttributeValue], depth: int) -> Entry:
    ordered = in_order(attempts)
    by_number: dict[Any, Entry] = {}
    for attempt in ordered:
        by_number[_free(_attempt_key(attempt), by_number)] = _entry(attempt, resource, depth)
    return {"breakdown": _breakdown(ordered), "task_attempts": by_number}


def _breakdown(spans: Iterable[TreeSpan]) -> dict[str, float]:
    """Sum up the seconds of each phase, without what nested tasks took, so that no time is counted twice."""
    nanoseconds: dict[str, int] = defaultdict(int)
    for span in spans:
        for below in span.walk():
            if below.role is Role.PHASE and below.span.name in semconv.PHASES and below.end_ns is not None:
                nanoseconds[below.span.name] += below.end_ns - below.start_ns - _nested(below)
    return {name: nanoseconds[name] / 1e9 for name in semconv.PHASES if name in nanoseconds}


def _nested(phase: TreeSpan) -> int:
    """Give the nanoseconds during which at least one task ran inside a phase."""
    busy, reached = 0, phase.start_ns
    tasks = sorted(_outermost_tasks(phase), key=lambda task: task.start_ns)
    for task in tasks:
        end_ns = min(task.end_ns or 0, phase.end_ns or 0)
        busy += max(0, end_ns - max(task.start_ns, reached))
        reached = max(reached, end_ns)
    return busy


def _outermost_tasks(phase: TreeSpan) -> Iterable[TreeSpan]:
    waiting = list(phase.children)
    while waiting:
        span = waiting.pop()
        if span.role is Role.TASK:
            yield span
        else:
            waiting += span.children


def _key(span: TreeSpan) -> Any:
    if span.role is Role.MAP_ITEM and span.array_index is not None:
        return span.array_index
    return _task_or_workflow(span)


def _attempt_key(attempt: TreeSpan) -> Any:
    replica = attempt.attribute(semconv.REPLICA)
    return f"{attempt.attempt or 0}/{replica!s}" if replica else attempt.attempt or 0


def _task_or_workflow(span: TreeSpan) -> str:
    """Give the name of a task or workflow, which its span's name ends in; else the span's name."""
    pattern = {Role.TASK: semconv.SPAN_TASK, Role.WORKFLOW: semconv.SPAN_WORKFLOW}.get(span.role, "{name}")
    return span.span.name.removeprefix(pattern.format(name=""))


def _free(key: Any, taken: Mapping[Any, Any]) -> Any:
    """Make a key that is taken another: ``demo.clean (2)``."""
    if key not in taken:
        return key
    return next(numbered for number in count(2) if (numbered := f"{key} ({number})") not in taken)


def _event(event: Event) -> Entry:
    return {"name": event.name, "time": _time(event.time_ns), "attributes": dict(event.attributes)}


def _time(nanoseconds: int) -> str:
    return moment(nanoseconds).isoformat()


class _Dumper(SafeDumper):
    """YAML without anchors, and with texts of several lines as people write them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _list(dumper: _Dumper, items: list[Any]) -> yaml.SequenceNode:
    """Write numbers, as a series has them by the hundred, one beside the other."""
    return dumper.represent_sequence(
        "tag:yaml.org,2002:seq", items, flow_style=all(isinstance(item, (int, float)) for item in items) or None
    )


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
