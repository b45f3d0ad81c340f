"""A recording as HTML and SVG without a script: the deck, and the page where scripts are switched off.

Charts are small lines over one axis, drawn in a page of code. A charting library would have to be in every task's image
(Matplotlib brings NumPy, tens of megabytes and a second of import), or bring a megabyte of script into each deck.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from otel_flyte import semconv
from otel_flyte.formulas import mean
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.cells import cut, duration, moment, percent, printable
from otel_flyte.recording.failures import Error
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import Row, rows_of
from otel_flyte.recording.span_tree import NEVER_ENDED, Execution
from otel_flyte.recording.tree import ExecutionTree
from otel_flyte.recording.wall import Interval, intervals
from otel_flyte.report import charts, links, whole_run
from otel_flyte.report.charts import Bar, Chart, Curve, Phase
from otel_flyte.report.terminal import MARKS, NO_MARK

ROWS = 200
"""The number of rows of a timeline that are drawn."""

ATTEMPTS = 12
"""The number of attempts whose charts are drawn."""

VALUES = 480
"""The number of values of a curve above which neighbours are averaged."""

_ERRORS = 5
_FINE_VALUES = 120
"""The number of values of a curve at the sampling interval: a picture has a few hundred pixels."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 340, 128, 36, 26, 8, 6
_LONGEST_STACK, _LONGEST_MESSAGE = 4000, 1000
_CLASSES = {
    semconv.RESULT_SUCCESS: "ok",
    semconv.RESULT_FAILURE: "failed",
    semconv.RESULT_CANCELLATION: "warned",
    NEVER_ENDED: "warned",
}
_ROLE_CLASSES = {Role.PHASE: "phase", Role.TRANSFER: "phase", Role.USER: "user", Role.SUBMISSION: "user"}


def style() -> str:
    """Return the style sheet of :func:`picture`."""
    return (files(__package__) / "assets" / "static.css").read_text(encoding="utf-8")


def picture(tree: ExecutionTree, attempts: Sequence[Attempt], trace_url: str = "") -> str:
    """Return executions and the usage of attempts as one element, without its style.

    ``trace_url`` is the template of a link to a trace, empty for none.
    """
    parts = [*(_execution(execution, attempts, trace_url) for execution in tree.executions), *_charts(attempts)]
    parts += [f'<p class="note">{_text(remark)}</p>' for remark in tree.remarks]
    return f'<div class="otel-flyte-picture">{"".join(parts)}</div>'


def _execution(execution: Execution, attempts: Sequence[Attempt], trace_url: str) -> str:
    rows = list(rows_of(execution))
    top = rows[0]
    failed = [(row, row.error) for row in rows if row.error]
    errors = "".join(_error(row, error) for row, error in failed[:_ERRORS])
    if len(failed) > _ERRORS:
        errors += f'<p class="note">{len(failed) - _ERRORS} more errors</p>'
    trace_id = execution.trace_ids[0]
    url = links.to_trace(trace_url, trace_id, execution.roots[0].span.span_id)
    link = f'<a href="{escape(url)}" target="_blank" rel="noopener">open the trace</a>' if url else f"trace {trace_id}"
    return (
        f'<h2><span class="{_CLASSES.get(top.result, "")}">{MARKS.get(top.result, NO_MARK)}</span> {_text(top.label)}'
        f'</h2><p class="caption">{_text(top.result)} · {top.took} · {moment(top.start_ns):%Y-%m-%d %H:%M:%S} UTC'
        f" · {link}</p>{errors}{_timeline(rows)}{_whole_run(execution, rows, attempts)}"
    )


def _whole_run(execution: Execution, rows: Sequence[Row], attempts: Sequence[Attempt]) -> str:
    return "".join(f'<p class="note">{_text(line)}</p>' for line in whole_run.lines(execution, rows, attempts))


def _timeline(rows: Sequence[Row]) -> str:
    """Return a table of rows, each with a bar."""
    start_ns, end_ns = min(row.start_ns for row in rows), max(row.seen_ns for row in rows)
    drawn = [_row(row, start_ns, max(1, end_ns - start_ns)) for row in _most_important(rows)]
    if len(rows) > ROWS:
        drawn.append(f'<tr><td colspan="3" class="more">{len(rows) - ROWS} more lines</td></tr>')
    length = duration((end_ns - start_ns) / 1e9)
    head = f'<tr><th>what</th><th class="took">took</th><th class="bar">0 <span>{length}</span></th></tr>'
    return f'<table class="lines"><thead>{head}</thead><tbody>{"".join(drawn)}</tbody></table>'


def _most_important(rows: Sequence[Row]) -> Sequence[Row]:
    """Return as many rows as are drawn: the unsuccessful and the outermost first, users' spans last."""

    def rank(index: int) -> tuple[bool, bool, int, int]:
        row = rows[index]
        return row.result == semconv.RESULT_SUCCESS, row.role is Role.USER, row.depth, index

    return [rows[index] for index in sorted(sorted(range(len(rows)), key=rank)[:ROWS])]


def _row(row: Row, start_ns: int, length_ns: int) -> str:
    is_quiet = row.role in _ROLE_CLASSES and row.result == semconv.RESULT_SUCCESS
    mark = "" if is_quiet else MARKS.get(row.result, NO_MARK)
    kind = "failed" if row.result == semconv.RESULT_FAILURE else _ROLE_CLASSES.get(row.role, "task")
    kind = "unfinished" if row.end_ns is None else kind
    notes = _text(cut(" · ".join(row.notes), 120))
    return (
        f'<tr><td class="d{min(row.depth, 9)}"><b class="{_CLASSES.get(row.result, "")}">{mark}</b>'
        f" {_text(cut(row.label, 80))} <i>{notes}</i></td>"
        f'<td class="took">{row.took}</td><td class="bar"><svg viewBox="0 0 1000 10" preserveAspectRatio="none" '
        f'aria-hidden="true">{_bar(row, kind, start_ns, length_ns)}</svg></td></tr>'
    )


def _bar(row: Row, kind: str, start_ns: int, length_ns: int) -> str:
    """Return the bar of a row; that of a group is a line from first to last, with a bar where any of it runs."""

    def rectangle(tone: str, begin_ns: int, end_ns: int, y: int, height: int) -> str:
        left = 1000 * (begin_ns - start_ns) / length_ns
        width = max(2.0, 1000 * (end_ns - begin_ns) / length_ns)
        return f'<rect class="{tone}" x="{min(left, 998):.0f}" y="{y}" width="{width:.0f}" height="{height}"/>'

    end_ns = start_ns + length_ns if row.end_ns is None else row.end_ns
    if not row.is_group or row.end_ns is None:
        return rectangle(kind, row.start_ns, end_ns, 1, 8)
    running = _joined(intervals(row.spans), length_ns // 1000)
    bars = "".join(rectangle(kind, begin_ns, last_ns, 1, 8) for begin_ns, last_ns in running)
    return rectangle("group", row.start_ns, end_ns, 4, 2) + bars


def _joined(running: Sequence[Interval], smallest_ns: int) -> list[Interval]:
    """Join intervals between which there is too little time to be seen, so that a wide map has few of them."""
    joined = [running[0]]
    for begin_ns, end_ns in running[1:]:
        if begin_ns - joined[-1][1] <= smallest_ns:
            joined[-1] = joined[-1][0], end_ns
        else:
            joined.append((begin_ns, end_ns))
    return joined


def _error(row: Row, error: Error) -> str:
    frame = _frame(error.frame)
    for cause in error.causes:
        text = escape(_lines(cut(f"{cause.relation} {cause.text}", _LONGEST_MESSAGE)))
        frame += f'<div class="in{min(cause.depth, 6)}"><pre>{text}</pre>{_frame(cause.frame)}</div>'
    stack = ""
    if error.stacktrace:
        lines = escape(_lines(error.stacktrace[-_LONGEST_STACK:]))
        stack = f"<details><summary>stack trace</summary><pre>{lines}</pre></details>"
    message = escape(_lines(cut(error.text, _LONGEST_MESSAGE)))
    return f'<div class="error"><pre>{message}</pre>{frame}<p>in {_text(row.label)}</p>{stack}</div>'


def _frame(frame: str) -> str:
    return f"<p>at <code>{_text(frame)}</code></p>" if frame else ""


def _charts(attempts: Sequence[Attempt]) -> Iterator[str]:
    usages = [(attempt, charts.charts_of(attempt, _FINE_VALUES), charts.bars_of(attempt.usage)) for attempt in attempts]
    measured = [usage for usage in usages if usage[1] or usage[2]]
    for attempt, drawn, bars in measured[:ATTEMPTS]:
        path = f" · {attempt.path}" if attempt.path else ""
        number = f" · attempt {attempt.number}" if attempt.number else ""
        shared = " · shared with other tasks of its process" if attempt.usage and attempt.usage.is_shared else ""
        yield (
            f"<h3>{_text(attempt.task)}<small>{_text(path + number + shared)}</small></h3>"
            f'<div class="charts">{"".join(map(_chart, drawn))}</div>{_devices(bars)}'
        )
    if len(measured) > ATTEMPTS:
        yield f'<p class="note">charts of {len(measured) - ATTEMPTS} more attempts are not shown</p>'


def _chart(chart: Chart) -> str:
    """Return one chart as a figure with its numbers in words."""
    top = _ceiling(chart.top)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP
    seconds = max(chart.seconds, 1e-3)

    def x(at: float) -> str:
        return f"{_LEFT + width * min(1.0, at / seconds):.1f}".removesuffix(".0")

    def y(value: float) -> str:
        return f"{_TOP + height * (1 - value / top):.1f}".removesuffix(".0")

    def level(kind: str, value: float) -> str:
        return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}"/>'

    grid = "".join(
        f'{level("grid", at)}<text x="{_LEFT - 6}" y="{y(at)}" dy="3.5" text-anchor="end">{at:g}</text>'
        for at in (0.0, top / 2, top)
    )
    ticks = "".join(_tick(x(at), text, at > 0.93 * seconds) for at, text in chart.ticks)
    phases = "".join(_phase(phase, x) for phase in chart.phases)
    bands = "".join(_band(curve, chart.step, x, y) for curve in chart.curves if chart.has_bands)
    paths = "".join(
        f'<path class="{curve.tone or curve.name}" d="{_path(_steps(curve, chart.step, seconds), x, y)}"/>'
        for curve in chart.curves
    )
    peak = level("peak", chart.peak) if chart.peak is not None and chart.peak > 0 else ""
    names = [(curve.tone or curve.name, curve.name) for curve in chart.curves] + ([("peak", "peak")] if peak else [])
    legend = "".join(f'<span class="{tone}">{_text(name)}</span>' for tone, name in names)
    label = _text(f"{chart.title} in {chart.unit}: {chart.note}")
    return (
        f'<figure><figcaption><b>{_text(chart.title)}</b> <i>{_text(chart.unit)}</i><span class="legend">{legend}'
        f'</span></figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{grid}{ticks}{bands}{paths}{phases}{peak}</svg><p>{_text(chart.note)}</p></figure>"
    )


def _steps(curve: Curve, step: float, seconds: float) -> list[tuple[float, float, float | None]]:
    """Return begin, end and value of each step; neighbours are averaged until there are few enough."""
    values: Sequence[float | None] = curve.values
    if len(values) == 1:
        return [(0.0, seconds, values[0])]
    while len(values) > VALUES:
        values, step = [mean(list(values[index : index + 2])) for index in range(0, len(values), 2)], 2 * step
    steps = [(index * step, (index + 1) * step, value) for index, value in enumerate(values)]
    begin, end, last = steps.pop()
    # The last value stands for a short rest, too.
    return [*steps, (begin, seconds if seconds - end < step else end, last)]


def _tick(x: str, text: str, is_last: bool) -> str:
    anchor = "start" if text == "0" else "end" if is_last else "middle"
    line = f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
    return f'{line}<text x="{x}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{text}</text>'


def _phase(phase: Phase, x: Callable[[float], str]) -> str:
    """Return the part of the band below a chart."""
    width = max(0.5, float(x(phase.end)) - float(x(phase.begin)))
    return (
        f'<rect class="{phase.tone}" x="{x(phase.begin)}" y="{_HEIGHT - _BOTTOM + 4}" width="{width:.1f}" height="4">'
        f"<title>{_text(phase.name)}</title></rect>"
    )


def _band(curve: Curve, step: float, x: Callable[[float], str], y: Callable[[float], str]) -> str:
    """Return the area between the averages and the maxima."""
    drawn = "".join(
        f"M{x(index * step)} {y(average)}V{y(largest)}H{x((index + 1) * step)}V{y(average)}Z"
        for index, (average, largest) in enumerate(zip(curve.values, curve.maxima, strict=False))
        if average is not None and largest is not None and largest > average
    )
    return f'<path class="band {curve.tone or curve.name}" d="{drawn}"/>' if drawn else ""


def _path(
    steps: Iterable[tuple[float, float, float | None]], x: Callable[[float], str], y: Callable[[float], str]
) -> str:
    """Return the path of averages, level for as long as each stands, with gaps."""
    drawn, is_on = "", False
    for begin, end, value in steps:
        if value is not None:
            drawn += f"V{y(value)}H{x(end)}" if is_on else f"M{x(begin)} {y(value)}H{x(end)}"
        is_on = value is not None
    return drawn


def _ceiling(value: float) -> float:
    """Return the next number above that is easy to read on an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** len(str(int(value))) / 10 if value >= 1 else 0.1
    while power > value:
        power /= 10
    return next(power * factor for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10, 12) if power * factor >= value)


def _devices(bars: Iterable[Bar]) -> str:
    rows = "".join(
        f"<tr><td>{bar.name}</td><td>{_percent(bar.mean)}</td><td>{_percent(bar.peak)}</td>"
        f"<td>{_percent(bar.memory)}</td><td>{_text(bar.note)}</td></tr>"
        for bar in bars
    )
    head = "<tr><th>device</th><th>mean</th><th>peak</th><th>memory</th><th>peak of memory</th></tr>"
    return f'<table class="devices"><thead>{head}</thead><tbody>{rows}</tbody></table>' if rows else ""


def _percent(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _text(text: str) -> str:
    return escape(printable(text))


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))
