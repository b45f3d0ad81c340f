"""What the page draws, as JSON: small, and the same for a few spans and for forty thousand.

Rows and spans are arrays, times are microseconds since the execution's start, and what occurs again and again (names,
attributes, identities) stands once in a table and is named by its place there.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from otel_flyte import semconv
from otel_flyte.recording import usage
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.otlp_file import Attributes, Link, LogLine
from otel_flyte.recording.outline import Line, lines
from otel_flyte.recording.tree import Error, Execution, ExecutionTree, Role, TreeSpan
from otel_flyte.report import charts, links
from otel_flyte.report.charts import Bar, Chart

Json: TypeAlias = Any

LOG_LINES = 20_000
"""Lines of logs that a page holds; the first of an execution are left out where it has more."""

_LONGEST_TEXT = 20_000
_SERIES = semconv.USAGE_SERIES.format(name="")
_LARGEST = 2**53
"""Above that JavaScript's numbers have gaps."""


class Table:
    """Values, each once."""

    def __init__(self) -> None:
        self.values: list[Json] = []
        self._places: dict[str | tuple[str, Json], int] = {}

    def __call__(self, value: Json) -> int:
        """Return a value's place."""
        key = value if isinstance(value, str) else (type(value).__name__, json.dumps(value))
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self.values)
            self.values.append(value)
        return place


def of(tree: ExecutionTree, attempts: Sequence[Attempt], logs: Iterable[LogLine], trace_url: str = "") -> Json:
    """Give all that a page shows.

    Args:
        tree: what ran.
        attempts: what its attempts used.
        logs: what was logged meanwhile, and before and after.
        trace_url: the template of a link to a span, empty for none.
    """
    table = Table()
    used = {attempt.span_id: attempt for attempt in attempts if attempt.span_id}
    by_trace: dict[str, list[LogLine]] = defaultdict(list)
    for line in logs:
        by_trace[line.trace_id].append(line)
    executions = [_execution(execution, used, _logs_of(execution, by_trace), table) for execution in tree.executions]
    untold = [line for lines_left in by_trace.values() for line in lines_left]
    return {
        "values": table.values,
        "executions": executions,
        "logs": [[line.time_ns // 1000, line.severity, _cut(line.text), -1] for line in untold[-LOG_LINES:]],
        "remarks": list(tree.remarks),
        "traceUrl": links.safe(trace_url),
    }


def as_script(data: Json) -> str:
    """Give it as the content of a ``<script>`` element, which a ``</script>`` inside of a text must not end."""
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _logs_of(execution: Execution, by_trace: dict[str, list[LogLine]]) -> list[LogLine]:
    return sorted(
        (line for trace_id in execution.trace_ids for line in by_trace.pop(trace_id, ())),
        key=lambda line: line.time_ns,
    )


def _execution(
    execution: Execution, used: Mapping[str, Attempt], logs: Sequence[LogLine], table: Table
) -> dict[str, Json]:
    outline = list(lines(execution, complete=True))
    start_ns = min(line.start_ns for line in outline)
    places: dict[str, int] = {}
    spans: list[Json] = []
    rows: list[Json] = []
    errors: list[Json] = []
    drawn: dict[int, Json] = {}
    data: dict[int, Json] = {}
    traces = {trace_id: number for number, trace_id in enumerate(execution.trace_ids)}
    for line in outline:
        place = -1
        if line.span is not None:
            place = places[line.span.span.span_id] = len(spans)
            spans.append(_span(line.span, traces, start_ns, table))
            attempt = used.get(line.span.span.span_id)
            if attempt is not None:
                shown = [_chart(chart) for chart in charts.of(attempt)]
                bars = [_bar(bar) for bar in charts.bars(attempt.usage)]
                if shown or bars:
                    drawn[place] = [shown, bars]
            told = list(_data(line.span)) if line.span.role is Role.TASK else []
            if told:
                data[place] = told
        rows.append(_row(line, start_ns, place, len(errors) if line.error else -1, table))
        if line.error:
            errors.append([len(rows) - 1, *_error(line.error, table)])
    whole = outline[0]
    return {
        "name": execution.name,
        "label": whole.label,
        "scope": execution.scope,
        "result": whole.result,
        "traces": list(execution.trace_ids),
        "start": start_ns // 1000,
        "length": _micro(max(max(line.seen_ns, line.start_ns) for line in outline), start_ns),
        "url": next(filter(None, map(_url, execution.walk())), ""),
        "rows": rows,
        "spans": spans,
        "errors": errors,
        "charts": drawn,
        "data": data,
        "logs": [_log(line, start_ns, places) for line in logs[-LOG_LINES:]],
        "logsLeftOut": max(0, len(logs) - LOG_LINES),
    }


def _row(line: Line, start_ns: int, span: int, error: int, table: Table) -> list[Json]:
    share = None
    own = {} if line.span is None else line.span.span.attributes
    if semconv.USAGE_MEMORY_PEAK in own:
        share = charts.peak_share(usage.of(own), usage.quota_of(own))
    return [
        line.depth,
        table(line.label),
        table(" · ".join(line.notes)),
        table(line.role.value),
        table(line.result),
        _micro(line.start_ns, start_ns),
        None if line.end_ns is None else max(0, line.end_ns - line.start_ns) // 1000,
        None if share is None else round(share, 4),
        span,
        error,
    ]


def _span(tree_span: TreeSpan, traces: Mapping[str, int], start_ns: int, table: Table) -> list[Json]:
    span = tree_span.span
    events = [
        [_micro(event.time_ns, start_ns), table(event.name), _attributes(event.attributes, table)]
        for event in span.events
        if event.name != semconv.EVENT_EXCEPTION
    ]
    own = [
        span.span_id,
        traces.get(span.trace_id, 0),
        _attributes(span.attributes, table),
        table(_attributes(span.resource, table)),
        table(_maker(tree_span)),
        table(_code(span.attributes)),
    ]
    further = [_link(link, table) for link in span.links]
    return [*own, events, further] if further or events else own


def _maker(tree_span: TreeSpan) -> str:
    scope = tree_span.span.scope
    return f"{scope.name} {scope.version}".strip()


def _link(link: Link, table: Table) -> list[Json]:
    return [link.trace_id, link.span_id, _attributes(link.attributes, table)]


def _attributes(attributes: Attributes, table: Table) -> list[int]:
    """Give keys and values by turns; the averages by the minute are in the charts."""
    flat: list[int] = []
    for key, value in attributes.items():
        shown = f"{len(value)} values" if key.startswith(_SERIES) and isinstance(value, (list, tuple)) else value
        flat += (table(key), table(_plain(shown)))
    return flat


def _plain(value: Any) -> Json:
    """Give an attribute's value as JSON that a browser reads as it is."""
    match value:
        case str():
            return _cut(value)
        case bool() | None:
            return value
        case int():
            return value if abs(value) < _LARGEST else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value[:100].hex()
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
    return str(value)


def _cut(text: str) -> str:
    """Bound a text, and make halves of surrogate pairs, which no encoding takes, question marks."""
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _error(error: Error, table: Table) -> Iterator[int]:
    yield from (table(_cut(text)) for text in (error.type, error.message, error.frame, error.stacktrace))


def _code(attributes: Attributes) -> str:
    path, number = attributes.get(semconv.CODE_FILE_PATH), attributes.get(semconv.CODE_LINE_NUMBER)
    place = ":".join(str(part) for part in (path, number) if part is not None)
    function = attributes.get(semconv.CODE_FUNCTION_NAME)
    return _cut(f"{place} in {function}" if place and function else place or str(function or ""))


_FACT = r"(?P<variable>[^.]+)\.(?P<what>.+)"
_WAYS = {
    way: re.compile(re.escape(pattern.partition("{")[0]) + _FACT)
    for way, pattern in (("input", semconv.INPUT_FACT), ("output", semconv.OUTPUT_FACT))
}


def _data(task: TreeSpan) -> Iterator[list[str]]:
    """Give what a task's spans tell of its inputs and outputs: which way, variable, what, value."""
    yield from _facts(task)
    for link in task.span.links:
        if link.attributes.get(semconv.LINK) == semconv.LINK_INPUT:
            variable = str(link.attributes.get(semconv.LINK_VARIABLE, ""))
            yield ["input", variable, "uri", _cut(str(link.attributes.get(semconv.DATA_URI, "")))]
    for phase in task.children:
        if phase.role is Role.PHASE:
            yield from _facts(phase)


def _facts(span: TreeSpan) -> Iterator[list[str]]:
    for name, value in span.span.attributes.items():
        for way, pattern in _WAYS.items():
            match = pattern.fullmatch(name)
            if match:
                yield [way, match["variable"], match["what"], _cut(str(value))]


def _chart(chart: Chart) -> dict[str, Json]:
    return {
        "title": chart.title,
        "unit": chart.unit,
        "step": chart.step,
        "seconds": round(chart.seconds, 3),
        "peak": chart.peak,
        "note": chart.note,
        "curves": [[curve.name, list(curve.values)] for curve in chart.curves],
    }


def _bar(bar: Bar) -> list[Json]:
    return [bar.name, bar.mean, bar.peak, bar.memory, bar.note]


def _log(line: LogLine, start_ns: int, places: Mapping[str, int]) -> list[Json]:
    return [_micro(line.time_ns, start_ns), line.severity, _cut(line.text), places.get(line.span_id, -1)]


def _url(span: TreeSpan) -> str:
    return links.safe(span.attribute(semconv.EXECUTION_URL))


def _micro(at_ns: int, start_ns: int) -> int:
    return (at_ns - start_ns) // 1000
