"""Grafana's files: dashboards are what the generator makes, and what they ask, link to and call data sources exists."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
from support import native, pods, prometheus, stack

pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11: no dashboards are made")

from grafana.generate import __main__ as generator
from grafana.generate import links, names, queries
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from support import grammars

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
FILES = sorted(generator.DASHBOARDS.glob("*.json"))
SOURCES = {"prometheus", "tempo", "loki"}
FLYTE_VARIABLE = re.compile(r"\{\{\s*[.$](\w+)\s*\}\}")
COLUMNS = 24
COUNTERS = {
    semconv.METRIC_TASK_ATTEMPTS: "{attempt}",
    semconv.METRIC_TASK_CACHE: "{lookup}",
    semconv.METRIC_SPANS_EXPORTED: "{span}",
    semconv.METRIC_DATA_POINTS_EXPORTED: "{data_point}",
    semconv.METRIC_LOGS_EXPORTED: "{log_record}",
}

for_each_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def variables(dashboard: Mapping[str, Any]) -> list[str]:
    return [variable["name"] for variable in dashboard.get("templating", {}).get("list", [])]


def everything_asked() -> Iterator[tuple[str, str, str]]:
    """Where a query stands, its data source, and the query with its variables filled in."""
    for file in FILES:
        dashboard = read(file)
        values = dict.fromkeys(variables(dashboard), ".*")
        for query in queries.queries(dashboard):
            if query.kind != queries.LINK:
                text = queries.filled(query.text, values)
                yield f"{file.stem}: {query.panel}", query.datasource, text
    for source in sources().values():
        data = source["jsonData"]
        for query in data.get("tracesToMetrics", {}).get("queries", []):
            text = query["query"].replace("$$__tags", 'flyte_run_name="f1"')
            yield f"traces to metrics: {query['name']}", data["tracesToMetrics"]["datasourceUid"], text
        if "tracesToLogsV2" in data:
            text = data["tracesToLogsV2"]["query"].replace("$${__trace.traceId}", "0af7651916cd43dd8448eb211c80319c")
            yield "traces to logs", data["tracesToLogsV2"]["datasourceUid"], text


def sources() -> dict[str, dict[str, Any]]:
    (file,) = (PROVISIONING / "datasources").glob("*.yaml")
    return {source["uid"]: source for source in yaml.safe_load(file.read_text())["datasources"]}


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grafana.generate", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


# --- the files -------------------------------------------------------------------------------------------------------


def test_the_committed_dashboards_are_what_the_generator_makes() -> None:
    checked = generate("--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert FILES


def test_a_stale_dashboard_and_one_that_nothing_makes_are_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "DASHBOARDS", tmp_path)
    generator.write()
    (tmp_path / "flyte-task.json").write_text("{}")
    (tmp_path / "forgotten.json").write_text("{}")

    assert generator.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert said == "stale: flyte-task.json, forgotten.json; `python -m grafana.generate` writes them\n"

    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


def test_an_unknown_argument_is_told_how_it_is_used() -> None:
    refused = generate("--chekc")
    assert (refused.returncode, refused.stderr) == (2, "usage: python -m grafana.generate [--check]\n")


@for_each_dashboard
def test_a_dashboard_is_by_the_schema(file: Path) -> None:
    plugins.register_default_plugins()
    written = read(file)
    parsed = models.Dashboard.from_json(json.loads(file.read_text()))
    assert json.loads(json.dumps(parsed, cls=JSONEncoder)) == written


@for_each_dashboard
def test_a_panel_says_what_it_shows_in_which_unit_and_what_is_missing_where_nothing_is(file: Path) -> None:
    titles = [panel["title"] for panel in queries.panels(read(file))]
    assert len(titles) == len({*titles})
    for panel in queries.panels(read(file)):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"].strip(), panel["title"]
        assert "no data" not in defaults["noValue"].lower(), panel["title"]


@for_each_dashboard
def test_panels_lie_beside_and_below_one_another(file: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    dashboard = read(file)
    for panel in [*dashboard["panels"]]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS, panel["title"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]):
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    numbers = [panel["id"] for panel in [*dashboard["panels"], *queries.panels(dashboard)] if panel["type"] != "row"]
    assert len({*numbers}) == len({id(panel) for panel in queries.panels(dashboard)})


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_every_query_is_promql_logql_or_traceql() -> None:
    asked = list(everything_asked())
    assert {source for _, source, _ in asked} == SOURCES
    wrong = [f"{where}: {grammars.promql_problem(text)}" for where, source, text in asked if source == "prometheus"]
    assert not [line for line in wrong if not line.endswith("None")]


def test_every_query_is_logql_or_traceql_by_grafanas_own_grammars() -> None:
    languages = {"loki": "logql", "tempo": "traceql"}
    asked = [(where, languages[source], text) for where, source, text in everything_asked() if source in languages]
    found = grammars.problems([(language, text) for _, language, text in asked])
    assert not [f"{where}: {problem}" for (where, _, _), problem in zip(asked, found, strict=True) if problem]


def test_the_grammars_tell_what_is_wrong() -> None:
    assert grammars.promql_problem("sum by (a (up)")
    assert all(grammars.problems([("traceql", "{ span.a > } | rate()"), ("logql", '{a=} |= "x"')]))


@for_each_dashboard
def test_a_query_uses_variables_that_are_there_and_a_variable_those_before_it(file: Path) -> None:
    dashboard = read(file)
    known = variables(dashboard)
    for query in queries.queries(dashboard):
        allowed = known[: known.index(query.panel)] if query.kind == queries.VARIABLE else known
        assert queries.references(query.text) <= {*allowed}, query


def test_metrics_of_ours_that_are_asked_for_exist() -> None:
    made = {names.observed(instrument.name) for instrument in INSTRUMENTS}
    made |= {"flyte_task_attempts_total", "flyte_task_cache_lookups_total"}
    made |= {f"flyte_task_duration_seconds_{part}" for part in ("sum", "count")}
    ours = re.compile(r"\b(?:flyte_task_|flyte_accelerator_|hw_|k8s_container_)\w+")
    labels = {names.label(name) for name in (semconv.TASK_NAME, semconv.HW_ID, semconv.HW_NAME, semconv.HW_STATE)}
    asked = {name for _, source, text in everything_asked() if source == "prometheus" for name in ours.findall(text)}
    assert asked - labels <= made


def test_no_query_about_tasks_joins_series() -> None:
    """A join over all pods of a fleet is what Prometheus falls over."""
    of_flyte_itself = ("flyte-admin", "flyte-propeller", "flyte-users")
    asked = [text for where, _, text in everything_asked() if not where.startswith(of_flyte_itself)]
    assert asked
    assert not [text for text in asked if "group_left" in text or "group_right" in text]


# --- what is answered ------------------------------------------------------------------------------------------------


def test_prometheus_calls_our_metrics_as_the_dashboards_do(tmp_path: Path) -> None:
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


PICKED = {
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


def panel(uid: str, title: str, **picked: str) -> list[str]:
    """The queries of a panel, with what is picked filled in."""
    found = [query for query in queries.queries(read(generator.DASHBOARDS / f"{uid}.json")) if query.panel == title]
    return [queries.filled(query.text, {**PICKED, **picked}) for query in found if query.kind == queries.PANEL]


def answers(
    tmp_path: Path, series: Mapping[str, str], expected: Mapping[str, Mapping[str, float]], minute: int
) -> None:
    """Have Prometheus' own unit tests say that queries are answered as expected, of samples once a minute."""
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


def test_memory_quota_is_the_percentage_of_the_memory_requested(tmp_path: Path) -> None:
    """Used is a peak, and allocated the larger of it and what is requested."""
    limit, allocated, used = panel("flyte-task", "Memory quota")
    answers(
        tmp_path,
        {
            f"k8s_container_memory_limit_desired_bytes{{{POD}}}": "200x3",
            f"k8s_container_memory_request_desired_bytes{{{POD}}}": "100x3",
            f"flyte_task_memory_request_utilization_ratio{{{POD}}}": "0.5x2 1.5",
        },
        {limit: {f"{{{OF_NODE}}}": 2}, allocated: {f"{{{OF_NODE}}}": 1.5}, used: {f"{{{OF_POD}}}": 1.5}},
        minute=3,
    )


def test_a_local_run_has_its_request_allocated_though_no_container_says_it(tmp_path: Path) -> None:
    _, allocated, used = panel("flyte-task", "Memory quota", node=".*")
    of_run = 'flyte_run_name="f1", flyte_task_name="wf.busy"'
    answers(
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
    answers(
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
def test_each_node_has_limits_of_its_own_and_a_map_is_one_node(
    tmp_path: Path, title: str, resource: str, unit: str
) -> None:
    limit, *_ = panel("flyte-task", title, node=".*")
    other = POD.replace('"n0"', '"n1"')
    limits, requests = (f"k8s_container_{resource}_{side}_desired{unit}" for side in ("limit", "request"))
    mapped = [subtask(index, "n4") for index in (0, 4999)]
    answers(
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


def test_a_task_that_ended_is_not_drawn_on(tmp_path: Path) -> None:
    """Prometheus itself takes a sample for the present for five minutes."""
    *_, used = panel("flyte-task", "CPU cores quota")
    answers(tmp_path, {f"flyte_task_cpu_usage{{{POD}}}": "0.5x2"}, {used: {}}, minute=4)


def test_a_map_task_lists_its_subtasks_with_state_duration_and_peak_share(tmp_path: Path) -> None:
    state, duration, memory, *_ = panel("flyte-task", "Subtasks")
    done, retried, again, runs = subtask(0), subtask(1), subtask(1, attempt=1), subtask(2)

    def row(index: int, attempt: int = 0, **more: str) -> str:
        labels = {"flyte_run_name": "f1", "flyte_array_index": str(index), "flyte_attempt": str(attempt), **more}
        return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"

    answers(
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


def test_a_map_task_is_one_node_to_pick_from_and_others_are_themselves(tmp_path: Path) -> None:
    (nodes,) = (
        queries.filled(query.text, PICKED)
        for query in queries.queries(read(generator.DASHBOARDS / "flyte-task.json"))
        if (query.kind, query.panel) == (queries.VARIABLE, "node")
    )
    child = POD.replace('flyte_action_name="n0"', 'flyte_action_name="n2-0-n1"')
    answers(
        tmp_path,
        {f"target_info{{{pod}}}": "1x2" for pod in (POD, subtask(0, "n4"), subtask(4999, "n4"), child)},
        {nodes: {'{node="n0"}': 1, '{node="n4"}': 1, '{node="n2-0-n1"}': 1}},
        minute=30,
    )


def test_an_index_selects_that_subtask_alone(tmp_path: Path) -> None:
    *_, used = panel("flyte-task", "CPU cores quota", index="5", attempt="0")
    answers(
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


def test_attempts_are_counted_exactly_though_each_pod_counts_once(tmp_path: Path) -> None:
    (attempts,), (failed,) = (
        [query for query in panel("flyte-executions", title, **EVERYTHING) if query.startswith(("sum", "("))]
        for title in ("Attempts", "Share that failed")
    )
    answers(
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


def test_the_median_duration_is_that_of_the_attempts_and_not_of_a_bucket(tmp_path: Path) -> None:
    (median,) = panel("flyte-executions", "Median duration", **EVERYTHING)
    durations = {"a": 0.56, "b": 0.5, "c": 70}
    answers(
        tmp_path,
        {
            f'flyte_task_duration_seconds_{part}{{instance="{pod}"}}': f"_x9 {value}"
            for pod, seconds in durations.items()
            for part, value in (("sum", seconds), ("count", 1))
        },
        {median: {"{}": 0.56}},
        minute=30,
    )


def test_all_executions_are_those_without_a_name_too(tmp_path: Path) -> None:
    *_, used = panel("flyte-task", "CPU cores quota", **dict.fromkeys(PICKED, ".*"))
    answers(
        tmp_path,
        {'flyte_task_cpu_usage{flyte_task_name="wf.busy"}': "1x3", f"flyte_task_cpu_usage{{{POD}}}": "2x3"},
        {used: {'{flyte_task_name="wf.busy"}': 1, f"{{{OF_POD}}}": 2}},
        minute=3,
    )


def test_idle_gpu_hours_are_the_time_in_which_gpus_did_not_compute(tmp_path: Path) -> None:
    (hours,) = panel("flyte-efficiency", "Idle GPU-hours", **EVERYTHING)
    answers(
        tmp_path,
        {
            'hw_gpu_utilization_ratio{hw_id="0",flyte_task_name="a"}': "0.75x59",
            'hw_gpu_utilization_ratio{hw_id="1",flyte_task_name="a"}': "0x29",
        },
        {hours: {"{}": 0.75}},
        minute=59,
    )


def test_a_task_whose_identity_only_its_resource_has_is_found_by_it_and_by_all(tmp_path: Path) -> None:
    """So it is of local runs; those that have none at all are among all."""
    stack.needs("tempo")
    asked = {title: panel("flyte-task", title)[0] for title in ("Attempts", "Phases of each attempt")}
    assert all("span.flyte.run_name" not in text for text in asked.values())
    with stack.running(tmp_path, without=("grafana", "loki", "prometheus")) as running:
        for identity in ({semconv.PROJECT: "demo", semconv.RUN_NAME: "demo-1"}, {}):
            send_a_task(running.url("otlp_http", "/v1/traces"), {"service.name": "flyte", **identity})
        for title in asked:
            picked = dict.fromkeys(PICKED, ".*")
            (text,) = panel("flyte-task", title, **picked)
            native.wait_until(partial(are_found, running, text, 2), f"not both are found by {text}")
            for name, number in (("demo-1", 1), ("demo-2", 0)):
                (text,) = panel("flyte-task", title, **{**picked, "execution": name})
                assert are_found(running, text, number), text


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


def are_found(running: stack.Stack, traceql: str, number: int) -> bool:
    """Whether Tempo finds so many traces."""
    answer = requests.get(running.url("tempo", "/api/search"), {"q": traceql}, timeout=native.TIMEOUT)
    return len(answer.json()["traces"]) == number


# --- data sources ----------------------------------------------------------------------------------------------------


def test_the_data_sources_are_those_that_panels_ask() -> None:
    assert {*sources()} == SOURCES
    for file in FILES:
        for query in queries.queries(read(file)):
            assert query.datasource in (SOURCES if query.kind != queries.LINK else {""}), query


def test_traces_logs_metrics_and_exemplars_lead_to_one_another() -> None:
    found = sources()
    tempo, prometheus, loki = (found[uid]["jsonData"] for uid in ("tempo", "prometheus", "loki"))
    assert tempo["tracesToLogsV2"]["datasourceUid"] == "loki"
    assert tempo["tracesToMetrics"]["datasourceUid"] == "prometheus"
    assert tempo["serviceMap"]["datasourceUid"] == "prometheus"
    assert tempo["nodeGraph"]["enabled"] is True
    destinations = {each["name"]: each["datasourceUid"] for each in prometheus["exemplarTraceIdDestinations"]}
    assert destinations == {"trace_id": "tempo", "traceID": "tempo"}
    (field,) = loki["derivedFields"]
    assert re.fullmatch(field["matcherRegex"].replace("$$", "$"), "trace_id")
    assert (field["matcherType"], field["datasourceUid"], field["url"]) == ("label", "tempo", "$${__value.raw}")


def test_addresses_come_from_variables() -> None:
    assert {uid: source["url"] for uid, source in sources().items()} == {
        "prometheus": "${PROMETHEUS_URL}",
        "tempo": "${TEMPO_URL}",
        "loki": "${LOKI_URL}",
    }
    (file,) = (PROVISIONING / "dashboards").glob("*.yaml")
    (provider,) = yaml.safe_load(file.read_text())["providers"]
    assert provider["options"] == {"path": "${GRAFANA_DASHBOARDS}"}
    assert provider["allowUiUpdates"] is False


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_link_leads_to_a_dashboard_that_is_there_with_each_of_its_variables() -> None:
    known = {(dashboard := read(file))["uid"]: variables(dashboard) for file in FILES}
    asked = [query for file in FILES for query in queries.queries(read(file)) if query.kind == queries.LINK]
    assert asked
    for query in asked:
        path = urlsplit(query.text).path
        assert path.startswith("/d/"), query
        target = known[path.removeprefix("/d/")]
        given = re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", query.text)
        assert [name or passed for name, passed in given] == target, query


@pytest.mark.parametrize(
    ("attempt", "flyte"),
    [
        (
            pods.Attempt(nodes=(("n0", 1),)),
            {"nodeID": "n0", "taskRetryAttempt": "1", "podUnixStartTime": "1795295371"},
        ),
        (
            pods.Attempt(nodes=(("n0", 0), ("dn3", 2))),
            {"nodeID": "n0-0-dn3", "taskRetryAttempt": "2", "podUnixStartTime": "1795295371"},
        ),
        (
            pods.Attempt(nodes=(("n0", 0),), array_index=4321, subtask_attempt=1),
            # As flytepropeller's arrays fill it in: the node of the map, and no times.
            {"nodeID": "n0", "taskRetryAttempt": "0", "subtaskRetryAttempt": "1", "subtaskExecutionIndex": "4321"},
        ),
    ],
    ids=["an attempt", "an attempt below a dynamic node", "a subtask of a map"],
)
def test_flytes_log_link_fills_in_every_variable_and_selects_that_attempt(
    attempt: pods.Attempt, flyte: dict[str, str]
) -> None:
    known = {
        **flyte,
        "executionName": attempt.execution,
        "executionProject": attempt.project,
        "executionDomain": attempt.domain,
    }
    template = links.UTILIZATION if attempt.array_index is None else links.UTILIZATION_SUBTASK

    # A variable that Flyte has no value for stays in the URL as it is: here it would be a KeyError.
    url = urlsplit(FLYTE_VARIABLE.sub(lambda match: known[match[1]], template))

    assert url.path == "/d/flyte-task"
    said = {name: value for name, (value,) in parse_qs(url.query, keep_blank_values=True).items()}
    dashboard = read(generator.DASHBOARDS / "flyte-task.json")
    assert {*said} == {"from", "to", *(f"var-{name}" for name in variables(dashboard))}
    values = {name.removeprefix("var-"): value.replace(links.ANY, ".*") for name, value in said.items()}
    series = {
        "project": attempt.project,
        "domain": attempt.domain,
        "workflow": attempt.workflow,
        "execution": attempt.execution,
        "node": attempt.unique_node,
        "attempt": str(attempt.number),
        "index": "" if attempt.array_index is None else str(attempt.array_index),
    }
    used = names.observed(semconv.METRIC_TASK_CPU_USAGE)
    (asked,) = {
        query.text for query in queries.queries(dashboard) if query.panel == "CPU cores quota" and used in query.text
    }
    matchers = dict(re.findall(r'(\w+)=~?"([^"]*)"', queries.filled(asked, values)))
    for variable, attribute in links.VARIABLES.items():
        assert re.fullmatch(matchers[names.label(attribute)], series[variable]), variable
