"""The tree as text for a terminal, beside its timeline, with each error below the span that failed.

`rich.tree` has other guides and knows no columns beside the tree.
"""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from otel_flyte import semconv
from otel_flyte.recording.attempts import attempts_of
from otel_flyte.recording.cells import counted, cut, cut_start, moment, printable, width
from otel_flyte.recording.failures import Error
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import Row, rows_of
from otel_flyte.recording.span_tree import Execution
from otel_flyte.recording.tree import ExecutionTree
from otel_flyte.recording.wall import intervals
from otel_flyte.report import whole_run
from otel_flyte.report.terminal import MARKS, NO_MARK, STYLES, Terminal

NEGLIGIBLE = 0.01
"""Phases below this fraction of the execution, with nothing below them, are counted instead of shown."""

_BETWEEN = " · "
_NARROWEST, _NARROWEST_WITH_BARS, _WIDEST = 40, 55, 160
_DURATION_CELLS = 12
_SHORTEST_BAR, _LONGEST_BAR = 12, 60
_MESSAGE_LINES = 4
_CAUSES = 6
_DEEPEST_CAUSE = 3
_ENTITIES = (Role.EXECUTION, Role.NODE, Role.ATTEMPT)
_PHASES = (Role.PHASE, Role.TRANSFER)
_ROLE_STYLES = {
    Role.EXECUTION: "blue",
    Role.NODE: "blue",
    Role.ATTEMPT: "cyan",
    Role.ITEM: "cyan",
    Role.PHASE: "green",
    Role.TRANSFER: "green",
    Role.SUBMISSION: "yellow",
    Role.PENDING: "yellow",
    Role.USER: "magenta",
}


def render(tree: ExecutionTree, terminal: Terminal | None = None) -> str:
    """Return each execution as a tree beside its timeline."""
    terminal = terminal or Terminal()
    parts = ["\n".join(_lines(execution, terminal)) for execution in tree.executions]
    parts += [terminal.paint(f"note: {printable(remark)}", "yellow") for remark in tree.remarks]
    return terminal.encodable("\n\n".join(parts))


def _lines(execution: Execution, terminal: Terminal) -> Iterator[str]:
    rows = list(rows_of(execution))
    shown = [
        row
        for row, following in zip_longest(rows, rows[1:])
        if (following and following.depth > row.depth) or not _is_negligible(row, rows[0])
    ]
    stems = _stems([row.depth for row in shown])
    labels = [_label(row, stem) for row, (stem, _) in zip(shown, stems, strict=True)]
    total = min(max(terminal.width, _NARROWEST), _WIDEST)
    label_cells, bar_cells = _columns(max(sum(map(width, label)) for label in labels), total)
    first_ns, last_ns = min(row.start_ns for row in rows), max(row.seen_ns for row in rows)
    more = f" and {len(execution.trace_ids) - 1} more" if len(execution.trace_ids) > 1 else ""
    started = f"{moment(rows[0].start_ns):%Y-%m-%d %H:%M:%S} UTC"
    yield terminal.paint(f"{started} · trace {execution.trace_ids[0]}{more}", "dim")
    for row, label, (_, below) in zip(shown, labels, stems, strict=True):
        style = "red" if row.result == semconv.RESULT_FAILURE else _ROLE_STYLES[row.role]
        bar = _bar(row, first_ns, last_ns, bar_cells)
        drawn = f"  {terminal.paint(bar, style)}" if bar_cells else ""
        # A long duration takes its cells from the label.
        took = max(_DURATION_CELLS, width(row.took) + 1)
        fitted = _fitted(row, label, label_cells + _DURATION_CELLS - took, terminal)
        yield f"{fitted}{row.took:>{took}}{drawn}".rstrip()
        if row.error:
            yield from _error(row.error, below, total, terminal)
    yield terminal.paint(" · ".join(_counts(execution, len(rows) - len(shown))), "dim")
    for line in whole_run.lines(execution, rows, attempts_of(execution.walk(), ())):
        yield from (terminal.paint(part, "dim") for part in _folded(line, total))


def _folded(line: str, total: int) -> Iterator[str]:
    """Break a line between its parts, so that none of them is torn."""
    first, *parts = line.split(_BETWEEN)
    for part in parts:
        if width(first) + width(_BETWEEN) + width(part) > total:
            yield cut(first, total)
            first = f"  {part}"
        else:
            first += _BETWEEN + part
    yield cut(first, total)


def _is_negligible(row: Row, top: Row) -> bool:
    if row.role not in _PHASES or row.result != semconv.RESULT_SUCCESS:
        return False
    return row.seconds is not None and row.seconds < NEGLIGIBLE * (top.seconds or 0)


def _columns(longest_label: int, total: int) -> tuple[int, int]:
    """Return the cells of labels and of bars, 0 for bars on a narrow terminal."""
    room = total - _DURATION_CELLS
    if total < _NARROWEST_WITH_BARS:
        return min(longest_label, room), 0
    label = min(longest_label, room - max(_SHORTEST_BAR, room // 3) - 2)
    return label, min(room - label - 2, _LONGEST_BAR)


def _bar(row: Row, first_ns: int, last_ns: int, cells: int) -> str:
    """Return the bar of a row, to half a cell; a row that never ended goes on to the end, dashed.

    The bar of a group is thin where none of its members runs.
    """
    end_ns = last_ns if row.end_ns is None else row.end_ns
    running = intervals(row.spans) if row.is_group and row.end_ns is not None else [(row.start_ns, end_ns)]
    drawn = [_halves(start, end, first_ns, last_ns, cells) for start, end in running]
    is_on = {half for halves in drawn for half in halves}
    whole = range(drawn[0].start, drawn[-1].stop)
    full = "┅" if row.end_ns is None else "━"
    bar = ""
    for cell in range(0, 2 * cells, 2):
        left, right = cell in is_on, cell + 1 in is_on
        thin = "─" if cell in whole and cell + 1 in whole else " "
        bar += full if left and right else "╸" if left else "╺" if right else thin
    return bar.rstrip()


def _halves(start_ns: int, end_ns: int, first_ns: int, last_ns: int, cells: int) -> range:
    """Return the halves of cells that a time covers, at least one."""
    each = 2 * cells / max(1, last_ns - first_ns)
    first = min(int((start_ns - first_ns) * each), 2 * cells - 1)
    return range(first, max(first + 1, round((end_ns - first_ns) * each)))


def _label(row: Row, stem: str) -> tuple[str, str, str, str]:
    """Return the parts of a label, each with a style of its own: guides, mark, name, notes."""
    is_marked = row.role in _ENTITIES or row.result != semconv.RESULT_SUCCESS
    notes = " · ".join(map(printable, row.notes))
    mark = f"{MARKS.get(row.result, NO_MARK)} " if is_marked else ""
    return stem, mark, printable(row.label), f"  {notes}" if notes else ""


def _fitted(row: Row, label: tuple[str, str, str, str], cells: int, terminal: Terminal) -> str:
    """Return a label of exactly so many cells; the notes are cut first, then the name."""
    stem, mark, name, notes = label
    room = cells - width(stem) - width(mark)
    name = cut(name, room)
    notes = cut(notes, room - width(name))
    style = STYLES.get(row.result, "dim")
    emphasis = ("bold",) if row.role in _ENTITIES else ()
    alarm = (style,) if row.result != semconv.RESULT_SUCCESS else ()
    painted = (
        terminal.paint(stem, "dim"),
        terminal.paint(mark, style),
        terminal.paint(name, *emphasis, *alarm),
        terminal.paint(notes, "dim"),
    )
    return "".join(painted) + " " * (room - width(name) - width(notes))


def _error(error: Error, stem: str, total: int, terminal: Terminal) -> Iterator[str]:
    """Return the lines of an error's message and the line of its frame, and those of its causes."""
    room = max(total - width(stem), _NARROWEST // 4)
    yield from _exception(error.text, error.frame, stem, room, terminal)
    for cause in error.causes[:_CAUSES]:
        inner = "  " * min(cause.depth, _DEEPEST_CAUSE)
        yield from _exception(f"{cause.relation} {cause.text}", cause.frame, stem + inner, room - len(inner), terminal)
    if len(error.causes) > _CAUSES:
        yield terminal.paint(f"{stem}… {counted(len(error.causes) - _CAUSES, 'more cause')}", "dim")


def _exception(text: str, frame: str, stem: str, room: int, terminal: Terminal) -> Iterator[str]:
    lines = [part for line in text.splitlines() for part in textwrap.wrap(printable(line), room)]
    for line in lines[:_MESSAGE_LINES]:
        yield terminal.paint(stem, "dim") + terminal.paint(line, "red")
    if len(lines) > _MESSAGE_LINES:
        yield terminal.paint(f"{stem}… {len(lines) - _MESSAGE_LINES} more lines", "dim")
    if frame:
        yield terminal.paint(f"{stem}at {cut_start(printable(frame), room - len('at '))}", "dim")


def _stems(depths: Sequence[int]) -> list[tuple[str, str]]:
    """Return the guides before each row, and before the lines below that row."""
    stems: list[tuple[str, str]] = []
    following: set[int] = set()
    for depth in reversed(depths):
        through = "".join("│  " if level in following else "   " for level in range(1, depth))
        own, below = ("├─ ", "│  ") if depth in following else ("└─ ", "   ")
        children = "│  " if depth + 1 in following else "   "
        stems.append((through + own, through + below + children) if depth else ("", children))
        following = {level for level in following if level < depth} | {depth}
    return stems[::-1]


def _counts(execution: Execution, hidden: int) -> Iterator[str]:
    spans = list(execution.walk())
    yield counted(len(spans), "span")
    yield counted(sum(span.error is not None for span in spans), "error")
    if hidden:
        yield f"{counted(hidden, 'phase')} below {NEGLIGIBLE:.0%} of the whole not shown"
