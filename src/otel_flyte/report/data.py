"""The data of the page as JSON, small for forty thousand spans too.

Rows and spans are arrays, times are microseconds since the execution's start, and each repeated value (a name, an
attribute, an identity) stands once in a table and is referred to by its index.
"""

import json
import math
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from otel_flyte import semconv
from otel_flyte.formulas import LONGEST_CURVE
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.cells import without_direction
from otel_flyte.recording.failures import Error
from otel_flyte.recording.log_places import Place, places_of
from otel_flyte.recording.model import Attributes, AttributeValue, LogRecord, Scope
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import Row, rows_of
from otel_flyte.recording.span_tree import Execution, TreeSpan
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import charts, groups, links, whole_run
from otel_flyte.units import unit_of

Json: TypeAlias = Any

LOG_RECORDS = 20_000
"""The number of log records in a page; the first of an execution are left out where it has more."""

CURVE_VALUES = 60_000
"""The number of values for which the curves of all attempts have room; more attempts have fewer values each."""

_OURS = "flyte."
"""Begins the names of all attributes that have a unit."""

_LONGEST_TEXT = 20_000
_DEEPEST_CAUSE = 6
_SHORTEST_CURVE = 24
_SERIES = semconv.USAGE_SERIES.format(name="")
_CURVES = semconv.USAGE_CURVE_DEVICE.partition("{")[0]
_SIMPLE = (int, float, bool)
_LARGEST = 2**53
"""The largest integer below which JavaScript's numbers have no gaps."""

_VARIABLE = r"(?P<variable>[^.]+)\.(?P<property>.+)"
_PROPERTIES = {
    direction: re.compile(re.escape(pattern.partition("{")[0]) + _VARIABLE)
    for direction, pattern in (("input", semconv.INPUT_PROPERTY), ("output", semconv.OUTPUT_PROPERTY))
}
_DATA = tuple(pattern.partition("{")[0] for pattern in (semconv.INPUT_PROPERTY, semconv.OUTPUT_PROPERTY))


class Table(dict[str | tuple[type, Json], int]):
    """The index of each value: of a text by ``table[text]``, which costs no call, of any value by ``table(value)``."""

    def __init__(self) -> None:
        super().__init__()
        self.values_in_order: list[Json] = []
        self._shared: dict[int, int] = {}

    def __call__(self, value: Json) -> int:
        """Return a value's index."""
        if isinstance(value, str):
            return self[value]
        key = type(value), _hashable(value)
        index = self.get(key)
        return self._add(key, value) if index is None else index

    def __missing__(self, text: str) -> int:
        return self._add(text, text)

    def _add(self, key: str | tuple[type, Json], value: Json) -> int:
        index = self[key] = len(self.values_in_order)
        self.values_in_order.append(value)
        return index

    def attributes(self, attributes: Attributes, /) -> list[int]:
        """Return the indices of keys and values by turns."""
        return _attributes(attributes, self)

    def shared(self, attributes: Attributes) -> int:
        """Return the index of attributes that many spans share as one object."""
        index = self._shared.get(id(attributes))
        if index is None:
            index = self._shared[id(attributes)] = self(self.attributes(attributes))
        return index


class Outline(Table):
    """A table without attributes."""

    def attributes(self, _: Attributes, /) -> list[int]:
        """Return no indices."""
        return []


def _hashable(value: Json) -> Json:
    return value if value is None or isinstance(value, (bool, int, float)) else json.dumps(value)


def page_data(analysis: Analysis, trace_url: str = "", *, is_outline: bool = False) -> Json:
    """Return the data of a page.

    Args:
        analysis: the executions.
        trace_url: the template of a link to a span, empty for none.
        is_outline: whether charts and attributes are left out, so that a first picture is quickly made.
    """
    table = Outline() if is_outline else Table()
    attempts = {attempt.span_id: attempt for attempt in analysis.attempts if attempt.span_id}
    longest = min(LONGEST_CURVE, max(_SHORTEST_CURVE, CURVE_VALUES // max(1, len(attempts))))
    usages = {} if is_outline else {span_id: _usage(attempt, longest) for span_id, attempt in attempts.items()}
    last_ns: dict[str, int] = defaultdict(int)
    for attempt in attempts.values():
        # The usage of a running task may be its last sign.
        last_ns[attempt.trace_id] = max(last_ns[attempt.trace_id], attempt.end_ns)
    logs: dict[str, list[LogRecord]] = defaultdict(list)
    for record in analysis.logs:
        logs[record.trace_id].append(record)
    executions = []
    for execution in analysis.tree.executions:
        own = [record for trace_id in execution.trace_ids for record in logs.pop(trace_id, ())]
        ordered = sorted(own, key=lambda record: record.time_ns)
        measured = () if is_outline else analysis.attempts
        seen_ns = max(last_ns[trace_id] for trace_id in execution.trace_ids)
        executions.append(_execution(execution, seen_ns, (measured, usages), ordered, table))
    others = [record for records in logs.values() for record in records]
    return {
        "values": table.values_in_order,
        "units": {name: unit for name in table if isinstance(name, str) and (unit := _unit(name))},
        "executions": executions,
        "logs": [_log(record, 0, Place(), {}, table) for record in others[-LOG_RECORDS:]],
        "remarks": list(analysis.tree.remarks),
        "traceUrl": links.safe(trace_url),
    }


def _unit(name: str) -> str:
    return unit_of(name) if name.startswith(_OURS) else ""


def as_script(data: Json) -> str:
    """Return data as the content of a ``<script>`` element, which no text may end, nor turn around in the page."""
    written = without_direction(json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    return written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _execution(
    execution: Execution,
    last_ns: int,
    measured: tuple[Sequence[Attempt], Mapping[str, Json]],
    logs: Sequence[LogRecord],
    table: Table,
) -> dict[str, Json]:
    """Return the data of an execution.

    Args:
        execution: the execution.
        last_ns: the last sign of its attempts, in nanoseconds since the epoch.
        measured: the attempts, and what is drawn of each by its span's id.
        logs: its log records.
        table: gets its values.
    """
    attempts, usages = measured
    rows = list(rows_of(execution, complete=True))
    start_ns, end_ns = whole_run.times_of(rows)
    end_ns = max(end_ns, last_ns)
    traces = {trace_id: index for index, trace_id in enumerate(execution.trace_ids)}
    indices: dict[str, int] = {}
    spans: list[Json] = []
    written: list[Json] = []
    errors: list[Json] = []
    drawn: dict[int, Json] = {}
    data: dict[int, Json] = {}
    for row in rows:
        index, error, tree_span = -1, None, row.span
        if tree_span is not None:
            error = tree_span.error
            span_id = tree_span.span.span_id
            index = indices[span_id] = len(spans)
            spans.append(_span(tree_span, traces, start_ns, table))
            usage = usages.get(span_id)
            if usage:
                drawn[index] = usage
            if tree_span.role is Role.ATTEMPT and (properties := list(_data(tree_span))):
                data[index] = properties
        if error:
            errors.append([len(written), *_error(error, table)])
        written.append(_row(row, start_ns, index, len(errors) - 1 if error else -1, table))
    last = logs[-LOG_RECORDS:]
    placed = zip(last, places_of(execution, last), strict=True)
    return {
        "name": execution.name,
        "label": rows[0].label,
        "scope": execution.scope,
        "result": rows[0].result,
        "traces": list(execution.trace_ids),
        "start": start_ns // 1000,
        "length": _micro(end_ns, start_ns),
        "url": next(filter(None, map(links.safe, _execution_urls(execution))), ""),
        "rows": written,
        "spans": spans,
        "errors": errors,
        "charts": drawn,
        "data": data,
        "groups": groups.groups_of(rows),
        "logs": [_log(record, start_ns, place, indices, table) for record, place in placed],
        "logsLeftOut": max(0, len(logs) - LOG_RECORDS),
        **whole_run.page_data(execution, rows, attempts, indices, end_ns),
    }


def _execution_urls(execution: Execution) -> Iterator[AttributeValue]:
    for span in execution.walk():
        url = span.attribute(semconv.EXECUTION_URL)
        if url is not None:
            yield url


def _row(row: Row, start_ns: int, span: int, error: int, table: Table) -> list[Json]:
    own = row.spans[0] if span >= 0 else None
    is_measured = own is not None and semconv.USAGE_MEMORY_PEAK in own.span.attributes
    share = charts.peak_share(own.usage, own.quota) if own is not None and is_measured else None
    took, wall = (row.seconds, row.wall_seconds) if row.is_group else (None, None)
    return [
        row.depth,
        table[row.label],
        table[" · ".join(row.notes) if row.notes else ""],
        table[row.role.value],
        table[row.result],
        _micro(row.start_ns, start_ns),
        None if row.end_ns is None else max(0, row.end_ns - row.start_ns) // 1000,
        None if share is None else round(share, 4),
        span,
        error,
        None if took is None else round(took * 1e6),
        *(() if wall is None else (round(wall * 1e6),)),
    ]


def _span(tree_span: TreeSpan, traces: Mapping[str, int], start_ns: int, table: Table) -> list[Json]:
    span = tree_span.span
    own = [
        span.span_id,
        traces.get(span.trace_id, 0),
        table.attributes(span.attributes),
        table.shared(span.resource),
        table[_maker(span.scope)],
        table[_code(span.attributes)],
    ]
    if not (span.events or span.links):
        return own
    events = [
        [_micro(event.time_ns, start_ns), table(event.name), _attributes(event.attributes, table)]
        for event in span.events
        if event.name != semconv.EVENT_EXCEPTION
    ]
    further = [[link.trace_id, link.span_id, _attributes(link.attributes, table)] for link in span.links]
    return [*own, events, further] if further or events else own


@lru_cache(256)
def _maker(scope: Scope) -> str:
    return f"{scope.name} {scope.version}".strip()


def _attributes(attributes: Attributes, table: Table) -> list[int]:
    """Return keys and values by turns, without series and curves, which the charts have."""
    flat: list[int] = []
    for key, value in attributes.items():
        flat.append(table[key])
        if not isinstance(value, str):
            known = table.get((type(value), value)) if type(value) in _SIMPLE else None
            flat.append(_other_value(key, value, table) if known is None else known)
        elif key.startswith(_CURVES):
            flat.append(table[_summary(key, value)])
        elif len(value) > _LONGEST_TEXT or not value.isascii():
            flat.append(table[_bounded(value)])
        else:
            flat.append(table[value])
    return flat


def _other_value(key: str, value: AttributeValue, table: Table) -> int:
    """Return the index of a value that is no text."""
    is_series = isinstance(value, (list, tuple)) and key.startswith((_SERIES, _CURVES))
    return table[_summary(key, value)] if is_series else table(plain(value))


def _summary(key: str, value: Any) -> str:
    """Return how many values a series has, or how many curves an attribute."""
    number = len(value.split()) if isinstance(value, str) else len(value)
    return f"{number} {'curves' if key.startswith(_CURVES) and not isinstance(value, str) else 'values'}"


def plain(value: Any) -> Json:
    """Return an attribute's value as JSON that a browser reads without loss."""
    match value:
        case str():
            return _bounded(value)
        case bool() | None:
            return value
        case int():
            return value if abs(value) < _LARGEST else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value[:100].hex()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case Sequence():
            return [plain(item) for item in value]
    return str(value)


def _bounded(text: str) -> str:
    """Cut a long text, and replace halves of surrogate pairs, which no encoding has."""
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _error(error: Error, table: Table) -> Iterator[int]:
    message = error.text.removeprefix(error.type).removeprefix(": ")
    yield from (table(_bounded(text)) for text in (error.type, message, error.frame, error.stacktrace))
    for cause in error.causes:
        text = _bounded(f"{cause.relation} {cause.text}" + f"\n  at {cause.frame}" * bool(cause.frame))
        yield table(textwrap.indent(text, "    " * min(cause.depth, _DEEPEST_CAUSE)))


def _code(attributes: Attributes) -> str:
    path, number = attributes.get(semconv.CODE_FILE_PATH), attributes.get(semconv.CODE_LINE_NUMBER)
    if path is number is None and semconv.CODE_FUNCTION_NAME not in attributes:
        return ""
    place = ":".join(str(part) for part in (path, number) if part is not None)
    function = attributes.get(semconv.CODE_FUNCTION_NAME)
    return _bounded(f"{place} in {function}" if place and function else place or str(function or ""))


def _data(task: TreeSpan) -> Iterator[list[str]]:
    """Return the properties of a task's inputs and outputs: direction, variable, property, value."""
    yield from _properties(task)
    for link in task.span.links:
        if link.attributes.get(semconv.LINK) == semconv.LINK_INPUT:
            variable = str(link.attributes.get(semconv.LINK_VARIABLE, ""))
            yield ["input", variable, "uri", _bounded(str(link.attributes.get(semconv.DATA_URI, "")))]
    for child in task.children:
        if child.role in (Role.PHASE, Role.TRANSFER):
            yield from _properties(child)


def _properties(span: TreeSpan) -> Iterator[list[str]]:
    own = span.span.attributes
    for name in [name for name in own if name.startswith(_DATA)]:
        for direction, pattern in _PROPERTIES.items():
            match = pattern.fullmatch(name)
            if match:
                yield [direction, match["variable"], match["property"], _bounded(str(own[name]))]


def _usage(attempt: Attempt, longest: int) -> list[Json] | None:
    """Return the charts and the bars of an attempt, ``None`` where it has neither."""
    drawn = [
        chart._asdict() | {"seconds": round(chart.seconds, 3), "ticks": chart.ticks, "hasBands": chart.has_bands}
        for chart in charts.charts_of(attempt, longest)
    ]
    bars = charts.bars_of(attempt.usage)
    return [drawn, bars] if drawn or bars else None


def _log(record: LogRecord, start_ns: int, place: Place, indices: Mapping[str, int], table: Table) -> list[Json]:
    text = _bounded(record.body or "")
    span = indices.get(place.span_id, -1)
    return [_micro(record.time_ns, start_ns), record.severity, text, span, table[_bounded(place.phase)]]


def _micro(time_ns: int, start_ns: int) -> int:
    return (time_ns - start_ns) // 1000
