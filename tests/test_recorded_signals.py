"""The recording of a local run has the user's metrics, and log records with their severity."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.recording.otlp_file import read
from support import programs
from support.receiver import Receiver

pytestmark = pytest.mark.quick

WORKFLOW = """
    import logging, os
    import flytekit
    from flytekit import task, workflow

    @task
    def measure(value: int) -> int:
        stats = flytekit.current_context().stats
        stats.incr("rows", value)
        stats.gauge("size", 2**63)
        logging.getLogger("mine").warning("low on rows")
        logging.getLogger("mine").error("no rows", extra={"table": "spam"})
        logging.getLogger("mine").error("no rows again")
        print("a line")
        return value

    @task
    def forks(value: int) -> int:
        child = os.fork()
        if not child:
            logging.getLogger("mine").critical("of the child")
            os._exit(0)
        os.waitpid(child, 0)
        return measure(value=value)

    @workflow
    def main(value: int = 3) -> int:
        return measure(value=value)

    @task
    def quiet(value: int = 3) -> int:
        return value
"""


def run(folder: Path, entity: str = "main", **env: str) -> tuple[programs.Ended, Path]:
    programs.module(folder, "wf", WORKFLOW)
    command = ["otel-flyte", "run", "wf.py", entity, "--value", "3"]
    ended = programs.run_command(command, folder, {**env, **programs.RAISE, "COLUMNS": "200"})
    assert ended.returncode == 0, ended.stderr
    (file,) = folder.glob(".otel-flyte/*.jsonl")
    return ended, file


def values(file: Path) -> dict[str, Any]:
    """Return the last value of each metric in a recording."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = {}
    for resource in [each for line in lines for each in line.get("resourceMetrics", ())]:
        for metric in [metric for scope in resource["scopeMetrics"] for metric in scope["metrics"]]:
            [point] = (metric.get("sum") or metric.get("gauge"))["dataPoints"]
            found[metric["name"]] = float(point.get("asInt", point.get("asDouble")))
    return found


def levels(file: Path) -> list[tuple[str | None, str]]:
    """Return the log records of ``logging``."""
    logs = [record for record in read(file).logs if semconv.LOG_IOSTREAM not in record.attributes]
    return [(record.body, record.severity.removesuffix("ING")) for record in logs]


def test_metrics_and_log_records_are_recorded(tmp_path: Path) -> None:
    ended, file = run(tmp_path)

    assert values(file) == {"flyte.user.rows": 3, "flyte.user.size": 2.0**63}
    assert levels(file) == [("low on rows", "WARN"), ("no rows", "ERROR"), ("no rows again", "ERROR")]
    recording = read(file)
    ids = {span.span_id: span.name for span in recording.spans}
    [record] = [record for record in recording.logs if record.body == "no rows" and "table" in record.attributes]
    assert (ids[record.span_id], record.attributes["table"]) == (semconv.PHASE_USER_CODE, "spam")
    assert ended.our_lines == [f"recording in {file.relative_to(tmp_path)}"]


def test_show_and_explain_print_the_levels(tmp_path: Path) -> None:
    ended, file = run(tmp_path)

    for command in ("show", "explain"):
        shown = programs.run_command(["otel-flyte", command, str(file)], tmp_path, {"COLUMNS": "200"}).stdout
        line = next(line for line in shown.splitlines() if semconv.PHASE_USER_CODE in line)
        assert "2 ERROR" in line
        assert "1 WARN" in line
    assert "2 ERROR" in ended.stdout


def test_they_are_exported_as_well(tmp_path: Path, receiver: Receiver) -> None:
    _, file = run(tmp_path, **receiver.environment())

    assert values(file) == {"flyte.user.rows": 3, "flyte.user.size": 2.0**63}
    assert [body for body, _ in levels(file)] == ["low on rows", "no rows", "no rows again"]
    assert {point.value for point in receiver.metrics("flyte.user.rows")} == {3}
    exported = [record for record in receiver.logs() if semconv.LOG_IOSTREAM not in record.attributes]
    assert [record.body for record in exported] == ["low on rows", "no rows", "no rows again"]


def test_records_of_a_forked_child_are_recorded_and_metrics_are_counted_once(tmp_path: Path) -> None:
    _, file = run(tmp_path, "forks")

    assert levels(file)[0][0] == "of the child"
    assert values(file)["flyte.user.rows"] == 3


def test_a_run_without_metrics_and_log_records_has_spans_alone(tmp_path: Path) -> None:
    _, file = run(tmp_path, "quiet")

    assert values(file) == {}
    assert levels(file) == []
    assert read(file).spans


def test_a_switched_off_run_records_nothing(tmp_path: Path) -> None:
    programs.module(tmp_path, "wf", WORKFLOW)
    command = ["otel-flyte", "run", "wf.py", "main"]
    ended = programs.run_command(command, tmp_path, {"OTEL_FLYTE_ENABLED": "false"})

    assert ended.returncode == 0, ended.stderr
    assert not list(tmp_path.glob(".otel-flyte/*.jsonl"))
