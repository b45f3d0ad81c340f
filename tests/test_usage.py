"""The recorded usage of tasks, compared with the usage that the tasks measure themselves."""

import importlib.util
import inspect
import json
import os
import pkgutil
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.recording import curves
from otel_flyte.usage import instruments
from support import fake_nvml, pods, programs, receiver, runs
from support.receiver import LogRecord, MetricPoint, Receiver, Span
from support.runs import Result, Run, Runs, Scenario

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="tasks measure themselves with Linux only"),
    pytest.mark.slow,
]

MIB, GIB = 2**20, 2**30
TRUE = 0.07
TRUE_SECONDS = 0.05
"""Seconds of CPU that are used around the code that a task measures."""

GROUPS = Path(__file__).parent / "fixtures" / "cgroup"
ATTRIBUTES_OF_A_SPAN = 128
"""OpenTelemetry's default limit, from which on attributes are dropped."""

NOWHERE = "http://127.0.0.1:9"

COLLECTED_OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "500"}

# --- scenarios -------------------------------------------------------------------------------------------------------


def patched(**values: float) -> dict[str, str]:
    """Return a variable that sets constants of modules, where the real values would slow down a test."""
    modules = {
        "METRICS_AFTER_SECONDS": "otel_flyte.usage.recorder",
        "STEP_SECONDS": "otel_flyte.usage.statistics",
        "FIRST_HEARTBEAT_SECONDS": "otel_flyte.export.pending_spans",
    }
    return {"PATCHES": json.dumps({f"{modules[name]}.{name}": value for name, value in values.items()})}


def path(*first: Path) -> dict[str, str]:
    return {"PYTHONPATH": programs.python_path(*first)}


NO_GROUPS = {"GROUPS": str(GROUPS / "none")}
"""The results must not depend on whether the tests themselves run in a container."""

TWO_GPUS = {**path(fake_nvml.PATH), fake_nvml.VARIABLE: "2"}
SOON = {**patched(METRICS_AFTER_SECONDS=1.0), **COLLECTED_OFTEN}

Change = Callable[[pods.Pod], pods.Pod]


def pod(task: str, inputs: Mapping[str, Any], *env: Mapping[str, str], **options: Any) -> Scenario:
    merged = {name: value for each in (NO_GROUPS, *env) for name, value in each.items()}
    return runs.pod(f"traced_usage.{task}", inputs, env=merged, **options)


def with_gpus(script: Mapping[str, Any]) -> Change:
    """A pod on a machine whose driver replays a script."""

    def change(prepared: pods.Pod) -> pods.Pod:
        file = prepared.directory / "gpus.json"
        file.write_text(json.dumps(script))
        return with_variables(prepared, {**path(fake_nvml.PATH), fake_nvml.VARIABLE: str(file)})

    return change


def in_container(prepared: pods.Pod) -> pods.Pod:
    """A pod whose cgroup is a copy of a recorded one."""
    groups = prepared.directory / "groups"
    shutil.copytree(GROUPS / "v2_pod", groups)
    return with_variables(prepared, {"GROUPS": str(groups)})


def with_metrics_only(prepared: pods.Pod) -> pods.Pod:
    endpoint = prepared.environment.pop("OTEL_EXPORTER_OTLP_ENDPOINT")
    return with_variables(prepared, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{endpoint}/v1/metrics"})


def with_system_metrics(prepared: pods.Pod) -> pods.Pod:
    """A pod with opentelemetry-instrumentation-system-metrics enabled."""
    folder = prepared.directory / "installed"
    source = "class SystemMetricsInstrumentor:\n    is_instrumented_by_opentelemetry = True\n"
    programs.module(folder / "opentelemetry" / "instrumentation", "system_metrics", source)
    return with_variables(prepared, path(folder))


def with_variables(prepared: pods.Pod, variables: Mapping[str, str]) -> pods.Pod:
    return replace(prepared, environment={**prepared.environment, **variables})


def program(source: str) -> Scenario:
    def run(root: Path, receiver: Receiver) -> Result:
        programs.module(root, "program", source)
        return runs.program(sys.executable, str(root / "program.py"), forked=True)(root, receiver)

    return run


LOST = {
    "period": 0.8,
    "gpus": [
        {
            "uuid": "GPU-0",
            "name": "NVIDIA T4",
            "memory": 16 * GIB,
            "frames": [{"utilization": 80, "used": GIB, "energy": 100_000 * second} for second in range(20)],
        },
        {
            "uuid": "GPU-1",
            "name": "NVIDIA T4",
            "memory": 16 * GIB,
            "frames": [
                {"utilization": 40, "used": GIB, "energy": 7},
                {"utilization": 60, "used": 3 * GIB},
                {"lost": True},
            ],
        },
    ],
}

SCENARIOS: dict[str, Scenario] = {
    "a task": pod(
        "work",
        {"cpu": 1.2, "mib": 200, "seconds": 3.4},
        change=with_gpus({"driver": "none", "gpus": []}),
    ),
    "a map subtask": pod(
        "train",
        {"seconds": [0.1, 7.0]},
        TWO_GPUS,
        COLLECTED_OFTEN,
        entrypoint="map",
        attempt=pods.Attempt(array_index=1, subtask_attempt=2),
    ),
    "a busy and an idle part": pod("be_busy_then_idle", {"busy": 2.0, "idle": 3.0}),
    "seldom sampled": pod("work", {"cpu": 0.4, "mib": 1, "seconds": 2.4}, {"OTEL_FLYTE_SAMPLE_INTERVAL": "30"}),
    "eight GPUs": pod("train", {"seconds": 3.0}, path(fake_nvml.PATH), {fake_nvml.VARIABLE: "8"}),
    "fast-execute": pod("work", {"cpu": 0.4, "mib": 1, "seconds": 0.5}, {"BURN_WHEN_LOADED": "0.5"}, entrypoint="fast"),
    "workers": pod("work_in_children", {"seconds": 2.0}),
    "a lost GPU": pod("train", {"seconds": 5.0}, SOON, {"OTEL_FLYTE_SAMPLE_INTERVAL": "0.2"}, change=with_gpus(LOST)),
    "a container": pod("be_held_back", {"seconds": 4.4}, SOON, change=in_container),
    "locally": runs.local(
        "traced_usage.py",
        "work_locally",
        env={**TWO_GPUS, **patched(STEP_SECONDS=1.0, FIRST_HEARTBEAT_SECONDS=1.0)},
        cpu=1.0,
        mib=200,
        seconds=6.0,
    ),
    "at once": program(
        """
        import traced_usage

        traced_usage.work(cpu=0.0, mib=1, seconds=0.0)
        traced_usage.overlap(0.4)
        traced_usage.overlap(2.6)
        traced_usage.call_inside(seconds=0.3)
        """
    ),
    "one after another": program(
        """
        import json, time, traced_usage

        def wait_for_the_thread_to_end():
            deadline = time.monotonic() + 20
            while traced_usage.SAMPLING_THREAD in traced_usage.thread_names() and time.monotonic() < deadline:
                time.sleep(0.05)
            return traced_usage.thread_names()

        threads = []
        for _ in range(2):
            threads.append(traced_usage.tell_threads(seconds=2.4))
            threads.append(wait_for_the_thread_to_end())
        print(json.dumps(threads))
        """
    ),
    "a busy and an idle task": program(
        """
        import os

        os.environ["PATCHES"] = '{"otel_flyte.usage.recorder.METRICS_AFTER_SECONDS": 1.0}'
        import traced_usage

        traced_usage.work(cpu=2.0, mib=200, seconds=2.4)
        traced_usage.linger(seconds=2.4)
        """
    ),
    "an old child": program(
        """
        import subprocess, sys, traced_usage

        source = "import time\\nwhile time.process_time() < 0.8: pass\\nprint(flush=True)\\ntime.sleep(60)"
        child = subprocess.Popen([sys.executable, "-S", "-c", source], stdout=subprocess.PIPE)
        child.stdout.readline()
        traced_usage.work(cpu=0.3, mib=1, seconds=2.4)
        child.kill()
        """
    ),
    "a fork": pod("fork_while_a_sample_is_taken", {"seconds": 2.3}),
    "a short task": pod("tell_modules", {"seconds": 0.2}),
    "a failing task": pod("fail", {"seconds": 0.15}, {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}),
    "metrics alone": pod("work", {"cpu": 0.5, "mib": 100, "seconds": 3.4}, SOON, change=with_metrics_only),
    "no metrics": pod(
        "work",
        {"cpu": 0.5, "mib": 100, "seconds": 3.0},
        SOON,
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_FLYTE_SAMPLE_INTERVAL": "0.1"},
    ),
    "system metrics": pod("work", {"cpu": 0.1, "mib": 1, "seconds": 3.4}, SOON, change=with_system_metrics),
    "no samples": pod(
        "work",
        {"cpu": 0.2, "mib": 1, "seconds": 2.6},
        SOON,
        {"OTEL_FLYTE_SAMPLE_INTERVAL": "0", "BURN_WHEN_LOADED": "0.3"},
    ),
    "a bad interval": pod("work", {"cpu": 0.2, "mib": 1, "seconds": 2.6}, {"OTEL_FLYTE_SAMPLE_INTERVAL": "often"}),
    "a cache": runs.local("traced_cache.py", "squares", value=3),
}


ran = runs.fixture(SCENARIOS)


def succeeded(run: Run) -> Run:
    assert run.result.returncode == 0, run.result.stderr
    return run


def measured(run: Run) -> dict[str, Any]:
    """Return the usage that the task has measured itself."""
    known: dict[str, Any] = json.loads((run.root / "work" / "used.json").read_text())
    return known


def phase(run: Run, name: str, task: Span | None = None) -> Span:
    [found] = [span for span in run.phases(task or run.attempt) if span.name == name]
    return found


def usage(span: Span) -> dict[str, Any]:
    return {name: value for name, value in span.attributes.items() if name.startswith("flyte.usage.")}


def points(run: Run, name: str | None = None) -> list[MetricPoint]:
    """Return the data points in the order of arrival."""
    requests = [request for request in run.requests if request.signal == "metrics"]
    found = [point for request in requests for point in receiver._points(request.message)]
    return [point for point in found if name in (None, point.name)]


def last(run: Run, name: str, **attributes: str) -> float:
    """Return the last value of a metric."""
    wanted = {key.replace("_", "."): value for key, value in attributes.items()}
    return [point for point in points(run, name) if wanted.items() <= point.attributes.items()][-1].value


def seconds(span: Span) -> float:
    return (span.end_ns - span.start_ns) / 1e9


def near(value: float) -> Any:
    return pytest.approx(value, rel=TRUE, abs=TRUE_SECONDS)


# --- CPU and memory --------------------------------------------------------------------------------------------------


def test_a_phase_has_its_cpu_time_and_its_mean_and_peak_cores(ran: Runs) -> None:
    run = succeeded(ran("a task"))
    known, recorded = measured(run), usage(phase(run, semconv.PHASE_USER_CODE))

    assert known["cpu"] >= 1.2
    assert recorded[semconv.USAGE_SOURCE] == semconv.USAGE_OF_PROCESSES
    assert recorded[semconv.USAGE_CPU_TIME] == near(known["cpu"])
    assert recorded[semconv.USAGE_CPU_MEAN] == near(known["cpu"] / known["seconds"])
    assert recorded[semconv.USAGE_CPU_MEAN] < recorded[semconv.USAGE_CPU_PEAK] < 1.2


@pytest.mark.quick
def test_a_phase_has_its_peak_memory(ran: Runs) -> None:
    run = succeeded(ran("a task"))
    known, recorded = measured(run), usage(phase(run, semconv.PHASE_USER_CODE))

    assert known["resident"] > 200 * MIB
    assert recorded[semconv.USAGE_MEMORY_PEAK] == pytest.approx(known["resident"], rel=TRUE)
    assert recorded[semconv.USAGE_MEMORY_MEAN] <= recorded[semconv.USAGE_MEMORY_PEAK]


@pytest.mark.quick
def test_the_usage_of_a_task_covers_all_of_its_phases(ran: Runs) -> None:
    run = succeeded(ran("a task"))
    recorded = usage(run.attempt)
    of_phases = [usage(span) for span in run.phases(run.attempt)]
    cpu = sum(each.get(semconv.USAGE_CPU_TIME, 0) for each in of_phases)

    assert cpu - TRUE_SECONDS <= recorded[semconv.USAGE_CPU_TIME] <= cpu + 1
    assert recorded[semconv.USAGE_MEMORY_PEAK] >= max(each.get(semconv.USAGE_MEMORY_PEAK, 0) for each in of_phases)
    assert recorded[semconv.USAGE_SAMPLES] >= 2


@pytest.mark.quick
@pytest.mark.parametrize("where", ["task", "user code"])
def test_shares_refer_to_declared_quotas_and_may_exceed_1(where: str, ran: Runs) -> None:
    run = succeeded(ran("a task"))
    recorded = usage(run.attempt if where == "task" else phase(run, semconv.PHASE_USER_CODE))
    cores, memory = recorded[semconv.USAGE_CPU_MEAN], recorded[semconv.USAGE_MEMORY_PEAK]

    assert recorded[semconv.USAGE_CPU_OF_LIMIT] == pytest.approx(cores / 2, rel=1e-2)
    assert recorded[semconv.USAGE_CPU_OF_REQUEST] == pytest.approx(cores / 0.05, rel=1e-2)
    assert recorded[semconv.USAGE_CPU_OF_REQUEST] > 1
    assert recorded[semconv.USAGE_MEMORY_OF_LIMIT] == pytest.approx(memory / GIB, rel=1e-2)
    assert recorded[semconv.USAGE_MEMORY_OF_REQUEST] == pytest.approx(memory / (100 * MIB), rel=1e-2)
    assert recorded[semconv.USAGE_MEMORY_OF_REQUEST] > 2


def test_a_task_has_its_limits_and_requests_in_cores_and_bytes_and_their_source(ran: Runs) -> None:
    attributes = succeeded(ran("a task")).attempt.attributes

    assert {name: value for name, value in attributes.items() if name.startswith("flyte.quota.")} == {
        semconv.QUOTA_CPU_LIMIT: 2.0,
        semconv.QUOTA_CPU_REQUEST: 0.05,
        semconv.QUOTA_CPU_SOURCE: semconv.QUOTA_DECLARED,
        semconv.QUOTA_MEMORY_LIMIT: GIB,
        semconv.QUOTA_MEMORY_REQUEST: 100 * MIB,
        semconv.QUOTA_MEMORY_SOURCE: semconv.QUOTA_DECLARED,
    }


def test_shares_of_a_task_without_quotas_refer_to_the_machine(ran: Runs) -> None:
    attributes = succeeded(ran("workers")).attempt.attributes

    assert attributes[semconv.QUOTA_CPU_SOURCE] == attributes[semconv.QUOTA_MEMORY_SOURCE] == semconv.QUOTA_OF_HOST
    assert semconv.QUOTA_CPU_LIMIT not in attributes
    assert semconv.USAGE_CPU_OF_REQUEST not in attributes
    cores = len(os.sched_getaffinity(0))
    assert attributes[semconv.USAGE_CPU_OF_LIMIT] == pytest.approx(attributes[semconv.USAGE_CPU_MEAN] / cores, rel=1e-2)


def test_a_very_short_phase_has_no_usage(ran: Runs) -> None:
    run = succeeded(ran("a task"))
    short = [span for span in run.phases(run.attempt) if seconds(span) < 0.09]

    assert short
    assert [usage(span) for span in short] == [{}] * len(short)


def test_the_cpu_time_of_imports_is_in_the_load_phase(ran: Runs) -> None:
    run = succeeded(ran("fast-execute"))
    recorded = usage(phase(run, semconv.PHASE_LOAD))
    loaded = measured(run)["loaded"]

    assert recorded[semconv.USAGE_SOURCE] == semconv.USAGE_OF_PROCESSES
    # Flyte and its dependencies are imported in this phase too.
    assert loaded - TRUE_SECONDS <= recorded[semconv.USAGE_CPU_TIME] <= seconds(phase(run, semconv.PHASE_LOAD)) * 1.1
    assert run.attempt.attributes[semconv.USAGE_CPU_TIME] >= recorded[semconv.USAGE_CPU_TIME] + 0.35


def test_a_task_of_half_a_second_has_its_cpu_time_without_samples(ran: Runs) -> None:
    run = succeeded(ran("fast-execute"))
    known, recorded = measured(run), usage(phase(run, semconv.PHASE_USER_CODE))
    if known["seconds"] > 0.9:
        pytest.skip("this machine is too busy for a task of half a second")

    assert recorded[semconv.USAGE_CPU_TIME] == near(known["cpu"])
    assert recorded[semconv.USAGE_CPU_MEAN] == near(known["cpu"] / known["seconds"])
    assert semconv.USAGE_SAMPLES not in recorded


def test_running_and_ended_child_processes_of_a_task_are_counted_once(ran: Runs) -> None:
    run = succeeded(ran("workers"))
    known, recorded = measured(run), usage(phase(run, semconv.PHASE_USER_CODE))

    assert known["cpu"] >= 2 * 0.6 + 0.3 + 0.4
    assert recorded[semconv.USAGE_CPU_TIME] == near(known["cpu"])
    assert recorded[semconv.USAGE_CPU_MEAN] == near(known["cpu"] / known["seconds"])


def test_usage_from_before_a_task_is_not_counted(ran: Runs) -> None:
    run = succeeded(ran("an old child"))
    [task] = run.tasks
    recorded = usage(phase(run, semconv.PHASE_USER_CODE, task))

    assert recorded[semconv.USAGE_CPU_TIME] == near(measured(run)["cpu"])


def test_memory_shared_by_workers_and_their_task_is_counted_once(ran: Runs) -> None:
    run = succeeded(ran("workers"))
    recorded = usage(phase(run, semconv.PHASE_USER_CODE))

    assert recorded[semconv.USAGE_MEMORY_PEAK] == pytest.approx(measured(run)["resident"], rel=0.15)


def test_a_pod_has_its_growth_and_no_memory_of_earlier_tasks(ran: Runs) -> None:
    recorded = usage(succeeded(ran("a task")).attempt)

    assert recorded[semconv.USAGE_MEMORY_GROWTH] >= 200 * MIB
    assert recorded[semconv.USAGE_MEMORY_BEFORE] + recorded[semconv.USAGE_MEMORY_GROWTH] == pytest.approx(
        recorded[semconv.USAGE_MEMORY_PEAK], rel=1e-6
    )
    assert semconv.USAGE_MEMORY_LEFT not in recorded


def test_the_level_of_a_container_is_its_need(ran: Runs) -> None:
    recorded = usage(succeeded(ran("a container")).attempt)

    assert semconv.USAGE_MEMORY_PEAK in recorded
    assert {semconv.USAGE_MEMORY_BEFORE, semconv.USAGE_MEMORY_LEFT}.isdisjoint(recorded)


def test_memory_that_a_task_has_given_back_is_not_left(ran: Runs) -> None:
    work, linger = succeeded(ran("a busy and an idle task")).tasks

    assert work.attributes[semconv.USAGE_MEMORY_GROWTH] >= 200 * MIB
    assert linger.attributes.get(semconv.USAGE_MEMORY_LEFT, 0) < 60 * MIB
    assert linger.attributes[semconv.USAGE_MEMORY_GROWTH] < 60 * MIB


def test_the_series_of_a_pod_has_a_value_for_an_incomplete_minute(ran: Runs) -> None:
    run = succeeded(ran("a task"))
    recorded = usage(run.attempt)

    def series(name: str) -> float:
        [value] = recorded[semconv.USAGE_SERIES.format(name=name)]
        return float(value)

    assert recorded[semconv.USAGE_STEP] == 60
    assert series(semconv.SERIES_CORES) == pytest.approx(recorded[semconv.USAGE_CPU_MEAN], rel=TRUE)
    assert series(semconv.SERIES_CPU) == pytest.approx(100 * recorded[semconv.USAGE_CPU_MEAN] / 2, rel=TRUE)
    assert series(semconv.SERIES_MEMORY) == pytest.approx(100 * series(semconv.SERIES_BYTES) / GIB, rel=TRUE)
    assert 0.5 < series(semconv.SERIES_BYTES) / recorded[semconv.USAGE_MEMORY_PEAK] <= 1
    assert semconv.USAGE_SERIES.format(name=semconv.SERIES_GPU) not in recorded


def test_a_series_has_the_average_of_each_step(ran: Runs) -> None:
    run = succeeded(ran("locally"))
    [task] = run.tasks
    cores = task.attributes[semconv.USAGE_SERIES.format(name=semconv.SERIES_CORES)]
    [gpus] = {task.attributes[semconv.USAGE_SERIES.format(name=semconv.SERIES_GPU)]}

    assert task.attributes[semconv.USAGE_STEP] == 1
    assert len(cores) == pytest.approx(seconds(task) + 0.5, abs=0.6)
    # The last value covers the rest, which is shorter than a step.
    used = sum(cores[:-1]) + cores[-1] * (seconds(task) - len(cores) + 1)
    assert used == pytest.approx(task.attributes[semconv.USAGE_CPU_TIME], rel=TRUE)
    assert gpus[3:5] == (83.0, 83.0)


# --- curves at the sampling interval ---


def curve(span: Span, name: str) -> curves.Fine:
    [found] = curves.of(span.attributes, name)
    return found


def test_the_curves_of_a_pod_show_when_it_was_busy(ran: Runs) -> None:
    run = succeeded(ran("a busy and an idle part"))
    attempt = run.attempt
    cores, memory = (curve(attempt, name) for name in (semconv.USAGE_CURVE_CPU, semconv.USAGE_CURVE_MEMORY))
    means = [value or 0.0 for value in cores.means]
    of_last = seconds(attempt) - len(means) + 1

    assert cores.step == 1
    assert len(memory.means) == len(means) == pytest.approx(seconds(attempt), abs=0.6)
    used = sum(means[:-1]) + means[-1] * of_last
    assert used == pytest.approx(attempt.attributes[semconv.USAGE_CPU_TIME], rel=TRUE)
    peak = max(value or 0.0 for value in cores.maxima)
    assert peak == pytest.approx(attempt.attributes[semconv.USAGE_CPU_PEAK], abs=0.02)

    # A step may begin within a sample of the one before.
    ended, done = phase(run, semconv.PHASE_USER_CODE).end_ns, measured(run)["done_ns"]
    idle = means[int((done - attempt.start_ns) / 1e9) + 2 : int((ended - attempt.start_ns) / 1e9)]
    assert idle
    assert 3 * max(idle) < max(means)


def test_a_task_of_less_than_an_interval_has_one_value_of_its_whole(ran: Runs) -> None:
    for name in ("seldom sampled", "fast-execute"):
        attempt = succeeded(ran(name)).attempt
        if semconv.USAGE_SAMPLES in attempt.attributes and name == "fast-execute":
            pytest.skip("this machine is too busy for a task of half a second")
        [mean] = curve(attempt, semconv.USAGE_CURVE_CPU).means
        assert mean == pytest.approx(attempt.attributes[semconv.USAGE_CPU_MEAN], abs=0.01)


def test_the_step_of_curves_is_the_interval_of_samples(ran: Runs) -> None:
    attempt = succeeded(ran("no metrics")).attempt
    cores = curve(attempt, semconv.USAGE_CURVE_CPU)

    assert cores.step == pytest.approx(0.1)
    assert len(cores.means) == pytest.approx(seconds(attempt) / 0.1, abs=0.6)


def test_each_of_eight_gpus_has_its_curves_and_no_attribute_is_lost(ran: Runs) -> None:
    attempt = succeeded(ran("eight GPUs")).attempt

    for name, expected in ((semconv.USAGE_CURVE_DEVICE, 83), (semconv.USAGE_CURVE_DEVICE_MEMORY, 15)):
        found = curves.of(attempt.attributes, name.format(kind=semconv.DEVICE_GPU))
        assert [each.label for each in found] == list(map(str, range(8)))
        assert {each.means[-1] for each in found} == {expected}
    assert len(attempt.attributes) < ATTRIBUTES_OF_A_SPAN


def test_a_local_task_has_its_usage(ran: Runs) -> None:
    run = succeeded(ran("locally"))
    [task] = run.tasks
    recorded = usage(phase(run, semconv.PHASE_USER_CODE, task))

    assert recorded[semconv.USAGE_CPU_TIME] == near(measured(run)["cpu"])
    assert recorded[semconv.USAGE_MEMORY_PEAK] == pytest.approx(measured(run)["resident"], rel=TRUE)
    assert recorded[semconv.USAGE_CPU_OF_LIMIT] == pytest.approx(recorded[semconv.USAGE_CPU_MEAN] / 2, rel=1e-2)


# --- several tasks at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "lasting"), [(slice(1, 3), 0.4), (slice(3, 5), 2.6)], ids=["brief", "sampled"])
def test_overlapping_tasks_have_the_usage_of_the_process_and_are_marked_as_shared(
    of: slice, lasting: float, ran: Runs
) -> None:
    run = succeeded(ran("at once"))
    tasks = run.tasks[of]
    used = measured(run)[f"overlapping for {lasting}"]
    recorded = [task.attributes[semconv.USAGE_CPU_TIME] for task in tasks]

    assert [task.attributes.get(semconv.USAGE_SHARED) for task in tasks] == [True, True]
    assert max(recorded) == near(used)
    assert sum(recorded) > used + TRUE_SECONDS


def test_only_the_inner_one_of_nested_tasks_is_marked_as_shared(ran: Runs) -> None:
    outer, inner = succeeded(ran("at once")).tasks[-2:]

    assert outer.name == "task traced_usage.call_inside"
    assert semconv.USAGE_SHARED not in outer.attributes
    assert inner.attributes[semconv.USAGE_SHARED] is True
    assert outer.attributes[semconv.USAGE_CPU_TIME] >= inner.attributes[semconv.USAGE_CPU_TIME] >= 0.2


def test_consecutive_tasks_are_not_shared_and_are_sampled_separately(ran: Runs) -> None:
    run = succeeded(ran("one after another"))

    assert len(run.tasks) == 2
    for task in run.tasks:
        assert semconv.USAGE_SHARED not in task.attributes
        assert task.attributes[semconv.USAGE_SAMPLES] >= 1


def test_metrics_of_a_task_cover_its_own_duration(ran: Runs) -> None:
    run = succeeded(ran("a busy and an idle task"))
    cores, memory = (
        {str(point.attributes[semconv.TASK_NAME]): point.value for point in points(run, name)}
        for name in (semconv.METRIC_TASK_CPU_USAGE, semconv.METRIC_TASK_MEMORY_PEAK)
    )

    assert cores["traced_usage.work"] > 3 * cores["traced_usage.linger"]
    assert memory["traced_usage.work"] > memory["traced_usage.linger"] + 100 * MIB


def test_the_sampling_thread_runs_only_during_tasks(ran: Runs) -> None:
    ended = succeeded(ran("one after another")).result
    sampled = ["otel-flyte-usage" in names for names in json.loads(ended.stdout.splitlines()[-1])]

    assert sampled == [True, False, True, False]


def test_a_child_forked_during_a_sample_neither_samples_nor_hangs(ran: Runs) -> None:
    run = succeeded(ran("a fork"))
    assert run.pod.outputs is not None

    assert run.pod.outputs.literals["o0"].scalar.primitive.integer == 0
    assert programs.our_lines(run.pod.stderr) == []
    assert run.attempt.attributes[semconv.USAGE_SAMPLES] >= 1


# --- accelerators ----------------------------------------------------------------------------------------------------


def of_gpu(run: Run, index: int) -> Callable[[str], Any]:
    return lambda pattern: run.attempt.attributes.get(pattern.format(kind=semconv.DEVICE_GPU, index=index))


def test_each_gpu_has_its_mean_and_peak_utilization_and_its_memory(ran: Runs) -> None:
    run = succeeded(ran("a map subtask"))
    equal: dict[str, Any] = fake_nvml.EQUAL
    [frame] = equal["frames"]

    for gpu in (of_gpu(run, 0), of_gpu(run, 1)):
        assert gpu(semconv.USAGE_DEVICE_NAME) == equal["name"]
        assert gpu(semconv.USAGE_DEVICE_MEAN) == pytest.approx(0.83)
        assert gpu(semconv.USAGE_DEVICE_PEAK) == pytest.approx(0.83)
        assert gpu(semconv.USAGE_DEVICE_MEMORY_PEAK) == frame["used"]
        assert gpu(semconv.USAGE_DEVICE_MEMORY_LIMIT) == equal["memory"]
    assert of_gpu(run, 2)(semconv.USAGE_DEVICE_NAME) is None
    assert run.attempt.attributes[semconv.QUOTA_GPU_REQUEST] == 2
    assert run.attempt.attributes[semconv.USAGE_GPU_OF_REQUEST] == pytest.approx(0.83)
    assert run.attempt.attributes[semconv.USAGE_SERIES.format(name=semconv.SERIES_GPU)] == (83.0,)
    share = 100 * frame["used"] / equal["memory"]
    assert run.attempt.attributes[semconv.USAGE_SERIES.format(name=semconv.SERIES_GPU_MEMORY)] == (
        pytest.approx(share, abs=0.01),
    )


def test_a_lost_gpu_keeps_its_earlier_usage_and_the_task_continues(ran: Runs) -> None:
    run = succeeded(ran("a lost GPU"))
    there, lost = of_gpu(run, 0), of_gpu(run, 1)

    assert run.pod.outputs is not None
    assert there(semconv.USAGE_DEVICE_MEAN) == pytest.approx(0.8)
    assert 0.4 <= lost(semconv.USAGE_DEVICE_MEAN) <= 0.6
    assert lost(semconv.USAGE_DEVICE_PEAK) == pytest.approx(0.6)
    assert lost(semconv.USAGE_DEVICE_MEMORY_PEAK) == 3 * GIB
    assert len(programs.our_lines(run.pod.stderr)) == 1
    assert "can't reach the GPU GPU-1 any more" in run.pod.stderr


def test_energy_is_the_increase_of_the_gpus_counters(ran: Runs) -> None:
    run = succeeded(ran("a lost GPU"))
    used = of_gpu(run, 0)(semconv.USAGE_DEVICE_ENERGY)

    assert 100 <= used <= seconds(run.attempt) / 0.8 * 100
    assert used % 100 == 0
    assert of_gpu(run, 1)(semconv.USAGE_DEVICE_ENERGY) == 0
    assert run.attempt.attributes[semconv.USAGE_ENERGY] == used


def test_a_lost_gpu_has_the_status_failed_and_no_further_values(ran: Runs) -> None:
    run = succeeded(ran("a lost GPU"))
    memory = points(run, semconv.METRIC_HW_GPU_MEMORY_USAGE)
    ends = {gpu: max(p.time_ns for p in memory if p.attributes[semconv.HW_ID] == gpu) for gpu in ("GPU-0", "GPU-1")}

    assert last(run, semconv.METRIC_HW_STATUS, hw_id="GPU-0", hw_state="ok") == 1
    assert last(run, semconv.METRIC_HW_STATUS, hw_id="GPU-1", hw_state="ok") == 0
    assert last(run, semconv.METRIC_HW_STATUS, hw_id="GPU-1", hw_state="failed") == 1
    assert ends["GPU-1"] < ends["GPU-0"]


def test_without_a_driver_there_are_no_gpu_attributes_and_no_messages(ran: Runs) -> None:
    run = succeeded(ran("a task"))

    assert [name for span in run.spans for name in usage(span) if ".gpu" in name] == []
    assert programs.our_lines(run.pod.stderr) == []


# --- in a container --------------------------------------------------------------------------------------------------


def test_usage_in_a_container_is_that_of_the_container(ran: Runs) -> None:
    run = succeeded(ran("a container"))
    for recorded in (usage(run.attempt), usage(phase(run, semconv.PHASE_USER_CODE))):
        assert recorded[semconv.USAGE_SOURCE] == semconv.USAGE_OF_CONTAINER
        assert recorded[semconv.USAGE_CPU_THROTTLED] == pytest.approx(0.5)
        assert recorded[semconv.USAGE_CPU_PRESSURE] == pytest.approx(1.25)
        assert semconv.USAGE_CPU_DELAYED not in recorded
        assert recorded[semconv.USAGE_MEMORY_PEAK] == 667001600 - 157286400
        assert recorded[semconv.USAGE_IO_READ] == 0
    used = usage(phase(run, semconv.PHASE_USER_CODE))[semconv.USAGE_CPU_TIME]
    assert used == pytest.approx(2.0, abs=0.2)
    recorded = usage(run.attempt)
    assert recorded[semconv.USAGE_MEMORY_WITH_CACHE] == 900000000
    assert recorded[semconv.USAGE_OOM_KILLS] == 1


def test_shares_without_declared_quotas_refer_to_the_limits_of_the_container(ran: Runs) -> None:
    attributes = succeeded(ran("a container")).attempt.attributes

    assert attributes[semconv.QUOTA_CPU_CGROUP] == 1.5
    assert attributes[semconv.QUOTA_MEMORY_CGROUP] == 2 * GIB
    assert attributes[semconv.QUOTA_CPU_SOURCE] == attributes[semconv.QUOTA_MEMORY_SOURCE] == semconv.QUOTA_OF_CGROUP
    assert attributes[semconv.USAGE_CPU_OF_LIMIT] == pytest.approx(attributes[semconv.USAGE_CPU_MEAN] / 1.5, rel=1e-2)


def test_attributes_of_containers_are_missing_outside_of_a_container(ran: Runs) -> None:
    recorded = usage(succeeded(ran("a task")).attempt)

    assert {semconv.USAGE_MEMORY_WITH_CACHE, semconv.USAGE_OOM_KILLS, semconv.USAGE_CPU_THROTTLED} & set(
        recorded
    ) == set()


def test_a_container_has_container_metrics(ran: Runs) -> None:
    run = succeeded(ran("a container"))

    assert last(run, semconv.METRIC_CONTAINER_CPU_TIME) == pytest.approx(14.345678)
    assert last(run, semconv.METRIC_TASK_CPU_THROTTLED) == pytest.approx(3.0)
    assert max(point.value for point in points(run, semconv.METRIC_TASK_CPU_WAITING)) > 0
    assert last(run, semconv.METRIC_TASK_OOM_KILLS) == 2
    assert last(run, semconv.METRIC_CONTAINER_MEMORY_USAGE) == 667001600
    assert last(run, semconv.METRIC_CONTAINER_MEMORY_WORKING_SET) == 667001600 - 157286400
    assert last(run, semconv.METRIC_CONTAINER_MEMORY_RSS) == 104861696
    assert last(run, semconv.METRIC_CONTAINER_MEMORY_AVAILABLE) == 2 * GIB - (667001600 - 157286400)
    assert max(point.value for point in points(run, semconv.METRIC_CONTAINER_CPU_USAGE)) > 1
    assert last(run, "k8s.container.cpu.limit.current") == 1.5
    assert last(run, "k8s.container.memory.limit.current") == 2 * GIB


# --- while it runs ---------------------------------------------------------------------------------------------------


def logs(run: Run) -> list[LogRecord]:
    requests = [request for request in run.requests if request.signal == "logs"]
    return [record for request in requests for record in receiver._logs(request.message)]


def test_heartbeats_have_the_usage_so_far(ran: Runs) -> None:
    run = succeeded(ran("locally"))
    records = [record for record in logs(run) if record.attributes[semconv.EVENT_NAME] == semconv.EVENT_HEARTBEAT]
    beats = [record for record in records if semconv.TASK_NAME in record.attributes]
    beat = beats[-1].attributes
    # A heartbeat has the last sample, which is at most a second old.
    if beats[-1].time_ns < measured(run)["done_ns"] + 1.5e9:
        pytest.skip("this machine is too busy for a heartbeat after the work was done")

    assert beat[semconv.USAGE_CPU_TIME] == pytest.approx(measured(run)["cpu"], rel=0.1, abs=0.1)
    assert beat[semconv.USAGE_MEMORY_LAST] == pytest.approx(measured(run)["resident"], rel=TRUE)
    assert beat[semconv.USAGE_MEMORY_PEAK] >= beat[semconv.USAGE_MEMORY_LAST]
    assert beat[semconv.USAGE_DEVICE_LAST.format(kind=semconv.DEVICE_GPU, index=1)] == pytest.approx(0.83)
    assert beat[semconv.USAGE_DEVICE_MEMORY_LAST.format(kind=semconv.DEVICE_GPU, index=1)] == 12_884_901_888


def test_the_usage_of_a_killed_task_is_in_its_spooled_metric_records(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_FLYTE_SPOOL": str(spool), **NO_GROUPS, **SOON, **TWO_GPUS}
    prepared = pods.prepare("execute", tmp_path / "pod", "traced_usage.linger", {"seconds": 100.0}, env=env)
    name = semconv.METRIC_TASK_SERIES.format(name=semconv.SERIES_GPU)
    with pods.started(prepared) as process:
        pods.wait_until((prepared.directory / "ready").exists, process)
        pods.wait_until(lambda: any(name in file.read_text() for file in spool.glob("*.jsonl")), process)
        process.kill()
        result = prepared.finish(process)
    command = [str(pods.SCRIPTS / "otel-flyte"), "metrics", str(spool), "traced_usage.linger"]
    answer = programs.run_command(command, tmp_path)

    assert result.returncode == -signal.SIGKILL
    assert answer.stderr == ""
    series = {each["metric"]: each["value"] for each in json.loads(answer.stdout)["metrics"]}
    assert series["gpuUtil"] == [pytest.approx(83.0)]
    assert 0 <= series["cpuUsage"][0] < 100
    assert 0 < series["memUsage"][0] < 100
    assert series["npuUtil"] == [-1]


# --- metrics ---------------------------------------------------------------------------------------------------------

DEFINED = {instrument.name: instrument for instrument in instruments.INSTRUMENTS}
KINDS = {
    instruments.GAUGE: ("gauge", None),
    instruments.COUNTER: ("sum", True),
    instruments.LEVEL: ("sum", False),
}
OUTCOMES = {semconv.METRIC_TASK_DURATION, semconv.METRIC_TASK_ATTEMPTS}
OF_A_TASK_WITH_GPUS = {
    semconv.METRIC_TASK_CPU_USAGE,
    semconv.METRIC_TASK_CPU_OF_LIMIT,
    semconv.METRIC_TASK_CPU_OF_REQUEST,
    semconv.METRIC_TASK_MEMORY_USAGE,
    semconv.METRIC_TASK_MEMORY_PEAK,
    semconv.METRIC_TASK_MEMORY_ALLOCATED,
    semconv.METRIC_TASK_MEMORY_OF_LIMIT,
    semconv.METRIC_TASK_MEMORY_OF_REQUEST,
    semconv.METRIC_TASK_GPU_OF_REQUEST,
    *(
        semconv.METRIC_TASK_SERIES.format(name=name)
        for name in (semconv.SERIES_CPU, semconv.SERIES_MEMORY, semconv.SERIES_GPU, semconv.SERIES_GPU_MEMORY)
    ),
    semconv.METRIC_PROCESS_CPU_TIME,
    semconv.METRIC_PROCESS_CPU_UTILIZATION,
    semconv.METRIC_PROCESS_MEMORY_USAGE,
    semconv.METRIC_PROCESS_MEMORY_VIRTUAL,
    "k8s.container.cpu.limit.desired",
    "k8s.container.cpu.request.desired",
    "k8s.container.memory.limit.desired",
    "k8s.container.memory.request.desired",
    semconv.METRIC_HW_GPU_UTILIZATION,
    semconv.METRIC_HW_GPU_MEMORY_UTILIZATION,
    semconv.METRIC_HW_GPU_MEMORY_USAGE,
    semconv.METRIC_HW_GPU_MEMORY_LIMIT,
    semconv.METRIC_HW_GPU_IO,
    semconv.METRIC_HW_ERRORS,
    semconv.METRIC_HW_STATUS,
    semconv.METRIC_HW_POWER,
    semconv.METRIC_HW_ENERGY,
    semconv.METRIC_HW_TEMPERATURE,
}


def test_a_task_of_more_than_five_seconds_has_metrics_of_itself_its_process_and_its_gpus(ran: Runs) -> None:
    names = {point.name for point in points(succeeded(ran("a map subtask")))}

    # Some kernels do not count the bytes of processes, and their time without a CPU.
    assert names - {semconv.METRIC_PROCESS_DISK_IO, semconv.METRIC_TASK_CPU_WAITING} == OF_A_TASK_WITH_GPUS | OUTCOMES


def test_every_metric_has_the_kind_and_the_unit_of_its_definition(ran: Runs) -> None:
    recorded = [point for name in ("a map subtask", "a container") for point in points(succeeded(ran(name)))]

    for point in recorded:
        assert point.scope == semconv.SCOPE
        if point.name not in OUTCOMES:
            defined = DEFINED[point.name]
            assert (point.unit, point.kind, point.monotonic) == (defined.unit, *KINDS[defined.kind])


def test_metrics_have_the_attributes_required_by_their_conventions(ran: Runs) -> None:
    required = {
        "process.cpu.": {semconv.CPU_MODE},
        "process.disk.": {semconv.DISK_IO_DIRECTION},
        "flyte.task.": {semconv.TASK_NAME},
        "hw.": {semconv.HW_ID, semconv.HW_NAME, semconv.HW_TYPE},
        semconv.METRIC_HW_ERRORS: {semconv.ERROR_TYPE},
        semconv.METRIC_HW_STATUS: {semconv.HW_STATE},
        semconv.METRIC_HW_GPU_IO: {semconv.NETWORK_IO_DIRECTION},
        semconv.METRIC_HW_GPU_UTILIZATION: {semconv.HW_GPU_TASK},
    }

    for point in points(succeeded(ran("a map subtask"))):
        needed = {name for prefix, names in required.items() if point.name.startswith(prefix) for name in names}
        allowed = {semconv.RESULT} if point.name in OUTCOMES else set()
        assert set(point.attributes) - allowed == needed, point.name


def test_the_identity_of_metrics_is_on_their_resource_only(ran: Runs) -> None:
    run = succeeded(ran("a map subtask"))

    for point in points(run):
        resource = point.resource
        assert resource[semconv.PROJECT] == "proj"
        assert resource[semconv.DOMAIN] == "development"
        assert resource[semconv.RUN_NAME] == pods.Attempt().execution
        assert resource[semconv.ACTION_NAME] == run.attempt.attributes[semconv.ACTION_NAME]
        assert resource[semconv.ATTEMPT] == 2
        assert resource[semconv.ARRAY_INDEX] == 1
        assert point.attributes.get(semconv.TASK_NAME, "traced_usage.train") == "traced_usage.train"


def test_metrics_have_the_usage_of_the_task(ran: Runs) -> None:
    run = succeeded(ran("a map subtask"))
    gpu = "GPU-00000001-0000"

    assert last(run, semconv.METRIC_HW_GPU_UTILIZATION, hw_id=gpu) == pytest.approx(0.83)
    assert last(run, semconv.METRIC_HW_GPU_MEMORY_USAGE, hw_id=gpu) == 12_884_901_888
    assert last(run, semconv.METRIC_HW_POWER, hw_id=gpu) == pytest.approx(412.3)
    assert last(run, semconv.METRIC_HW_TEMPERATURE, hw_id=gpu) == 54
    assert last(run, semconv.METRIC_TASK_GPU_OF_REQUEST) == pytest.approx(0.83)
    assert last(run, semconv.METRIC_TASK_SERIES.format(name=semconv.SERIES_GPU)) == pytest.approx(83)
    assert last(run, semconv.METRIC_TASK_MEMORY_ALLOCATED) == GIB
    assert last(run, "k8s.container.memory.request.desired") == GIB
    used = run.attempt.attributes[semconv.USAGE_MEMORY_PEAK]
    assert last(run, semconv.METRIC_TASK_MEMORY_USAGE) == pytest.approx(used, rel=0.2)
    assert last(run, semconv.METRIC_PROCESS_MEMORY_USAGE) == pytest.approx(used, rel=0.2)


HAS_EXEMPLARS = importlib.util.find_spec("opentelemetry.sdk.metrics._internal.exemplar") is not None


@pytest.mark.parametrize(
    "name",
    [
        "a short task",
        pytest.param(
            "a map subtask", marks=pytest.mark.skipif(not HAS_EXEMPLARS, reason="the SDK of metrics has no exemplars")
        ),
    ],
)
def test_the_duration_of_a_task_has_an_exemplar_of_its_trace(name: str, ran: Runs) -> None:
    run = succeeded(ran(name))
    [point] = [
        point
        for request in run.requests
        if request.signal == "metrics"
        for scope in request.message.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == semconv.METRIC_TASK_DURATION
        for point in metric.histogram.data_points
    ]
    [exemplar] = point.exemplars

    assert (exemplar.trace_id.hex(), exemplar.span_id.hex()) == (run.attempt.trace_id, run.attempt.span_id)
    assert point.sum == pytest.approx(seconds(run.attempt), abs=0.1)


@pytest.mark.skipif(not HAS_EXEMPLARS, reason="the SDK of metrics has no exemplars")
def test_usage_metrics_have_exemplars_of_the_trace_of_their_task(ran: Runs) -> None:
    run = succeeded(ran("a map subtask"))
    found = {
        (exemplar.trace_id.hex(), exemplar.span_id.hex())
        for request in run.requests
        if request.signal == "metrics"
        for scope in request.message.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name in (semconv.METRIC_TASK_CPU_USAGE, semconv.METRIC_HW_GPU_UTILIZATION)
        for point in metric.gauge.data_points
        for exemplar in point.exemplars
    }

    assert found == {(run.attempt.trace_id, run.attempt.span_id)}


def test_a_short_task_has_outcome_metrics_only_and_does_not_import_the_metrics_sdk(ran: Runs) -> None:
    run = succeeded(ran("a short task"))
    modules = measured(run)["modules"]

    assert {point.name: point.attributes[semconv.RESULT] for point in points(run)} == dict.fromkeys(
        OUTCOMES, semconv.RESULT_SUCCESS
    )
    assert "opentelemetry.sdk.resources" in modules
    assert [module for module in modules if module.startswith("opentelemetry.sdk.metrics")] == []


def test_a_failed_task_is_counted_with_its_error_type(ran: Runs) -> None:
    run = ran("a failing task")
    attempts, duration = (points(run, name)[0] for name in (semconv.METRIC_TASK_ATTEMPTS, semconv.METRIC_TASK_DURATION))

    assert len(points(run)) == 2
    assert (attempts.value, duration.count) == (1, 1)
    assert duration.value == pytest.approx(seconds(run.attempt), abs=0.5)
    for point in (attempts, duration):
        assert point.attributes == {
            semconv.TASK_NAME: "traced_usage.fail",
            semconv.RESULT: semconv.RESULT_FAILURE,
            semconv.ERROR_TYPE: "ValueError",
        }


@pytest.mark.parametrize(("name", "temporality"), [("a short task", 2), ("a failing task", 1)])
def test_outcome_metrics_have_the_configured_temporality(name: str, temporality: int, ran: Runs) -> None:
    [request] = [request for request in ran(name).requests if request.signal == "metrics"]
    metrics = request.message.resource_metrics[0].scope_metrics[0].metrics
    recorded = {metric.name: getattr(metric, metric.WhichOneof("data")).aggregation_temporality for metric in metrics}

    assert recorded == dict.fromkeys(OUTCOMES, temporality)


def test_lookups_in_the_local_cache_are_counted(ran: Runs) -> None:
    run = succeeded(ran("a cache"))
    counted = {p.attributes[semconv.CACHE_STATUS]: p for p in points(run, semconv.METRIC_TASK_CACHE)}

    assert {status: point.value for status, point in counted.items()} == {"miss": 1, "hit": 1}
    assert {point.attributes[semconv.TASK_NAME] for point in counted.values()} == {"traced_cache.slow_square"}
    assert [(p.unit, p.kind, p.monotonic) for p in counted.values()] == [("{lookup}", "sum", True)] * 2


def test_process_metrics_of_system_metrics_are_not_duplicated(ran: Runs) -> None:
    names = {point.name for point in points(succeeded(ran("system metrics")))}

    assert semconv.METRIC_TASK_CPU_USAGE in names
    assert [name for name in names if name.startswith("process.")] == []


def test_metrics_are_exported_without_spans(ran: Runs) -> None:
    run = succeeded(ran("metrics alone"))
    used = sum(last(run, semconv.METRIC_PROCESS_CPU_TIME, cpu_mode=mode) for mode in ("user", "system"))

    assert {request.signal for request in run.requests} == {"metrics"}
    assert used >= measured(run)["cpu"]
    peak = max(point.value for point in points(run, semconv.METRIC_TASK_MEMORY_PEAK))
    assert peak == pytest.approx(measured(run)["resident"], rel=TRUE)
    assert last(run, semconv.METRIC_TASK_ATTEMPTS, flyte_result="success") == 1
    assert {point.resource[semconv.RUN_NAME] for point in points(run)} == {pods.Attempt().execution}


def test_spans_have_usage_without_metrics(ran: Runs) -> None:
    run = succeeded(ran("no metrics"))

    assert points(run) == []
    assert usage(phase(run, semconv.PHASE_USER_CODE))[semconv.USAGE_CPU_TIME] == near(measured(run)["cpu"])


# --- the interval of samples -----------------------------------------------------------------------------------------


def test_samples_are_taken_at_the_configured_interval(ran: Runs) -> None:
    often, seldom = (succeeded(ran(name)).attempt for name in ("no metrics", "a task"))

    assert often.attributes[semconv.USAGE_SAMPLES] > seconds(often) + 2
    assert seldom.attributes[semconv.USAGE_SAMPLES] < seconds(seldom) + 2


def test_a_sample_interval_of_0_disables_usage(ran: Runs) -> None:
    run = succeeded(ran("no samples"))
    spans = [span for span in run.spans if span.name != semconv.PHASE_LOAD]
    names = [name for span in spans for name in span.attributes if name.startswith(("flyte.usage.", "flyte.quota."))]

    assert names == []
    assert {point.name for point in points(run)} == OUTCOMES
    assert programs.our_lines(run.pod.stderr) == []


def test_a_sample_interval_of_0_disables_the_usage_of_the_load_phase(ran: Runs) -> None:
    assert usage(phase(succeeded(ran("no samples")), semconv.PHASE_LOAD)) == {}


def test_an_invalid_interval_is_reported_once_and_the_default_is_used(ran: Runs) -> None:
    run = succeeded(ran("a bad interval"))
    [line] = programs.our_lines(run.pod.stderr)

    assert "OTEL_FLYTE_SAMPLE_INTERVAL=often must be a non-negative number of seconds: 1 is used" in line
    assert 1 <= run.attempt.attributes[semconv.USAGE_SAMPLES] < seconds(run.attempt) + 2


# --- the conventions -------------------------------------------------------------------------------------------------


def _kind(create: str) -> str:
    return create.removeprefix("create_").removeprefix("observable_")


OURS = {name: (_kind(instrument.kind), instrument.unit) for name, instrument in DEFINED.items()}


class Definitions:
    """A meter that collects the definitions of instruments."""

    def __init__(self) -> None:
        self.by_name: dict[str, tuple[str, str]] = {}

    def __getattr__(self, create: str) -> Any:
        def define(name: str, *_: Any, unit: str = "", **__: Any) -> None:
            self.by_name[name] = (_kind(create), unit)

        return define


def conventions() -> dict[str, tuple[str, str]]:
    """Return the kind and the unit of each metric in the installed conventions."""
    package = importlib.import_module("opentelemetry.semconv._incubating.metrics")
    definitions = Definitions()
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for _, create in inspect.getmembers(module, inspect.isfunction):
            if create.__name__.startswith("create_"):
                create(*([definitions] + [()] * (len(inspect.signature(create).parameters) - 1)))
    return definitions.by_name


def test_metrics_without_flytes_prefix_follow_the_conventions() -> None:
    known = conventions()
    if "hw.energy" not in known:
        # In these versions a level was also defined as a counter by mistake.
        pytest.skip(f"the installed conventions {version('opentelemetry-semantic-conventions')} know no hardware")
    ours = {name: defined for name, defined in OURS.items() if not name.startswith("flyte.")}

    assert ours == {name: known.get(name) for name in ours}
