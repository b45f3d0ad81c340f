"""What all attempts of an execution reserve and use together, and what befell them."""

from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.recording import lanes, otlp_file
from otel_flyte.recording.lanes import STEPS, Lane
from otel_flyte.recording.markers import OOM_KILLED, SIGNAL, THROTTLED, Marker, markers_of
from otel_flyte.recording.roles import Role
from otel_flyte.recording.tree import Analysis
from support import usages
from support.traces import BEGIN_NS, EXECUTION_RESOURCE, Recorder, in_execution, nanoseconds
from support.usages import GIB

pytestmark = pytest.mark.newest_only

HOUR = 3600


def recorder_of(folder: Path) -> Recorder:
    return Recorder.of_file(folder / "run.jsonl", EXECUTION_RESOURCE)


def analysis_of(folder: Path) -> Analysis:
    return Analysis.of(otlp_file.read(folder / "run.jsonl", required=()))


def lanes_of(folder: Path, seconds: float) -> dict[str, Lane]:
    analysis = analysis_of(folder)
    (execution,) = analysis.tree.executions
    found = lanes.lanes_of(execution, analysis.attempts, BEGIN_NS, nanoseconds(seconds))
    return {lane.title: lane for lane in found}


def markers(folder: Path) -> list[tuple[str, float, float | None, str]]:
    """Return the markers of the first attempt, in seconds since its start."""
    attempt = next(span for span in analysis_of(folder).tree.walk() if span.role is Role.ATTEMPT)

    def seconds(time_ns: int | None) -> float | None:
        return None if time_ns is None else (time_ns - BEGIN_NS) / 1e9

    def plain(marker: Marker) -> tuple[str, float, float | None, str]:
        return marker.kind, seconds(marker.begin_ns) or 0.0, seconds(marker.end_ns), marker.words

    return [plain(marker) for marker in markers_of(attempt)]


def task(recorder: Recorder, number: int, start: float, end: float, what: dict[str, Any]) -> None:
    recorder.leaf("task t", start, end, {**usages.node(f"n{number}", "t"), **what}, parent=in_execution(number))


# --- lanes -----------------------------------------------------------------------------------------------------------


def test_attempts_that_run_at_a_time_are_added(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    task(recorder, 0, 0, HOUR, {**usages.quota(2.0), **usages.usage(1.0)})
    task(recorder, 1, HOUR / 2, HOUR, {**usages.quota(4.0), **usages.usage(0.5)})

    cpu = lanes_of(tmp_path, HOUR)["CPU"]

    half = STEPS // 2
    assert cpu.reserved == (*[2.0] * half, *[6.0] * half)
    assert cpu.used == (*[1.0] * half, *[1.5] * half)
    assert cpu.words == "1.2 of 4 core-hours used, 31 %"
    assert cpu.remark == ""


def test_a_step_that_an_attempt_covers_in_part_has_its_part(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    task(recorder, 0, 10.25, 11.5, {**usages.quota(4.0), **usages.usage(2.0)})

    cpu = lanes_of(tmp_path, STEPS)["CPU"]

    assert cpu.reserved[9:13] == (0.0, 3.0, 2.0, 0.0)
    assert cpu.used[9:13] == (0.0, 1.5, 1.0, 0.0)
    assert (cpu.reserved_seconds, cpu.used_seconds) == (5.0, 2.5)


def test_memory_above_the_request_is_reserved_as_well(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    memory = " ".join(["1024"] * 4 + ["6144"] * 4)
    what = {**usages.quota(memory=4 * GIB), **usages.usage(), **usages.curves(step=HOUR / 4, memory=memory)}
    task(recorder, 0, 0, 2 * HOUR, what)

    memory_lane = lanes_of(tmp_path, 2 * HOUR)["Memory"]

    half = STEPS // 2
    assert memory_lane.used == (*[1.0] * half, *[6.0] * half)
    assert memory_lane.reserved == (*[4.0] * half, *[6.0] * half)
    assert memory_lane.words == "7 of 10 GiB-hours used, 70 %"


def test_a_step_of_a_curve_without_a_value_has_the_mean_of_the_others(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    what = {**usages.quota(4.0), **usages.usage(1.0), **usages.curves(step=60, cpu="1 - 3 -")}
    task(recorder, 0, 0, 240, what)

    used = lanes_of(tmp_path, 240)["CPU"].used

    quarter = STEPS // 4
    assert used == (*[1.0] * quarter, *[2.0] * quarter, *[3.0] * quarter, *[2.0] * quarter)


def test_gpus_are_used_as_far_as_they_are_busy(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    devices = {**usages.device(0, 0.5, 1.0, GIB), **usages.device(1, 0.25, 1.0, GIB)}
    curves = usages.curves(step=HOUR / 2, gpu__utilization=["0: 100 0", "1: 50 0"])
    task(recorder, 0, 0, HOUR, {**usages.quota(gpus=4), **usages.usage(), **devices, **curves})
    task(recorder, 1, 0, HOUR, {**usages.quota(), **usages.usage()})

    gpu = lanes_of(tmp_path, HOUR)["GPU"]

    half = STEPS // 2
    assert gpu.reserved == (4.0,) * STEPS
    assert gpu.used == (*[1.5] * half, *[0.0] * half)
    assert gpu.words == "0.8 of 4 GPU-hours used, 19 %"
    assert gpu.counted == 1


def test_attempts_without_request_or_usage_are_counted_as_left_out(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    task(recorder, 0, 0, 60, {**usages.quota(2.0), **usages.usage(1.0)})
    task(recorder, 1, 0, 60, usages.quota(2.0))
    task(recorder, 2, 0, 60, usages.usage(1.0))
    task(recorder, 3, 0, 60, {**usages.quota(2.0), **usages.usage(1.0), semconv.USAGE_SHARED: True})
    task(recorder, 4, 0, 60, {semconv.CACHE_STATUS: semconv.CACHE_HIT})

    cpu = lanes_of(tmp_path, 60)["CPU"]

    assert (cpu.counted, cpu.left_out, cpu.remark) == (1, 3, "3 attempts not counted")
    assert cpu.words == "1 of 2 core-minutes used, 50 %"


def test_an_attempt_in_the_process_of_another_is_not_counted_twice(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    what = {**usages.quota(2.0), **usages.usage(1.0)}
    with recorder.span("task outer", 0, 100, {**usages.node("n0", "outer"), **what}, parent=in_execution(1)):
        recorder.leaf("task inner", 10, 50, {**usages.node("n0-n0", "inner"), **what})

    cpu = lanes_of(tmp_path, 100)["CPU"]

    assert (cpu.counted, cpu.reserved_seconds) == (1, 200.0)


def test_nothing_is_drawn_where_nothing_was_measured(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    task(recorder, 0, 0, 60, usages.quota(2.0, gpus=1))

    assert lanes_of(tmp_path, 60) == {}


# --- markers ---------------------------------------------------------------------------------------------------------


def test_a_signal_is_marked_at_its_time(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    with recorder.span("task t", 0, 60, usages.node("n0", "t"), parent=in_execution(1)) as span:
        attributes = {semconv.SIGNAL_NAME: "SIGTERM", semconv.PHASE: semconv.PHASE_USER_CODE}
        span.add_event(semconv.EVENT_SIGNAL, attributes, nanoseconds(40))

    assert markers(tmp_path) == [(SIGNAL, 40.0, None, "received SIGTERM in user code")]


def test_an_attempt_that_was_oom_killed_is_marked_at_its_end(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    ending = {semconv.SIGNAL_NAME: "SIGKILL", semconv.PROCESS_EXIT_CODE: 137}
    recorder.leaf(
        "task t",
        0,
        60,
        {**usages.node("n0", "t"), **ending},
        parent=in_execution(1),
        error=("OOMKilled", "the process was OOM-killed"),
    )

    assert markers(tmp_path) == [(OOM_KILLED, 60.0, None, "OOM-killed")]


def test_throttling_and_oom_kills_of_other_processes_are_marked_over_their_phase(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    total = {semconv.USAGE_CPU_THROTTLED: 12.01, semconv.USAGE_OOM_KILLS: 2}
    with recorder.span("task t", 0, 60, {**usages.node("n0", "t"), **total}, parent=in_execution(1)):
        recorder.leaf(semconv.PHASE_LOAD, 0, 10, {semconv.USAGE_CPU_THROTTLED: 0.01})
        recorder.leaf(semconv.PHASE_USER_CODE, 10, 60, total)

    assert markers(tmp_path) == [
        (THROTTLED, 10.0, 60.0, "throttled for 12.0 s of 50.0 s in user code"),
        (OOM_KILLED, 10.0, 60.0, "2 processes OOM-killed in user code"),
    ]


def test_an_attempt_without_incidents_has_no_marker(tmp_path: Path) -> None:
    task(recorder_of(tmp_path), 0, 0, 60, {**usages.quota(), **usages.usage(throttled=0.5)})

    assert markers(tmp_path) == []
