"""The results of dashboards' queries: Prometheus' own unit tests evaluate them on samples that a test gives."""

import json
import math
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_flyte import semconv
from otel_flyte.usage.instruments import COUNTER, INSTRUMENTS
from support import native, prometheus, stack

pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11")

from grafana.generate import names, queries

DASHBOARDS = native.ROOT / "grafana" / "dashboards"

COUNTERS = {
    semconv.METRIC_TASK_ATTEMPTS: "{attempt}",
    semconv.METRIC_TASK_CACHE: "{lookup}",
    semconv.METRIC_SPANS_EXPORTED: "{span}",
    semconv.METRIC_DATA_POINTS_EXPORTED: "{data_point}",
    semconv.METRIC_LOGS_EXPORTED: "{log_record}",
}


def read(uid: str) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads((DASHBOARDS / f"{uid}.json").read_text(encoding="utf-8"))
    return dashboard


def test_prometheus_has_our_metrics_under_the_names_in_dashboards(tmp_path: Path) -> None:
    with prometheus.running(tmp_path, {"otlp": {"translation_strategy": "UnderscoreEscapingWithSuffixes"}}) as server:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(server.otlp_endpoint), math.inf)
        provider = MeterProvider([reader], Resource({"service.name": "flyte"}))
        meter = provider.get_meter(semconv.SCOPE)
        for made in INSTRUMENTS:
            getattr(meter, made.kind)(made.name, [lambda _: [Observation(1)]], made.unit)
        meter.create_histogram(semconv.METRIC_TASK_DURATION, "s").record(1)
        for name, unit in COUNTERS.items():
            meter.create_counter(name, unit).add(1)
        assert provider.force_flush()
        provider.shutdown()

        expected = {names.observed(made.name) for made in INSTRUMENTS}
        expected |= {names.metric(name, unit, COUNTER) for name, unit in COUNTERS.items()}
        duration = names.metric(semconv.METRIC_TASK_DURATION, "s", names.HISTOGRAM)
        expected |= {f"{duration}_{part}" for part in ("bucket", "count", "sum")}
        found = server.values_of_label("__name__", '{job="flyte"}')
        assert {*found} - {"target_info"} == expected


SELECTION = {
    "project": "proj",
    "domain": "development",
    "workflow": ".*",
    "execution": "f1",
    "node": "n0",
    "attempt": ".*",
    "index": ".*",
}
EVERYTHING = dict.fromkeys(("project", "domain", "workflow", "task"), ".*")
POD = (
    'flyte_project="proj",flyte_domain="development",flyte_run_name="f1",flyte_action_name="n0",flyte_attempt="0",'
    'flyte_task_name="etl.load"'
)
OF_POD = 'flyte_run_name="f1", flyte_action_name="n0", flyte_attempt="0", flyte_task_name="etl.load"'
OF_NODE = 'flyte_run_name="f1", flyte_task_name="etl.load", node="n0"'


def subtask(index: int, node: str = "n0", attempt: int = 0) -> str:
    return (
        f'flyte_project="proj",flyte_domain="development",flyte_run_name="f1",flyte_action_name="{node}-0-n{index}",'
        f'flyte_array_index="{index}",flyte_attempt="{attempt}",flyte_task_name="etl.load"'
    )


def panel(uid: str, title: str, **selected: str) -> list[str]:
    """Return the queries of a panel with a selection filled in."""
    found = [query for query in queries.queries(read(uid)) if query.panel == title]
    return [queries.filled(query.text, {**SELECTION, **selected}) for query in found if query.kind == queries.PANEL]


def check(tmp_path: Path, series: Mapping[str, str], expected: Mapping[str, Mapping[str, float]], minute: int) -> None:
    """Check the results of queries on samples once a minute, with Prometheus' own unit tests."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for query, samples in expected.items()
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    ended = subprocess.run(
        [native.binary("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_memory_quota_is_a_share_of_the_requested_memory(tmp_path: Path) -> None:
    """The used memory is a peak; the allocated memory is the larger of it and the request."""
    limit, allocated, used = panel("flyte-task", "Memory quota")
    check(
        tmp_path,
        {
            f"k8s_container_memory_limit_desired_bytes{{{POD}}}": "200x3",
            f"k8s_container_memory_request_desired_bytes{{{POD}}}": "100x3",
            f"flyte_task_memory_request_utilization_ratio{{{POD}}}": "0.5x2 1.5",
        },
        {limit: {f"{{{OF_NODE}}}": 2}, allocated: {f"{{{OF_NODE}}}": 1.5}, used: {f"{{{OF_POD}}}": 1.5}},
        minute=3,
    )


def test_a_local_run_has_its_request_as_allocated_without_a_container(tmp_path: Path) -> None:
    _, allocated, used = panel("flyte-task", "Memory quota", node=".*")
    of_run = 'flyte_run_name="f1", flyte_task_name="wf.busy"'
    check(
        tmp_path,
        {
            "flyte_task_memory_request_utilization_ratio{"
            f'flyte_project="proj",flyte_domain="development",{of_run}}}': "0.5x3"
        },
        {allocated: {f"{{{of_run}}}": 1}, used: {f"{{{of_run}}}": 0.5}},
        minute=3,
    )


def test_cpu_cores_quota_is_in_cores(tmp_path: Path) -> None:
    limit, allocated, used = panel("flyte-task", "CPU cores quota")
    check(
        tmp_path,
        {
            f"k8s_container_cpu_limit_desired{{{POD}}}": "4x3",
            f"k8s_container_cpu_request_desired{{{POD}}}": "2x3",
            f"flyte_task_cpu_usage{{{POD}}}": "0.5x2 1.5",
        },
        {limit: {f"{{{OF_NODE}}}": 4}, allocated: {f"{{{OF_NODE}}}": 2}, used: {f"{{{OF_POD}}}": 1.5}},
        minute=3,
    )


@pytest.mark.parametrize(
    ("title", "resource", "unit"), [("Memory quota", "memory", "_bytes"), ("CPU cores quota", "cpu", "")]
)
def test_each_node_has_its_own_limits_and_a_map_task_is_one_node(
    tmp_path: Path, title: str, resource: str, unit: str
) -> None:
    limit, *_ = panel("flyte-task", title, node=".*")
    other = POD.replace('"n0"', '"n1"')
    limits, requests = (f"k8s_container_{resource}_{side}_desired{unit}" for side in ("limit", "request"))
    mapped = [subtask(index, "n4") for index in (0, 4999)]
    check(
        tmp_path,
        {
            **{
                f"{limits}{{{pod}}}": f"{value}x3"
                for pod, value in zip((POD, other, *mapped), (2, 4, 8, 8), strict=True)
            },
            **{f"{requests}{{{pod}}}": "1x3" for pod in (POD, other, *mapped)},
        },
        {limit: {f"{{{OF_NODE.replace('n0', node)}}}": value for node, value in (("n0", 2), ("n1", 4), ("n4", 8))}},
        minute=3,
    )


def test_a_finished_task_is_not_drawn_any_further(tmp_path: Path) -> None:
    """Prometheus itself returns a sample for five minutes."""
    *_, used = panel("flyte-task", "CPU cores quota")
    check(tmp_path, {f"flyte_task_cpu_usage{{{POD}}}": "0.5x2"}, {used: {}}, minute=4)


def test_a_map_task_lists_its_subtasks_with_state_duration_and_peak_share(tmp_path: Path) -> None:
    state, duration, memory, *_ = panel("flyte-task", "Subtasks")
    done, retried, again, runs = subtask(0), subtask(1), subtask(1, attempt=1), subtask(2)

    def row(index: int, attempt: int = 0, **more: str) -> str:
        labels = {"flyte_run_name": "f1", "flyte_array_index": str(index), "flyte_attempt": str(attempt), **more}
        return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"

    check(
        tmp_path,
        {
            f'flyte_task_attempts_total{{{done},flyte_result="success"}}': "_x9 1",
            f'flyte_task_attempts_total{{{retried},flyte_result="failure"}}': "_x9 1",
            f'flyte_task_attempts_total{{{again},flyte_result="success"}}': "_x20 1",
            f'flyte_task_attempts_total{{{subtask(0, "n7")},flyte_result="success"}}': "_x20 1",
            f"flyte_task_duration_seconds_sum{{{done}}}": "_x9 540",
            f"flyte_task_memory_limit_utilization_ratio{{{done}}}": "0.2 0.9 0.4",
            f"flyte_task_memory_usage_bytes{{{done}}}": "1x9",
            f"flyte_task_memory_usage_bytes{{{runs}}}": "_x10 1x20",
        },
        {
            state: {
                row(0, flyte_result="success"): 1,
                row(1, flyte_result="failure"): 1,
                row(1, 1, flyte_result="success"): 1,
                row(2, flyte_result="running"): 1,
            },
            duration: {row(0): 540},
            memory: {row(0): 0.9},
        },
        minute=31,
    )


def test_a_map_task_is_one_node_in_the_selection(tmp_path: Path) -> None:
    (nodes,) = (
        queries.filled(query.text, SELECTION)
        for query in queries.queries(read("flyte-task"))
        if (query.kind, query.panel) == (queries.VARIABLE, "node")
    )
    child = POD.replace('flyte_action_name="n0"', 'flyte_action_name="n2-0-n1"')
    check(
        tmp_path,
        {f"target_info{{{pod}}}": "1x2" for pod in (POD, subtask(0, "n4"), subtask(4999, "n4"), child)},
        {nodes: {'{node="n0"}': 1, '{node="n4"}': 1, '{node="n2-0-n1"}': 1}},
        minute=30,
    )


def test_an_index_selects_one_subtask(tmp_path: Path) -> None:
    *_, used = panel("flyte-task", "CPU cores quota", index="5", attempt="0")
    check(
        tmp_path,
        {
            f"flyte_task_cpu_usage{{{subtask(5)}}}": "5x3",
            f"flyte_task_cpu_usage{{{subtask(5, attempt=1)}}}": "4x3",
            f"flyte_task_cpu_usage{{{subtask(55)}}}": "3x3",
            f"flyte_task_cpu_usage{{{subtask(5, 'n01')}}}": "2x3",
            f"flyte_task_cpu_usage{{{POD}}}": "1x3",
        },
        {used: {f'{{{OF_POD.replace("n0", "n0-0-n5")}, flyte_array_index="5"}}': 5}},
        minute=2,
    )


def test_attempts_are_counted_exactly_although_each_pod_counts_once(tmp_path: Path) -> None:
    (attempts,), (failed,) = (
        [query for query in panel("flyte-executions", title, **EVERYTHING) if query.startswith(("sum", "("))]
        for title in ("Attempts", "Share that failed")
    )
    check(
        tmp_path,
        {
            'flyte_task_attempts_total{instance="ended before",flyte_result="success"}': "_x40 1",
            'flyte_task_attempts_total{instance="a",flyte_result="success"}': "_x80 1",
            'flyte_task_attempts_total{instance="b",flyte_result="failure"}': "_x80 1",
            'flyte_task_attempts_total{instance="goes on for hours",flyte_result="success"}': "10x80 12x40",
        },
        {attempts: {"{}": 4}, failed: {"{}": 0.25}},
        minute=119,
    )


def test_the_median_duration_is_not_rounded_to_a_bucket(tmp_path: Path) -> None:
    (median,) = panel("flyte-executions", "Median duration", **EVERYTHING)
    durations = {"a": 0.56, "b": 0.5, "c": 70}
    check(
        tmp_path,
        {
            f'flyte_task_duration_seconds_{part}{{instance="{pod}"}}': f"_x9 {value}"
            for pod, seconds in durations.items()
            for part, value in (("sum", seconds), ("count", 1))
        },
        {median: {"{}": 0.56}},
        minute=30,
    )


def test_all_executions_include_those_without_a_name(tmp_path: Path) -> None:
    *_, used = panel("flyte-task", "CPU cores quota", **dict.fromkeys(SELECTION, ".*"))
    check(
        tmp_path,
        {'flyte_task_cpu_usage{flyte_task_name="wf.busy"}': "1x3", f"flyte_task_cpu_usage{{{POD}}}": "2x3"},
        {used: {'{flyte_task_name="wf.busy"}': 1, f"{{{OF_POD}}}": 2}},
        minute=3,
    )


def test_idle_gpu_hours_are_the_unused_time_of_gpus(tmp_path: Path) -> None:
    (hours,) = panel("flyte-efficiency", "Idle GPU-hours", **EVERYTHING)
    check(
        tmp_path,
        {
            'hw_gpu_utilization_ratio{hw_id="0",flyte_task_name="a"}': "0.75x59",
            'hw_gpu_utilization_ratio{hw_id="1",flyte_task_name="a"}': "0x29",
        },
        {hours: {"{}": 0.75}},
        minute=59,
    )


def test_tempo_finds_a_task_with_its_identity_on_the_resource_only(tmp_path: Path) -> None:
    """Local runs have it there. Runs without any identity are found by the selection of all."""
    stack.needs("tempo")
    asked = {title: panel("flyte-task", title)[0] for title in ("Attempts", "Phases of each attempt")}
    assert all("span.flyte.run_name" not in text for text in asked.values())
    with stack.running(tmp_path, without=("grafana", "loki", "prometheus")) as running:
        for identity in ({semconv.PROJECT: "demo", semconv.RUN_NAME: "demo-1"}, {}):
            send_a_task(running.url("otlp_http", "/v1/traces"), {"service.name": "flyte", **identity})
        for title in asked:
            everything = dict.fromkeys(SELECTION, ".*")
            (text,) = panel("flyte-task", title, **everything)
            native.wait_until(partial(finds, running, text, 2), f"{text} does not find both")
            for name, number in (("demo-1", 1), ("demo-2", 0)):
                (text,) = panel("flyte-task", title, **{**everything, "execution": name})
                assert finds(running, text, number), text


def send_a_task(endpoint: str, identity: Mapping[str, str]) -> None:
    provider = TracerProvider(resource=Resource(identity), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint)))
    tracer = provider.get_tracer(semconv.SCOPE)
    with (
        tracer.start_as_current_span(semconv.SPAN_TASK.format(name="wf.busy")),
        tracer.start_as_current_span(semconv.PHASE_USER_CODE),
    ):
        pass
    provider.shutdown()


def finds(running: stack.Stack, traceql: str, number: int) -> bool:
    """Return whether Tempo finds a number of traces."""
    answer = requests.get(running.url("tempo", "/api/search"), {"q": traceql}, timeout=native.TIMEOUT)
    return len(answer.json()["traces"]) == number
