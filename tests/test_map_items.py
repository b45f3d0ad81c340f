"""The panel of a group in the page: its list, its histogram and its stragglers; and what every form says of a group."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.recording import otlp_file
from otel_flyte.recording.rows import rows_of
from otel_flyte.recording.stragglers import Spread, spread_of
from otel_flyte.recording.tree import Analysis, ExecutionTree
from otel_flyte.report import page, static
from otel_flyte.report import text as tree_text
from otel_flyte.report.terminal import Terminal
from support import usages
from support.browser import CHROMIUM, CONTRAST, MISSING, Browser
from support.traces import EXECUTION_RESOURCE, Recorder, in_execution

pytestmark = pytest.mark.newest_only

GIB = 2**30
PHONE = (390, 844)
EVIL = "<img src=x onerror='window.hacked = 1'>\u202egnp.exe"
ITEMS = 5000
SLOW = 1234
FAILED = 61

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


def wide(path: Path, items: int = ITEMS) -> Path:
    """Write a map of which one subtask takes long to download, one is retried, and each 61st fails."""
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    for index in range(items):
        what = {
            **usages.node(f"n0/n{index}", "train.score"),
            semconv.ARRAY_INDEX: index,
            **usages.quota(),
            **usages.usage(memory=(1 + index % 4) * GIB),
        }
        start, took = index * 0.02, 4 + index % 8 * 0.25
        if index == SLOW:
            slow(recorder, what, start)
            continue
        error = ("KeyError", "'label'") if index % FAILED == 5 else None
        recorder.task("train.score", start, start + took, what, parent=in_execution(100 + index), error=error)
    return path


def slow(recorder: Recorder, what: dict[str, Any], start: float) -> None:
    with recorder.span("task train.score", start, start + 65, what, parent=in_execution(100 + SLOW)):
        recorder.leaf(semconv.PHASE_DOWNLOAD, start, start + 60)
        recorder.leaf(semconv.PHASE_USER_CODE, start + 60, start + 65)


def written(source: Path) -> Path:
    path = source.with_suffix(".html")
    page.write(Analysis.of(otlp_file.read(source)), path)
    return path


def listed(chromium: Browser) -> list[list[str]]:
    """Return the texts of the list's lines."""
    lines: list[list[str]] = chromium.run(
        "[...document.querySelectorAll('.list tbody tr')].map(line => [...line.cells].map(cell => cell.innerText))"
    )
    return lines


def selected(chromium: Browser) -> str:
    return str(chromium.run("document.querySelector('.row[aria-selected=true] .label').textContent"))


# --- the panel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def map_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(wide(tmp_path_factory.mktemp("map") / "wide.jsonl"))


@pytest.fixture
def opened(chromium: Browser, map_page: Path) -> Browser:
    """The page of the map with the map selected."""
    chromium.open(map_page)
    chromium.ready()
    chromium.press("Home", "j")
    return chromium


@needs_chromium
def test_the_panel_of_a_map_counts_its_subtasks_and_lists_a_page_of_them(opened: Browser, pictures: Path) -> None:
    opened.screenshot(pictures / "items.png")
    details = " ".join(opened.text(".details").split())
    assert "5,000 ITEMS ✓ success 4,918 ✗ failure 82" in details
    assert re.search(r"wall time 1 min 46 s sum 6 h 47 min median 5.00 s", details)
    assert "slowest 1 min 05 s" in details
    assert [line[1] for line in listed(opened)] == [str(index) for index in range(20)]
    assert listed(opened)[0][2:] == ["4.00 s", "1 GiB · 25 %", "1"]
    assert "1 to 20 of 5,000" in opened.text(".pager")
    opened.click(".pager button:last-child")
    assert listed(opened)[0][1] == "20"
    assert opened.complaints == []


@needs_chromium
def test_the_list_is_sorted_by_each_column_in_both_directions(opened: Browser) -> None:
    opened.click(".list th.time button")
    assert listed(opened)[0][1:3] == [str(SLOW), "1 min 05 s"]
    opened.click(".list th.time button")
    assert [line[2] for line in listed(opened)] == ["4.00 s"] * 20
    opened.click(".list th.memory button")
    assert {line[3] for line in listed(opened)} == {"4 GiB · 100 %"}
    opened.click(".list th.result button")
    assert [line[0] for line in listed(opened)] == ["✗"] * 20
    opened.click(".list th.result button")
    assert [line[0] for line in listed(opened)] == ["✓"] * 20


@needs_chromium
def test_a_state_and_a_bar_of_the_histogram_filter_the_list(opened: Browser) -> None:
    opened.click(".states button:nth-child(2)")
    assert "1 to 20 of 82" in opened.text(".pager")
    assert {line[0] for line in listed(opened)} == {"✗"}
    opened.click(".states button:nth-child(2)")
    opened.click(".histogram .bin:last-of-type .hit")
    assert [line[1] for line in listed(opened)] == [str(SLOW)]
    opened.click(".pager button")
    assert "1 to 20 of 5,000" in opened.text(".pager")


@needs_chromium
def test_bars_are_the_subtasks_by_state_on_an_axis_that_fits(opened: Browser) -> None:
    words = opened.run("[...document.querySelectorAll('.histogram .bin')].map(bar => bar.ariaLabel)")
    assert sum(int(word.split()[0].replace(",", "")) for word in words) == ITEMS
    assert words[-1].startswith("1 item from ")
    assert words[-1].endswith(" to 1 min 05 s")
    failed = opened.run("document.querySelectorAll('.histogram .state-failure').length")
    assert failed > 3
    texts = opened.run("[...document.querySelectorAll('.histogram text')].map(text => text.textContent)")
    assert {"median", "stragglers"} <= set(texts)


@needs_chromium
@pytest.mark.parametrize("slow", [4.0, 30.0, 400.0])
def test_the_names_of_median_and_stragglers_do_not_overprint(
    chromium: Browser, tmp_path: Path, pictures: Path, slow: float
) -> None:
    recorder = Recorder.of_file(tmp_path / "f.jsonl", EXECUTION_RESOURCE)
    for index in range(40):
        what = {**usages.node(f"n0/n{index}", "train.score"), semconv.ARRAY_INDEX: index}
        took = slow if index == 7 else 2 + index % 5 * 0.05
        recorder.task("train.score", 0, took, what, parent=in_execution(100 + index))
    page.write(Analysis.of(otlp_file.read(tmp_path / "f.jsonl", required=())), tmp_path / "f.html")
    chromium.open(tmp_path / "f.html")
    chromium.ready()
    chromium.press("Home", "j")
    chromium.screenshot(pictures / f"marks-{slow:.0f}.png")
    boxes = chromium.run(
        "[...document.querySelectorAll('.histogram text')].filter(text => /median|stragglers/.test(text.textContent))"
        ".map(text => text.getBoundingClientRect()).map(box => [box.left, box.right])"
        ".concat([(box => [box.left, box.right])(document.querySelector('.histogram svg').getBoundingClientRect())])"
    )
    *names, drawing = boxes
    first, second = sorted(names)
    assert first[1] <= second[0]
    assert drawing[0] <= first[0]
    assert second[1] <= drawing[1]


@needs_chromium
def test_a_straggler_is_named_with_its_extra_time_and_the_phase_of_it(opened: Browser) -> None:
    assert opened.text(".stragglers").splitlines() == [
        "1 straggler",
        f"map item {SLOW} took 1 min 00 s longer than the median, in download",
    ]
    opened.click(".stragglers .where")
    assert selected(opened) == f"map item {SLOW}"
    assert "1 min 05 s" in opened.text(".details .facts")


@needs_chromium
def test_the_list_is_used_by_keyboard_and_leads_to_a_subtask_and_back(opened: Browser) -> None:
    opened.run("document.querySelector('.list tbody .where').focus()")
    opened.press("ArrowDown", "ArrowDown")
    opened.press("Enter")
    assert selected(opened) == "map item 2"
    assert opened.run("document.activeElement.role") == "treegrid"
    opened.click(".details .where")
    assert selected(opened) == "task train.score"
    opened.run("[...document.querySelectorAll('.list tbody .where')].at(-1).focus()")
    opened.press("ArrowDown")
    assert opened.run("document.activeElement.innerText") == "20"
    opened.press("ArrowUp")
    assert opened.run("document.activeElement.innerText") == "19"
    opened.run("document.querySelector('.histogram .bin:last-of-type').focus()")
    opened.press("Enter")
    assert "1 to 1 of 1" in opened.text(".pager")


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_panel_is_readable_on_a_phone(chromium: Browser, map_page: Path, pictures: Path, dark: bool) -> None:
    chromium.open(map_page, *PHONE, dark=dark)
    chromium.ready()
    chromium.press("Home", "j", "Enter")
    chromium.screenshot(pictures / f"items-phone-{dark}.png")
    assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
    assert chromium.run("(list => list.scrollWidth <= list.clientWidth)(document.querySelector('.list'))")
    assert chromium.run(CONTRAST) == []
    chromium.click(".list tbody .where")
    assert selected(chromium) == "map item 0"


@needs_chromium
def test_the_attempts_of_a_subtask_and_hostile_names_are_text(chromium: Browser, tmp_path: Path) -> None:
    recorder = Recorder.of_file(tmp_path / "evil.jsonl", EXECUTION_RESOURCE)
    for index in range(12):
        for attempt in range(1 + (index == 3) * 2):
            what = {**usages.node(f"n0/n{index}", EVIL, attempt), semconv.ARRAY_INDEX: index}
            recorder.task(EVIL, 60 * attempt, 60 * attempt + 5, what, parent=in_execution(100 * attempt + index))
    for number in range(12):
        recorder.leaf(EVIL, number, number + 1, scope=EVIL, parent=in_execution(7000))
    chromium.open(written(tmp_path / "evil.jsonl"))
    chromium.ready()
    chromium.press("Home", "j")
    assert listed(chromium)[3][1:3] == ["3", "3"]
    assert "map item 3 took 10.0 s longer than the median, in earlier attempts" in chromium.text(".stragglers")
    chromium.press("End", "ArrowLeft")
    assert "12 SPANS" in chromium.text(".details")
    assert listed(chromium)[0][1].startswith("<img src=x")
    assert chromium.run("window.hacked") is None
    assert chromium.run("document.querySelectorAll('img').length") == 0
    assert chromium.complaints == []


# --- stragglers ------------------------------------------------------------------------------------------------------


def spread(path: Path, seconds: Sequence[float]) -> Spread:
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    for index, each in enumerate(seconds):
        what = {**usages.node(f"n0/n{index}", "t"), semconv.ARRAY_INDEX: index}
        recorder.task("t", 0, each, what, parent=in_execution(100 + index))
    (execution,) = ExecutionTree.from_file(path).executions
    found = spread_of(next(row for row in rows_of(execution, complete=True) if row.is_group).members)
    assert found is not None
    return found


@pytest.mark.quick
@pytest.mark.parametrize(
    ("seconds", "slow"),
    [
        ([1, 1, 1, 1, 1.4], []),
        ([1, 1, 1, 1, 1.6], [1.6]),
        ([1, 1, 1, 1, 1, 1, 2, 9], [9, 2]),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], []),
        ([1, 1, 1, 9], []),
        ([1, 1, 1, 1, 1], []),
    ],
    ids=["not 1.5 times", "outlier", "slowest first", "wide", "too few", "equal"],
)
def test_a_straggler_is_an_outlier_of_more_than_one_and_a_half_times_the_median(
    tmp_path: Path, seconds: list[float], slow: list[float]
) -> None:
    found = spread(tmp_path / "f.jsonl", seconds)
    assert [each.row.seconds for each in found.stragglers] == pytest.approx(slow)


# --- groups in other forms -------------------------------------------------------------------------------------------


def retried(path: Path) -> Path:
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    for number, start in enumerate((0, 90)):
        recorder.task("t", start, start + 10, usages.node("n0", "t", number), parent=in_execution(number + 1))
    return path


@pytest.mark.quick
def test_the_bar_of_a_group_has_a_thin_line_where_no_member_runs(tmp_path: Path) -> None:
    tree = ExecutionTree.from_file(retried(tmp_path / "f.jsonl"))
    (line,) = [each for each in tree_text.render(tree, Terminal(width=160)).splitlines() if "2 attempts" in each]
    assert "wall 20.0 s" in line
    bar = line.rpartition(" s ")[2].strip()
    assert re.fullmatch(r"━+╸?─{20,}╺?━+╸?", bar)
    picture = static.picture(tree, ())
    (row,) = [each for each in picture.split("<tr>") if "2 attempts" in each]
    assert row.count('<rect class="task') == 2
    assert 'class="group' in row


@needs_chromium
def test_the_bar_of_a_group_is_filled_where_members_run(chromium: Browser, tmp_path: Path, pictures: Path) -> None:
    chromium.open(written(retried(tmp_path / "f.jsonl")))
    chromium.ready()
    chromium.screenshot(pictures / "group.png")
    fill = chromium.run("getComputedStyle(document.querySelector('.lane i.group')).backgroundImage")
    clear = fill.count("rgba(0, 0, 0, 0)")
    assert 150 < clear < 240
    assert chromium.run("document.querySelectorAll('.lane i.group').length") == 1
