"""The critical path in terms of the rows of an execution: a few parts, each with the time that it took."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from otel_flyte.recording.critical_path import CriticalPath
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import DEEPEST, Row
from otel_flyte.recording.span_tree import TreeSpan

WAITING = "waiting"
"""The name of a part in which nothing below its row runs."""

_LONGEST_NAME = 100
_INNER = (Role.PHASE, Role.TRANSFER)

MOST = 24
"""The number of parts up to which the path is split."""


class RowPart(NamedTuple):
    """A part of the path, in nanoseconds since the epoch.

    Attributes:
        row: the index of its row.
        name: that of its row; a phase, a retry or an item has the names above it, too.
        is_waiting: whether nothing below the row ran meanwhile.
    """

    row: int
    begin_ns: int
    end_ns: int
    is_waiting: bool
    name: str = ""


def row_of_span(rows: Sequence[Row]) -> dict[TreeSpan, int]:
    """Return the index of the row of each span; that of a span without a row is the row above it."""
    found: dict[TreeSpan, int] = {}
    for index, row in enumerate(rows):
        if row.span is not None:
            found[row.span] = index
        if row.depth == DEEPEST:
            found.update((below, index) for span in row.spans for below in span.walk())
    return found


def parts_of(
    path: CriticalPath, rows: Sequence[Row], places: Mapping[TreeSpan, int], most: int = MOST
) -> list[RowPart]:
    """Return the parts of the path in order, as deep in the tree as a number of parts allows.

    A wait between two parts of the same row belongs to that row. Where even the outermost rows are more, the longest
    parts are returned.
    """
    parents = _parents(rows)
    whole = [
        RowPart(0 if part.span is None else places[part.span], part.begin_ns, part.end_ns, part.is_waiting)
        for part in path.parts
    ]
    fitting = list(_merged(whole, rows, parents, 1))
    for depth in range(2, max((rows[part.row].depth for part in whole), default=0) + 1):
        finer = list(_merged(whole, rows, parents, depth))
        if len(finer) > most:
            break
        fitting = finer
    longest = sorted(fitting, key=lambda part: part.begin_ns - part.end_ns)[:most]
    return [
        part._replace(name=WAITING if part.is_waiting else _name(part.row, rows, parents))
        for part in sorted(longest, key=lambda part: part.begin_ns)
    ]


def _name(row: int, rows: Sequence[Row], parents: Sequence[int]) -> str:
    """Return ``task train.fit / attempt 1 / user code``."""
    names = [rows[row].label]
    while parents[row] >= 0 and (rows[row].role in _INNER or _is_member(rows[row], rows[parents[row]])):
        row = parents[row]
        names.append(rows[row].label)
    return " / ".join(name[:_LONGEST_NAME] for name in reversed(names))


def _is_member(row: Row, above: Row) -> bool:
    """Return whether a row is an attempt of the node above or an item of the map above, and is named by its number."""
    return row.role in (Role.ATTEMPT, Role.ITEM) and above.is_group and row.label != above.label


def _parents(rows: Sequence[Row]) -> list[int]:
    parents, above = [], [-1]
    for index, row in enumerate(rows):
        del above[row.depth + 1 :]
        parents.append(above[-1])
        above.append(index)
    return parents


def _merged(parts: Sequence[RowPart], rows: Sequence[Row], parents: Sequence[int], depth: int) -> Iterator[RowPart]:
    """Return the parts of rows up to a depth, neighbours of one row as one part."""
    merged: list[RowPart] = []
    for part in parts:
        row = part.row
        while rows[row].depth > depth:
            row = parents[row]
        is_waiting = part.is_waiting and row == part.row
        following = part._replace(row=row, is_waiting=is_waiting)
        before = merged[-1] if merged else None
        if before and before.row == row and before.is_waiting == is_waiting:
            merged[-1] = before._replace(end_ns=part.end_ns)
        elif before and before.is_waiting and len(merged) > 1 and merged[-2].row == row and not is_waiting:
            merged.pop()
            merged[-1] = merged[-1]._replace(end_ns=part.end_ns)
        else:
            merged.append(following)
    yield from merged
