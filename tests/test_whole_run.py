"""What all attempts of an execution reserve and use together, and what befell them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.recording import lanes, otlp_file
from otel_flyte.recording.lanes import STEPS, Lane
from otel_flyte.recording.markers import OOM_KILLED, SIGNAL, THROTTLED, Marker, markers_of
from otel_flyte.recording.roles import Role
from otel_flyte.recording.tree import Analysis, ExecutionTree
from otel_flyte.report import page
from otel_flyte.report.data import page_data
from otel_flyte.report.terminal import Terminal
from otel_flyte.report.text import render
from support import usages
from support.browser import CHROMIUM, CONTRAST, MISSING, Browser
from support.traces import BEGIN_NS, EXECUTION_RESOURCE, Recorder, in_execution, killed, nanoseconds
from support.usages import GIB

pytestmark = pytest.mark.newest_only

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

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


def test_names_of_any_length_leave_the_page_small(tmp_path: Path) -> None:
    recorder, long = recorder_of(tmp_path), "n" * 2**18
    with recorder.span("task t", 0, 60, usages.node("n0", "t"), parent=in_execution(1)) as span:
        for second in range(30):
            span.add_event(semconv.EVENT_SIGNAL, {semconv.SIGNAL_NAME: long, semconv.PHASE: long}, nanoseconds(second))

    (execution,) = page_data(analysis_of(tmp_path))["executions"]
    (found,) = execution["markers"].values()
    assert len(found) == 20
    assert len(json.dumps(found)) < 10_000


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


# --- the page --------------------------------------------------------------------------------------------------------


def pipeline(folder: Path) -> Path:
    """Write the page of an execution: a task, a map beside a longer task, a killed attempt and its retry."""
    recorder = recorder_of(folder)
    small = {**usages.quota(2.0), **usages.usage(0.5)}
    recorder.task("etl.load", 0, 100, {**usages.node("n0", "etl.load"), **small}, parent=in_execution(1))
    for index in range(14):
        what = {**usages.node(f"n1/n{index}", "etl.clean"), semconv.ARRAY_INDEX: index}
        what |= {**usages.quota(4.0, 8 * GIB), **usages.usage(3.0)}
        recorder.task("etl.clean", 110 + index, 185 + 5 * index, what, parent=in_execution(100 + index))
    recorder.task("report.metrics", 110, 150, usages.node("n3", "report.metrics"), parent=in_execution(4))
    fit = {**usages.quota(8.0, 32 * GIB, gpus=2), **usages.usage(5), **usages.device(0, 0.6, 1, 60 * GIB)}
    fit |= usages.curves(step=10, cpu=" ".join(["5"] * 30), gpu__utilization=["0: " + " ".join(["60"] * 30)])
    ending = {semconv.SIGNAL_NAME: "SIGKILL", semconv.USAGE_CPU_THROTTLED: 60.0}
    with recorder.span(
        "task train.fit",
        260,
        560,
        {**usages.node("n2", "train.fit"), **fit, **ending},
        parent=in_execution(2),
        error=("OOMKilled", "the process was OOM-killed"),
        raised_here=False,
    ) as span:
        attributes = {semconv.SIGNAL_NAME: "SIGTERM", semconv.PHASE: semconv.PHASE_USER_CODE}
        span.add_event(semconv.EVENT_SIGNAL, attributes, nanoseconds(500))
        recorder.leaf(semconv.PHASE_USER_CODE, 280, 560, {semconv.USAGE_CPU_THROTTLED: 60.0})
    recorder.task("train.fit", 600, 1000, {**usages.node("n2", "train.fit", 1), **fit}, parent=in_execution(3))
    path = folder / "run.html"
    page.write(analysis_of(folder), path)
    return path


def opened(chromium: Browser, path: Path, **how: Any) -> None:
    chromium.open(path, **how)
    chromium.ready()
    assert chromium.complaints == []


def seen(chromium: Browser) -> tuple[float, float]:
    """Return the times that the timeline shows, in seconds, by the edges of the bar of the execution."""
    box = chromium.run(
        "(() => { const svg = document.querySelector('.area svg').viewBox.baseVal;"
        " return [svg.x, svg.x + svg.width]; })()"
    )
    return box[0] * 1000 / STEPS, box[1] * 1000 / STEPS


LANE = ".row:nth-child(2) .lane"


@needs_chromium
def test_the_whole_run_is_above_the_timeline_with_totals(chromium: Browser, tmp_path: Path, pictures: Path) -> None:
    path = pipeline(tmp_path)
    for dark in (False, True):
        for device, size in (("desktop", (1440, 900)), ("phone", (390, 844))):
            opened(chromium, path, width=size[0], height=size[1], dark=dark)
            chromium.screenshot(pictures / f"whole-run-{device}-{'dark' if dark else 'light'}.png")
            assert chromium.run(CONTRAST) == []
            assert chromium.run("document.documentElement.scrollWidth") == size[0]

    shown = chromium.text(".whole")
    assert "3 of 3 core-hours" not in shown
    assert "1 attempt not counted" in shown
    assert "GPU-minutes used" in shown
    assert "Critical path" in shown


@needs_chromium
def test_lanes_have_the_axis_of_the_timeline(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, pipeline(tmp_path))

    edges = chromium.run(
        "[...document.querySelectorAll('.axis, .run .lane, .row .lane')].map((e) => e.getBoundingClientRect())"
        ".map((box) => [Math.round(box.left), Math.round(box.right)].join())"
    )

    assert len(set(edges)) == 1
    assert len(edges) > 10


@needs_chromium
def test_the_values_at_the_pointer_are_shown_in_all_lanes(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, pipeline(tmp_path))
    totals = chromium.text(".whole")

    chromium.point(LANE, 0.7)
    shown = chromium.text(".whole")

    assert "5 of 8 cores used at 11 min 40 s" in shown
    assert "0.6 of 2 GPUs used at 11 min 40 s" in shown
    assert chromium.text(".axis .time") == "11 min 40 s"

    chromium.point("h1", 0.5)
    assert chromium.text(".whole") == totals


@needs_chromium
@pytest.mark.parametrize("where", [LANE, ".axis", ".area", ".strip"])
def test_a_drag_over_bars_lanes_or_axis_zooms_and_a_double_click_shows_all(
    chromium: Browser, tmp_path: Path, where: str
) -> None:
    opened(chromium, pipeline(tmp_path))
    selected = chromium.text("aside h2")

    chromium.drag(where, 0.25, 0.5)
    width = chromium.run("document.querySelector('.range').getBoundingClientRect().width")
    assert width == pytest.approx(chromium.run("document.querySelector('.axis').clientWidth") / 4, abs=2)
    chromium.drop(where, 0.5)

    assert seen(chromium) == pytest.approx((250, 500), abs=5)
    assert chromium.run("document.querySelector('.range').hidden") is True
    assert chromium.text("aside h2") == selected

    # A click on a part of the strip goes to its row, and the page may scroll.
    chromium.double_click(".axis" if where == ".strip" else where, 0.5)
    assert seen(chromium) == (0, 1000)


@needs_chromium
def test_the_view_moves_by_keyboard(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, pipeline(tmp_path))
    chromium.drag(".axis", 0.2, 0.6)
    chromium.drop(".axis", 0.6)

    chromium.press("Shift+ArrowRight")
    assert seen(chromium) == pytest.approx((300, 700), abs=5)
    chromium.press("Shift+ArrowLeft", "Shift+ArrowLeft")
    assert seen(chromium) == pytest.approx((100, 500), abs=5)
    chromium.press("0")
    assert seen(chromium) == (0, 1000)
    chromium.press("?")
    assert "move to earlier, later times" in chromium.text("dialog")
    chromium.press("Escape")


@needs_chromium
def test_the_critical_path_is_marked_listed_and_can_be_shown_alone(
    chromium: Browser, tmp_path: Path, pictures: Path
) -> None:
    opened(chromium, pipeline(tmp_path))

    def faded() -> list[str]:
        found: list[str] = chromium.run(
            "[...document.querySelectorAll('.row')].filter((row) =>"
            " getComputedStyle(row.querySelector('.time-bar')).opacity < 1)"
            ".map((row) => row.querySelector('.label').textContent)"
        )
        return found

    assert faded() == []
    chromium.press("c")
    chromium.screenshot(pictures / "critical-path.png")
    assert "task report.metrics" in faded()
    assert "task train.fit" not in faded()

    chromium.click(".parts summary")
    listed = chromium.text(".parts")
    assert "task train.fit / attempt 1" in listed
    assert "waiting in execution f1c0ffee" in listed
    chromium.click(".parts tr:nth-child(1) button")
    assert "on the critical path" in chromium.text("aside")


@needs_chromium
def test_the_terminal_and_the_page_name_the_same_parts_of_the_critical_path(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, pipeline(tmp_path))
    words = chromium.run("document.querySelector('.run:has(.strip) .totals').textContent").split(" · ")
    (line,) = (
        line
        for line in render(ExecutionTree.from_file(tmp_path / "run.jsonl"), Terminal(width=200)).splitlines()
        if line.startswith("critical path: ")
    )
    parts = line.removeprefix("critical path: ").split(" · ")
    assert [re.sub(r" \([^()]*\)$", "", part) for part in parts[:2]] == words


def test_the_critical_path_of_a_running_task_goes_on_to_the_end_of_what_is_shown(tmp_path: Path) -> None:
    killed(tmp_path / "run.jsonl")
    attempt = {semconv.NODE_PATH: "n1", semconv.ATTEMPT: "0"}
    usages.write_points(
        tmp_path / "run.jsonl", EXECUTION_RESOURCE, "train.fit", attempt, mem_usage={60: 10.0, 120: 20.0}
    )
    (execution,) = page_data(analysis_of(tmp_path))["executions"]
    *_, end = execution["path"]["parts"]
    assert execution["length"] == 120_000_000
    assert end[2] == execution["length"]


@needs_chromium
def test_one_core_is_not_cores(chromium: Browser, tmp_path: Path) -> None:
    task(recorder_of(tmp_path), 1, 0, 10, {**usages.quota(1.0), **usages.usage(1.0)})
    page.write(analysis_of(tmp_path), tmp_path / "run.html")
    opened(chromium, tmp_path / "run.html")
    assert chromium.text(".area .top").splitlines()[0] == "1 core"


@needs_chromium
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desktop", "phone"])
def test_a_long_project_is_wrapped(chromium: Browser, tmp_path: Path, size: tuple[int, int], pictures: Path) -> None:
    resource = {**EXECUTION_RESOURCE, semconv.PROJECT: "p" * 300}
    task(Recorder.of_file(tmp_path / "run.jsonl", resource), 1, 0, 10, {})
    page.write(analysis_of(tmp_path), tmp_path / "run.html")
    opened(chromium, tmp_path / "run.html", width=size[0], height=size[1])
    chromium.screenshot(pictures / f"long-project-{size[0]}.png")
    assert chromium.run("document.documentElement.scrollWidth") == size[0]


@needs_chromium
def test_a_row_beside_the_critical_path_has_its_slack(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, pipeline(tmp_path))

    chromium.run("[...document.querySelectorAll('.row')].find((e) => e.innerText.includes('metrics')).click()")

    # It ended at 150 s, the last item of the map at 250 s.
    assert "slack 1 min 40 s" in chromium.text("aside")


@needs_chromium
def test_incidents_are_marked_on_the_bar_and_under_each_chart(
    chromium: Browser, tmp_path: Path, pictures: Path
) -> None:
    opened(chromium, pipeline(tmp_path))
    chromium.screenshot(pictures / "incidents.png")

    words = [
        "throttled for 1 min 00 s of 4 min 40 s in user code, from 20.0 s to 5 min 00 s",
        "received SIGTERM in user code, after 4 min 00 s",
        "OOM-killed, after 5 min 00 s",
    ]
    row = "[...document.querySelectorAll('.row')].find((e) => e.innerText.includes('attempt 0'))"
    assert chromium.run(f"[...{row}.querySelectorAll('.marker')].map((e) => e.title)") == words
    figures = chromium.run(
        "[...document.querySelectorAll('aside figure')].map((e) =>"
        " [...e.querySelectorAll('.marker title')].map((title) => title.textContent))"
    )
    assert len(figures) >= 2
    assert all(figure == words for figure in figures)
    assert chromium.text(".incidents").splitlines() == words
    assert "OOM-killed" in chromium.text("figure .legend")


@needs_chromium
def test_bars_have_their_names_where_there_is_room(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, pipeline(tmp_path))

    captions = chromium.run(
        "[...document.querySelectorAll('.row')].map((row) => [row.querySelector('.label').textContent,"
        " row.querySelector('.caption')?.textContent, Boolean(row.querySelector('.caption.beside'))])"
    )

    assert all(caption == label for label, caption, _ in captions)
    assert {is_beside for _, _, is_beside in captions} == {True, False}


@needs_chromium
def test_names_stay_text_in_the_whole_run(chromium: Browser, tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path)
    evil = "<img src=x onerror=alert(1)>" + "x" * 200_000
    task(recorder, 0, 0, 60, {**usages.quota(), **usages.usage()})
    recorder.task(evil, 60, 120, usages.node("n9", evil), parent=in_execution(9))
    path = tmp_path / "evil.html"
    page.write(analysis_of(tmp_path), path)
    opened(chromium, path)

    assert chromium.run("document.images.length") == 0
    assert "<img src=x" in chromium.run("document.querySelector('.whole').textContent")
    assert len(chromium.run("document.querySelector('.whole').textContent")) < 20_000


def test_the_page_without_scripts_has_the_totals(tmp_path: Path) -> None:
    text = pipeline(tmp_path).read_text()
    static = text[text.index("<noscript>") : text.index("</noscript>")]

    assert "core-hours used" in static
    assert "critical path: " in static
