"""Two attempts in one process: each span, log record and data point has the identity of its own attempt."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.tasks import identity
from otel_flyte.tasks.identity import Attempt, Execution
from support import pods, programs
from support.receiver import LogRecord, MetricPoint, Receiver, Span

pytestmark = pytest.mark.quick

RUNS = {"first": 0, "second": 1}
"""Names of the executions and numbers of the attempts."""


@dataclass(frozen=True)
class Ran:
    spans: list[Span]
    logs: list[LogRecord]
    points: list[MetricPoint]
    parents: dict[str, str | None]
    stderr: str


@pytest.fixture(scope="module", params=["asyncio", "threads"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    with Receiver() as receiver:
        env = {**receiver.environment(), **programs.RAISE, "PYTHONPATH": programs.python_path()}
        ended = run_engine(request.param, tmp_path_factory.mktemp("shared"), env)
        yield Ran(receiver.spans(), receiver.logs(), receiver.metrics(), ended.printed, ended.stderr)


def run_engine(manner: str, folder: Path, env: dict[str, str]) -> programs.Ended:
    return programs.run_command([sys.executable, str(pods.WORKFLOWS / "shared_engine.py"), manner], folder, env)


def attempt(run: str) -> Attempt:
    return Attempt(Execution("shop", "production", run, org="acme"), f"node-{run}", f"node-{run}", RUNS[run])


def expected(run: str) -> dict[str, Any]:
    return {
        semconv.RUN_NAME: run,
        semconv.ORG: "acme",
        semconv.PROJECT: "shop",
        semconv.DOMAIN: "production",
        semconv.NODE_PATH: f"node-{run}",
        semconv.ACTION_NAME: f"node-{run}",
        semconv.ATTEMPT: RUNS[run],
    }


def identity_in(attributes: Any) -> dict[str, Any]:
    return {name: attributes[name] for name in expected("first") if name in attributes}


@pytest.mark.parametrize("run", RUNS)
def test_each_span_has_the_identity_of_its_attempt(ran: Ran, run: str) -> None:
    spans = [span for span in ran.spans if span.trace_id == f"{attempt(run).execution.trace_id():032x}"]

    assert {span.name for span in spans} == {
        f"task env.node-{run}",
        "running",
        semconv.PHASE_USER_CODE,
        f"task child-of-{run}",
        f"step of {run}",
        semconv.SPAN_GET_DATA,
    }
    assert [identity_in(span.attributes) for span in spans] == [expected(run)] * len(spans)


@pytest.mark.parametrize("run", RUNS)
def test_the_span_of_an_attempt_has_its_derived_id(ran: Ran, run: str) -> None:
    [task] = [span for span in ran.spans if span.name == f"task env.node-{run}"]

    assert task.span_id == f"{attempt(run).span_id(identity.ROLE_TASK):016x}"


@pytest.mark.parametrize("run", RUNS)
def test_each_log_record_has_the_identity_of_its_attempt(ran: Ran, run: str) -> None:
    bodies = {record.body: record for record in ran.logs}
    own = [bodies[f"begin of {run}"], bodies[f"child child-of-{run}"]]

    assert len(bodies) == 4
    assert [identity_in(record.attributes) for record in own] == [expected(run)] * 2
    assert [record.attributes[semconv.TASK_NAME] for record in own] == [f"env.node-{run}", f"child-of-{run}"]
    assert {record.trace_id for record in own} == {f"{attempt(run).execution.trace_id():032x}"}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("metric", [semconv.METRIC_TASK_ATTEMPTS, semconv.METRIC_TASK_DURATION])
def test_each_data_point_has_the_identity_of_its_attempt(ran: Ran, run: str, metric: str) -> None:
    points = {point.attributes[semconv.TASK_NAME]: point for point in ran.points if point.name == metric}
    own = [points[f"env.node-{run}"], points[f"child-of-{run}"]]

    assert len(points) == 4
    assert [identity_in(point.attributes) for point in own] == [expected(run)] * 2


@pytest.mark.parametrize("run", RUNS)
def test_a_lookup_in_the_cache_has_the_identity_of_its_attempt(ran: Ran, run: str) -> None:
    points = {
        point.attributes[semconv.TASK_NAME]: point for point in ran.points if point.name == semconv.METRIC_TASK_CACHE
    }

    assert len(points) == 2
    assert identity_in(points[f"cached-in-{run}"].attributes) == expected(run)


def test_captured_lines_have_the_identity_of_no_attempt_while_several_are_open(tmp_path: Path) -> None:
    with Receiver() as receiver:
        env = {**receiver.environment(), **programs.RAISE, "PYTHONPATH": programs.python_path()}
        ended = run_engine("asyncio", tmp_path, {**env, semconv.OTEL_FLYTE_CAPTURE_OUTPUT: "true"})
        lines = {each.body: each for each in receiver.logs() if semconv.LOG_IOSTREAM in each.attributes}

    alone = lines.pop("begin of first")
    assert ended.returncode == 0, ended.stderr
    assert identity_in(alone.attributes) == expected("first")
    assert alone.trace_id == f"{attempt('first').execution.trace_id():032x}"
    assert lines.keys() == {"begin of second", "child child-of-first", "child child-of-second"}
    assert [(each.trace_id, each.span_id, identity_in(each.attributes)) for each in lines.values()] == [
        ("", "", {})
    ] * 3
    assert not any(semconv.TASK_NAME in each.attributes for each in lines.values())


def test_a_failure_that_the_engine_returns_is_on_the_span_and_the_data_points_of_its_attempt(ran: Ran) -> None:
    [failed] = [span for span in ran.spans if span.status == "ERROR"]
    results = {
        point.attributes[semconv.TASK_NAME]: (point.attributes[semconv.RESULT], point.attributes.get("error.type"))
        for point in ran.points
        if point.name == semconv.METRIC_TASK_ATTEMPTS
    }

    assert (failed.name, failed.status_message) == ("task env.node-second", "second")
    assert failed.attributes[semconv.ERROR_CODE] == "CustomError"
    assert failed.attributes[semconv.ERROR_KIND] == "RECOVERABLE"
    assert failed.attributes[semconv.ERROR_ORIGIN] == "USER"
    assert results["env.node-second"] == ("failure", "CustomError")
    assert results["env.node-first"] == ("success", None)


def test_the_resource_has_no_identity_of_an_attempt(ran: Ran) -> None:
    records: list[Any] = [*ran.spans, *ran.logs, *ran.points]

    assert len(records) > 12
    assert [identity_in(record.resource) for record in records] == [{}] * len(records)


def test_child_processes_of_a_shared_process_have_no_parent(ran: Ran) -> None:
    """The environment belongs to all attempts of the process: it cannot have the span of one of them."""
    assert ran.parents == dict.fromkeys(RUNS)


def test_instruments_are_created_once(ran: Ran) -> None:
    assert "created already" not in ran.stderr
