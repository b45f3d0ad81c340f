"""A task ends as without otel-flyte with any exporter, endpoint and protocol, and without export."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import datagrams, pods
from support.receiver import Protocol, Receiver
from unchanged.both_ways import BothWays
from unchanged.pictures import Picture, normalised, picture, strings, task_spans

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]


@pytest.mark.parametrize("name", ["sync", "fork", "exit", "map: sync"])
def test_task_exported_over_grpc_is_unchanged(name: str, both_ways: BothWays, receiver: Receiver) -> None:
    instrumented, bare = both_ways(name, receiver.environment("grpc"))

    assert instrumented == bare
    assert {request.protocol for request in receiver.requests()} == {"grpc"}
    assert task_spans(receiver)


@pytest.mark.parametrize(
    "name", ["sync", "shell", "surroundings", "deck", "value error", "terminated", "map: sync", "fast: sync"]
)
def test_task_without_an_exporter_is_unchanged(name: str, both_ways: BothWays) -> None:
    instrumented, bare = both_ways(name, {})

    assert instrumented == bare


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"OTEL_FLYTE_ENABLED": "false"}, id="by otel-flyte"),
        pytest.param({"OTEL_SDK_DISABLED": "true"}, id="by OpenTelemetry"),
        pytest.param({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flyte"}, id="among instrumentations"),
    ],
)
def test_task_with_telemetry_switched_off_is_unchanged(
    env: dict[str, str], both_ways: BothWays, receiver: Receiver
) -> None:
    instrumented, bare = both_ways("value error", receiver.environment() | env)

    assert instrumented == bare
    assert receiver.requests() == []


@pytest.fixture(params=["absent", "silent", "refusing"])
def failing_endpoint(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[str]:
    """An endpoint where nothing listens, nothing answers, or every export is refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if request.param == "absent":
            server.close()
        yield f"{receiver.endpoint()}/nowhere" if request.param == "refusing" else address


@pytest.mark.parametrize(("name", "protocol"), [("sync", "grpc"), ("value error", "http/protobuf")])
def test_failing_collector_changes_no_task(
    name: str, protocol: Protocol, failing_endpoint: str, both_ways: BothWays
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": failing_endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    instrumented, bare = both_ways(name, env)

    assert without_stderr(instrumented) == without_stderr(bare)


def without_stderr(whole: Picture) -> Picture:
    """Return a picture without stderr, where dropped records are reported."""
    return {part: content for part, content in whole.items() if part != "stderr"}


def test_task_whose_outputs_cannot_be_uploaded_is_unchanged(receiver: Receiver, tmp_path: Path) -> None:
    def run(root: Path, *, bare: bool) -> Picture:
        pod = pods.prepare("execute", root, "task_kinds.increment", {"value": 5}, env=receiver.environment(), bare=bare)
        execution = pod.output_prefix.parent.parent
        execution.parent.mkdir(parents=True)
        execution.write_text("no folder can be made here")
        return picture(pod.run(forked=True), root)

    bare = run(tmp_path / "bare", bare=True)

    assert bare["exit code"] == 1
    assert "FlyteUploadDataException" in bare["stderr"]
    assert run(tmp_path / "instrumented", bare=False) == bare
    assert task_spans(receiver)


def test_environment_of_user_code_gains_traceparent_alone(receiver: Receiver, tmp_path: Path) -> None:
    task, env = "task_processes.environment", receiver.environment()
    roots = tmp_path / "bare", tmp_path / "instrumented"

    results = (pods.execute(root, task, {}, env=env, bare=root == roots[0]) for root in roots)
    bare, instrumented = (
        {normalised(entry, root) for entry in strings(result)} for root, result in zip(roots, results, strict=True)
    )

    [task_span] = receiver.spans(f"task {task}")
    python_path = f"PYTHONPATH={pods.WORKFLOWS}"
    assert instrumented - bare == {python_path, f"TRACEPARENT=00-{task_span.trace_id}-{task_span.span_id}-01"}
    assert len(bare - instrumented) == 1


def test_statsd_datagrams_are_unchanged(receiver: Receiver, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        # flytekit reads the section of its statsd settings as "secrets".
        env = {"FLYTE_SECRETS_HOST": "127.0.0.1", "FLYTE_SECRETS_PORT": str(statsd.getsockname()[1])}

        pods.execute(tmp_path / "bare", "task_data.count_metrics", {"value": 2}, bare=True, env=env)
        bare = datagrams.received_by(statsd)
        env |= receiver.environment()
        pods.execute(tmp_path / "instrumented", "task_data.count_metrics", {"value": 2}, env=env)
        instrumented = datagrams.received_by(statsd)

    assert len(bare) == 3
    assert instrumented == bare
    assert task_spans(receiver)
