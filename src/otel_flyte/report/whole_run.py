"""An execution as a whole, as data of the page and as words: lanes of resources, critical path, markers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.cells import counted, duration, percent, printable
from otel_flyte.recording.critical_path import CriticalPath, critical_path
from otel_flyte.recording.lanes import lanes_of
from otel_flyte.recording.markers import markers_of
from otel_flyte.recording.path_parts import parts_of, row_of_span
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import MANY, Row
from otel_flyte.recording.span_tree import Execution, TreeSpan

Json: TypeAlias = Any

_FEW, _NAMED = 12, 4
"""The number of parts of the path in words, and of those that have a name."""


def page_data(
    execution: Execution, rows: Sequence[Row], attempts: Iterable[Attempt], indices: Mapping[str, int], end_ns: int
) -> dict[str, Json]:
    """Return the data of the page, with times in microseconds since the start.

    Args:
        execution: the execution.
        rows: all its rows.
        attempts: those of the recording.
        indices: the index of each span by its id.
        end_ns: the end of what is shown.
    """
    start_ns, _ = times_of(rows)
    lanes = [
        [lane.title, lane.unit, lane.words, lane.remark, lane.reserved, lane.used]
        for lane in lanes_of(execution, attempts, start_ns, end_ns)
    ]
    path, places = critical_path(execution, end_ns), row_of_span(rows)
    parts = [
        [part.row, _micro(part.begin_ns, start_ns), _micro(part.end_ns, start_ns), int(part.is_waiting), part.name]
        for part in parts_of(path, rows, places)
    ]
    return {
        "lanes": lanes,
        "path": {
            "parts": parts,
            **(_in_few_parts(path, rows, places) if len(parts) > 1 else {}),
            "rows": list(_ranges(sorted({places[span] for span in path.spans}))),
            "slacks": list(_slacks(path, rows, places)),
        },
        "markers": dict(_markers(rows, start_ns, indices)),
    }


def lines(execution: Execution, rows: Sequence[Row], attempts: Iterable[Attempt]) -> Iterator[str]:
    """Return the critical path and the totals of the lanes, each as a line; no line for what says nothing."""
    path = critical_path(execution)
    longest = _longest(path, rows, _nearest_row(execution, rows))
    if len(longest) > 1:
        yield f"critical path: {' · '.join(_in_words(longest, path))}"
    for lane in lanes_of(execution, attempts, *times_of(rows)):
        yield " · ".join(filter(None, (f"{lane.title}: {lane.words}", lane.remark)))


def times_of(rows: Sequence[Row]) -> tuple[int, int]:
    """Return start and end of an execution in nanoseconds since the epoch."""
    return min(row.start_ns for row in rows), max(row.seen_ns for row in rows)


def _longest(path: CriticalPath, rows: Sequence[Row], places: Mapping[TreeSpan, int]) -> list[tuple[str, int]]:
    """Return the names of a few parts with their nanoseconds, the longest first; those of one name together."""
    outermost = list(_outside_of_groups(rows))
    took: Counter[str] = Counter()
    for part in parts_of(path, rows, {span: outermost[row] for span, row in places.items()}, _FEW):
        took[part.name] += part.end_ns - part.begin_ns
    return took.most_common()


def _outside_of_groups(rows: Sequence[Row]) -> Iterator[int]:
    """Return for each row the large group that it is in, else itself: a terminal does not show all of its members."""
    group, depth = -1, 0
    for index, row in enumerate(rows):
        if group < 0 or row.depth <= depth:
            group, depth = (index, row.depth) if row.is_group and len(row.spans) > MANY else (-1, 0)
        yield index if group < 0 else group


def _in_few_parts(path: CriticalPath, rows: Sequence[Row], places: Mapping[TreeSpan, int]) -> dict[str, Json]:
    return {"longest": [[name, length_ns // 1000] for name, length_ns in _longest(path, rows, places)[:_NAMED]]}


def _in_words(longest: Sequence[tuple[str, int]], path: CriticalPath) -> Iterator[str]:
    whole = max(1, path.parts[-1].end_ns - path.parts[0].begin_ns)
    for name, length_ns in longest[:_NAMED]:
        yield f"{percent(length_ns / whole)} {printable(name)} ({duration(length_ns / 1e9)})"
    if len(longest) > _NAMED:
        yield counted(len(longest) - _NAMED, "more part")


def _nearest_row(execution: Execution, rows: Sequence[Row]) -> dict[TreeSpan, int]:
    """Return the row of each span where some rows are left out: else that of the group, or of the span above it."""
    # A group is below the groups around it, and its row replaces theirs.
    found = {span: index for index, row in enumerate(rows) for span in row.spans} | row_of_span(rows)
    for span in execution.walk():
        for child in span.children:
            found.setdefault(child, found[span])
    return found


def _ranges(numbers: Sequence[int]) -> Iterator[int]:
    """Return the first and the count of each run of numbers, by turns."""
    if not numbers:
        return
    breaks = [at for at, (one, next_one) in enumerate(pairwise(numbers), 1) if next_one != one + 1]
    for begin, end in pairwise([0, *breaks, len(numbers)]):
        yield from (numbers[begin], end - begin)


def _slacks(path: CriticalPath, rows: Sequence[Row], places: Mapping[TreeSpan, int]) -> Iterator[int]:
    """Return rows and their slacks by turns."""
    for span, slack_ns in path.slacks.items():
        index = places[span]
        if rows[index].span is span and slack_ns >= 1000:
            yield from (index, slack_ns // 1000)


def _markers(rows: Iterable[Row], start_ns: int, indices: Mapping[str, int]) -> Iterator[tuple[int, Json]]:
    for row in rows:
        if row.span is not None and row.role in (Role.ATTEMPT, Role.ITEM):
            found = markers_of(row.span)
            if found:
                yield (
                    indices[row.span.span.span_id],
                    [
                        [kind, _micro(begin_ns, start_ns), None if end_ns is None else _micro(end_ns, start_ns), words]
                        for kind, begin_ns, end_ns, words in found
                    ],
                )


def _micro(time_ns: int, start_ns: int) -> int:
    return (time_ns - start_ns) // 1000
