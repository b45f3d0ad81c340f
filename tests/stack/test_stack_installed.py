"""`otel-flyte stack` with Loki and Tempo, where a person has installed them: what each backend stores and finds."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from re import MULTILINE
from typing import Any

import pytest
import requests

from support import native, otlp, stack
from support.stack import Stack


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with all parts whose binaries this machine has."""
    with stack.running(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def with_loki(request: pytest.FixtureRequest) -> Stack:
    stack.needs("loki")
    running: Stack = request.getfixturevalue("running")
    return running


@pytest.fixture
def with_tempo(request: pytest.FixtureRequest) -> Stack:
    stack.needs("tempo")
    running: Stack = request.getfixturevalue("running")
    return running


def test_a_log_record_is_found_by_its_structured_metadata(with_loki: Stack) -> None:
    with_loki.send("logs", otlp.log_record("hello"))
    (stream,) = until(lambda: streams(with_loki, '{flyte_project="p"} | flyte_run_name="f1" |= "hello"'))
    assert stream["values"][0][1] == "hello"
    assert stream["stream"]["k8s_pod_name"] == "pod-1"
    index = requests.get(with_loki.url("loki", "/loki/api/v1/labels"), timeout=10).json()["data"]
    assert "flyte_run_name" not in index
    assert "k8s_pod_name" not in index


def test_a_log_record_with_long_attributes_and_a_long_line_is_stored_completely(with_loki: Stack) -> None:
    attributes = {f"user.{number}": "x" * 16_384 for number in range(6)}
    with_loki.send("logs", otlp.log_record("y" * 300_000, **attributes))
    (stream,) = until(lambda: streams(with_loki, '{flyte_project="p"} |= "yyy"'))
    assert stream["values"][0][1] == "y" * 300_000
    assert stream["stream"]["user_5"] == "x" * 16_384


def test_the_demos_link_leads_to_its_log_records(with_loki: Stack, tmp_path: Path) -> None:
    links = links_of_demo(with_loki, tmp_path)
    lines = until(lambda: requests.get(links["logs"], timeout=10).json()["data"]["result"])
    assert "demo.train" in {each["stream"]["flyte_task_name"] for each in lines}


def test_the_demos_link_leads_to_its_trace(with_tempo: Stack, tmp_path: Path) -> None:
    links = links_of_demo(with_tempo, tmp_path)
    until(lambda: "task demo.pipeline" in requests.get(links["trace"], timeout=10).text)


def test_a_trace_is_found_by_id_by_search_and_in_traceql_metrics(with_tempo: Stack) -> None:
    with_tempo.send("traces", otlp.span("c3" * 16, "d4" * 8))
    until(lambda: trace(with_tempo, "c3" * 16))
    found = until(lambda: search(with_tempo, '{ name = "task t" && resource.flyte.run_name = "f1" }'))
    assert found[0]["rootTraceName"] == "task t"
    rates = requests.get(
        with_tempo.url("tempo", "/api/metrics/query_range"),
        params={"q": "{} | rate() by (name)", "since": "5m"},
        timeout=10,
    ).json()
    assert rates["series"]


def test_a_stack_trace_is_stored_completely(with_tempo: Stack) -> None:
    attributes = otlp.attributes({"exception.stacktrace": "x" * 8191 + "!"})
    with_tempo.send("traces", otlp.span("1f" * 16, "2e" * 8, attributes=attributes))
    assert "x!" in until(lambda: trace(with_tempo, "1f" * 16))


def test_stored_traces_survive_a_restart_and_are_deleted_on_request(tmp_path: Path) -> None:
    stack.needs("tempo")
    with stack.running(tmp_path, without=("loki", "grafana")) as first:
        first.send("traces", otlp.span("e5" * 16, "f6" * 8))
        until(lambda: trace(first, "e5" * 16))
        down = first.run("stack", "down")
        assert set(down.stdout.removeprefix("stopped: ").strip().split(", ")) == {"prometheus", "tempo", "collector"}
        assert first.run("stack", "up", "--native").returncode == 0
        until(lambda: trace(first, "e5" * 16))
        assert "data deleted" in first.run("stack", "down", "--delete").stdout
        assert not (first.folder / "data").exists()


def test_a_tempo_that_is_installed_later_gets_the_traces(tmp_path: Path) -> None:
    stack.needs("tempo")
    tempo = stack.binary("tempo")
    with stack.running(tmp_path, without=stack.INSTALLED) as running:
        assert running.run("stack", "up", env={"OTEL_FLYTE_TEMPO": str(tempo)}).returncode == 0
        running.send("traces", otlp.span("c9" * 16, "d1" * 8))
        until(lambda: trace(running, "c9" * 16))


def until(found: Callable[[], Any]) -> Any:
    return native.wait_until(found, "not found in time", interval=0.25)


def links_of_demo(running: Stack, folder: Path) -> dict[str, str]:
    demo = running.run("demo", "--stack", cwd=folder)
    assert demo.returncode == 0, demo.stderr
    return dict(re.findall(r"^  (\w+) +(http\S+)$", demo.stdout, MULTILINE))


def streams(running: Stack, query: str) -> Any:
    url = running.url("loki", "/loki/api/v1/query_range")
    return requests.get(url, params={"query": query}, timeout=10).json()["data"]["result"]


def trace(running: Stack, trace_id: str) -> str:
    """Return Tempo's answer for a trace, empty if there is none: it answers 200 for any id."""
    answer = requests.get(running.url("tempo", f"/api/v2/traces/{trace_id}"), timeout=10)
    return answer.text if "resourceSpans" in answer.text else ""


def search(running: Stack, query: str) -> Any:
    now = int(time.time())
    params: dict[str, str | int] = {"q": query, "start": now - 600, "end": now + 60}
    return requests.get(running.url("tempo", "/api/search"), params=params, timeout=10).json()["traces"]
