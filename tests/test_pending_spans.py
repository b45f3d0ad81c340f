"""Pending spans: running tasks are visible, and killed tasks have left a trace."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk.trace import TracerProvider

import otel_flyte
from otel_flyte import semconv
from otel_flyte.export import destinations, pending_spans
from otel_flyte.export.destinations import Destinations
from otel_flyte.tasks.open_task import OpenTask
from support import pods, programs, runs
from support.receiver import LogRecord, Receiver, Span
from support.runs import Run, Runs, Scenario

ONE = {"value": 1}
NOWHERE = "http://127.0.0.1:9"
"""An endpoint where no process listens."""


@dataclass
class Lingering:
    """A pod whose telemetry is checked while its user code runs."""

    entrypoint: pods.Entrypoint = "execute"
    task: str = "traced_markers.linger"
    inputs: Mapping[str, Any] = field(default_factory=lambda: ONE)
    attempt: pods.Attempt = field(default_factory=pods.Attempt)
    seconds_until_seen: float = field(init=False)

    def __call__(self, root: Path, receiver: Receiver) -> runs.Result:
        pod = pods.prepare(
            self.entrypoint,
            root,
            self.task,
            self.inputs,
            attempt=self.attempt,
            env={**receiver.environment(), **programs.RAISE},
        )
        with pods.started(pod) as process:
            begun = wait_until_ready(pod.directory, process)
            receiver.wait_for(lambda receiver: receiver.spans(semconv.SPAN_RUNNING))
            self.seconds_until_seen = time.monotonic() - begun
            receiver.wait_for(lambda receiver: phase_records(receiver.logs()))
            assert process.poll() is None
            (pod.directory / "go on").touch()
            return pod.finish(process)


def wait_until_ready(folder: Path, process: pods.Process) -> float:
    """Return the time by ``time.monotonic``."""
    pods.wait_until((folder / "ready").exists, process)
    return time.monotonic()


def phase_records(records: list[LogRecord]) -> list[LogRecord]:
    return [record for record in records if record.attributes[semconv.EVENT_NAME] == semconv.EVENT_PHASE]


SEEN: dict[str, Lingering] = {
    "a task": Lingering(),
    "fast-execute": Lingering("fast"),
    "a map subtask": Lingering("map", inputs={"value": [1, 2]}, attempt=pods.Attempt(array_index=1)),
}
SCENARIOS: dict[str, Scenario] = {
    **SEEN,
    "modules": runs.pod("traced_markers.find_modules", {"seconds": 2.5}),
    "no log exporter": runs.pod("traced_markers.last", {"seconds": 2.5}, env={"OTEL_LOGS_EXPORTER": "none"}),
    "a short task": runs.pod("traced_markers.last", {"seconds": 0.0}),
    "locally": runs.local("traced_markers.py", "last_long_and_short", seconds=3.5),
    "ranks": runs.pod("traced_markers.train", {"seconds": 3.5}),
}


ran = runs.fixture(SCENARIOS)


def succeeded(run: Run) -> Run:
    assert run.result.returncode == 0, run.result.stderr
    return run


def records(run: Run) -> list[LogRecord]:
    """Return the log records in the order of their creation."""
    found = [record for request in run.requests if request.signal == "logs" for record in _of(request.message)]
    return sorted(found, key=lambda record: record.time_ns)


def _of(message: Any) -> Iterator[LogRecord]:
    from support import receiver

    yield from receiver._logs(message)


def pending_span_of(run: Run, span: Span) -> Span:
    [found] = [pending_span for pending_span in run.pending if pending_span.parent_span_id == span.span_id]
    return found


@pytest.mark.parametrize("name", SEEN)
def test_the_pending_span_of_a_pod_arrives_while_the_task_runs(name: str, ran: Runs) -> None:
    run = succeeded(ran(name))

    assert SEEN[name].seconds_until_seen < 5
    assert [pending_span.name for pending_span in run.pending] == [semconv.SPAN_RUNNING]


@pytest.mark.parametrize("name", SEEN)
def test_a_pending_span_is_a_child_of_the_task_with_its_identity_and_its_own_id(name: str, ran: Runs) -> None:
    run = succeeded(ran(name))
    [task] = [span for span in run.spans if semconv.ATTEMPT in span.attributes]
    pending_span = pending_span_of(run, task)

    identity = {name: value for name, value in task.attributes.items() if name in semconv.IDENTITY}
    assert len(identity) > 8
    requests = {name: value for name, value in pending_span.attributes.items() if name in semconv.IDENTITY}
    assert requests == identity
    assert pending_span.trace_id == task.trace_id
    assert pending_span.span_id not in {span.span_id for span in run.spans}
    assert pending_span.status == "UNSET"
    assert task.start_ns <= pending_span.start_ns == pending_span.end_ns <= task.end_ns


@pytest.mark.parametrize("name", SEEN)
def test_phases_are_log_records_of_the_pending_span(name: str, ran: Runs) -> None:
    run = succeeded(ran(name))
    [pending_span] = run.pending
    followed = records(run)

    assert {(record.trace_id, record.span_id) for record in followed} == {(pending_span.trace_id, pending_span.span_id)}
    assert semconv.PHASE_USER_CODE in [record.attributes[semconv.PHASE] for record in phase_records(followed)]
    for record in followed:
        assert {name: value for name, value in record.attributes.items() if name in semconv.IDENTITY} == {
            name: value for name, value in pending_span.attributes.items() if name in semconv.IDENTITY
        }
        assert record.resource == pending_span.resource
        assert record.scope == pending_span.scope == semconv.SCOPE


def test_log_records_do_not_import_the_logs_sdk(ran: Runs) -> None:
    run = succeeded(ran("modules"))
    assert run.pod.outputs is not None
    modules = [item.scalar.primitive.string_value for item in run.pod.outputs.literals["o0"].collection.literals]

    assert phase_records(records(run))
    assert "opentelemetry.sdk.resources" in modules
    assert [
        module for module in modules if module.startswith(("opentelemetry.sdk._logs", "opentelemetry.sdk.metrics"))
    ] == []


def test_a_pending_span_without_a_log_exporter_has_no_log_records(ran: Runs) -> None:
    run = succeeded(ran("no log exporter"))

    assert len(run.pending) == 1
    assert {request.signal for request in run.requests} == {"traces", "metrics"}


def test_a_short_task_in_a_pod_has_only_a_pending_span(ran: Runs) -> None:
    run = succeeded(ran("a short task"))

    assert len(run.pending) == 1
    assert records(run) == []


def test_only_long_tasks_of_local_runs_have_a_pending_span(ran: Runs) -> None:
    run = succeeded(ran("locally"))
    [workflow] = [span for span in run.spans if span.name.startswith("workflow ")]
    long, short = run.tasks

    assert pending_span_of(run, workflow).attributes[semconv.WORKFLOW_NAME] == "traced_markers.last_long_and_short"
    assert pending_span_of(run, long).attributes[semconv.TASK_NAME] == "traced_markers.last"
    assert short.span_id not in {pending_span.parent_span_id for pending_span in run.pending}
    assert len(run.pending) == 2


def test_a_rank_has_its_own_pending_span(ran: Runs) -> None:
    run = succeeded(ran("ranks"))
    rank = run.named(semconv.SPAN_RANK)

    assert pending_span_of(run, rank).trace_id == rank.trace_id
    assert pending_span_of(run, run.attempt).span_id != pending_span_of(run, rank).span_id


def test_more_open_files_than_select_supports_cause_neither_loss_nor_load(tmp_path: Path, receiver: Receiver) -> None:
    ended = programs.run(
        """
        import json, os, resource, time
        import traced_markers

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        traced_markers.last(seconds=0.0)
        began = time.process_time()
        traced_markers.last(seconds=3.5)
        print(json.dumps(time.process_time() - began))
        """,
        tmp_path,
        receiver.environment() | programs.RAISE,
    )

    assert ended.printed < 1
    assert len(receiver.spans(semconv.SPAN_RUNNING)) == 1


# --- killed tasks ----------------------------------------------------------------------------------------------------


def test_a_killed_attempt_is_explained_as_never_ended_with_its_phase_and_the_time_in_it(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_FLYTE_SPOOL": str(spool)}
    pod = pods.prepare("execute", tmp_path / "pod", "traced_markers.linger", ONE, env=env)
    with pods.started(pod) as process:
        wait_until_ready(pod.directory, process)
        pods.wait_until(lambda: any(semconv.EVENT_HEARTBEAT in file.read_text() for file in spooled(spool)), process)
        process.kill()
        result = pod.finish(process)

    assert result.returncode == -signal.SIGKILL
    explained = explain(tmp_path, *spooled(spool))
    assert "traced_markers.linger" in explained
    assert "never ended" in explained
    assert "last seen in user code for 1" in explained  # About 10 s.


def test_a_killed_local_run_is_explained_by_its_workflow_and_its_task(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    program = [str(pods.SCRIPTS / "pyflyte"), "run", str(pods.WORKFLOWS / "traced_markers.py"), "linger_locally"]
    process = subprocess.Popen(
        [*program, "--value", "1"],
        cwd=tmp_path,
        env={
            "PATH": os.pathsep.join([str(pods.SCRIPTS), os.defpath]),
            "HOME": str(tmp_path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE,
            "OTEL_FLYTE_SPOOL": str(spool),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        wait_until_ready(tmp_path, process)
        pods.wait_until(lambda: sum(file.read_text().count('"pending"') for file in spooled(spool)) >= 2, process)
        process.kill()
        process.communicate()

    explained = explain(tmp_path, *spooled(spool))
    assert "traced_markers.linger_locally" in explained
    assert "traced_markers.linger " in explained
    assert "unknown" not in explained
    assert "never ended" in explained


def spooled(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def explain(folder: Path, *files: Path) -> str:
    ended = programs.run_command([str(pods.SCRIPTS / "otel-flyte"), "explain", *map(str, files)], folder)
    assert ended.stderr == "", ended.stderr
    return ended.stdout


# --- limits ----------------------------------------------------------------------------------------------------------


class Clock(SimpleNamespace):
    """The used part of the module ``time``, controlled by a test."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pending_spans, "time", clock)
    return clock


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ExportLogsServiceRequest]:
    """The requests that would be sent to a receiver."""
    sent: list[ExportLogsServiceRequest] = []
    queue: Any = SimpleNamespace(put_request=sent.append)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOWHERE)
    found = Destinations()
    found.queues.append(queue)
    monkeypatch.setattr(destinations, "of", lambda signal: found)
    return sent


@pytest.fixture
def scope() -> Iterator[OpenTask]:
    otel_flyte.providers.given_tracer_provider = TracerProvider(shutdown_on_exit=False)
    scope = OpenTask("task spam", context_api.get_current(), None, attributes={semconv.TASK_NAME: "spam"})
    yield scope
    scope.close()
    pending_spans._tick()
    otel_flyte.providers.given_tracer_provider = None


def names_of(requests: list[ExportLogsServiceRequest]) -> list[str]:
    records = [request.resource_logs[0].scope_logs[0].log_records[0] for request in requests]
    return [
        attribute.value.string_value
        for record in records
        for attribute in record.attributes
        if attribute.key == "event.name"
    ]


def test_a_long_phase_has_a_bounded_number_of_heartbeats(
    clock: Clock, requests: list[ExportLogsServiceRequest], scope: OpenTask
) -> None:
    scope.open_phase(semconv.PHASE_USER_CODE, scope)
    pending_spans.announce(scope)
    for clock.now in range(0, 86_400, 10):
        pending_spans._tick()
    assert 40 < len(requests) < 80
    assert set(names_of(requests)) == {semconv.EVENT_HEARTBEAT}

    for clock.now in range(86_400, 365 * 86_400, 3600):
        pending_spans._tick()
    assert len(requests) == pending_spans.RECORDS_LIMIT == 100


@pytest.mark.parametrize(("phase", "text"), [("", "running for 10 s"), (semconv.PHASE_USER_CODE, "user code for 10 s")])
def test_a_heartbeat_is_a_sentence_without_a_phase_too(
    phase: str, text: str, clock: Clock, requests: list[ExportLogsServiceRequest], scope: OpenTask
) -> None:
    if phase:
        scope.open_phase(phase, scope)
    pending_spans.announce(scope)
    clock.now = 10
    pending_spans._tick()
    (request,) = requests
    assert request.resource_logs[0].scope_logs[0].log_records[0].body.string_value == text


def test_the_number_of_log_records_for_frequent_phases_is_bounded(
    clock: Clock, requests: list[ExportLogsServiceRequest], scope: OpenTask
) -> None:
    pending_spans.announce(scope)
    for second in range(1000):
        scope.open_phase(f"phase {second}", scope)
        clock.now = second
        pending_spans._tick()
        scope.close_phase()

    assert len(requests) == 100
    assert set(names_of(requests)) == {semconv.EVENT_PHASE}


def test_an_ended_task_has_no_further_log_records(
    clock: Clock, requests: list[ExportLogsServiceRequest], scope: OpenTask
) -> None:
    pending_spans.announce(scope)
    inner = OpenTask("task eggs", context_api.get_current(), None)
    inner.open_phase(semconv.PHASE_USER_CODE, inner)
    pending_spans.announce(inner)
    inner.close()
    clock.now = 1000
    pending_spans._tick()

    assert [request.resource_logs[0].scope_logs[0].log_records[0].body.string_value for request in requests] == [
        "running for 1000 s"
    ]
