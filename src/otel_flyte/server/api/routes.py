"""The API, below ``/api/v1``."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import dropwhile, islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from otel_flyte import semconv
from otel_flyte.export import otlp_json
from otel_flyte.formulas import NO_VALUE
from otel_flyte.recording import rightsize
from otel_flyte.recording.model import LogRecord
from otel_flyte.recording.rightsize import Advice, Margins
from otel_flyte.recording.span_tree import TreeSpan
from otel_flyte.recording.tree import Analysis
from otel_flyte.server import http_answers
from otel_flyte.server.api import answers, compared, paging, parameters, series
from otel_flyte.server.api.analyses import Analyses
from otel_flyte.server.api.answers import Problem
from otel_flyte.server.api.comparisons import Comparisons
from otel_flyte.server.api.parameters import After, Key, Limit, Task
from otel_flyte.server.live import Changes
from otel_flyte.server.problems import BadRequestError, NotFoundError
from otel_flyte.server.source import Source
from otel_flyte.server.store.reader import Listed

DEEPEST = 30
READ_AT_ONCE = 20_000
"""The number of log records that one question reads: a condition may hold for few of them."""

_LONGEST_FILE_NAME = 100

_SPAN_ID = Query(pattern="^([0-9a-fA-F]{16})?$", description="The id of a span, which stands for all below it, too.")
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request can't be answered: one line says why."},
    502: {"model": Problem, "description": "A backend does not answer as it should."},
    503: {"model": Problem, "description": "The server can't answer now."},
}
_PROBLEMS_OF_STREAMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": problem["description"],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, problem in _PROBLEMS.items()
}
"""The same for routes whose answers are no JSON."""


def router(source: Source, analyses: Analyses, comparisons: Comparisons, changes: Changes) -> APIRouter:
    """Return the routes."""
    made = APIRouter(responses=_PROBLEMS, dependencies=[Depends(parameters.only_known)])
    _add_executions(made, source, analyses)
    _add_attempts(made, analyses)
    _add_logs(made, source, analyses)
    _add_comparison(made, comparisons)
    _add_streams(made, source, changes)
    return made


def _add_executions(made: APIRouter, source: Source, analyses: Analyses) -> None:
    @made.get("/executions", tags=["executions"])
    def executions(wanted: parameters.Executions, after: After = "", limit: Limit = 100) -> answers.Executions:
        """List executions, the newest first."""
        if after:
            start_ns, number = paging.parts(after, [int, int])
            wanted = replace(wanted, after=(int(start_ns), int(number)))
        found = source.executions(wanted, limit)
        last = paging.token(found[-1].start_ns, found[-1].id) if len(found) == limit else None
        return answers.Executions([answers.execution(each) for each in found], last)

    @made.get("/executions/{key}", tags=["executions"])
    def execution(
        key: Key,
        depth: Annotated[int, Query(ge=1, le=DEEPEST, description="The number of levels of spans.")] = 3,
        below: Annotated[str, _SPAN_ID] = "",
        after: After = "",
        limit: Limit = 1000,
    ) -> answers.Tree:
        """Return an execution with its spans, parents first: those from the top, or those below one."""
        analysis = analyses.of(key)
        roots = _below(analysis, below).children if below else _roots(analysis)
        spans = answers.spans(roots, depth)
        if after:
            (last,) = paging.parts(after, [str])
            spans = islice(dropwhile(lambda span: span.id != last, spans), 1, None)
        page = list(islice(spans, limit + 1))
        more = paging.token(page[limit - 1].id) if len(page) > limit else None
        listed = answers.execution(source.execution(key))
        return answers.Tree(listed, page[:limit], more, [*analysis.tree.remarks])


def _add_attempts(made: APIRouter, analyses: Analyses) -> None:
    @made.get("/executions/{key}/attempts", tags=["attempts"])
    def attempts(key: Key, after: After = "", limit: Limit = 1000) -> answers.Attempts:
        """List the attempts of tasks by start, with their usage and quota."""
        analysis = analyses.of(key)
        found = sorted(answers.attempts(analysis.attempts), key=_place)
        if after:
            start_ns, name = paging.parts(after, [int, str])
            found = [each for each in found if _place(each) > (int(start_ns), str(name))]
        more = paging.token(*_place(found[limit - 1])) if len(found) > limit else None
        return answers.Attempts(found[:limit], more, [*analysis.tree.remarks])

    @made.get("/executions/{key}/attempts/{task:path}/series", tags=["attempts"])
    def series_of(
        key: Key,
        task: Task,
        begin: parameters.From = 0,
        end: parameters.To = None,
        step: parameters.Step = 60,
    ) -> answers.SeriesOf:
        """Return the series of an attempt: averages of one minute, or of as many as a step has."""
        attempt = series.chosen(analyses.of(key).attempts, task)
        window = series.window(attempt, begin, end, step)
        return answers.SeriesOf(
            task=task,
            start_ns=attempt.start_ns,
            from_seconds=window.first * 60,
            step_seconds=window.step * 60,
            series=[
                answers.Series(name, [None if value == NO_VALUE else value for value in window.of(attempt, name)])
                for name in semconv.SERIES
            ],
        )

    @made.get("/executions/{key}/rightsize", tags=["attempts"])
    def right_size(
        key: Key,
        last: Annotated[int, Query(ge=1, le=1000, description="The number of attempts of each task.")] = rightsize.LAST,
        memory_margin: Annotated[
            float, Query(ge=0, le=10, description="A fraction of the usage.")
        ] = rightsize.MEMORY_MARGIN,
        cpu_margin: Annotated[float, Query(ge=0, le=10, description="Likewise.")] = rightsize.CPU_MARGIN,
    ) -> list[Advice]:
        """Return recommended requests and limits for each task, those with problems first."""
        return rightsize.advise(analyses.of(key).attempts, last, Margins(memory_margin, cpu_margin))


def _add_logs(made: APIRouter, source: Source, analyses: Analyses) -> None:
    @made.get("/executions/{key}/logs", tags=["logs"])
    def logs(
        *,
        key: Key,
        span: Annotated[str, _SPAN_ID] = "",
        level: parameters.Level = "",
        text: Annotated[str, Query(max_length=parameters.LONGEST_NAME, description="Part of it, in any case.")] = "",
        after: After = "",
        limit: Limit = 1000,
    ) -> answers.Logs:
        """List log records, and lines of stdout and stderr, by time."""
        spans = {each.span.span_id for each in _below(analyses.of(key), span).walk()} if span else None
        lowest, part = parameters.severity(level), text.lower()

        def is_wanted(record: LogRecord) -> bool:
            return (spans is None or record.span_id in spans) and part in (record.body or "").lower()

        found: list[answers.LogLine] = []
        remarks = [*source.remarks(key)]
        for number, line in enumerate(source.lines(key, _log_place(after)), 1):
            if line.record is not None and line.level >= lowest and is_wanted(line.record):
                found.append(answers.log_line(line.record))
            if len(found) == limit or number == READ_AT_ONCE:
                return answers.Logs(found, paging.token(line.time_ns, line.digest), remarks)
        return answers.Logs(found, None, remarks)


def _add_comparison(made: APIRouter, comparisons: Comparisons) -> None:
    @made.get("/compare", tags=["executions"])
    def compare(
        a: parameters.QueryKey, b: parameters.QueryKey, after: After = "", limit: Limit = 1000
    ) -> compared.Compared:
        """Compare two executions node by node: those that changed most first, then those that one side lacks."""
        comparison = comparisons.of(a, b)
        begin = int(paging.parts(after, [int])[0]) if after else 0
        nodes = comparison.ranked[max(0, begin) :]
        more = paging.token(begin + limit) if len(nodes) > limit else None
        return compared.answer(comparison, (a, b), nodes[:limit], more)


def _add_streams(made: APIRouter, source: Source, changes: Changes) -> None:
    @made.get(
        "/executions/{key}/recording",
        tags=["executions"],
        response_class=http_answers.Lines,
        responses=_PROBLEMS_OF_STREAMS,
    )
    async def recording(key: Key) -> StreamingResponse:
        """Download an execution as a recording: a line of OTLP JSON for some hundred records each."""
        found = await run_in_threadpool(source.execution, key)
        headers = {"Content-Disposition": f"attachment; filename={_file_name(found)}"}
        return http_answers.Lines(_lines(source, key), headers=headers)

    @made.get(
        "/executions/{key}/events",
        tags=["executions"],
        response_class=http_answers.Events,
        responses=_PROBLEMS_OF_STREAMS,
    )
    async def events(key: Key) -> StreamingResponse:
        """Return server-sent events: `changed` now and after each change, and `ended` at last.

        The data of `changed` are `version`, a text that differs after each change; `state`; `age`, the seconds since
        the last record came, or since its own time where it was fetched from a backend; and `is_over`. It comes four
        times a second at most, and every 10 seconds at least. If a backend does not
        answer, `unavailable` has the `reason`, and the stream ends.
        """
        await run_in_threadpool(source.execution, key)
        changes.check_room()
        return http_answers.Events(changes.of_execution(key))


def _file_name(execution: Listed) -> str:
    """Return the name of a download, without characters that a header, a shell or a file system could mistake."""
    safe = re.sub("[^A-Za-z0-9._-]+", "-", execution.name or execution.key).strip("-.")
    return f"{safe[:_LONGEST_FILE_NAME] or 'recording'}.jsonl"


async def _lines(source: Source, key: str) -> AsyncIterator[bytes]:
    requests = source.requests(key)
    try:
        while (found := await run_in_threadpool(next, requests, None)) is not None:
            yield await run_in_threadpool(otlp_json.line_of, found[1])
    finally:
        requests.close()


def _roots(analysis: Analysis) -> Sequence[TreeSpan]:
    return [root for execution in analysis.tree.executions for root in execution.roots]


def _below(analysis: Analysis, span_id: str) -> TreeSpan:
    found = next((span for span in analysis.tree.walk() if span.span.span_id == span_id.lower()), None)
    if found is None:
        raise NotFoundError(f"no span {span_id} is recorded: choose one of the execution's spans")
    return found


def _place(attempt: answers.AttemptOf) -> tuple[int, str]:
    return attempt.start_ns, f"{attempt.span_id} {attempt.task}"


def _log_place(after: str) -> tuple[int, str]:
    if not after:
        return -1, ""
    time_ns, digest = paging.parts(after, [int, str])
    try:
        bytes.fromhex(str(digest))
    except ValueError:
        raise BadRequestError(paging.FOREIGN) from None
    return int(time_ns), str(digest)
