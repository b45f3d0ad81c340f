"""The critical path of small trees, whose path is known by hand."""

import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from otel_flyte import semconv
from otel_flyte.recording.critical_path import CriticalPath, critical_path
from otel_flyte.recording.model import Attributes, Event, Span
from otel_flyte.recording.path_parts import parts_of, row_of_span
from otel_flyte.recording.rows import rows_of
from otel_flyte.recording.span_tree import Execution
from otel_flyte.recording.tree import ExecutionTree
from support import traces, usages

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

SECOND = 10**9


def span(
    name: str,
    start: float,
    end: float | None,
    parent: str | None = None,
    *,
    role: str = "attempt",
    attributes: Attributes | None = None,
) -> Span:
    """Return a span with its name as its id."""
    own = {semconv.SPAN_ROLE: role, **(attributes or {})}
    end_ns = None if end is None else round(end * SECOND)
    return Span("t", name, parent, name, round(start * SECOND), end_ns, attributes=own)


def execution_of(*spans: Span) -> Execution:
    (execution,) = ExecutionTree.from_spans(spans).executions
    return execution


def path_of(*spans: Span) -> CriticalPath:
    return critical_path(execution_of(*spans))


def parts(path: CriticalPath) -> list[tuple[str, float, float]]:
    """Return name, begin and end of each part, in seconds."""
    return [
        (
            ("waiting in " if part.is_waiting else "") + (part.span.span.name if part.span else "execution"),
            part.begin_ns / SECOND,
            part.end_ns / SECOND,
        )
        for part in path.parts
    ]


def slacks(path: CriticalPath) -> dict[str, float]:
    return {each.span.name: slack / SECOND for each, slack in path.slacks.items()}


def names(path: CriticalPath) -> set[str]:
    return {each.span.name for each in path.spans}


def workflow(end: float | None) -> Span:
    return span("workflow", 0, end, role="execution")


def test_tasks_one_after_the_other_are_all_on_the_path() -> None:
    path = path_of(workflow(10), span("a", 0, 4, "workflow"), span("b", 4, 10, "workflow"))

    assert parts(path) == [("a", 0, 4), ("b", 4, 10)]
    assert slacks(path) == {}


def test_time_between_tasks_is_waiting() -> None:
    path = path_of(workflow(12), span("a", 1, 4, "workflow"), span("b", 6, 10, "workflow"))

    waiting = "waiting in workflow"
    assert parts(path) == [(waiting, 0, 1), ("a", 1, 4), (waiting, 4, 6), ("b", 6, 10), (waiting, 10, 12)]


def test_of_parallel_tasks_the_last_to_end_is_on_the_path_and_the_other_has_slack() -> None:
    path = path_of(
        workflow(20),
        span("a", 0, 5, "workflow"),
        span("long", 5, 15, "workflow"),
        span("short", 5, 8, "workflow"),
        span("last", 15, 20, "workflow"),
    )

    assert parts(path) == [("a", 0, 5), ("long", 5, 15), ("last", 15, 20)]
    assert names(path) == {"workflow", "a", "long", "last"}
    assert slacks(path) == {"short": 7}


def test_a_task_that_runs_beside_two_others_does_not_replace_the_first_of_them() -> None:
    path = path_of(
        workflow(20), span("a", 0, 5, "workflow"), span("beside", 0, 18, "workflow"), span("b", 6, 20, "workflow")
    )

    assert parts(path) == [("a", 0, 5), ("waiting in workflow", 5, 6), ("b", 6, 20)]
    assert slacks(path) == {"beside": 2}


def test_the_path_goes_through_all_attempts_of_a_node() -> None:
    node = {semconv.NODE_PATH: "n0", semconv.RUN_NAME: "r"}
    path = path_of(
        span("first", 0, 4, attributes={**node, semconv.ATTEMPT: 0}),
        span("second", 6, 10, attributes={**node, semconv.ATTEMPT: 1}),
    )

    assert parts(path) == [("first", 0, 4), ("waiting in execution", 4, 6), ("second", 6, 10)]


def test_a_killed_attempt_ends_with_its_last_sign_and_not_with_the_execution() -> None:
    node = {semconv.NODE_PATH: "n0", semconv.RUN_NAME: "r"}
    killed = span("killed", 0, None, attributes={**node, semconv.ATTEMPT: 0})
    killed.events = (Event("heartbeat", 3 * SECOND),)
    path = path_of(killed, span("second", 6, 10, attributes={**node, semconv.ATTEMPT: 1}))

    assert parts(path) == [("killed", 0, 3), ("waiting in execution", 3, 6), ("second", 6, 10)]


def test_a_map_with_few_at_a_time_is_the_chain_that_ended_last() -> None:
    items = [
        span(f"item {index}", start, end, attributes={semconv.ARRAY_INDEX: index})
        for index, (start, end) in enumerate([(0, 3), (0, 5), (3, 9), (5, 7)])
    ]
    path = path_of(*items)

    assert parts(path) == [("item 0", 0, 3), ("item 2", 3, 9)]
    assert slacks(path) == {"item 1": 4, "item 3": 2}


def test_the_innermost_spans_are_the_parts_and_the_rest_of_a_task_is_its_own() -> None:
    path = path_of(
        workflow(10),
        span("task", 0, 10, "workflow"),
        span("load", 1, 3, "task", role="phase"),
        span("user code", 3, 9, "task", role="phase"),
        span("step", 4, 5, "user code", role="user"),
    )

    assert parts(path) == [
        ("task", 0, 1),
        ("load", 1, 3),
        ("user code", 3, 4),
        ("step", 4, 5),
        ("user code", 5, 9),
        ("task", 9, 10),
    ]


def test_a_child_outside_its_parent_counts_only_inside() -> None:
    path = path_of(
        workflow(20),
        span("task", 5, 10, "workflow"),
        span("too early", 3, 6, "task", role="user"),
        span("too late", 8, 13, "task", role="user"),
        span("elsewhere", 14, 15, "task", role="user"),
    )

    waiting = "waiting in workflow"
    assert parts(path) == [
        (waiting, 0, 5),
        ("too early", 5, 6),
        ("task", 6, 8),
        ("too late", 8, 10),
        (waiting, 10, 20),
    ]


def test_clocks_that_differ_by_milliseconds_do_not_hide_a_task() -> None:
    path = path_of(workflow(10), span("a", 0, 4.006, "workflow"), span("b", 4, 10, "workflow"))

    assert parts(path) == [("a", 0, 4), ("b", 4, 10)]


def test_what_a_submission_submits_may_run_after_it() -> None:
    path = path_of(
        workflow(10),
        span("submit", 0, 1, "workflow", role="submission"),
        span("launched", 2, 9, "submit", role="attempt"),
    )

    assert parts(path) == [("submit", 0, 2), ("launched", 2, 9), ("waiting in workflow", 9, 10)]


def test_a_task_that_runs_is_on_the_path_up_to_the_last_sign() -> None:
    running = span("running", 4, None, "workflow")
    running.events = (Event("heartbeat", 9 * SECOND),)
    path = path_of(workflow(None), span("a", 0, 4, "workflow"), span("b", 4, 10, "workflow"), running)

    assert path.parts[-1].end_ns == 10 * SECOND
    assert {"a", "running"} <= names(path)


def test_parts_have_no_gap_and_no_overlap_and_cover_the_whole(tmp_path: Path) -> None:
    traces.execution(traces.Recorder.of_file(tmp_path / "f.jsonl", traces.EXECUTION_RESOURCE))
    (execution,) = ExecutionTree.from_file(tmp_path / "f.jsonl").executions
    path = critical_path(execution)

    assert path.parts[0].begin_ns == traces.nanoseconds(0)
    assert path.parts[-1].end_ns == traces.nanoseconds(108)
    assert all(before.end_ns == after.begin_ns for before, after in zip(path.parts, path.parts[1:], strict=False))


def labels(execution: Execution, most: int) -> list[str]:
    rows = list(rows_of(execution, complete=True))
    found = parts_of(critical_path(execution), rows, row_of_span(rows), most)
    return [("waiting in " if part.is_waiting else "") + rows[part.row].label for part in found]


def steps(many: int) -> Iterable[Span]:
    return (span(f"step {index}", 2 + index, 3 + index, "user code", role="user") for index in range(many))


def test_parts_are_as_fine_as_their_number_allows() -> None:
    few = execution_of(
        workflow(20), span("task", 1, 20, "workflow"), span("user code", 2, 20, "task", role="phase"), *steps(18)
    )

    assert labels(few, 24) == ["waiting in workflow", "task", *(f"step {index}" for index in range(18))]
    assert labels(few, 10) == ["waiting in workflow", "task", "user code"]
    assert labels(few, 2) == ["waiting in workflow", "task"]


def test_a_map_is_one_part_where_its_items_are_many(tmp_path: Path) -> None:
    recorder = traces.Recorder.of_file(tmp_path / "f.jsonl", traces.EXECUTION_RESOURCE)
    for index in range(40):
        what = {**usages.node(f"n0/n{index}", "train.score"), semconv.ARRAY_INDEX: index}
        recorder.task("train.score", 2 * index, 2 * index + 1, what, parent=traces.in_execution(index))
    recorder.task("train.fit", 90, 100, usages.node("n1", "train.fit"), parent=traces.in_execution(99))
    (execution,) = ExecutionTree.from_file(tmp_path / "f.jsonl").executions

    assert labels(execution, 24) == ["task train.score", "waiting in execution f1c0ffee", "task train.fit"]


def test_a_path_of_many_tasks_has_its_longest_parts() -> None:
    tasks = [
        span(f"task {index}", 10 * index, 10 * index + (9 if index == 20 else 5), "workflow") for index in range(40)
    ]
    found = labels(execution_of(workflow(400), *tasks), 5)

    assert len(found) == 5
    assert "task 20" in found


def test_thousands_of_nested_submissions_take_a_moment() -> None:
    """A submission may run on after its end, and is asked about all that is below it."""
    roles = (semconv.SPAN_ROLE_ATTEMPT, semconv.SPAN_ROLE_SUBMISSION)
    nested = [span(str(at), at, 50_000 - at, str(at - 1) if at else None, role=roles[at % 2]) for at in range(12_000)]
    execution = execution_of(*nested)
    begun = time.monotonic()
    path = critical_path(execution)
    assert time.monotonic() - begun < 12
    assert len(path.spans) == 12_000
