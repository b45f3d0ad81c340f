"""The recommendations of `otel-flyte rightsize`, which are never below the observed usage."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flytekit import Resources, task
from inline_snapshot import snapshot

from otel_flyte import quantity, semconv
from otel_flyte.cli import main as cli
from otel_flyte.recording.rightsize import quantile, round_up_bytes, round_up_cores
from support import traces, usages
from support.usages import GIB

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

MIB = 2**20


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.main, ["rightsize", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result


class Runs:
    """Consecutive attempts of tasks, written to a file as they end."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._recorder = traces.Recorder.of_file(path, traces.EXECUTION_RESOURCE)
        self._numbers = itertools.count()

    def add(self, name: str, *attributes: dict[str, Any], seconds: float = 100, error: str = "") -> None:
        number = next(self._numbers)
        own: dict[str, Any] = usages.node(f"n{number}", name)
        for more in attributes:
            own.update(more)
        failed = (error, "killed") if error else None
        begin = 1000.0 * number
        self._recorder.leaf(f"task {name}", begin, begin + seconds, own, error=failed, raised_here=False)

    def text(self, *options: str) -> str:
        return call(self.path, *options).stdout

    def advice(self, *options: str) -> dict[str, Any]:
        """Return the recommendation for the only task, as JSON."""
        (found,) = json.loads(call(self.path, *options, "--json").stdout)["tasks"]
        assert isinstance(found, dict)
        return found


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "f.jsonl")


def pasted(text: str) -> dict[str, Resources]:
    """Return the printed arguments, evaluated in a call."""
    (line,) = (line for line in text.splitlines() if "requests=Resources(" in line)
    arguments = eval(f"dict({line})", {"Resources": Resources})
    assert isinstance(arguments, dict)
    task(**arguments)(lambda: None)
    return arguments


class TestText:
    def test_tasks_with_problems_come_first_and_each_task_has_reasons_and_code(self, runs: Runs) -> None:
        asked = usages.quota()
        cores = usages.series(cpu_cores=[0.4, 0.55])
        runs.add("shop.small", usages.quota(4, 16 * GIB), usages.usage(0.4, 0.6, 700 * MIB), cores)
        runs.add("shop.small", usages.quota(4, 16 * GIB), usages.usage(0.5, 0.7, 800 * MIB), cores)
        runs.add("shop.idle", usages.quota(gpus=2), usages.usage(), usages.device(0, 0.4, 1.0, 30 * GIB))
        runs.add("shop.idle", usages.device(1, 0.0, 0.0, 0), usages.quota(gpus=2), usages.usage())
        runs.add("shop.busy", asked, usages.usage(1.9, 2.0, throttled=30.0))
        runs.add("shop.fits", asked, usages.usage(1.5, 1.7, 3300 * MIB))
        runs.add("shop.fits", asked, usages.usage(1.6, 1.75, 3400 * MIB))
        runs.add("shop.big", asked, usages.usage(memory=4 * GIB), {semconv.USAGE_OOM_KILLS: 1}, error="OOMKilled")
        runs.add("shop.big", asked, usages.usage())
        assert runs.text() == snapshot("""\
OOM-killed  shop.big: 1 of 2 attempts ran out of memory, the limit is 4Gi
throttled   shop.busy: waited 30.0 s for CPU, the limit is 2
idle GPU    shop.idle: 1 of 2 did next to nothing, mean utilisation 40 %

shop.big: 2 attempts
  cpu     2 / 2 fits: peak 1.6 cores + 15 %; p95 1 core, mean 1 core
  memory  4Gi / 4Gi -> 6Gi / 6Gi: peak 4 GiB + 20 %; 1 attempt ran out of it, limit x 1.5
  requests=Resources(cpu="2", mem="6Gi"), limits=Resources(cpu="2", mem="6Gi")

shop.busy: 1 attempt
  cpu     2 / 2 -> 2250m / 3: peak 2 cores + 15 %; p95 1.9 cores, mean 1.9 cores; throttled 30.0 s, limit x 1.5
  memory  4Gi / 4Gi fits: peak 3 GiB + 20 %
  requests=Resources(cpu="2250m", mem="4Gi"), limits=Resources(cpu="3", mem="4Gi")
  note: thin evidence: 1 attempt, the longest took 1 min 40 s

shop.idle: 2 attempts
  cpu     2 / 2 fits: peak 1.6 cores + 15 %; p95 1 core, mean 1 core
  memory  4Gi / 4Gi fits: peak 3 GiB + 20 %
  gpu     2 -> 1: 1 never used; mean utilisation 40 %; peak memory 30 GiB
  requests=Resources(cpu="2", mem="4Gi", gpu="1"), limits=Resources(cpu="2", mem="4Gi", gpu="1")

shop.small: 2 attempts
  cpu     4 / 4 -> 700m / 900m: peak 0.7 cores + 15 %; p95 0.6 cores, mean 0.5 cores
  memory  16Gi / 16Gi -> 960Mi / 960Mi: peak 800 MiB + 20 %
  requests=Resources(cpu="700m", mem="960Mi"), limits=Resources(cpu="900m", mem="960Mi")

shop.fits: 2 attempts
  cpu     2 / 2 fits: peak 1.8 cores + 15 %; p95 1.6 cores, mean 1.6 cores
  memory  4Gi / 4Gi fits: peak 3.3 GiB + 20 %
  fits
""")

    def test_the_printed_code_is_valid_for_flytekit(self, runs: Runs) -> None:
        runs.add("t", usages.quota(8, 9 * GIB, gpus=1), usages.usage(), usages.device(0, 0.9, 1.0, GIB))
        arguments = pasted(runs.text())
        assert arguments == {
            "requests": Resources(cpu="1750m", mem="3712Mi", gpu="1"),
            "limits": Resources(cpu="2", mem="3712Mi", gpu="1"),
        }

    def test_ignored_attempts_are_reported(self, runs: Runs) -> None:
        runs.add("t", usages.quota(), usages.usage(memory=GIB), seconds=12)
        runs.add("t", usages.quota(), usages.usage(memory=9 * GIB), {semconv.USAGE_SHARED: True})
        runs.add("t", usages.quota())
        runs.add("t", {semconv.CACHE_STATUS: semconv.CACHE_HIT})
        assert runs.text() == snapshot("""\
t: 3 attempts
  cpu     2 / 2 fits: peak 1.6 cores + 15 %; p95 1 core, mean 1 core
  memory  4Gi / 4Gi -> 1280Mi / 1280Mi: peak 1 GiB + 20 %
  requests=Resources(cpu="2", mem="1280Mi"), limits=Resources(cpu="2", mem="1280Mi")
  note: thin evidence: 1 attempt, the longest took 12.0 s
  note: 1 attempt shared the process with other tasks, no evidence
  note: 1 attempt without usage, no evidence
""")

    def test_a_task_without_usage_has_no_recommendation(self, runs: Runs) -> None:
        runs.add("t", usages.quota())
        assert runs.text() == snapshot("""\
t: 1 attempt
  note: no evidence: no attempt has a usage of its own
  note: 1 attempt without usage, no evidence
""")

    def test_versions_are_printed_if_there_are_several(self, runs: Runs) -> None:
        for version in ("v1", "v1", "v2"):
            runs.add("t", usages.quota(), usages.usage(), {semconv.TASK_VERSION: version})
        assert runs.text().startswith("t: 3 attempts, versions v1, v2\n")


class TestMemory:
    def test_memory_is_the_largest_working_set_and_a_margin(self, runs: Runs) -> None:
        for memory in (GIB, 2 * GIB, GIB // 2):
            runs.add("t", usages.quota(2, 16 * GIB), usages.usage(memory=memory))
        found = runs.advice()
        assert (found["requests"]["mem"], found["limits"]["mem"]) == ("2560Mi", "2560Mi")

    def test_the_peak_including_page_cache_is_not_used(self, runs: Runs) -> None:
        runs.add("t", usages.usage(memory=GIB), {semconv.USAGE_MEMORY_WITH_CACHE: 64 * GIB})
        assert runs.advice()["limits"]["mem"] == "1280Mi"

    @pytest.mark.parametrize(
        "starved",
        [
            {semconv.USAGE_OOM_KILLS: 2},
            {semconv.ERROR_TYPE: "OOMKilled"},
        ],
    )
    def test_an_oom_killed_task_gets_one_and_a_half_times_its_limit(self, runs: Runs, starved: dict[str, Any]) -> None:
        runs.add("t", usages.quota(2, 4 * GIB), usages.usage(memory=3 * GIB), starved)
        found = runs.advice()
        assert (found["problems"], found["limits"]["mem"]) == (["OOM-killed"], "6Gi")

    def test_memory_that_was_in_use_before_is_no_evidence(self, runs: Runs) -> None:
        runs.add("t", usages.quota(2, 16 * GIB), usages.usage(memory=9 * GIB), {semconv.USAGE_MEMORY_LEFT: 8 * GIB})
        found = runs.advice()
        assert (found["requests"], found["now"]["mem"], found["fits"]) == ({"cpu": "2"}, None, False)
        assert "memory  " not in runs.text()
        assert "note: much of the memory of 1 attempt was in use before, no evidence" in runs.text()

    def test_attempts_that_found_little_memory_are_the_evidence(self, runs: Runs) -> None:
        runs.add("t", usages.quota(2, 16 * GIB), usages.usage(memory=9 * GIB), {semconv.USAGE_MEMORY_LEFT: 8 * GIB})
        runs.add("t", usages.quota(2, 16 * GIB), usages.usage(memory=GIB), {semconv.USAGE_MEMORY_LEFT: GIB // 10})
        found = runs.advice()
        assert (found["limits"]["mem"], found["evidence"]["memory_left"]) == ("1280Mi", 1)

    def test_a_task_that_ran_out_of_memory_gets_more_whatever_it_found(self, runs: Runs) -> None:
        left = {semconv.USAGE_MEMORY_LEFT: 3 * GIB}
        runs.add("t", usages.quota(2, 4 * GIB), usages.usage(memory=4 * GIB), left, error="OOMKilled")
        assert runs.advice()["limits"]["mem"] == "6Gi"

    def test_an_oom_killed_task_without_usage_is_judged_by_its_declared_limit(self, runs: Runs) -> None:
        runs.add("t", {semconv.RESOURCES_LIMIT.format(name="mem"): "2Gi"}, error="OOMKilled")
        found = runs.advice()
        assert found["limits"] == {"mem": "3Gi"}
        assert found["evidence"]["measured"] == 0

    def test_an_oom_killed_task_without_a_limit_gets_one_and_a_half_times_its_peak(self, runs: Runs) -> None:
        runs.add("t", usages.usage(memory=2 * GIB), error="OOMKilled")
        assert runs.advice()["limits"]["mem"] == "3Gi"

    def test_a_sufficient_limit_that_was_raised_later_is_kept(self, runs: Runs) -> None:
        runs.add("t", usages.quota(2, 2 * GIB), error="OOMKilled")
        runs.add("t", usages.quota(2, 3 * GIB), usages.usage(memory=2 * GIB))
        assert runs.advice()["limits"]["mem"] == "3Gi"


class TestCpu:
    def test_requests_cover_the_peak_and_limits_have_a_margin(self, runs: Runs) -> None:
        runs.add("t", usages.quota(8), usages.usage(mean=0.5, peak=3.0))
        found = runs.advice()
        assert (found["requests"]["cpu"], found["limits"]["cpu"]) == ("3", "3500m")

    def test_the_request_for_steady_use_has_a_margin(self, runs: Runs) -> None:
        runs.add("t", usages.quota(8), usages.usage(3.0, 3.0), usages.series(cpu_cores=[3.0] * 20))
        assert runs.advice()["requests"]["cpu"] == "3500m"

    def test_a_throttled_task_gets_one_and_a_half_times_its_limit(self, runs: Runs) -> None:
        runs.add("t", usages.quota(2), usages.usage(1.9, 2.0, throttled=6.0))
        found = runs.advice()
        assert (found["problems"], found["limits"]["cpu"]) == (["throttled"], "3")

    def test_a_short_throttled_time_is_ignored(self, runs: Runs) -> None:
        runs.add("t", usages.quota(2), usages.usage(1.5, 1.7, throttled=1.0))
        assert runs.advice()["problems"] == []

    def test_the_request_of_a_throttled_task_is_not_lowered(self, runs: Runs) -> None:
        runs.add("t", usages.quota(2), usages.usage(0.4, 0.6, throttled=20.0))
        found = runs.advice()
        assert (found["requests"]["cpu"], found["limits"]["cpu"]) == ("2", "3")


class TestStarvation:
    """Attempts of 100 s: what a task used while it waited for a CPU is less than its need."""

    @pytest.mark.parametrize(
        ("mean", "waited"),
        [
            (0.6, {semconv.USAGE_CPU_DELAYED: 120.0}),
            (0.6, {semconv.USAGE_CPU_DELAYED: 11.0}),
            (1.2, {semconv.USAGE_CPU_DELAYED: 19.0}),
            # In a pod: the time in which any thread waited.
            (1.2, {semconv.USAGE_CPU_PRESSURE: 16.0}),
            (0.6, {semconv.USAGE_CPU_PRESSURE: 60.0}),
        ],
    )
    def test_a_starved_task_is_not_advised_less(self, runs: Runs, mean: float, waited: dict[str, Any]) -> None:
        runs.add("t", usages.quota(2), usages.usage(mean, mean), cpu_time(mean), waited)
        found = runs.advice()
        assert (found["problems"], found["fits"]) == (["starved"], False)
        assert (found["requests"]["cpu"], found["limits"]["cpu"]) == ("2", "2")
        assert "  cpu     2 / 2 kept: " in runs.text()
        assert "note: 1 attempt wanted more CPU than there was, no evidence for less" in runs.text()

    @pytest.mark.parametrize(
        ("mean", "waited"),
        [
            (0.6, {semconv.USAGE_CPU_DELAYED: 8.0}),
            (1.2, {semconv.USAGE_CPU_DELAYED: 17.0}),
            (1.2, {semconv.USAGE_CPU_PRESSURE: 14.0}),
            # An idle task whose rare work waited for as long as it took.
            (0.02, {semconv.USAGE_CPU_DELAYED: 2.0}),
            (0.02, {semconv.USAGE_CPU_PRESSURE: 2.0}),
            (0.6, {}),
        ],
    )
    def test_a_task_that_hardly_waited_is_advised_less(self, runs: Runs, mean: float, waited: dict[str, Any]) -> None:
        runs.add("t", usages.quota(4), usages.usage(mean, mean), cpu_time(mean), waited)
        found = runs.advice()
        assert found["problems"] == []
        assert (quantity.cores(found["limits"]["cpu"]) or 0) < 2

    def test_a_task_without_a_request_gets_no_advice(self, runs: Runs) -> None:
        runs.add("t", usages.usage(0.6, 0.6), cpu_time(0.6), {semconv.USAGE_CPU_DELAYED: 120.0})
        found = runs.advice()
        assert ("cpu" in found["requests"], found["fits"]) == (False, False)
        assert runs.text().startswith("starved     t: 1 of 1 attempt waited 2 min 00 s for a CPU\n")

    def test_attempts_that_were_not_starved_are_the_evidence(self, runs: Runs) -> None:
        runs.add("t", usages.quota(4), usages.usage(0.6, 0.6), cpu_time(0.6), {semconv.USAGE_CPU_DELAYED: 120.0})
        runs.add("t", usages.quota(4), usages.usage(1.5, 1.5), cpu_time(1.5), {semconv.USAGE_CPU_DELAYED: 0.1})
        found = runs.advice()
        assert (found["requests"]["cpu"], found["evidence"]["starved"]) == ("1750m", 1)
        note = "note: 1 attempt wanted more CPU than there was, the other one is the evidence"
        assert note in runs.text()
        runs.add("t", usages.quota(4), usages.usage(1.4, 1.4), cpu_time(1.4), {semconv.USAGE_CPU_DELAYED: 0.1})
        assert note.replace("one is", "2 are") in runs.text()

    def test_a_starved_task_can_be_advised_more(self, runs: Runs) -> None:
        runs.add("t", usages.quota(1), usages.usage(1.9, 2.0), cpu_time(1.9), {semconv.USAGE_CPU_DELAYED: 120.0})
        assert runs.advice()["requests"]["cpu"] == "2250m"


def cpu_time(mean: float) -> dict[str, float]:
    return {semconv.USAGE_CPU_TIME: 100 * mean}


class TestDevices:
    def test_unused_gpus_are_not_requested(self, runs: Runs) -> None:
        for _ in range(2):
            devices = {**usages.device(0, 0.5, 1.0, GIB), **usages.device(1, 0.0, 0.0, 3 * MIB)}
            runs.add("t", usages.quota(gpus=2), usages.usage(), devices)
        found = runs.advice()
        assert (found["problems"], found["requests"]["gpu"], found["limits"]["gpu"]) == (["idle GPU"], "1", "1")

    def test_a_task_without_gpu_use_should_request_none(self, runs: Runs) -> None:
        runs.add("t", usages.quota(gpus=1), usages.usage(), usages.device(0, 0.0, 0.0, 0))
        assert runs.advice()["requests"]["gpu"] == "0"

    def test_an_idle_gpu_with_used_memory_is_reported_and_kept(self, runs: Runs) -> None:
        runs.add("t", usages.quota(gpus=1), usages.usage(), usages.device(0, 0.02, 0.6, 3 * GIB))
        found = runs.advice()
        assert (found["problems"], found["requests"]["gpu"]) == (["idle GPU"], "1")
        assert "1 idle but with memory in use" in runs.text()

    def test_a_gpu_used_by_one_attempt_is_kept(self, runs: Runs) -> None:
        runs.add("t", usages.quota(gpus=1), usages.usage(), usages.device(0, 0.0, 0.0, 0))
        runs.add("t", usages.quota(gpus=1), usages.usage(), usages.device(0, 0.7, 1.0, GIB))
        found = runs.advice()
        assert (found["problems"], found["requests"]["gpu"]) == ([], "1")

    def test_gpus_are_not_mentioned_without_a_request(self, runs: Runs) -> None:
        runs.add("t", usages.quota(), usages.usage(), usages.device(0, 0.0, 0.0, 0))
        assert "gpu" not in runs.text()

    def test_the_share_of_the_request_is_used_if_devices_are_not_separate(self, runs: Runs) -> None:
        runs.add("t", usages.quota(gpus=4), usages.usage(), {semconv.USAGE_GPU_OF_REQUEST: 0.01})
        found = runs.advice()
        assert (found["problems"], found["requests"]["gpu"]) == (["idle GPU"], "4")

    def test_npus_are_reported(self, runs: Runs) -> None:
        runs.add("t", usages.usage(), usages.device(0, 0.31, 0.9, GIB, semconv.DEVICE_NPU))
        assert "note: NPUs: mean utilisation 31 %" in runs.text()


class TestOptions:
    def test_only_the_last_attempts_are_used(self, runs: Runs) -> None:
        for memory in (9, 1, 2):
            runs.add("t", usages.quota(2, 16 * GIB), usages.usage(memory=memory * GIB))
        assert runs.advice("--last", "2")["limits"]["mem"] == "2560Mi"
        assert runs.text("--last", "2").startswith("t: last 2 of 3 attempts\n")

    def test_the_margin_can_be_chosen(self, runs: Runs) -> None:
        runs.add("t", usages.quota(8, 16 * GIB), usages.usage(1.0, 2.0, 2 * GIB))
        assert runs.advice("--margin", "50")["limits"] == {"cpu": "3", "mem": "3Gi"}

    @pytest.mark.parametrize(
        ("option", "value"), [("--last", "0"), ("--margin", "-1"), ("--margin", "much"), ("--margin", "nan")]
    )
    def test_an_invalid_option_is_a_usage_error(self, runs: Runs, option: str, value: str) -> None:
        runs.add("t", usages.usage())
        assert CliRunner().invoke(cli.main, ["rightsize", runs.path, option, value]).exit_code == 2

    def test_several_sources_are_combined(self, tmp_path: Path) -> None:
        Runs(tmp_path / "a.jsonl").add("task_a", usages.usage())
        both = Runs(tmp_path / "b.jsonl")
        for name in ("task_a", "task_b"):
            both.add(name, usages.usage())
        found = json.loads(call(*(str(tmp_path / f"{name}.jsonl") for name in "ab"), "--json").stdout)
        assert [(each["task"], each["evidence"]["attempts"]) for each in found["tasks"]] == [
            ("task_a", 1),
            ("task_b", 1),
        ]


@pytest.mark.parametrize("asked", [0.25, 0.8, 1.0, 1.1, 1.24, 2.0, 10.0])
@pytest.mark.parametrize("margin", ["0", "20"])
@pytest.mark.parametrize("peak", [0.03, 0.31, 0.999, 1.01, 7.9, 33.3])
def test_recommendations_are_never_below_a_peak_and_limits_never_below_requests(
    runs: Runs, asked: float, margin: str, peak: float
) -> None:
    memory = round(peak * GIB) + 1
    quota = usages.quota(round(peak * asked, 3), round(memory * asked))
    runs.add("t", quota, usages.usage(peak / 2, peak, memory))
    found = runs.advice("--margin", margin)
    for resources in (found["requests"], found["limits"]):
        assert (quantity.cores(resources["cpu"]) or 0) >= peak
        assert (quantity.size(resources["mem"]) or 0) >= memory
    assert (quantity.cores(found["limits"]["cpu"]) or 0) >= (quantity.cores(found["requests"]["cpu"]) or 0)
    assert (quantity.size(found["limits"]["mem"]) or 0) >= (quantity.size(found["requests"]["mem"]) or 0)


@pytest.mark.parametrize(
    ("cores", "rounded"),
    [(0.001, 0.1), (0.3, 0.3), (0.31, 0.4), (0.95, 1.0), (1.0, 1.0), (1.01, 1.25), (2.3, 2.5), (0, 0.1)],
)
def test_cores_are_rounded_up_to_a_sensible_step(cores: float, rounded: float) -> None:
    assert round_up_cores(cores) == pytest.approx(rounded)


@pytest.mark.parametrize(
    ("size", "rounded"),
    [(1, 16 * MIB), (100 * MIB, 112 * MIB), (GIB, GIB), (GIB + 1, GIB + 128 * MIB), (0, 16 * MIB)],
)
def test_bytes_are_rounded_up_to_a_sensible_step(size: int, rounded: int) -> None:
    assert round_up_bytes(size) == rounded


def test_a_quantile_is_an_observed_value() -> None:
    assert quantile([3, 1, 2], 0.95) == 3
    assert quantile(range(1, 101), 0.95) == 95
    assert quantile([], 0.95) is None
