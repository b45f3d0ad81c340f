"""The outline as a plain table, in the shape of ``FlyteExecutionSpan.explain()``: made for grep and sort."""

from collections.abc import Sequence

from otel_flyte import semconv
from otel_flyte.recording.cells import moment, printable, width
from otel_flyte.recording.outline import Line, lines
from otel_flyte.recording.tree import ExecutionTree

_COLUMNS = ("operation", "start (UTC)", "end (UTC)", "duration", "share", "entity", "notes")
_RIGHT_ALIGNED = ("duration", "share")


def render(tree: ExecutionTree) -> str:
    """Give one line for each operation, its times in UTC and its duration in seconds."""
    rows = [_COLUMNS, *(_row(line) for execution in tree.executions for line in lines(execution))]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    heading, *rendered = (_aligned(row, widths) for row in rows)
    rule = "-" * sum(widths[:-1], 2 * len(widths) + len("notes") - 2)
    return "\n".join((heading, rule, *rendered, *(f"note: {printable(remark)}" for remark in tree.remarks)))


def _row(line: Line) -> tuple[str, ...]:
    verdict = () if line.result == semconv.RESULT_SUCCESS else (line.result,)
    error = (line.error.summary, line.error.frame) if line.error else ()
    return (
        "  " * line.depth + printable(line.label),
        _timestamp(line.start_ns),
        "" if line.end_ns is None else _timestamp(line.end_ns),
        "" if line.seconds is None else f"{line.seconds:.6f}s",
        "" if line.share is None else f"{line.share:.0%}",
        printable(line.entity),
        "; ".join(printable(note) for note in (*verdict, *line.notes, *error) if note),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = []
    for column, text, cells_wide in zip(_COLUMNS, row, widths, strict=True):
        padding = " " * (cells_wide - width(text))
        cells.append(padding + text if column in _RIGHT_ALIGNED else text + padding)
    return "  ".join(cells).rstrip()


def _timestamp(nanoseconds: int) -> str:
    return f"{moment(nanoseconds):%m-%d %H:%M:%S.%f}"
