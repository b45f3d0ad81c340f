"""A task attempt's series in the shape of ModelArts, and the list of attempts that have some."""

import csv
import io
import json
import shlex
from collections.abc import Sequence

from otel_flyte import semconv
from otel_flyte.recording.attempts import FROM_NOWHERE, Attempt, selectors
from otel_flyte.recording.cells import duration, printable, width
from otel_flyte.recording.usage import NO_VALUE

MODELARTS = semconv.SERIES[:6]


def as_json(attempt: Attempt) -> str:
    """Give the body of ModelArts: six metrics, always all and equally long, one value a minute.

    It answers ``GET /v2/{project_id}/training-jobs/{training_job_id}/metrics/{task_id}`` with it.
    """
    rows = ",\n".join(
        json.dumps({"metric": _camel(name), "value": [_plain(value) for value in attempt.by_minute(name)]})
        for name in MODELARTS
    )
    return f'{{"metrics": [\n{rows}\n]}}'


def as_csv(attempt: Attempt) -> str:
    """Give a line for each minute, counted from 0."""
    return _csv([("minute", *map(_camel, MODELARTS)), *_by_minute(attempt)])


def as_table(attempt: Attempt) -> str:
    """Give a line for each minute as people read it, with a dash where there is no value."""
    rows = [
        (str(minute), *("-" if value == NO_VALUE else f"{value:.1f}" for value in values))
        for minute, *values in _by_minute(attempt)
    ]
    return _aligned([("minute", *map(_camel, MODELARTS)), *rows], right=True)


def list_as_table(attempts: Sequence[Attempt]) -> str:
    """Give a line for each attempt, which begins with what to call it by."""
    rows = [
        (
            shlex.quote(printable(selector)),
            printable(attempt.task),
            duration(attempt.seconds),
            str(attempt.minutes),
            attempt.source,
            attempt.result,
        )
        for selector, attempt in zip(selectors(attempts), attempts, strict=True)
    ]
    return _aligned([("TASK", "name", "duration", "minutes", "usage", "result"), *rows])


def list_as_json(attempts: Sequence[Attempt]) -> str:
    """Give the list for machines; the duration in seconds."""
    entries = [
        {
            "task": selector,
            "name": attempt.task,
            "run": attempt.run,
            "attempt": attempt.number,
            "span_id": attempt.span_id,
            "duration": attempt.seconds,
            "minutes": attempt.minutes,
            "usage": None if attempt.source == FROM_NOWHERE else attempt.source,
            "result": attempt.result,
        }
        for selector, attempt in zip(selectors(attempts), attempts, strict=True)
    ]
    return json.dumps({"tasks": entries}, indent=2)


def list_as_csv(attempts: Sequence[Attempt]) -> str:
    """Give the list as comma-separated values; the duration in seconds."""
    rows = [
        (selector, attempt.task, attempt.seconds, attempt.minutes, attempt.source, attempt.result)
        for selector, attempt in zip(selectors(attempts), attempts, strict=True)
    ]
    return _csv([("task", "name", "duration", "minutes", "usage", "result"), *rows])


def _by_minute(attempt: Attempt) -> list[tuple[float, ...]]:
    columns = [attempt.by_minute(name) for name in MODELARTS]
    return [(minute, *map(_plain, values)) for minute, values in enumerate(zip(*columns, strict=True))]


def _camel(name: str) -> str:
    """Turn the name of a series into that of ModelArts: ``cpuUsage``."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _plain(value: float) -> float:
    return int(NO_VALUE) if value == NO_VALUE else round(value, 2)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().removesuffix("\n")


def _aligned(rows: Sequence[Sequence[str]], *, right: bool = False) -> str:
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            " " * (cells - width(text)) + text if right else text + " " * (cells - width(text))
            for text, cells in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
