"""What a node of an execution took, used and returned, as numbers and texts by name."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from otel_flyte import semconv
from otel_flyte.recording.breakdown import nested_ns, own_breakdown
from otel_flyte.recording.nodes import Node, last_attempts, own_spans
from otel_flyte.recording.span_tree import NEVER_ENDED, TreeSpan
from otel_flyte.recording.usage import Usage, number

SECONDS, BYTES, CORES, SHARE, COUNT = "s", "By", "{core}", "1", "{count}"

DURATION = "duration"
OWN_DURATION = "own duration"
ATTEMPTS = "attempts"
ITEMS, FAILED_ITEMS, RETRIED_ITEMS = "items", "failed items", "retried items"
ITEM_MEDIAN, ITEM_SLOWEST, ITEM_SUM = "median item", "slowest item", "sum of items"
MEMORY_PEAK = "memory peak"
RESULT, ERROR, VERSION, TASK, CACHE = "result", "error", "version", "task", "cache"

NO_USAGE = "no usage"
SHARED_USAGE = "shared usage"
MEMORY_FROM_BEFORE = "memory from before"

_WORST_FIRST = (semconv.RESULT_FAILURE, semconv.RESULT_CANCELLATION, NEVER_ENDED)
_DATA = re.compile(r"flyte\.(input|output)\.(.+)\.(type|size|length|value)", re.DOTALL)


NOISE = 0.1
"""A change by a smaller fraction is noise: so much do two runs of the same code differ on the same machine."""

LEAST = {SECONDS: 0.1, BYTES: 16 * 2**20, CORES: 0.1, SHARE: 0.05}
"""A smaller change is noise, however large a fraction it is."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number.

    Attributes:
        unit: in UCUM, ``1`` for fractions of 1.
        least: a smaller change is noise.
        noise: a change by a smaller fraction is noise.
    """

    unit: str
    value: float
    least: float
    noise: float = NOISE

    def differs_from(self, other: "Quantity") -> bool:
        """Return whether the change to another value is more than noise."""
        change = abs(other.value - self.value)
        return change >= self.least and change >= self.noise * abs(self.value)


@dataclass(frozen=True, slots=True)
class Measures:
    """What is known of a node.

    Attributes:
        quantities: by name; those that are unknown are missing.
        facts: texts by name.
        gaps: what is unknown: ``never ended``, ``no usage``, ``shared usage`` or ``memory from before``.
    """

    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    gaps: frozenset[str] = frozenset()


def measures_of(node: Node) -> Measures:
    """Measure a node. The phases and the usage are those of its last attempt."""
    last = last_attempts(node.attempts) if node.attempts else _last_of_items(node)
    has_ended = all(span.end_ns is not None for span in last)
    used, gaps = _usage(last)
    quantities = {
        **(_time(node) if has_ended else {}),
        **_phases(last_attempts(node.attempts) if node.attempts else ()),
        **_items(node),
        **used,
        **_data_sizes(last if node.attempts else ()),
    }
    if node.attempts:
        quantities[ATTEMPTS] = _counted(len({span.attempt for span in node.attempts}))
    return Measures(quantities, _facts(node, last), gaps if has_ended else gaps | {NEVER_ENDED})


def _measured(unit: str, value: float) -> Quantity:
    return Quantity(unit, value, LEAST[unit])


def _counted(number_of: int) -> Quantity:
    """Return a number whose every change is reported."""
    return Quantity(COUNT, number_of, least=1, noise=0)


def _last_of_items(node: Node) -> tuple[TreeSpan, ...]:
    return tuple(span for item in node.items for span in last_attempts(item))


def _time(node: Node) -> dict[str, Quantity]:
    spans = node.spans
    duration_ns = _wall_ns(spans)
    nested = sum(nested_ns(span, span.end_ns) for span in node.attempts if span.end_ns is not None)
    return {
        DURATION: _measured(SECONDS, duration_ns / 1e9),
        OWN_DURATION: _measured(SECONDS, max(0, duration_ns - nested) / 1e9),
    }


def _wall_ns(spans: Sequence[TreeSpan]) -> int:
    """Return the nanoseconds from the first start to the last end."""
    return max(0, max(span.seen_ns for span in spans) - min(span.start_ns for span in spans))


def _phases(attempts: Iterable[TreeSpan]) -> dict[str, Quantity]:
    """Return the time of each phase, of several replicas that of the slowest."""
    seconds: dict[str, float] = {}
    for attempt in attempts:
        for name, value in own_breakdown(attempt).items():
            seconds[name] = max(value, seconds.get(name, 0.0))
    return {name: _measured(SECONDS, value) for name, value in seconds.items()}


def _items(node: Node) -> dict[str, Quantity]:
    if not node.is_map:
        return {}
    known = [_wall_ns(item) / 1e9 for item in node.items if item[-1].end_ns is not None]
    seconds = {ITEM_MEDIAN: median(known), ITEM_SLOWEST: max(known), ITEM_SUM: sum(known)} if known else {}
    failed = sum(any(span.result == semconv.RESULT_FAILURE for span in last_attempts(item)) for item in node.items)
    retried = sum(len({span.attempt for span in item}) > 1 for item in node.items)
    counts = {ITEMS: len(node.items), FAILED_ITEMS: failed, RETRIED_ITEMS: retried}
    return {
        **{name: _counted(value) for name, value in counts.items()},
        **{name: _measured(SECONDS, value) for name, value in seconds.items()},
    }


def _usage(spans: Sequence[TreeSpan]) -> tuple[dict[str, Quantity], frozenset[str]]:
    """Return the usage, of several replicas or items that of the one that used most, and what is unknown of it."""
    usages = [usage for span in spans if (usage := span.usage)]
    if not usages:
        return {}, frozenset({NO_USAGE})
    if any(usage.is_shared for usage in usages):
        return {}, frozenset({SHARED_USAGE})
    values: dict[str, tuple[str, list[float | None]]] = {
        "CPU time": (SECONDS, [usage.cpu_time for usage in usages]),
        "CPU": (CORES, [usage.cpu_mean for usage in usages]),
        "wait for a CPU": (SECONDS, [usage.waited for usage in usages]),
        "CPU throttling": (SECONDS, [usage.throttled for usage in usages]),
        MEMORY_PEAK: (BYTES, [usage.memory_peak for usage in usages]),
        **_devices(usages),
    }
    is_of_others = any(usage.is_memory_of_others for usage in usages)
    if is_of_others:
        del values[MEMORY_PEAK]
    known = {name: (unit, [value for value in found if value is not None]) for name, (unit, found) in values.items()}
    quantities = {name: _measured(unit, max(found)) for name, (unit, found) in known.items() if found}
    quantities["OOM kills"] = _counted(sum(usage.oom_kills for usage in usages))
    return quantities, frozenset({MEMORY_FROM_BEFORE} if is_of_others else ())


def _devices(usages: Iterable[Usage]) -> dict[str, tuple[str, list[float | None]]]:
    found: dict[str, tuple[str, list[float | None]]] = {}
    for usage in usages:
        for kind in sorted({device.kind for device in usage.devices}):
            name = kind.upper()
            utilization = found.setdefault(f"{name} utilisation", (SHARE, []))[1]
            utilization.append(usage.mean_utilization(kind))
            memory = found.setdefault(f"{name} memory peak", (BYTES, []))[1]
            memory += (device.memory_peak for device in usage.devices if device.kind == kind)
    return found


def _data(spans: Iterable[TreeSpan]) -> Iterable[tuple[str, str, str, object]]:
    """Return direction, variable, property and value of inputs and outputs."""
    for attempt in spans:
        for span in (attempt, *attempt.children):
            for name, value in span.span.attributes.items():
                if found := _DATA.fullmatch(name):
                    yield found[1], found[2], found[3], value


def _data_sizes(spans: Iterable[TreeSpan]) -> dict[str, Quantity]:
    units = {"size": BYTES, "length": COUNT}
    return {
        f"{property_} of {direction} {variable}": Quantity(units[property_], size, least=1)
        for direction, variable, property_, value in _data(spans)
        if property_ in units and (size := number(value)) is not None
    }


def _facts(node: Node, last: Sequence[TreeSpan]) -> dict[str, str]:
    results = {span.result for span in last}
    versions = {str(span.attribute(semconv.TASK_VERSION) or "") for span in last}
    cache = Counter(str(span.span.attributes.get(semconv.CACHE_STATUS) or "") for span in last).most_common(1)[0][0]
    facts = {
        TASK: node.task,
        RESULT: next((result for result in _WORST_FIRST if result in results), last[0].result),
        ERROR: _error(node.spans),
        VERSION: ", ".join(sorted(filter(None, versions))),
        CACHE: cache,
    }
    for direction, variable, property_, value in _data(last[:1]):
        if property_ == "type" or (property_ == "value" and direction == "input"):
            facts[f"{property_} of {direction} {variable}"] = str(value)
    return {name: text for name, text in facts.items() if text}


def _error(attempts: Iterable[TreeSpan]) -> str:
    """Return the most common error of failed attempts, without those of tasks inside them."""
    failed = [attempt for attempt in attempts if attempt.result == semconv.RESULT_FAILURE]
    errors = (next((span.error.summary for span in own_spans(attempt) if span.error), "") for attempt in failed)
    return next(iter(Counter(filter(None, errors)).most_common(1)), ("", 0))[0]
