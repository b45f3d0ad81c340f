"""Grafana's files: dashboards are as generated, and their queries, links and data sources are valid."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from otel_flyte import semconv
from otel_flyte.usage.instruments import INSTRUMENTS
from support import pods

pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11")

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
for_each_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def variables(dashboard: Mapping[str, Any]) -> list[str]:
    return [variable["name"] for variable in dashboard.get("templating", {}).get("list", [])]


def all_queries() -> Iterator[tuple[str, str, str]]:
    """Yield the position of each query, its data source, and its text with variables filled in."""
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


def test_the_committed_dashboards_are_as_generated() -> None:
    checked = generate("--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert FILES


def test_stale_and_orphaned_dashboards_are_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "DASHBOARDS", tmp_path)
    generator.write()
    (tmp_path / "flyte-task.json").write_text("{}")
    (tmp_path / "forgotten.json").write_text("{}")

    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "grafana.generate: stale dashboards flyte-task.json, forgotten.json: run `python -m grafana.generate`\n"
    )

    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


def test_an_unknown_argument_is_a_usage_error() -> None:
    refused = generate("--chekc")
    assert (refused.returncode, refused.stderr) == (2, "usage: python -m grafana.generate [--check]\n")


@for_each_dashboard
def test_a_dashboard_matches_the_schema(file: Path) -> None:
    plugins.register_default_plugins()
    written = read(file)
    parsed = models.Dashboard.from_json(json.loads(file.read_text()))
    assert json.loads(json.dumps(parsed, cls=JSONEncoder)) == written


@for_each_dashboard
def test_every_panel_has_a_description_a_unit_and_a_text_for_no_data(file: Path) -> None:
    titles = [panel["title"] for panel in queries.panels(read(file))]
    assert len(titles) == len({*titles})
    for panel in queries.panels(read(file)):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"].strip(), panel["title"]
        assert "no data" not in defaults["noValue"].lower(), panel["title"]


@for_each_dashboard
def test_panels_do_not_overlap(file: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    dashboard = read(file)
    for panel in [*dashboard["panels"]]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS, panel["title"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]):
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    numbers = [panel["id"] for panel in [*dashboard["panels"], *queries.panels(dashboard)] if panel["type"] != "row"]
    assert len({*numbers}) == len({id(panel) for panel in queries.panels(dashboard)})


# --- queries ---------------------------------------------------------------------------------------------------------


def test_every_promql_query_parses() -> None:
    asked = list(all_queries())
    assert {source for _, source, _ in asked} == SOURCES
    problems = [(where, grammars.promql_problem(text)) for where, source, text in asked if source == "prometheus"]
    assert [problem for problem in problems if problem[1]] == []


def test_every_logql_and_traceql_query_parses_with_grafanas_own_grammars() -> None:
    languages = {"loki": "logql", "tempo": "traceql"}
    asked = [(where, languages[source], text) for where, source, text in all_queries() if source in languages]
    found = grammars.problems([(language, text) for _, language, text in asked])
    assert not [f"{where}: {problem}" for (where, _, _), problem in zip(asked, found, strict=True) if problem]


def test_the_grammars_report_errors() -> None:
    assert grammars.promql_problem("sum by (a (up)")
    assert all(grammars.problems([("traceql", "{ span.a > } | rate()"), ("logql", '{a=} |= "x"')]))


@for_each_dashboard
def test_queries_use_existing_variables_and_variables_use_earlier_ones(file: Path) -> None:
    dashboard = read(file)
    known = variables(dashboard)
    for query in queries.queries(dashboard):
        allowed = known[: known.index(query.panel)] if query.kind == queries.VARIABLE else known
        assert queries.references(query.text) <= {*allowed}, query


def test_our_queried_metrics_exist() -> None:
    made = {names.observed(instrument.name) for instrument in INSTRUMENTS}
    made |= {"flyte_task_attempts_total", "flyte_task_cache_lookups_total"}
    made |= {f"flyte_task_duration_seconds_{part}" for part in ("sum", "count")}
    ours = re.compile(r"\b(?:flyte_task_|flyte_accelerator_|hw_|k8s_container_)\w+")
    labels = {names.label(name) for name in (semconv.TASK_NAME, semconv.HW_ID, semconv.HW_NAME, semconv.HW_STATE)}
    asked = {name for _, source, text in all_queries() if source == "prometheus" for name in ours.findall(text)}
    assert asked - labels <= made


def test_no_query_about_tasks_joins_series() -> None:
    """A join over all pods of a fleet overloads Prometheus."""
    of_flyte_itself = ("flyte-admin", "flyte-propeller", "flyte-users")
    asked = [text for where, _, text in all_queries() if not where.startswith(of_flyte_itself)]
    assert asked
    assert not [text for text in asked if "group_left" in text or "group_right" in text]


# --- data sources ----------------------------------------------------------------------------------------------------


def test_the_data_sources_are_those_of_the_panels() -> None:
    assert {*sources()} == SOURCES
    for file in FILES:
        for query in queries.queries(read(file)):
            assert query.datasource in (SOURCES if query.kind != queries.LINK else {""}), query


def test_traces_logs_metrics_and_exemplars_are_linked() -> None:
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


def test_a_link_leads_to_an_existing_dashboard_with_all_of_its_variables() -> None:
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
            # As flytepropeller fills it in for arrays: the node of the map, and no times.
            {"nodeID": "n0", "taskRetryAttempt": "0", "subtaskRetryAttempt": "1", "subtaskExecutionIndex": "4321"},
        ),
    ],
    ids=["an attempt", "an attempt below a dynamic node", "a subtask of a map"],
)
def test_flytes_log_link_fills_in_every_variable_and_selects_the_attempt(
    attempt: pods.Attempt, flyte: dict[str, str]
) -> None:
    known = {
        **flyte,
        "executionName": attempt.execution,
        "executionProject": attempt.project,
        "executionDomain": attempt.domain,
    }
    template = links.UTILIZATION if attempt.array_index is None else links.UTILIZATION_SUBTASK

    # Flyte leaves a variable without a value in the URL; here it is a KeyError.
    url = urlsplit(FLYTE_VARIABLE.sub(lambda match: known[match[1]], template))

    assert url.path == "/d/flyte-task"
    given = {name: value for name, (value,) in parse_qs(url.query, keep_blank_values=True).items()}
    dashboard = read(generator.DASHBOARDS / "flyte-task.json")
    assert {*given} == {"from", "to", *(f"var-{name}" for name in variables(dashboard))}
    values = {name.removeprefix("var-"): value.replace(links.ANY, ".*") for name, value in given.items()}
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
