"""Two executions in words and a table, and as JSON."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from otel_flyte import semconv
from otel_flyte.recording.cells import cores, counted, cut, duration, moment, percent, printable, size
from otel_flyte.recording.compare import BOTH, A, B, Change, Comparison, Fact, NodeChange
from otel_flyte.recording.execution_measures import Side
from otel_flyte.recording.measures import (
    ATTEMPTS,
    BYTES,
    CACHE,
    CORES,
    DURATION,
    ERROR,
    ITEMS,
    LEAST,
    MEMORY_FROM_BEFORE,
    MEMORY_PEAK,
    NO_USAGE,
    NOISE,
    OWN_DURATION,
    RESULT,
    SECONDS,
    SHARE,
    SHARED_USAGE,
    TASK,
    VERSION,
)
from otel_flyte.recording.span_tree import NEVER_ENDED, UNKNOWN
from otel_flyte.recording.table import aligned

_LONGEST_TEXT = 60
"""Cells of a value of an input, or of an error."""

_MINOR = 0.25
"""Phases that changed by a smaller fraction of the phase that changed most are in the JSON only."""

_LISTED = 20
"""The largest number of nodes that are described, or named in one line."""

UNKNOWN_VALUE = "-"
_NO_FAILURE = "no failure recorded"
SIDES = {A: "A", B: "B", BOTH: "A and B"}
_REASONS = {
    NEVER_ENDED: "duration: it never ended",
    NO_USAGE: "CPU, memory and GPU: no usage recorded",
    SHARED_USAGE: "CPU, memory and GPU: other tasks ran in the process",
    MEMORY_FROM_BEFORE: "memory: much of it was in use before",
}
_UNITS: dict[str, Callable[[float], str]] = {SECONDS: duration, BYTES: size, CORES: cores, SHARE: percent}
_TIMES = (*semconv.PHASES, DURATION, OWN_DURATION)


class Sentence(NamedTuple):
    """What changed.

    Attributes:
        subject: the execution, a node, or what several nodes share; empty where nothing changed.
        node: the node that changed, ``None`` for the others.
    """

    subject: str
    text: str
    node: NodeChange | None = None

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}" if self.subject else self.text


def as_text(comparison: Comparison) -> str:
    """Return both executions, what changed most, a table of all nodes, and what can't be compared."""
    blocks = (
        _heading(comparison),
        map(str, sentences(comparison)),
        aligned([("node", "A", "B", "change", "memory A", "memory B", "result"), *map(_row, comparison.nodes)], (1, 2)),
        not_compared(comparison),
        [thresholds()] if comparison.nodes else (),
    )
    return "\n\n".join(filter(None, map("\n".join, blocks)))


def entry(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as values of JSON: seconds, bytes, cores and fractions of 1; unknown ones are ``None``."""
    return {
        "a": asdict(comparison.a),
        "b": asdict(comparison.b),
        "is_equal": comparison.is_equal,
        "is_notable": comparison.is_notable,
        "duration": _change_entry(comparison.duration),
        "most_changed": [node.name for node in comparison.notable],
        "nodes": [_node_entry(node) for node in comparison.nodes],
        "noise": {"fraction": NOISE, "least": LEAST},
    }


def as_json(comparison: Comparison) -> str:
    """Return the comparison as JSON."""
    return json.dumps(entry(comparison), indent=2, allow_nan=False)


def _change_entry(change: Change) -> dict[str, Any]:
    return asdict(change) | {"difference": change.difference, "factor": change.factor}


def _node_entry(node: NodeChange) -> dict[str, Any]:
    return {
        "name": node.name,
        "task": node.task,
        "side": node.side,
        "path_a": node.path_a,
        "path_b": node.path_b,
        "is_map": node.is_map,
        "is_notable": node.is_notable,
        "results": {"a": node.results[0], "b": node.results[1]},
        "changes": [_change_entry(change) for change in node.changes],
        "facts": [asdict(fact) for fact in node.facts],
        "gaps": [asdict(gap) for gap in node.gaps],
    }


def _heading(comparison: Comparison) -> Iterator[str]:
    yield from aligned([_side("A", comparison.a), _side("B", comparison.b)])


def whole_result(side: Side) -> str:
    """Return the result of an execution: that nothing failed is all that a part of it can tell."""
    return _NO_FAILURE if side.result == UNKNOWN else printable(side.result)


def _side(letter: str, side: Side) -> tuple[str, ...]:
    took = NEVER_ENDED if side.seconds is None else duration(side.seconds)
    started = f"{moment(side.start_ns):%Y-%m-%d %H:%M:%S} UTC"
    return (letter, printable(" ".join(filter(None, (side.label, side.scope)))), started, took, whole_result(side))


def sentences(comparison: Comparison) -> Iterator[Sentence]:
    """Return what changed, most important first: the whole, each changed node, each change of version, lone nodes."""
    if comparison.is_equal:
        yield Sentence("", "nothing changed")
        return
    if not comparison.is_notable:
        yield Sentence("", "no difference worth telling")
        return
    if comparison.a.result != comparison.b.result:
        yield Sentence("execution", _instead(whole_result(comparison.a), whole_result(comparison.b)))
    if comparison.duration.is_notable:
        yield Sentence("execution", f"took {_longer(comparison.duration)}")
    notable = comparison.notable
    yield from (Sentence(printable(node.name), ", ".join(_words(node)), node) for node in notable[:_LISTED])
    if len(notable) > _LISTED:
        yield Sentence(f"{counted(len(notable) - _LISTED, 'more node')} changed", "see the table")
    yield from _versions(comparison)
    for side in (A, B):
        if names := [node.name for node in comparison.only_in(side)]:
            yield Sentence(f"only in {SIDES[side]}", _listed(names))


def _words(node: NodeChange) -> Iterator[str]:
    facts = {fact.name: fact for fact in node.facts}
    yield from _outcome(facts, node.results[1])
    yield from _time(node)
    others = [change for change in node.changes if change.is_notable and change.name not in _TIMES]
    yield from (_arrow(change) for change in others)
    for name, fact in facts.items():
        if name not in (RESULT, ERROR, VERSION):
            yield f"{printable(name)} {_instead(fact.a, fact.b)}"


def _outcome(facts: dict[str, Fact], result: str) -> Iterator[str]:
    """Return the results if they are not the same, else the errors, which earlier attempts may have, too."""
    error = facts.get(ERROR)
    if changed := facts.get(RESULT):
        reason = f": {_short(error.b)}" if error and error.b else ""
        yield f"{_instead(changed.a, changed.b)}{reason}"
    elif error and result == semconv.RESULT_FAILURE:
        yield _instead(error.a, error.b)
    elif error:
        before = f" instead of {_short(error.a)}" if error.a and error.b else ""
        yield f"{'an' if error.b else 'no'} attempt failed: {_short(error.b or error.a)}{before}"


def _time(node: NodeChange) -> Iterator[str]:
    """Return the phases that changed most; where none explains it, the duration."""
    phases = [change for change in node.changes if change.is_notable and change.name in semconv.PHASES]
    phases.sort(key=lambda change: -abs(change.difference or 0.0))
    for change in phases:
        if abs(change.difference or 0.0) >= _MINOR * abs(phases[0].difference or 0.0):
            yield f"{change.name} took {_longer(change)}"
    whole, own, attempts = map(node.change, (DURATION, OWN_DURATION, ATTEMPTS))
    if own and own.is_notable and (not phases or (attempts and attempts.is_notable)):
        yield f"{'all attempts ' if attempts and attempts.is_notable else ''}took {_longer(own)}"
    elif whole and whole.is_notable and not (own and own.is_notable):
        yield f"took {_longer(whole)} with the tasks inside it"


def _longer(change: Change) -> str:
    """Return a change of time: ``42.0 s longer (2.1x)``."""
    difference = change.difference or 0.0
    return f"{duration(abs(difference))} {'longer' if difference > 0 else 'less'}{_factor(change)}"


def _factor(change: Change) -> str:
    if not change.factor:
        return ""
    return f" ({change.factor:.{0 if change.factor >= 9.95 else 1 if change.factor >= 0.095 else 2}f}x)"


def _arrow(change: Change) -> str:
    return f"{printable(change.name)} {value_of(change, change.a)} -> {value_of(change, change.b)}"


def value_of(change: Change | None, value: float | None) -> str:
    """Return a value of a change with its unit, ``-`` where it is unknown."""
    if change is None or value is None:
        return UNKNOWN_VALUE
    written = _UNITS.get(change.unit)
    return written(value) if written else f"{value:g}"


def _instead(a: str, b: str) -> str:
    return f"{_short(b) or 'none'} instead of {_short(a) or 'none'}"


def _short(text: str) -> str:
    return cut(printable(text), _LONGEST_TEXT)


def _versions(comparison: Comparison) -> Iterator[Sentence]:
    """Return a sentence for each change of a version: a registration changes that of many tasks."""
    changed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in comparison.nodes:
        for fact in node.facts:
            if fact.name == VERSION:
                changed[fact.a, fact.b].append(node.name)
    for (a, b), names in changed.items():
        yield Sentence(f"version {_instead(a, b)}", _listed(names))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(printable, names[:_LISTED])) + more


def _row(node: NodeChange) -> tuple[str, ...]:
    whole, memory = map(node.change, (DURATION, MEMORY_PEAK))
    return (
        printable(node.name),
        took(node, A),
        took(node, B),
        difference(whole) if node.side == BOTH else f"only in {SIDES[node.side]}",
        value_of(memory, memory.a if memory else None),
        value_of(memory, memory.b if memory else None),
        "; ".join(map(printable, notes(node))),
    )


def notes(node: NodeChange) -> list[str]:
    """Return the results of a node, and what else changed that is no number."""
    known = {result: None for result in node.results if result}
    renamed = [f"{fact.a} -> {fact.b}" for fact in node.facts if fact.name == TASK]
    cache = [f"cache {fact.a or 'none'} -> {fact.b or 'none'}" for fact in node.facts if fact.name == CACHE]
    return [note for note in (" -> ".join(known), *renamed, *cache, _items(node.change(ITEMS))) if note]


def _items(items: Change | None) -> str:
    if items is None:
        return ""
    counts = dict.fromkeys(f"{value:g}" for value in (items.a, items.b) if value is not None)
    return f"{' -> '.join(counts)} items"


def took(node: NodeChange, side: str) -> str:
    """Return how long a node took on a side."""
    whole = node.change(DURATION)
    value = None if whole is None else whole.a if side == A else whole.b
    is_open = node.results[side == B] == NEVER_ENDED
    return NEVER_ENDED if is_open else value_of(whole, value)


def difference(change: Change | None) -> str:
    """Return how much a number changed: ``+42.0 s (2.1x)``; empty where it is noise."""
    if change is None or change.difference is None or not change.is_notable:
        return ""
    return f"{'+' if change.difference > 0 else '-'}{value_of(change, abs(change.difference))}{_factor(change)}"


def not_compared(comparison: Comparison) -> Iterator[str]:
    """Return a line for each reason for which nodes are not compared, with their names."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in comparison.nodes:
        for gap in node.gaps:
            found[gap.reason, gap.side].append(node.name)
    for (reason, side), names in found.items():
        yield f"not compared: {_REASONS[reason]} in {SIDES[side]}: {_listed(names)}"
    if not comparison.nodes:
        yield "not compared: nodes: neither has a task attempt"


def thresholds() -> str:
    """Return which changes are noise."""
    least = ", ".join(_UNITS[unit](value) for unit, value in LEAST.items())
    return f"A change of less than {percent(NOISE)}, or than {least} of a GPU, is noise."
