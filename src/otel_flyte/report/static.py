"""The picture as HTML and SVG that stands still: the Deck, and the page where scripts are switched off.

Charts are small lines over one axis, drawn here in a page of code. A charting library would have to be in every task's
image (Matplotlib brings NumPy and tens of megabytes, and a second to import), or bring a megabyte of script into each
Deck.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from otel_flyte import semconv
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.cells import cut, duration, moment, percent, printable
from otel_flyte.recording.outline import Line, lines
from otel_flyte.recording.tree import NEVER_ENDED, Error, Execution, ExecutionTree, Role
from otel_flyte.report import charts, links
from otel_flyte.report.charts import Bar, Chart, Curve

ROWS = 200
"""Lines of a timeline that are drawn; what is beyond is counted."""

ATTEMPTS = 12
"""Attempts whose charts are drawn."""

VALUES = 480
"""Of a curve; neighbours are averaged where there are more."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 340, 120, 36, 18, 8
_STACK = 4000
_MESSAGE = 1000
_MARKS = {
    semconv.RESULT_SUCCESS: ("ok", "✓"),
    semconv.RESULT_FAILURE: ("failed", "✗"),
    semconv.RESULT_CANCELLATION: ("warned", "⊘"),
    NEVER_ENDED: ("warned", "?"),
}
_TONES = {Role.PHASE: "phase", Role.USER: "user", Role.SUBMIT: "user"}


def style() -> str:
    """Give the style sheet of the fragments below."""
    return (files(__package__) / "assets" / "static.css").read_text(encoding="utf-8")


def picture(tree: ExecutionTree, attempts: Sequence[Attempt], trace_url: str = "") -> str:
    """Give executions as one element, without its style.

    Args:
        tree: what ran.
        attempts: what its attempts used.
        trace_url: the template of a link to a trace, empty for none.
    """
    parts = [*(_execution(execution, trace_url) for execution in tree.executions), *_charts(attempts)]
    parts += [f'<p class="note">{_text(remark)}</p>' for remark in tree.remarks]
    return f'<div class="otel-flyte-picture">{"".join(parts)}</div>'


def timeline(outline: Sequence[Line]) -> str:
    """Give a table of what ran, each with a bar over the time in which anything did."""
    start_ns = min(line.start_ns for line in outline)
    end_ns = max(max(line.seen_ns, line.start_ns) for line in outline)
    rows = [_row(line, start_ns, max(1, end_ns - start_ns)) for line in _worth_drawing(outline)]
    if len(outline) > ROWS:
        rows.append(f'<tr><td colspan="3" class="more">{len(outline) - ROWS} more lines</td></tr>')
    whole = duration((end_ns - start_ns) / 1e9)
    head = f'<tr><th>what</th><th class="took">took</th><th class="bar">0 <span>{whole}</span></th></tr>'
    return f'<table class="lines"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def chart(drawn: Chart) -> str:
    """Give one chart as a figure with its numbers in words."""
    top = _ceiling(drawn.top)
    width, height = _WIDTH - _LEFT - 6, _HEIGHT - _BOTTOM - _TOP
    seconds = max(drawn.seconds, 1e-3)

    def x(at: float) -> str:
        return f"{_LEFT + width * min(1.0, at / seconds):.1f}".removesuffix(".0")

    def y(value: float) -> str:
        return f"{_TOP + height * (1 - value / top):.1f}".removesuffix(".0")

    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 6}" y1="{y(at)}" y2="{y(at)}"/>'
        f'<text x="{_LEFT - 6}" y="{y(at)}" dy="3.5" text-anchor="end">{at:g}</text>'
        for at in (0.0, top / 2, top)
    )
    ends = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">0</text>'
        f'<text x="{_WIDTH - 6}" y="{_HEIGHT - 4}" text-anchor="end">{duration(drawn.seconds)}</text>'
    )
    paths = ""
    for curve in drawn.curves:
        step, values = _thinned(curve, drawn.step)
        steps = (
            [(0.0, seconds, values[0])]
            if len(values) == 1
            else [(index * step, (index + 1) * step, value) for index, value in enumerate(values)]
        )
        paths += f'<path class="{curve.name}" d="{_path(steps, x, y)}"/>'
    peak = ""
    if drawn.peak is not None and drawn.peak > 0:
        peak = f'<line class="peak" x1="{_LEFT}" x2="{_WIDTH - 6}" y1="{y(drawn.peak)}" y2="{y(drawn.peak)}"/>'
    label = _text(f"{drawn.title} in {drawn.unit}: {drawn.note}")
    legend = "".join(f'<span class="{curve.name}">{curve.name}</span>' for curve in drawn.curves)
    if peak:
        legend += '<span class="peak">peak</span>'
    return (
        f'<figure><figcaption><b>{_text(drawn.title)}</b> <i>{_text(drawn.unit)}</i><span class="legend">{legend}'
        f'</span></figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{grid}{ends}{paths}{peak}</svg><p>{_text(drawn.note)}</p></figure>"
    )


def _execution(execution: Execution, trace_url: str) -> str:
    outline = list(lines(execution))
    whole = outline[0]
    told = [(line, line.error) for line in outline if line.error]
    errors = "".join(_error(line, error) for line, error in told[:5])
    if len(told) > 5:
        errors += f'<p class="note">{len(told) - 5} more errors</p>'
    mark, sign = _MARKS.get(whole.result, ("", "·"))
    took = NEVER_ENDED if whole.seconds is None else duration(whole.seconds)
    trace = f"trace {execution.trace_ids[0]}" if execution.trace_ids else ""
    url = links.to_trace(trace_url, execution.trace_ids[0], execution.roots[0].span.span_id) if trace else ""
    link = f'<a href="{escape(url)}" target="_blank" rel="noopener">open the trace</a>' if url else _text(trace)
    return (
        f'<h2><span class="{mark}">{sign}</span> {_text(whole.label)}</h2>'
        f'<p class="caption">{_text(whole.result)} · {took} · {moment(whole.start_ns):%Y-%m-%d %H:%M:%S} UTC'
        f" · {link}</p>{errors}{timeline(outline)}"
    )


def _error(line: Line, error: Error) -> str:
    words = f"{error.type}: {error.message}" if error.message else error.type
    frame = f"<p>at <code>{_text(error.frame)}</code></p>" if error.frame else ""
    stack = ""
    if error.stacktrace:
        shown = escape(_readable(error.stacktrace[-_STACK:]))
        stack = f"<details><summary>stack trace</summary><pre>{shown}</pre></details>"
    message = escape(_readable(cut(words, _MESSAGE)))
    return f'<div class="error"><pre>{message}</pre>{frame}<p>in {_text(line.label)}</p>{stack}</div>'


def _row(line: Line, start_ns: int, span_ns: int) -> str:
    mark, sign = _MARKS.get(line.result, ("", "·"))
    if line.role in (Role.PHASE, Role.USER, Role.SUBMIT) and line.result == semconv.RESULT_SUCCESS:
        sign = ""
    left = 1000 * (line.start_ns - start_ns) / span_ns
    end_ns = start_ns + span_ns if line.end_ns is None else line.end_ns
    width = max(2.0, 1000 * (end_ns - line.start_ns) / span_ns)
    tone = "failed" if line.result == semconv.RESULT_FAILURE else _TONES.get(line.role, "task")
    tone = "unended" if line.end_ns is None else tone
    took = NEVER_ENDED if line.seconds is None else duration(line.seconds)
    notes = _text(cut(" · ".join(line.notes), 120))
    label = _text(cut(line.label, 80))
    return (
        f'<tr><td class="d{min(line.depth, 9)}"><b class="{mark}">{sign}</b> {label} <i>{notes}</i></td>'
        f'<td class="took">{took}</td><td class="bar"><svg viewBox="0 0 1000 10" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect class="{tone}" x="{min(left, 998):.0f}" y="1" width="{width:.0f}" height="8"/>'
        "</svg></td></tr>"
    )


def _charts(attempts: Sequence[Attempt]) -> Iterator[str]:
    shown = 0
    for attempt in attempts:
        drawn, bars = charts.of(attempt), charts.bars(attempt.usage)
        if not drawn and not bars:
            continue
        shown += 1
        if shown > ATTEMPTS:
            continue
        number = f" · attempt {attempt.number}" if attempt.number else ""
        shared = " · shared with other tasks of its process" if attempt.usage and attempt.usage.is_shared else ""
        path = f" · {attempt.path}" if attempt.path else ""
        yield (
            f"<h3>{_text(attempt.task)}<small>{_text(path + number + shared)}</small></h3>"
            f'<div class="charts">{"".join(map(chart, drawn))}</div>{_devices(bars)}'
        )
    if shown > ATTEMPTS:
        yield f'<p class="note">charts of {shown - ATTEMPTS} more attempts are not shown</p>'


def _worth_drawing(outline: Sequence[Line]) -> Sequence[Line]:
    """Give as many lines as there is room for: what did not succeed and the outermost first, users' spans last."""

    def rank(index: int) -> tuple[bool, bool, int, int]:
        line = outline[index]
        return line.result == semconv.RESULT_SUCCESS, line.role is Role.USER, line.depth, index

    return [outline[index] for index in sorted(sorted(range(len(outline)), key=rank)[:ROWS])]


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


def _thinned(curve: Curve, step: int) -> tuple[float, Sequence[float | None]]:
    """Average neighbours until there are few enough."""
    values: Sequence[float | None] = curve.values
    wide = float(step)
    while len(values) > VALUES:
        pairs = [values[index : index + 2] for index in range(0, len(values), 2)]
        values, wide = [_mean(pair) for pair in pairs], 2 * wide
    return wide, values


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _path(
    steps: Iterable[tuple[float, float, float | None]], x: Callable[[float], str], y: Callable[[float], str]
) -> str:
    """Draw averages as what they are, level for as long as each stands; a gap is a gap."""
    drawn, is_on = "", False
    for begin, end, value in steps:
        if value is None:
            is_on = False
            continue
        drawn += f"V{y(value)}H{x(end)}" if is_on else f"M{x(begin)} {y(value)}H{x(end)}"
        is_on = True
    return drawn


def _ceiling(value: float) -> float:
    """Give the next number above that is easy to read on an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** len(str(int(value))) / 10 if value >= 1 else 0.1
    while power > value:
        power /= 10
    return next(power * factor for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10, 12) if power * factor >= value)


def _text(text: str) -> str:
    return escape(printable(text))


def _readable(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))
