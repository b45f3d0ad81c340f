"""Alert and recording rules: they load, fire and stay silent. Their unit tests are in `tests/stack/rules/`."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana.generate import links, names

from otel_flyte import semconv
from support import native

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "grafana" / "dashboards"
RULES = sorted((ROOT / "backends" / "rules").glob("*.yaml"))
UNIT_TESTS = sorted((ROOT / "tests" / "stack" / "rules").glob("*.yaml"))

METRICS = {
    "FlyteTaskNearOutOfMemory": names.observed(semconv.METRIC_TASK_MEMORY_OF_LIMIT),
    "FlyteTaskGpuIdle": names.observed(semconv.METRIC_TASK_GPU_OF_REQUEST),
    "FlyteTaskDeviceIdle": names.observed(semconv.METRIC_HW_GPU_UTILIZATION),
    "FlyteTaskThrottled": names.observed(semconv.METRIC_TASK_CPU_THROTTLED),
    "flyte:task_attempts:increase30m": names.metric(semconv.METRIC_TASK_ATTEMPTS, "{attempt}", "create_counter"),
}
"""The metrics of ours in rules, by Prometheus' name."""

SEVERITIES = {"critical", "warning", "info"}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([native.binary("promtool"), *arguments], capture_output=True, text=True, check=False)


def rules() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


@cache
def unit_tested(*, fires: bool) -> set[str]:
    """Return the alerts with a unit test in which they fire, or do not."""
    return {
        check["alertname"]
        for file in UNIT_TESTS
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        for check in test.get("alert_rule_test", ())
        if bool(check["exp_alerts"]) == fires
    }


ALERTS = [rule for rule in rules() if "alert" in rule]
NAMES = sorted({alert["alert"] for alert in ALERTS})


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_a_rule_file_is_valid(file: Path) -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.name)
def test_rules_pass_their_unit_tests(file: Path) -> None:
    tested = promtool("test", "rules", str(file))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", METRICS)
def test_a_rule_reads_our_metric_by_prometheus_name(name: str) -> None:
    expressions = [rule["expr"] for rule in rules() if name in (rule.get("alert"), rule.get("record"))]
    assert [expression for expression in expressions if METRICS[name] not in expression] == []
    assert expressions


def test_dropped_records_of_every_signal_are_read() -> None:
    (expression,) = [rule["expr"] for rule in rules() if rule.get("record") == "flyte:telemetry_lost:sum"]
    pattern = re.findall(r'__name__=~"([^"]+)"', expression)[0]
    lost = [semconv.METRIC_SPANS_EXPORTED, semconv.METRIC_DATA_POINTS_EXPORTED, semconv.METRIC_LOGS_EXPORTED]
    assert all(re.fullmatch(pattern, names.metric(name, "{record}", "create_counter")) for name in lost)


def test_rules_group_by_labels_that_our_metrics_have() -> None:
    known = {names.label(name) for name in (*semconv.IDENTITY, semconv.RESULT)}
    grouped = {
        label for rule in rules() for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(",")
    }
    assert {label.strip() for label in grouped if label.strip().startswith("flyte_")} <= known


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    assert name in unit_tested(fires=True)
    assert name in unit_tested(fires=False)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_a_summary_and_a_description(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_link_of_an_alert_leads_to_a_dashboard_with_its_variables(alert: dict[str, Any]) -> None:
    url = alert["annotations"]["dashboard"]
    found = re.search(r"/d/([\w-]+)", url)
    assert found is not None
    board = json.loads((DASHBOARDS / f"{found[1]}.json").read_text(encoding="utf-8"))
    variables = {variable["name"] for variable in board["templating"].get("list", [])}
    assert set(re.findall(r"var-(\w+)=", url)) <= variables


def test_an_alert_on_a_task_fills_in_every_variable_of_its_dashboard() -> None:
    near = next(alert for alert in ALERTS if alert["alert"] == "FlyteTaskNearOutOfMemory")
    assert re.findall(r"var-(\w+)=", near["annotations"]["dashboard"]) == list(links.VARIABLES)
