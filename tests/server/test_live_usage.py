"""The usage of running tasks on the server's page: of a real task, and of devices whose points are sent by hand."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from opentelemetry import trace

from otel_flyte import semconv
from otel_flyte.recording.otlp_file import read
from otel_flyte.recording.tree import Analysis
from otel_flyte.report.data import page_data
from support import otlp, served_runs, traces, usages
from support.browser import CHROMIUM, MISSING, Browser
from support.server import Served, environment

pytestmark = pytest.mark.newest_only

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

SECONDS = 60

BUSY = """
import time

from flytekit import Resources, task, workflow


@task(requests=Resources(cpu="1", mem="200Mi"), limits=Resources(cpu="2", mem="400Mi"))
def fit(seconds: int) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(10_000))
        time.sleep(0.01)
    return seconds


@workflow
def train(seconds: int = 90) -> int:
    return fit(seconds=seconds)
"""


def until(found: Callable[[], Any]) -> Any:
    """Return what a function returns once that is true."""
    end = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return value


@contextmanager
def busy(served: Served, folder: Path, **variables: str) -> Iterator[str]:
    """Run a task whose telemetry goes to the server; the value is the key of its execution."""
    (folder / "busy.py").write_text(BUSY)
    command = [sys.executable, "-m", "otel_flyte", "run", "busy.py", "train"]
    environ = {**environment(), semconv.ENDPOINT: served.otlp_http, **variables}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield until(served.executions)[0]["key"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def charts(served: Served, key: str) -> dict[str, Any]:
    """Return the charts of the only attempt with any, by title."""
    (execution,) = served.get(f"/data/{quote(key, safe='')}").json()["executions"]
    return {
        chart["title"]: chart | {"start": execution["start"]}
        for drawn, _ in execution["charts"].values()
        for chart in drawn
    }


@needs_chromium
def test_the_curves_of_a_running_task_grow_and_are_seconds_late(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    with busy(served, tmp_path) as key:
        chromium.open(f"{served.url}/executions/{quote(key, safe='')}")
        chromium.ready()
        until(lambda: len(_drawn(chromium, "CPU")) > 2)
        before = _drawn(chromium, "CPU")
        until(lambda: len(_drawn(chromium, "CPU")) >= len(before) + 2)
        chromium.screenshot(pictures / "live-usage.png")
        found = charts(served, key)
        late = time.time() - found["CPU"]["start"] / 1e6 - found["CPU"]["seconds"]
        assert "running" in chromium.text("header")
    assert late < 5
    assert found["CPU"]["step"] == pytest.approx(2, abs=1)
    assert {curve[0]: curve[1][-1] for curve in found["CPU"]["curves"]} | {"used": 0} == {
        "limit": 2.0,
        "allocated": 1.0,
        "used": 0,
    }
    assert found["Memory"]["unit"] == "% of the request"
    assert chromium.complaints == []


def _drawn(chromium: Browser, title: str) -> list[str]:
    """Return the steps of the curve of usage in a chart of the page."""
    figures = "[...document.querySelectorAll('figure')]"
    figure = f"{figures}.find(each => each.querySelector('b').textContent === {json.dumps(title)})"
    path = chromium.run(f"{figure}?.querySelector('path.used')?.getAttribute('d') ?? ''")
    return str(path).replace("M", "H").split("H")[1:]


def test_an_interval_that_the_user_has_set_is_kept(served: Served, tmp_path: Path) -> None:
    with busy(served, tmp_path, OTEL_METRIC_EXPORT_INTERVAL="3500") as key:
        steps = until(lambda: [chart["step"] for chart in charts(served, key).values() if chart["step"] < 60])
    assert steps[0] == pytest.approx(3.5, abs=0.5)


@pytest.mark.quick
@pytest.mark.parametrize("kind", [semconv.DEVICE_GPU, semconv.DEVICE_NPU])
def test_a_running_task_has_a_curve_for_each_device(served: Served, kind: str) -> None:
    folder = served.folder / "sent"
    folder.mkdir()
    span, *points = _running(folder, kind)
    served.send("traces", span)
    for line in points:
        served.send("metrics", line)
    found = charts(served, "shop:development:live")
    utilization, memory = (found[f"{kind.upper()} {what}"] for what in ("utilisation", "memory"))
    assert utilization["step"] == 2
    assert {name: values[:5] for name, values, *_ in utilization["curves"]} == {
        f"{kind.upper()} 0": [10, 20, 30, 40, 50],
        f"{kind.upper()} 1": [5, 10, 15, 20, 25],
    }
    assert len(memory["curves"]) == 2
    (execution,) = served.get("/data/shop:development:live").json()["executions"]
    assert execution["length"] == pytest.approx(10e6, abs=1000)


@pytest.mark.quick
def test_a_running_attempt_of_the_api_has_the_usage_of_its_points(served: Served) -> None:
    folder = served.folder / "sent"
    folder.mkdir()
    span, begin = _begun(folder)
    served.send("traces", span)
    values = {
        semconv.METRIC_TASK_CPU_USAGE: (0.5, 1.5, 1.0),
        semconv.METRIC_TASK_MEMORY_USAGE: (2**20, 3 * 2**20, 2 * 2**20),
        semconv.METRIC_TASK_MEMORY_PEAK: (2**20, 4 * 2**20, 2 * 2**20),
    }
    metrics = [
        {
            "name": name,
            "gauge": {
                "dataPoints": [
                    {
                        "timeUnixNano": str(begin + 10 * 10**9 * number),
                        "asDouble": value,
                        "attributes": otlp.attributes({semconv.TASK_NAME: "shop.fit"}),
                    }
                    for number, value in enumerate(each, 1)
                ]
            },
        }
        for name, each in values.items()
    ]
    served.send("metrics", json.dumps(otlp.message("metrics", LIVE, metrics)))
    (attempt,) = served.get("/api/v1/executions/shop:development:live/attempts").json()["attempts"]
    assert {name: value for name, value in attempt["usage"].items() if value} == {
        "cpu_mean": pytest.approx(1.0, rel=1e-6),
        "cpu_peak": 1.5,
        "memory_mean": pytest.approx(2 * 2**20, rel=1e-6),
        "memory_peak": 4 * 2**20,
    }


@pytest.mark.quick
@pytest.mark.parametrize("number", [2, 5])
def test_points_that_an_exporter_has_repeated_change_no_curve(tmp_path: Path, number: int) -> None:
    span, *points = _running(tmp_path, semconv.DEVICE_GPU)
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    once.write_text("\n".join([span, *points[:number]]))
    twice.write_text("\n".join([span, *points[:number], *points[:number]]))
    drawn, expected = (page_data(Analysis.of(read(path)))["executions"][0]["charts"] for path in (twice, once))
    assert expected
    assert drawn == expected


LIVE = {**served_runs.resource("live"), semconv.ACTION_NAME: "n0", semconv.ATTEMPT: "0"}


def _begun(folder: Path) -> tuple[str, int]:
    """Return the request with the pending span of a task that began a minute ago, and its start in nanoseconds."""
    begin = time.time_ns() - 60 * 10**9
    pending = {
        **usages.node("n0", "shop.fit"),
        semconv.SPAN_ROLE: semconv.SPAN_ROLE_PENDING,
        semconv.PENDING_START: begin,
    }
    at = (begin - traces.BEGIN_NS) / 1e9
    above = trace.SpanContext(served_runs.parent(3).trace_id, 7, True, trace.TraceFlags(1))
    path = folder / "running.jsonl"
    traces.Recorder.of_file(path, served_runs.resource("live")).leaf("running", at, at, pending, parent=above)
    return path.read_text().strip(), begin


def _running(folder: Path, kind: str) -> list[str]:
    """Return the requests of a task that runs: its pending span, and five exports of its devices' metrics."""
    span, begin = _begun(folder)
    points = (_devices(LIVE, kind, begin + number * 2 * 10**9, number) for number in range(1, 6))
    return [span, *map(json.dumps, points)]


def _devices(resource: dict[str, str], kind: str, time_ns: int, number: int) -> Any:
    names = {
        semconv.DEVICE_GPU: (semconv.METRIC_HW_GPU_UTILIZATION, semconv.METRIC_HW_GPU_MEMORY_UTILIZATION),
        semconv.DEVICE_NPU: (semconv.METRIC_ACCELERATOR_UTILIZATION, semconv.METRIC_ACCELERATOR_MEMORY_UTILIZATION),
    }[kind]
    points = [
        {
            "timeUnixNano": str(time_ns),
            "asDouble": number / 10 / (1 + device),
            "attributes": otlp.attributes({semconv.HW_ID: f"id-{9 - device}", semconv.HW_TYPE: kind}),
        }
        for device in range(2)
    ]
    return otlp.message("metrics", resource, [{"name": name, "gauge": {"dataPoints": points}} for name in names])


@needs_chromium
def test_newer_members_leave_the_sort_and_the_filter_of_a_group(
    chromium: Browser, served: Served, tmp_path: Path
) -> None:
    growing = traces.Recorder.of_file(tmp_path / "f.jsonl", served_runs.resource("live"))

    def record(index: int) -> None:
        what = {**usages.node(f"n0/n{index}", "shop.score"), semconv.ARRAY_INDEX: index}
        error = ("KeyError", "'label'") if index % 2 else None
        growing.task("shop.score", index, index + 5 + index % 7, what, parent=served_runs.parent(4), error=error)
        served.send("traces", (tmp_path / "f.jsonl").read_text().splitlines()[-1])

    for index in range(12):
        record(index)
    chromium.open(f"{served.url}/executions/shop:development:live")
    chromium.ready()
    chromium.press("Home", "j")
    chromium.click(".states button:nth-child(2)")
    chromium.click(".list th.time button")
    chromium.run("document.querySelector('.list th.time button').focus()")
    assert "1 to 6 of 6" in chromium.text(".pager")
    record(13)
    until(lambda: "1 to 7 of 7" in chromium.text(".pager"))
    first = chromium.run("document.querySelector('.list tbody tr').cells[1].innerText")
    assert first == "13"
    assert chromium.run("document.activeElement.innerText") == "Took ↓"
    assert "13 ITEMS" in chromium.text(".details")
    assert chromium.complaints == []
