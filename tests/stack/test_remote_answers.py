"""`otel-flyte serve --tempo --prometheus --loki`: its answers are those of a server that has received the telemetry.

Prometheus is real. Tempo and Loki are stand-ins at the level of their HTTP APIs.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from opentelemetry import trace

from otel_flyte import semconv
from otel_flyte.export import otlp_json
from support import native, otlp, prometheus, remote_runs, served_runs, stores, traces, usages
from support.prometheus import Prometheus
from support.server import Served, serving
from support.stores import Store

pytestmark = pytest.mark.newest_only

FINISHED = "shop:production:f1c0ffee"
DEVICES = "shop:development:devices"
SHARED = "shop:development:shared"
UNKNOWN = "shop:development:retrying"
CAUGHT = f"trace:{served_runs.parent(5).trace_id:032x}"
KEYS = (
    served_runs.MEASURED,
    served_runs.RUNNING,
    FINISHED,
    f"trace:{'a0' + 29 * '0' + '1'}",
    DEVICES,
    SHARED,
    UNKNOWN,
    CAUGHT,
)
_SIGNALS = {"Spans": "traces", "Logs": "logs", "Metrics": "metrics"}


@dataclass(frozen=True)
class Both:
    """A server that has received telemetry, and one that reads the same from backends."""

    own: Served
    remote: Served
    tempo: Store
    loki: Store
    prometheus: Prometheus

    def send(self, line: str) -> None:
        signal = next(name for part, name in _SIGNALS.items() if f'"resource{part}"' in line[:40])
        self.own.send(signal, line)
        if signal == "metrics":
            self._send_points(line)
        else:
            {"traces": self.tempo, "logs": self.loki}[signal].send(line)

    def _send_points(self, line: str) -> None:
        """Send metrics with times: Prometheus refuses the others."""
        request: Any = otlp_json.request_of(line.encode())[1]
        for in_resource in request.resource_metrics:
            for in_scope in in_resource.scope_metrics:
                timed = [metric for metric in in_scope.metrics if metric.name != "process.cpu.time"]
                del in_scope.metrics[:]
                in_scope.metrics.extend(timed)
        headers = {"Content-Type": "application/x-protobuf"}
        body = request.SerializeToString()
        requests.post(self.prometheus.otlp_endpoint, body, headers=headers, timeout=60).raise_for_status()

    def answers(self, path: str) -> tuple[Any, Any]:
        found = [served.get(path) for served in (self.own, self.remote)]
        assert [each.status_code for each in found] == [200, 200], [path, *(each.text for each in found)]
        own, remote = (each.json() for each in found)
        return own, remote


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("remote")
    bundled = yaml.safe_load((native.ROOT / "backends" / "prometheus.yaml").read_text())
    with contextlib.ExitStack() as stack:
        (folder / "prometheus").mkdir()
        settings = {name: bundled[name] for name in ("otlp", "storage")}
        metrics = stack.enter_context(prometheus.running(folder / "prometheus", settings))
        tempo, loki = stack.enter_context(stores.tempo()), stack.enter_context(stores.loki())
        options = ("--tempo", tempo.url, "--prometheus", metrics.url, "--loki", loki.url)
        remote = stack.enter_context(serving(folder / "served", *options, receives=False))
        own = stack.enter_context(serving(folder / "own"))
        made = Both(own, remote, tempo, loki, metrics)
        lines = remote_runs.lines(folder / "recordings") + _states(folder)
        lines += _with_devices(folder, "devices", 6, is_shared=False) + _with_devices(
            folder, "shared", 7, is_shared=True
        )
        for line in lines:
            made.send(line)
        yield made


def _states(folder: Path) -> list[str]:
    """Return an execution that tries a failed attempt again and gives no sign, and a workflow that caught an error."""
    path = folder / "states.jsonl"
    begin, failure = round(time.time()) - 3600 - traces.BEGIN_NS // 10**9, ("ValueError", "loss is not finite")
    recorder = traces.Recorder.of_file(path, served_runs.resource("retrying"))
    fit = {**served_runs.ATTEMPT, **usages.node("n0", "shop.größe")}
    recorder.task("shop.größe", begin, begin + 20, fit, parent=served_runs.parent(4), error=failure)
    again = {**usages.node("n0", "shop.größe", 1), semconv.SPAN_ROLE: semconv.SPAN_ROLE_PENDING}
    above = trace.SpanContext(served_runs.parent(4).trace_id, 8, True, trace.TraceFlags(1))
    recorder.leaf("running", begin + 30, begin + 30, again, parent=above)
    local, role = traces.Recorder.of_file(path), {semconv.SPAN_ROLE: semconv.SPAN_ROLE_EXECUTION}
    with local.span("workflow shop.careful", begin, begin + 50, role, parent=served_runs.parent(5)):
        name = f"shop.map_try_{'0f' * 16}-arraynode"
        local.task(name, begin + 1, begin + 9, {**served_runs.ATTEMPT, semconv.TASK_NAME: name}, error=failure)
    return path.read_text().splitlines()


def _with_devices(folder: Path, name: str, number: int, *, is_shared: bool) -> list[str]:
    """Return an execution whose only attempt runs, with its declared resources and the points of all its usage.

    A shared process names its execution on its spans and on the points of its tasks.
    """
    path, begin_ns = folder / f"{name}.jsonl", (time.time_ns() // 10**9 - 150) * 10**9
    begin = (begin_ns - traces.BEGIN_NS) / 1e9
    execution = served_runs.resource(name)
    own = {**execution, semconv.ACTION_NAME: "n0", semconv.ATTEMPT: "0", semconv.TASK_NAME: "shop.fit"}
    shared = {"service.name": "flyte", semconv.SERVICE_INSTANCE_ID: "process-of-many"}
    pending = {
        **(execution if is_shared else {}),
        **usages.node("n0", "shop.fit"),
        **usages.quota(gpus=2),
        semconv.SPAN_ROLE: semconv.SPAN_ROLE_PENDING,
        semconv.PENDING_START: begin_ns,
    }
    above = trace.SpanContext(served_runs.parent(number).trace_id, 9, True, trace.TraceFlags(1))
    recorder = traces.Recorder.of_file(path, shared if is_shared else execution)
    for at in (begin, begin + 140):
        recorder.leaf("running", at, at, pending, parent=above)
    resource, of_task = (shared, own) if is_shared else (own, {semconv.TASK_NAME: "shop.fit"})
    collections = [_usage(begin_ns, second, of_task) for second in range(10, 130, 10)]
    lines = [otlp.message("metrics", resource, collection) for collection in collections]
    return path.read_text().splitlines() + [json.dumps(line) for line in lines]


_TASK_METRICS = {
    semconv.METRIC_TASK_SERIES.format(name=semconv.SERIES_CPU): ("%", 0.5),
    semconv.METRIC_TASK_CPU_USAGE: ("{cpu}", 0.01),
    semconv.METRIC_TASK_MEMORY_USAGE: ("By", 2.0**24),
    semconv.METRIC_TASK_MEMORY_PEAK: ("By", 2.0**25),
}
_DEVICE_METRICS = {
    semconv.METRIC_HW_GPU_UTILIZATION: semconv.DEVICE_GPU,
    semconv.METRIC_HW_GPU_MEMORY_UTILIZATION: semconv.DEVICE_GPU,
    semconv.METRIC_ACCELERATOR_UTILIZATION: semconv.DEVICE_NPU,
    semconv.METRIC_ACCELERATOR_MEMORY_UTILIZATION: semconv.DEVICE_NPU,
}


def _usage(begin_ns: int, second: int, of_task: dict[str, str]) -> list[dict[str, Any]]:
    """Return the metrics of one collection, in the shape and with the units of otel-flyte."""

    def point(value: float, attributes: dict[str, Any]) -> dict[str, Any]:
        at = {"startTimeUnixNano": str(begin_ns), "timeUnixNano": str(begin_ns + second * 10**9)}
        return {**at, "asDouble": value, "attributes": otlp.attributes(attributes)}

    def metric(name: str, unit: str, points: list[dict[str, Any]]) -> dict[str, Any]:
        level = {"dataPoints": points, "aggregationTemporality": 2, "isMonotonic": False}
        is_level = name == semconv.METRIC_TASK_MEMORY_USAGE
        return {"name": name, "unit": unit, **({"sum": level} if is_level else {"gauge": {"dataPoints": points}})}

    found = [metric(name, unit, [point(factor * second, of_task)]) for name, (unit, factor) in _TASK_METRICS.items()]
    for name, kind in _DEVICE_METRICS.items():
        devices = [{semconv.HW_ID: f"id-{index}", semconv.HW_TYPE: kind} for index in range(2)]
        found.append(metric(name, "1", [point(second / 256 / (1 + at), each) for at, each in enumerate(devices)]))
    return found


def test_the_list_is_the_same(both: Both) -> None:
    own, remote = both.answers("/api/v1/executions")
    assert sorted(each["key"] for each in own["executions"]) == sorted(KEYS)
    # The order of executions that begin at the same time differs, and a search does not tell of log records.
    assert _by_key(own) == _by_key(remote)
    starts = [each["start_ns"] for each in remote["executions"]]
    assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        "state=running",
        "state=failed",
        "state=succeeded",
        "project=shop&domain=production",
        "state=unknown",
        "workflow=shop.main",
        "workflow=shop.größe",
        "workflow=shop.careful",
        "workflow=shop",
        "text=MEAS",
        "text=GRÖ",
        "text=careful&state=succeeded",
        "text=trace:0000",
        "attribute=customer:a%3Ab",
        "attribute=flyte.array_index:2",
        "attribute=flyte.array_index:2&text=measured",
        "project=nowhere",
    ],
)
def test_the_filtered_list_is_the_same(both: Both, query: str) -> None:
    own, remote = both.answers(f"/api/v1/executions?{query}")
    assert _by_key(own) == _by_key(remote)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("route", ["?depth=30", "/attempts", "/logs", "/logs?level=WARN", "/rightsize"])
def test_the_answers_about_an_execution_are_the_same(both: Both, key: str, route: str) -> None:
    own, remote = both.answers(f"/api/v1/executions/{key}{route}")
    assert own == remote


@pytest.mark.parametrize(
    ("key", "task"),
    [(served_runs.MEASURED, "n0"), (served_runs.MEASURED, "n2/1"), (served_runs.RUNNING, "n0"), (DEVICES, "n0")],
)
def test_the_series_are_the_same(both: Both, key: str, task: str) -> None:
    own, remote = both.answers(f"/api/v1/executions/{key}/attempts/{task}/series")
    assert any(value is not None for series in own["series"] for value in series["values"])
    for each in (own, remote):
        _round(each)
    assert own == remote


def test_the_states_are_those_of_what_came_last(both: Both) -> None:
    found = {each["key"]: each["state"] for each in both.answers("/api/v1/executions")[1]["executions"]}
    states = {served_runs.MEASURED: "succeeded", UNKNOWN: "unknown", CAUGHT: "succeeded", FINISHED: "failed"}
    assert {key: found[key] for key in states} == states


@pytest.mark.parametrize("key", [DEVICES, SHARED])
def test_the_charts_of_a_running_task_are_the_same(both: Both, key: str) -> None:
    own, remote = both.answers(f"/data/{key}")
    titles = [chart["title"] for drawn, _ in own["executions"][0]["charts"].values() for chart in drawn]
    assert {"CPU", "Memory", "GPU utilisation", "GPU memory", "NPU utilisation", "NPU memory"} <= {*titles}
    del own["version"], remote["version"]
    assert own == remote


@pytest.mark.parametrize(
    "path", ["", "/measured", "/measured/metrics/n0", "/running/metrics/n0", "/measured/metrics/n3-worker-1"]
)
def test_the_answers_of_modelarts_are_the_same(both: Both, path: str) -> None:
    own, remote = both.answers(f"/v2/shop:development/training-jobs{path}")
    if "metrics" in path:
        assert any(value != -1 for metric in own["metrics"] for value in metric["value"])
        for each in (own, remote):
            for metric in each["metrics"]:
                metric["value"] = [round(value, 3) for value in metric["value"]]
    assert own == remote


def test_an_unknown_execution_is_the_same(both: Both) -> None:
    for key in ("shop:development:nothing", "nonsense", "trace:xyz", "trace:" + 32 * "0", "a:b:"):
        found = [served.get(f"/api/v1/executions/{key}") for served in (both.own, both.remote)]
        assert [(each.status_code, each.json()) for each in found] == 2 * [(404, found[0].json())]


def test_a_download_has_the_same_records(both: Both) -> None:
    kinds: list[dict[str, int]] = []
    for served in (both.own, both.remote):
        text = served.get(f"/api/v1/executions/{served_runs.MEASURED}/recording").text
        records = [json.loads(line) for line in text.splitlines()]
        kinds.append({part: str(records).count(f"'{part}'") for part in ("spanId", "body")})
    assert kinds[0] == kinds[1]
    assert kinds[0]["spanId"] > 30


def test_points_of_an_attempt_without_a_span_are_an_attempt(both: Both) -> None:
    _, remote = both.answers(f"/api/v1/executions/{served_runs.RUNNING}/attempts")
    (attempt,) = remote["attempts"]
    assert attempt["source"] == "metric records"
    assert otlp.now()["timeUnixNano"] > str(attempt["end_ns"])


def _by_key(answer: Any) -> dict[str, Any]:
    """Return the executions without the numbers of spans and errors, which Tempo counts in its own way."""
    comparable: dict[str, Any] = {"spans": None, "errors": None}
    return {each["key"]: {**each, **comparable, "end_ns": each["end_ns"] // 10**6} for each in answer["executions"]}


def _round(answer: Any) -> None:
    """Round values: Prometheus keeps times in milliseconds."""
    for series in answer["series"]:
        series["values"] = [value if value is None else round(value, 3) for value in series["values"]]
