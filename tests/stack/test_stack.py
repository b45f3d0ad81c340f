"""`otel-flyte stack`, natively: one running stack with Prometheus, the collector and a log store of the user's."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from re import MULTILINE

import psutil
import pytest
import requests

from otel_flyte import semconv
from otel_flyte.stack.parts import BY_NAME
from support import file_backend, native, otlp, stack
from support.file_backend import FileBackend
from support.prometheus import Prometheus
from support.stack import Stack

OF_THE_USERS_TASKS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318",
    semconv.RESOURCE_ATTRIBUTES: "flyte.project=mine",
    semconv.SERVICE_NAME: "mine",
}
"""Variables that a user has set for tasks, and that the parts of the stack must not have."""


@pytest.fixture(scope="module")
def log_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileBackend]:
    with file_backend.running(tmp_path_factory.mktemp("log-store") / "files") as backend:
        yield backend


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, log_store: FileBackend) -> Iterator[Stack]:
    exporters = {"LOGS_EXPORTERS": "[otlp_http/existing]", "EXISTING_BACKEND_ENDPOINT": log_store.endpoint}
    folder = tmp_path_factory.mktemp("stack")
    with stack.running(folder, OF_THE_USERS_TASKS | exporters, without=stack.INSTALLED) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(running: Stack) -> Prometheus:
    return Prometheus(running.url("prometheus"))


def parts_in(output: str) -> dict[str, str]:
    """Return the lines of the parts by name, in their order."""
    lines = [line.split(maxsplit=1) for line in output.splitlines() if line.split(" ")[0] in BY_NAME]
    return {name: rest.strip() for name, rest in lines}


def test_up_on_a_running_stack_reports_every_part_and_changes_nothing(running: Stack) -> None:
    before = running.state
    again = running.run("stack", "up")
    assert again.returncode == 0
    assert again.stdout.startswith("natively (as before)\nthe stack is already running\n")
    parts = parts_in(again.stdout)
    assert list(parts) == list(BY_NAME)
    for name in ("prometheus", "collector"):
        assert re.fullmatch(rf"ready +{running.url(BY_NAME[name].ports[0])}", parts[name])
    assert re.fullmatch(
        "missing +dashboards are not shown: put `grafana` on PATH, or set OTEL_FLYTE_GRAFANA", parts["grafana"]
    )
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={running.url('otlp_http')}" in again.stdout
    assert running.state == before


def test_status_reports_every_part(running: Stack) -> None:
    status = running.run("stack", "status")
    assert status.returncode == 0
    states = [(name, line.split()[0]) for name, line in parts_in(status.stdout).items()]
    missing = dict.fromkeys(stack.INSTALLED, "missing")
    assert states == [(name, missing.get(name, "ready")) for name in BY_NAME]


def test_a_running_stack_does_not_change_its_ports(running: Stack) -> None:
    moved = running.run("stack", "up", env={"OTEL_FLYTE_STACK_LOKI_PORT": str(next(native.free_ports(1)))})
    assert moved.returncode == 1
    (line,) = moved.stderr.splitlines()
    assert line.startswith("otel-flyte: the stack is running with other ports, address or retention: ")


def test_parts_do_not_have_the_variables_of_the_users_tasks(running: Stack) -> None:
    for part in running.state["processes"]:
        environ = psutil.Process(running.pid(part)).environ()
        assert [name for name in environ if name.startswith("OTEL_") and not name.startswith("OTEL_FLYTE_")] == []
    assert "COLLECTOR_STORAGE" in psutil.Process(running.pid("collector")).environ()


def test_metrics_are_stored_with_the_promoted_attributes_as_labels(running: Stack, prometheus: Prometheus) -> None:
    running.send("metrics", otlp.gauge("flyte.task.answer", 42))
    (series,) = native.wait_until(lambda: prometheus.now("flyte_task_answer"), "the metric is not stored")
    labels = series["metric"]
    assert (labels["flyte_run_name"], labels["service_name"]) == ("f1", "flyte")
    assert "some_attribute" not in labels


def test_log_records_go_to_the_users_backend(running: Stack, log_store: FileBackend) -> None:
    running.send("logs", otlp.log_record("hello"))
    records = native.wait_until(
        lambda: [each for each in log_store.log_records() if each.body == "hello"], "the log record is not stored"
    )
    assert [record.resource for record in records] == [stack.RESOURCE]


def test_no_queue_fills_up_for_a_missing_backend(running: Stack, prometheus: Prometheus) -> None:
    running.send("traces", otlp.span("a7" * 16, "b8" * 8))
    running.send("metrics", otlp.gauge("sent.later"))
    native.wait_until(lambda: prometheus.now("sent_later"), "the metric is not stored")
    queues = [path.name for path in (running.folder / "data" / "collector").iterdir()]
    assert [name for name in queues if "prometheus" in name]
    assert [name for name in queues if "tempo" in name or "loki" in name] == []


def test_the_demo_sends_to_the_stack_and_prints_where_to_look(
    running: Stack, log_store: FileBackend, tmp_path: Path
) -> None:
    demo = running.run("demo", "--stack", env={"OTEL_TRACES_EXPORTER": "none"}, cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    links = dict(re.findall(r"^  (\w+) +(http\S+)$", demo.stdout, MULTILINE))
    assert set(links) == {"metrics"}
    found = native.wait_until(
        lambda: requests.get(links["metrics"], timeout=10).json()["data"]["result"], "the link leads to no metrics"
    )
    assert {each["metric"]["flyte_project"] for each in found} == {"demo"}
    used = {each["metric"]["__name__"] for each in found if each["metric"].get("flyte_task_name") == "demo.train"}
    assert {"flyte_task_memory_usage_bytes", "flyte_task_cpu_usage"} <= used
    native.wait_until(
        lambda: {"demo", "demo.train"} <= {*values(log_store, "flyte.project"), *values(log_store, "flyte.task_name")},
        "the log records of the demo are not stored",
    )
    for part in stack.INSTALLED:
        assert f"missing: {part}, " in demo.stdout


def values(log_store: FileBackend, attribute: str) -> set[str]:
    records = log_store.log_records()
    return {each[attribute] for record in records for each in (record.resource, record.attributes) if attribute in each}


def test_a_local_run_is_stored_under_a_name_of_its_own(running: Stack, prometheus: Prometheus, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from flytekit import task\n\n\n@task\ndef my_task() -> None:\n    print('hello')\n"
    )
    env = running.sender() | {semconv.RESOURCE_ATTRIBUTES: "", semconv.SERVICE_NAME: ""}
    ended = running.run("run", "own.py", "my_task", env=env, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    query = 'flyte_task_attempts_total{flyte_task_name="own.my_task"}'
    (series,) = native.wait_until(lambda: prometheus.now(query), "the attempt is not stored")
    assert (series["metric"]["flyte_project"], series["metric"]["flyte_domain"]) == ("local", "local")
    assert re.fullmatch(r"my-task-\d{8}t\d{6}", series["metric"]["flyte_run_name"])


def test_a_killed_part_is_reported_and_started_again(running: Stack) -> None:
    before = running.state["processes"]
    process = psutil.Process(running.pid("prometheus"))
    os.kill(process.pid, signal.SIGKILL)
    native.wait_until(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "Prometheus is not killed"
    )
    status = running.run("stack", "status")
    assert status.returncode == 1
    assert re.search(r"^prometheus +ended .*: restart it with `otel-flyte stack up`$", status.stdout, MULTILINE)
    assert running.run("stack", "up").returncode == 0
    after = running.state["processes"]
    assert after.pop("prometheus") != before.pop("prometheus")
    assert after == before
