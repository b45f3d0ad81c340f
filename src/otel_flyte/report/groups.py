"""The data of the panel of a group: what its members are called and used, and which of them are stragglers."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from otel_flyte import semconv
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import Row
from otel_flyte.recording.stragglers import Spread, spread_of
from otel_flyte.recording.usage import number

Json: TypeAlias = Any

_LONGEST_REASON = 100


def groups_of(rows: Sequence[Row]) -> dict[int, Json]:
    """Return the data of each group by the index of its row. Durations are microseconds.

    Facts of members are columns in the order of the rows: the index in the map, the number of attempts, the peak of
    memory in bytes, mean cores. A column is empty where no member has such a fact, or each had one attempt.
    """
    places = {id(row): place for place, row in enumerate(rows)}
    return {
        place: _group(row, places)
        for place, row in enumerate(rows)
        if row.is_group and len(row.members) > 1 and id(row.members[0]) in places
    }


def _group(group: Row, places: Mapping[int, int]) -> Json:
    spread = spread_of(group.members)
    members = sorted(group.members, key=lambda member: places[id(member)])
    index, attempts, memory, cores = zip(*map(_facts, members), strict=True)
    return {
        "noun": _noun(group),
        "count": len(members),
        "index": _column(index, None),
        "attempts": _column(attempts, 1),
        "memory": _column(memory, None),
        "cores": _column(cores, None),
        **({} if spread is None else _spread(spread, places)),
    }


def _column(values: Sequence[Json], usual: Json) -> list[Json]:
    return [] if all(value == usual for value in values) else list(values)


def _noun(group: Row) -> str:
    first = group.members[0]
    if first.role is Role.ATTEMPT and first.label.startswith("attempt "):
        return "attempt"
    return "item" if first.role is Role.ITEM or first.spans[0].array_index is not None else "span"


def _facts(member: Row) -> list[Json]:
    last = member.spans[-1]
    own = last.span.attributes
    attempts = {span.attempt for span in member.spans if span.attempt is not None}
    cores = number(own.get(semconv.USAGE_CPU_MEAN))
    return [
        last.array_index,
        max(len(attempts), (last.attempt or 0) + 1),
        number(own.get(semconv.USAGE_MEMORY_PEAK)),
        None if cores is None else round(cores, 3),
    ]


def _spread(spread: Spread, places: Mapping[int, int]) -> Json:
    return {
        "median": round(spread.median * 1e6),
        "threshold": None if spread.threshold is None else round(spread.threshold * 1e6),
        "stragglers": [
            [places[id(each.row)], round(each.extra * 1e6), each.reason[:_LONGEST_REASON]] for each in spread.stragglers
        ],
    }
