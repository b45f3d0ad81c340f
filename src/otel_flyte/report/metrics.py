"""A task attempt's series in the shape of ModelArts, and the list of attempts."""

import csv
import io
import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from otel_flyte import semconv
from otel_flyte.formulas import NO_VALUE
from otel_flyte.recording.attempts import NO_SOURCE, Attempt, selectors
from otel_flyte.recording.cells import duration, printable
from otel_flyte.recording.table import aligned

MODELARTS = semconv.SERIES[:6]
_COLUMNS = ("task", "name", "duration", "minutes", "usage", "result")


def as_json(attempt: Attempt) -> str:
    """Return the six metrics of ModelArts, always all and of equal length, with one value a minute.

    It is the body of ``GET /v2/{project_id}/training-jobs/{training_job_id}/metrics/{task_id}``.
    """
    rows = ",\n".join(map(json.dumps, as_lists(attempt.by_minute)))
    return f'{{"metrics": [\n{rows}\n]}}'


def as_lists(series: Callable[[str], Sequence[float]]) -> list[dict[str, Any]]:
    """Return the six metrics of ModelArts, given the function that returns a series by its name."""
    return [{"metric": _camel_case(name), "value": [_rounded(value) for value in series(name)]} for name in MODELARTS]


def as_csv(attempt: Attempt) -> str:
    """Return a line for each minute, counted from 0."""
    return _csv([("minute", *map(_camel_case, MODELARTS)), *_by_minute(attempt)])


def as_table(attempt: Attempt) -> str:
    """Return a line for each minute in aligned columns, with a dash where there is no value."""
    rows = [
        (str(minute), *("-" if value == NO_VALUE else f"{value:.1f}" for value in values))
        for minute, *values in _by_minute(attempt)
    ]
    return "\n".join(aligned([("minute", *map(_camel_case, MODELARTS)), *rows], right=range(1 + len(MODELARTS))))


def list_as_table(attempts: Sequence[Attempt]) -> str:
    """Return a line for each attempt in aligned columns, with its selector first."""
    rows = [
        (shlex.quote(printable(task)), printable(name), duration(seconds), str(minutes), *others)
        for task, name, seconds, minutes, *others in _rows(attempts)
    ]
    return "\n".join(aligned([("TASK", *_COLUMNS[1:]), *rows]))


def list_as_json(attempts: Sequence[Attempt]) -> str:
    """Return the list as JSON; the duration in seconds."""
    entries = [
        {
            **dict(zip(_COLUMNS, row, strict=True)),
            "run": attempt.run,
            "attempt": attempt.number,
            "span_id": attempt.span_id,
            "usage": None if attempt.source == NO_SOURCE else attempt.source,
        }
        for row, attempt in zip(_rows(attempts), attempts, strict=True)
    ]
    return json.dumps({"tasks": entries}, indent=2)


def list_as_csv(attempts: Sequence[Attempt]) -> str:
    """Return the list as comma-separated values; the duration in seconds."""
    rows = [(printable(task), printable(name), *others) for task, name, *others in _rows(attempts)]
    return _csv([_COLUMNS, *rows])


def _rows(attempts: Sequence[Attempt]) -> list[tuple[Any, ...]]:
    return [
        (selector, attempt.task, attempt.seconds, attempt.minutes, attempt.source, attempt.result)
        for selector, attempt in zip(selectors(attempts), attempts, strict=True)
    ]


def _by_minute(attempt: Attempt) -> list[tuple[float, ...]]:
    columns = [attempt.by_minute(name) for name in MODELARTS]
    return [(minute, *map(_rounded, values)) for minute, values in enumerate(zip(*columns, strict=True))]


def _camel_case(name: str) -> str:
    """Return the name that ModelArts has for a series: ``cpuUsage``."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _rounded(value: float) -> float:
    return int(NO_VALUE) if value == NO_VALUE else round(value, 2)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().removesuffix("\n")
