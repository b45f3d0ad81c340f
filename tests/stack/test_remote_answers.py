"""`otel-flyte serve --tempo --prometheus --loki`: its answers are those of a server that has received the telemetry.

Prometheus is real. Tempo and Loki are stand-ins at the level of their HTTP APIs.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import yaml

from otel_flyte.export import otlp_json
from support import native, otlp, prometheus, remote_runs, served_runs, stores
from support.prometheus import Prometheus
from support.server import Served, serving
from support.stores import Store

pytestmark = pytest.mark.newest_only

FINISHED = "shop:production:f1c0ffee"
KEYS = (served_runs.MEASURED, served_runs.RUNNING, FINISHED, f"trace:{'a0' + 29 * '0' + '1'}")
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
            self._send_gauges(line)
        else:
            {"traces": self.tempo, "logs": self.loki}[signal].send(line)

    def _send_gauges(self, line: str) -> None:
        """Send the gauges: Prometheus refuses the sum beside them, which has no time."""
        request: Any = otlp_json.request_of(line.encode())[1]
        for in_resource in request.resource_metrics:
            for in_scope in in_resource.scope_metrics:
                gauges = [metric for metric in in_scope.metrics if metric.HasField("gauge")]
                del in_scope.metrics[:]
                in_scope.metrics.extend(gauges)
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
        for line in remote_runs.lines(folder / "recordings"):
            made.send(line)
        yield made


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
        "workflow=shop.main",
        "text=MEAS",
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
    ("key", "task"), [(served_runs.MEASURED, "n0"), (served_runs.MEASURED, "n2/1"), (served_runs.RUNNING, "n0")]
)
def test_the_series_are_the_same(both: Both, key: str, task: str) -> None:
    own, remote = both.answers(f"/api/v1/executions/{key}/attempts/{task}/series")
    assert any(value is not None for series in own["series"] for value in series["values"])
    for each in (own, remote):
        _round(each)
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
    return {each["key"]: {**each, "end_ns": each["end_ns"] // 10**6} for each in answer["executions"]}


def _round(answer: Any) -> None:
    """Round values: Prometheus keeps times in milliseconds."""
    for series in answer["series"]:
        series["values"] = [value if value is None else round(value, 3) for value in series["values"]]
