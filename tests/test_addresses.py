"""Links to a row of the page, copied values, and attributes with units."""

import re
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.recording import otlp_file
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import page
from otel_flyte.units import unit_of
from support import usages
from support.browser import CHROMIUM, MISSING, Browser
from support.traces import EXECUTION_RESOURCE, Recorder, in_execution

pytestmark = pytest.mark.newest_only

GIB = 2**30
ATTRIBUTES = Path(__file__).resolve().parent.parent / "docs" / "attributes.md"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A map of 20 subtasks, and a task with usage."""
    recorder = Recorder.of_file(tmp_path / "f.jsonl", EXECUTION_RESOURCE)
    for index in range(20):
        what = {**usages.node(f"n0/n{index}", "train.score"), semconv.ARRAY_INDEX: index}
        recorder.task("train.score", index, index + 5, what, parent=in_execution(100 + index))
    own = {
        **usages.node("n1", "train.fit"),
        **usages.quota(),
        **usages.usage(memory=3 * GIB + 1),
        semconv.USAGE_CPU_TIME: 83.5,
        semconv.USAGE_ENERGY: 4200.0,
        semconv.USAGE_MEMORY_OF_LIMIT: 0.75,
        "user.bytes": 12345678,
    }
    recorder.task("train.fit", 30, 40, own, parent=in_execution(7))
    path = tmp_path / "f.html"
    page.write(Analysis.of(otlp_file.read(tmp_path / "f.jsonl")), path)
    return path


def opened(chromium: Browser, path: Path, fragment: str = "") -> None:
    chromium.open("about:blank")
    chromium.open(path.as_uri() + fragment)
    chromium.ready()


def selected(chromium: Browser) -> str:
    return str(chromium.run("document.querySelector('.row[aria-selected=true] .label').textContent"))


def address(chromium: Browser) -> str:
    """Return the fragment once it is written."""
    return str(chromium.run("new Promise(done => setTimeout(() => done(location.hash), 400))"))


def drawn_lanes(chromium: Browser) -> Any:
    """Return the part of each lane that is drawn, and the places of the parts of the critical path."""
    areas = "[...document.querySelectorAll('.whole .area svg')].map(each => each.getAttribute('viewBox'))"
    strip = "[...document.querySelectorAll('.whole .strip i')].map(each => each.style.cssText)"
    return chromium.run(f"[...{areas}, ...{strip}]")


@needs_chromium
def test_a_link_opens_the_page_with_its_row_its_filters_and_its_zoom(chromium: Browser, report: Path) -> None:
    opened(chromium, report)
    assert address(chromium) == ""
    chromium.press("/", *"score", "Enter", "Enter", "Escape")
    chromium.press("/", *"train", "Enter")
    chromium.run("document.querySelector('.grid').focus()")
    chromium.press("n", "+")
    chosen, fragment = selected(chromium), address(chromium)
    assert re.fullmatch(r"#span=[0-9a-f]{16}(&up=\d)?&search=train&from=[\d.]+&to=[\d.]+", fragment)
    ticks, lanes = chromium.text(".axis"), drawn_lanes(chromium)
    assert not lanes[0].startswith("0 0 240 ")
    opened(chromium, report, fragment)
    assert selected(chromium) == chosen
    assert chromium.run("document.querySelector('input[type=search]').value") == "train"
    assert chromium.text(".axis") == ticks
    assert drawn_lanes(chromium) == lanes
    assert chromium.complaints == []


@needs_chromium
def test_a_link_to_a_map_or_to_a_hidden_subtask_reveals_it(chromium: Browser, report: Path) -> None:
    opened(chromium, report)
    chromium.press("Home", "j")
    of_map = address(chromium)
    assert of_map.endswith("&up=1")
    chromium.click(".list tbody tr:nth-child(4) .where")
    of_item = address(chromium)
    for fragment, label in ((of_map, "task train.score"), (of_item, "map item 3")):
        opened(chromium, report, fragment)
        assert selected(chromium) == label
        assert label in chromium.text(".details h2")


@needs_chromium
def test_back_and_forward_go_through_addresses_of_the_user_only(chromium: Browser, report: Path) -> None:
    opened(chromium, report)
    chromium.press("Home", "j")
    first = address(chromium)
    chromium.press("j", "j")
    length = chromium.run("history.length")
    assert address(chromium) != first
    assert chromium.run("history.length") == length
    chromium.run(f"location.hash = {first!r}")
    chromium.settle()
    assert selected(chromium) == "task train.score"


@needs_chromium
@pytest.mark.parametrize(
    "fragment", ["#span=", "#span=ffffffffffffffff", "#span=<img src=x>&up=-1&from=x&to=y", "#x", "#span=%ff&order=no"]
)
def test_a_wrong_address_opens_the_page_as_without_one(chromium: Browser, report: Path, fragment: str) -> None:
    opened(chromium, report)
    before = selected(chromium)
    opened(chromium, report, fragment)
    assert selected(chromium) == before
    assert chromium.complaints == []


@needs_chromium
def test_attributes_have_units_and_their_exact_value_on_hover(chromium: Browser, report: Path, pictures: Path) -> None:
    opened(chromium, report)
    chromium.press("End", "h", "h")
    chromium.run("document.querySelector('.attributes').scrollIntoView()")
    chromium.screenshot(pictures / "units.png")
    cells: dict[str, Any] = chromium.run(
        "Object.fromEntries([...document.querySelectorAll('.attributes tr')]"
        ".map(row => [row.cells[0].innerText, [row.cells[1].innerText.trim(), row.cells[1].title]]))"
    )
    assert cells[semconv.USAGE_MEMORY_PEAK] == ["3 GiB", "3221225473 bytes"]
    assert cells[semconv.USAGE_CPU_TIME] == ["1 min 24 s", "83.5 s"]
    assert cells[semconv.USAGE_ENERGY] == ["4.2 kJ", "4200 J"]
    assert cells[semconv.USAGE_MEMORY_OF_LIMIT] == ["75 %", "0.75"]
    assert cells[semconv.QUOTA_CPU_LIMIT] == ["2 cores", "2 cores"]
    assert cells["user.bytes"] == ["12345678", ""]


@needs_chromium
@pytest.mark.parametrize("allowed", [True, False])
def test_a_value_is_copied_or_selected_where_that_is_not_allowed(
    chromium: Browser, report: Path, allowed: bool, pictures: Path
) -> None:
    opened(chromium, report)
    chromium.press("End", "h", "h")
    answer = "window.copied = text" if allowed else "throw new Error('denied')"
    chromium.run(
        f"Object.defineProperty(navigator, 'clipboard', {{value: {{writeText: async (text) => {{ {answer} }}}}}}); 0"
    )
    row = chromium.run(
        "[...document.querySelectorAll('.attributes tr')].findIndex(row => row.innerText.includes('memory.peak'))"
    )
    chromium.run(f"document.querySelectorAll('.attributes tr')[{row}].querySelector('.copy').click()")
    chromium.settle()
    chromium.screenshot(pictures / f"copied-{allowed}.png")
    if allowed:
        assert chromium.run("window.copied") == str(3 * GIB + 1)
        assert chromium.text(".toast") == "Copied"
    else:
        assert "Press Ctrl+C to copy" in chromium.text(".toast")
        assert chromium.run("getSelection().toString()") == str(3 * GIB + 1)
    chromium.run("document.querySelector('.copies .chip').click()")
    chromium.settle()
    copied = chromium.run("window.copied ?? document.querySelector('.toast input').value")
    assert re.fullmatch(r"file://.*/f\.html#span=[0-9a-f]{16}", copied)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("flyte.usage.gpu.12.memory.peak", "By"),
        ("flyte.usage.npu.0.own.utilization.mean", "1"),
        ("flyte.input.my.frame.size", "By"),
        ("flyte.input.frame.length", ""),
        ("flyte.usage.gpu.0.name", ""),
        ("flyte.usage.memory.peak.more", ""),
        ("my.memory.peak", ""),
    ],
)
def test_units_are_known_by_whole_names(name: str, unit: str) -> None:
    assert unit_of(name) == unit


@pytest.mark.quick
def test_every_documented_number_of_usage_has_a_unit() -> None:
    section = ATTRIBUTES.read_text().partition("## Resource usage")[2].partition("## Pending spans")[0]
    names = re.findall(r"`(flyte\.(?:usage|quota)\.[^`]+)`", section)
    without = {name for name in names if not unit_of(name)}
    texts = re.compile(
        r".*(\.source|\.samples|\.name|\.unknown|\.shared|\.series\..*|\.curve\..*|oom_kills|gpu\.request)"
    )
    assert len(names) > 40
    assert not {name for name in without if not texts.fullmatch(name)}
