"""The usage of tasks in the output of `otel-flyte metrics`, `show` and `dump`."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from inline_snapshot import snapshot

from otel_flyte import semconv
from otel_flyte.cli import main as cli
from support import traces, usages
from support.usages import GIB

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

SIX = ["cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "npuMemUsage"]
KILLED = {
    **traces.EXECUTION_RESOURCE,
    semconv.ACTION_NAME: "n1",
    semconv.ATTEMPT: "0",
}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, env={"COLUMNS": "118"})


def body(*arguments: str) -> dict[str, list[float]]:
    """The series of the ModelArts body, by name."""
    result = call("metrics", *arguments)
    document = json.loads(result.stdout)
    is_unknown = all(value == -1 for entry in document["metrics"] for value in entry["value"])
    reported = f"otel-flyte: {arguments[-1]} has no usage by minute: each value is -1\n" if is_unknown else ""
    assert (result.exit_code, result.stderr) == (0, reported)
    assert list(document) == ["metrics"]
    assert [list(entry) for entry in document["metrics"]] == [["metric", "value"]] * 6
    assert [entry["metric"] for entry in document["metrics"]] == SIX
    assert len({len(entry["value"]) for entry in document["metrics"]}) == 1
    return {entry["metric"]: entry["value"] for entry in document["metrics"]}


@pytest.fixture
def execution(tmp_path: Path) -> str:
    """Write the pods of one execution: a retried node with a GPU, a map, a node without usage."""
    path = tmp_path / "execution.jsonl"
    recorder = traces.Recorder.of_file(path, traces.EXECUTION_RESOURCE)
    failed = {**usages.node("n0", "shop.train"), **usages.quota(gpus=1), **usages.usage()}
    recorder.leaf("task shop.train", 0, 40, failed, error=("MemoryError", "no more"), raised_here=False)
    trained = {
        **usages.node("n0", "shop.train", 1),
        **usages.quota(gpus=1),
        **usages.usage(1.94, 2.0, 2200 * 2**20, 3.2),
        **usages.device(0, 0.83, 1.0, 70 * GIB),
        **usages.series(
            cpu_usage=[95.5, 99.25, -1.0, 40.0],
            mem_usage=[20.0, 53.71, -1.0, 53.0],
            gpu_util=[80.0, 90.0, -1.0, 79.0],
            gpu_mem_usage=[10.0, 87.5, -1.0, 87.5],
            cpu_cores=[1.91, 1.985, -1.0, 0.8],
            mem_bytes=[8e8, 2.3e9, -1.0, 2.2e9],
        ),
    }
    with recorder.span("task shop.train", 60, 260, trained):
        recorder.leaf(semconv.PHASE_USER_CODE, 60, 250, usages.usage(1.9, 2.0, 2200 * 2**20, 3.2))
    for index in range(2):
        item = {**usages.node(f"n1/n{index}", "shop.score", flyte_array_index=index), semconv.ARRAY_INDEX: index}
        recorder.leaf("task shop.score", 260, 270, {**item, **usages.series(cpu_usage=[7 + index])})
    recorder.leaf("task shop.report", 270, 330.5, usages.node("n2", "shop.report"))
    return str(path)


class TestMetrics:
    def test_the_body_of_modelarts_is_printed(self, execution: str) -> None:
        result = call("metrics", execution, "n0@1")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == snapshot("""\
{"metrics": [
{"metric": "cpuUsage", "value": [95.5, 99.25, -1, 40.0]},
{"metric": "memUsage", "value": [20.0, 53.71, -1, 53.0]},
{"metric": "gpuUtil", "value": [80.0, 90.0, -1, 79.0]},
{"metric": "gpuMemUsage", "value": [10.0, 87.5, -1, 87.5]},
{"metric": "npuUtil", "value": [-1, -1, -1, -1]},
{"metric": "npuMemUsage", "value": [-1, -1, -1, -1]}
]}
""")
        assert call("metrics", execution, "n0@1", "--json").stdout == result.stdout

    def test_a_table_for_people(self, execution: str) -> None:
        assert call("metrics", execution, "n0@1", "--table").stdout == snapshot("""\
minute  cpuUsage  memUsage  gpuUtil  gpuMemUsage  npuUtil  npuMemUsage
     0      95.5      20.0     80.0         10.0        -            -
     1      99.2      53.7     90.0         87.5        -            -
     2         -         -        -            -        -            -
     3      40.0      53.0     79.0         87.5        -            -
""")

    def test_comma_separated_values(self, execution: str) -> None:
        assert call("metrics", execution, "n0@1", "--csv").stdout == snapshot("""\
minute,cpuUsage,memUsage,gpuUtil,gpuMemUsage,npuUtil,npuMemUsage
0,95.5,20.0,80.0,10.0,-1,-1
1,99.25,53.71,90.0,87.5,-1,-1
2,-1,-1,-1,-1,-1,-1
3,40.0,53.0,79.0,87.5,-1,-1
""")

    def test_attempts_are_listed_with_their_names_if_no_task_is_given(self, execution: str) -> None:
        assert call("metrics", execution).stdout == snapshot("""\
TASK  name         duration    minutes  usage  result
n0@0  shop.train   40.0 s      1        none   failure
n0@1  shop.train   3 min 20 s  4        span   success
n1/0  shop.score   10.0 s      1        span   success
n1/1  shop.score   10.0 s      1        span   success
n2    shop.report  1 min 00 s  2        none   success
""")

    def test_each_listed_name_selects_one_attempt(self, execution: str) -> None:
        _, *lines = call("metrics", execution).stdout.splitlines()
        assert len(lines) == 5
        for line in lines:
            (selector, *_) = shlex.split(line)
            assert call("metrics", execution, selector).exit_code == 0

    def test_the_list_is_available_as_json_and_csv(self, execution: str) -> None:
        (_, retried, *_) = json.loads(call("metrics", execution, "--json").stdout)["tasks"]
        assert retried == snapshot(
            {
                "task": "n0@1",
                "name": "shop.train",
                "run": "f1c0ffee",
                "attempt": 1,
                "span_id": "0000000000000004",
                "duration": 200.0,
                "minutes": 4,
                "usage": "span",
                "result": "success",
            }
        )
        rows = list(csv.DictReader(io.StringIO(call("metrics", execution, "--csv").stdout)))
        assert [row["task"] for row in rows] == ["n0@0", "n0@1", "n1/0", "n1/1", "n2"]

    @pytest.mark.parametrize("selector", ["n1/1", "f1c0ffee/n1/1", "n1/1@0"])
    def test_a_map_item_is_named_by_its_map_and_its_index(self, execution: str, selector: str) -> None:
        assert body(execution, selector)["cpuUsage"] == [8]

    @pytest.mark.parametrize("selector", ["report", "shop.report", "n2", "n2@0"])
    def test_a_unique_task_name_selects_its_attempt(self, execution: str, selector: str) -> None:
        assert set(map(tuple, body(execution, selector).values())) == {(-1, -1)}

    def test_a_span_id_selects_an_attempt(self, execution: str) -> None:
        (_, retried, *_) = json.loads(call("metrics", execution, "--json").stdout)["tasks"]
        assert body(execution, retried["span_id"])["cpuUsage"] == [95.5, 99.25, -1, 40]

    @pytest.mark.parametrize(
        ("selector", "complaint"),
        [
            ("n0", "n0 is the name of 2 task attempts: choose one of n0@0, n0@1"),
            ("train", "train is the name of 2 task attempts: choose one of n0@0, n0@1"),
            ("n7", "n7 is not a task attempt of this source: choose one of n0@0, n0@1, n1/0, n1/1, n2"),
        ],
    )
    def test_an_ambiguous_or_unknown_name_is_reported_in_one_line_with_the_choices(
        self, execution: str, selector: str, complaint: str
    ) -> None:
        result = call("metrics", execution, selector)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"otel-flyte: {complaint}\n")

    def test_a_name_that_several_local_runs_have_is_ambiguous_and_lists_their_ids_and_times(
        self, tmp_path: Path
    ) -> None:
        recorder = traces.Recorder.of_file(tmp_path / "runs.jsonl")
        for start in (100, 300, 200):
            recorder.leaf("task t", start, start + 30, usages.series(60, cpu_usage=[start]))
        result = call("metrics", str(tmp_path), "t")
        choices = (
            "0000000000000004 (2026-05-28 20:31:40 UTC, 30.0 s), 0000000000000006 (2026-05-28 20:30:00 UTC, 30.0 s), "
            "0000000000000002 (2026-05-28 20:28:20 UTC, 30.0 s)"
        )
        complaint = f"t is the name of 3 task attempts: choose one of {choices}"
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"otel-flyte: {complaint}\n")
        assert body(str(tmp_path), "0000000000000004")["cpuUsage"] == [300]

    def test_a_name_that_several_attempts_of_one_local_run_have_is_ambiguous(self, tmp_path: Path) -> None:
        recorder = traces.Recorder.of_file(tmp_path / "runs.jsonl")
        with recorder.span("workflow w", 0, 100):
            for start in (10, 30):
                recorder.leaf("task t", start, start + 20, usages.series(60, cpu_usage=[start]))
        *_, first, second = json.loads(call("metrics", str(tmp_path), "--json").stdout)["tasks"]
        result = call("metrics", str(tmp_path), "t")
        times = "(2026-05-28 20:27:10 UTC, 20.0 s)", "(2026-05-28 20:26:50 UTC, 20.0 s)"
        choices = f"{second['span_id']} {times[0]}, {first['span_id']} {times[1]}"
        complaint = f"t is the name of 2 task attempts: choose one of {choices}"
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"otel-flyte: {complaint}\n")

    @pytest.mark.parametrize(
        ("own", "reason"),
        [
            ({}, "has no usage by minute"),
            ({**usages.usage(), semconv.USAGE_SHARED: True}, "shared its process with other tasks"),
        ],
    )
    def test_an_attempt_without_usage_is_reported(self, tmp_path: Path, own: dict[str, Any], reason: str) -> None:
        traces.Recorder.of_file(tmp_path / "f.jsonl").leaf("task t", 0, 100, own)
        result = call("metrics", str(tmp_path), "t")
        assert (result.exit_code, result.stderr) == (0, f"otel-flyte: t {reason}: each value is -1\n")

    def test_two_forms_exclude_each_other(self, execution: str) -> None:
        result = call("metrics", execution, "--json", "--csv")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "otel-flyte: --json and --csv exclude each other: see `main metrics --help`\n"

    def test_a_value_of_two_minutes_is_repeated(self, tmp_path: Path) -> None:
        recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
        recorder.leaf("task t", 0, 290, usages.series(120, cpu_usage=[10, 20, 30], npu_util=[-1, 5, 6]))
        found = body(str(tmp_path), "t")
        assert found["cpuUsage"] == [10, 10, 20, 20, 30]
        assert found["npuUtil"] == [-1, -1, 5, 5, 6]
        assert found["memUsage"] == [-1] * 5

    def test_an_attempt_of_less_than_a_minute_without_a_series_has_its_means(self, tmp_path: Path) -> None:
        shares = {semconv.USAGE_CPU_OF_LIMIT: 0.5, semconv.USAGE_MEMORY_OF_LIMIT: 0.75}
        own = {**usages.usage(), **shares, **usages.device(0, 0.25, 1.0, GIB)}
        recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
        recorder.leaf("task t", 0, 12, own)
        recorder.leaf("task longer", 20, 100, own)
        found = body(str(tmp_path), "t")
        assert (found["cpuUsage"], found["memUsage"], found["gpuUtil"]) == ([50], [37.5], [25])
        assert body(str(tmp_path), "longer")["cpuUsage"] == [-1, -1]

    def test_values_are_kept_if_the_clock_was_set_back(self, tmp_path: Path) -> None:
        recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
        recorder.leaf("task t", 0, 1, usages.series(cpu_usage=[10, 20, 30]))
        assert body(str(tmp_path), "t")["cpuUsage"] == [10, 20, 30]

    @pytest.mark.parametrize("values", [["a", "b"], [float("nan"), float("inf")], [True, False]])
    def test_values_that_are_not_numbers_are_missing(self, tmp_path: Path, values: Any) -> None:
        recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
        recorder.leaf("task t", 0, 100, usages.series(cpu_usage=values))
        assert body(str(tmp_path), "t")["cpuUsage"] == [-1, -1]

    def test_the_help_explains_the_numbers(self) -> None:
        text = " ".join(call("metrics", "--help").stdout.split())
        assert "CPU and memory are percent of the task's limit, else of the visible cores and the host's memory" in text
        assert "GPU and NPU are the mean over the devices that the task sees" in text

    def test_neither_flytekit_nor_the_sdk_is_imported(self, execution: str) -> None:
        program = f"""
import sys
from click.testing import CliRunner
from otel_flyte.cli.main import main
for arguments in (["metrics", {execution!r}], ["metrics", {execution!r}, "n2"], ["rightsize", {execution!r}]):
    assert CliRunner().invoke(main, arguments).exit_code == 0
print({{name.split(".")[0] for name in sys.modules}} & {{"flytekit", "opentelemetry", "google", "grpc"}})
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"


class TestMetricRecords:
    """A running or killed attempt has no span; its usage is in its metric records."""

    def test_a_killed_attempt_has_the_values_of_its_metric_records(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "killed.jsonl")
        usages.write_points(
            tmp_path / "metrics.jsonl",
            KILLED,
            "train.fit",
            cpu_usage={60: 50.0, 120: 70.0, 150: 10.0},
            mem_usage={60: 12.5, 120: 25.0},
            mem_bytes={60: 1e9},
        )
        assert call("metrics", str(tmp_path)).stdout == snapshot("""\
TASK  name       duration    minutes  usage           result
n1    train.fit  2 min 30 s  3        metric records  never ended
""")
        found = body(str(tmp_path), "n1")
        assert found["cpuUsage"] == [50, 70, 10]
        assert found["memUsage"] == [12.5, 25, -1]
        assert found["gpuUtil"] == [-1, -1, -1]

    def test_points_between_minutes_are_weighted_by_time(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "killed.jsonl")
        points = {30: 20.0, 90: 80.0, 150: 20.0}
        usages.write_points(tmp_path / "metrics.jsonl", KILLED, "train.fit", cpu_usage=points)
        assert body(str(tmp_path), "n1")["cpuUsage"] == [50, 50, 20]

    def test_missing_records_are_missing_values(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "killed.jsonl")
        points = {60: 10.0, 120: 20.0, 180: 30.0, 360: 60.0, 420: 70.0}
        usages.write_points(tmp_path / "metrics.jsonl", KILLED, "train.fit", cpu_usage=points)
        assert body(str(tmp_path), "n1")["cpuUsage"] == [10, 20, 30, -1, -1, 60, 70]

    def test_the_span_overrides_metric_records(self, execution: str) -> None:
        resource = {**KILLED, semconv.ACTION_NAME: "n0", semconv.ATTEMPT: "1"}
        usages.write_points(Path(execution), resource, "shop.train", cpu_usage={120: 1.0})
        assert body(execution, "n0@1")["cpuUsage"] == [95.5, 99.25, -1, 40]

    def test_metric_records_of_another_attempt_are_ignored(self, execution: str) -> None:
        for other in ({semconv.ATTEMPT: "1"}, {semconv.RUN_NAME: "other"}, {semconv.ACTION_NAME: "n9"}):
            resource = {**KILLED, semconv.ACTION_NAME: "n2", **other}
            usages.write_points(Path(execution), resource, "shop.report", cpu_usage={300: 1.0})
        assert set(map(tuple, body(execution, "f1c0ffee/n2@0").values())) == {(-1, -1)}

    def test_metric_records_are_used_without_any_span(self, tmp_path: Path) -> None:
        points = {60: 10.0, 120: 20.0}
        usages.write_points(tmp_path / "f.jsonl", KILLED, "train.fit", cpu_usage=points, npu_util=points)
        assert call("metrics", str(tmp_path)).stdout == snapshot("""\
TASK  name       duration    minutes  usage           result
n1    train.fit  2 min 00 s  2        metric records  never ended
""")
        assert body(str(tmp_path), "fit")["npuUtil"] == [10, 20]

    @pytest.mark.parametrize("has_spans", [True, False])
    def test_attempts_that_share_a_process_have_the_records_with_their_identity(
        self, tmp_path: Path, has_spans: bool
    ) -> None:
        process = {"service.name": "flyte"}
        attempts = [{**KILLED, semconv.ACTION_NAME: f"n{number}"} for number in range(2)]
        for number, identity in enumerate(attempts):
            values = {60: 10.0 * number, 120: 20.0 * number}
            usages.write_points(tmp_path / "metrics.jsonl", process, "shop.fit", identity, cpu_usage=values)
            if has_spans:
                recorder = traces.Recorder.of_file(tmp_path / "spans.jsonl", process)
                named = {semconv.NODE_PATH: f"n{number}", semconv.TASK_NAME: "shop.fit"}
                recorder.leaf("task shop.fit", 0, 120, {**identity, **named, semconv.ATTEMPT: 0})
        found = [body(str(tmp_path), f"f1c0ffee/n{number}@0")["cpuUsage"] for number in range(2)]
        assert found == [[0, 0], [10, 20]]

    def test_metric_records_of_several_local_runs_are_assigned_by_time(self, tmp_path: Path) -> None:
        recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
        for begin in (0, 200):
            recorder.leaf("task shop.fit", begin, begin + 120, {semconv.TASK_NAME: "shop.fit"})
        points = {60: 10.0, 120: 20.0, 260: 30.0, 320: 40.0, 900: 99.0}
        usages.write_points(tmp_path / "f.jsonl", {"service.name": "flyte"}, "shop.fit", cpu_usage=points)
        found = json.loads(call("metrics", str(tmp_path), "--json").stdout)["tasks"]
        assert [body(str(tmp_path), task["span_id"])["cpuUsage"] for task in found] == [[10, 20], [30, 40]]

    def test_a_point_with_an_invalid_time_is_ignored(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "killed.jsonl")
        points = {60: 10.0, 9_000_000_000: 20.0, -100: 5.0}
        usages.write_points(tmp_path / "metrics.jsonl", KILLED, "train.fit", cpu_usage=points)
        assert body(str(tmp_path), "n1")["cpuUsage"] == [10]


class TestBadInput:
    @pytest.mark.parametrize("command", ["metrics", "rightsize"])
    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (None, "does not exist"),
            ("", "is empty"),
            ("{", "is not JSON"),
            ('{"spans": []}', "is JSON but not OTLP"),
            ('{"resourceMetrics": []}', "holds no span, only metrics"),
            ('{"resourceMetrics": [{"scopeMetrics": 7}]}', "is not OTLP JSON"),
        ],
    )
    def test_a_file_that_is_not_a_recording_is_reported_in_one_line_with_exit_code_2(
        self, tmp_path: Path, command: str, content: str | None, complaint: str
    ) -> None:
        path = tmp_path / "f.jsonl"
        if content is not None:
            path.write_text(content)
        result = call(command, str(path))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"otel-flyte: {path}")
        assert complaint in result.stderr

    @pytest.mark.parametrize("command", ["metrics", "rightsize"])
    def test_a_recording_without_a_task_is_reported(self, tmp_path: Path, command: str) -> None:
        traces.Recorder.of_file(tmp_path / "f.jsonl").leaf("GET /", 0, 1, scope="requests")
        result = call(command, str(tmp_path))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "holds no task attempt" in result.stderr

    def test_unreadable_files_are_reported_beside_the_result(self, execution: str, tmp_path: Path) -> None:
        (tmp_path / "z.jsonl").touch()
        result = call("metrics", str(tmp_path), "n0@1")
        assert len(json.loads(result.stdout)["metrics"]) == 6
        problem = "is empty, its process has ended no span yet: the file is ignored"
        assert result.stderr == f"otel-flyte: {tmp_path / 'z.jsonl'} {problem}\n"


class TestElsewhere:
    def test_show_prints_the_usage_of_tasks_and_phases(self, execution: str) -> None:
        assert call("show", execution).stdout == snapshot("""\
2026-05-28 20:26:40 UTC · trace a0000000000000000000000000000001 and 4 more
· execution f1c0ffee  shop/production                                  5 min 30 s  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
├─ ✓ task shop.train  n0 · 2 attempts · wall 4 min 00 s              Σ 4 min 00 s  ━━━━──━━━━━━━━━━━━━━━━━━━━━╸
│  ├─ ✗ attempt 0  1 core · 3 GiB of 4 GiB                                 40.0 s  ━━━━
│  │     MemoryError: no more
│  └─ ✓ attempt 1  1.9 cores · 2.1 GiB of 4 GiB · throttled 3.20 s ·…  3 min 20 s        ━━━━━━━━━━━━━━━━━━━━━╸
│     └─ user code  1.9 cores · 2.1 GiB · throttled 3.20 s             3 min 10 s        ━━━━━━━━━━━━━━━━━━━━╸
├─ ✓ task shop.score  2 items · wall 10.0 s · median 10.0 s · slowes…    Σ 20.0 s                             ╺╸
│  ├─ ✓ map item 0                                                         10.0 s                             ╺╸
│  └─ ✓ map item 1                                                         10.0 s                             ╺╸
└─ ✓ task shop.report  n2                                              1 min 00 s                              ╺━━━━━━
6 spans · 1 error
critical path: 57 % task shop.train / attempt 1 / user code (3 min 10 s) · 18 % task shop.report (1 min 00 s)
  12 % task shop.train / attempt 0 (40.0 s) · 6 % waiting (20.0 s) · 2 more parts
CPU: 6.4 of 8 core-minutes used, 80 % · 3 attempts not counted
Memory: 6.2 of 16 GiB-minutes used, 39 % · 3 attempts not counted
GPU: 2.8 of 3.3 GPU-minutes used, 84 % · 1 attempt not counted
""")

    def test_growth_and_memory_from_before_are_beside_the_level(self, tmp_path: Path) -> None:
        path = tmp_path / "before.jsonl"
        recorder = traces.Recorder.of_file(path, traces.EXECUTION_RESOURCE)
        for index, left in enumerate((0, 2 * GIB)):
            before = {semconv.USAGE_MEMORY_GROWTH: GIB // 2, semconv.USAGE_MEMORY_LEFT: left}
            own = {**usages.node(f"n{index}", f"t{index}"), **usages.quota(), **usages.usage(), **before}
            recorder.leaf(f"task t{index}", 60 * index, 60 * index + 50, own)
        lines = call("show", str(path)).stdout
        assert "3 GiB (+512 MiB) of 4 GiB  " in lines
        assert "3 GiB (+512 MiB, 2 GiB from before) of" in lines

    def test_dump_prints_a_series_on_few_lines(self, execution: str) -> None:
        printed = call("dump", execution).stdout
        name = semconv.USAGE_SERIES.format(name="cpu_usage")
        assert re.search(rf"^ +{name}: \[95\.5, 99\.25, -1\.0, 40\.0\]$", printed, re.MULTILINE)
        attempts = yaml.safe_load(printed)["f1c0ffee"]["nodes"]["n0"]["task_attempts"]
        assert attempts[1]["attributes"][semconv.USAGE_STEP] == 60
