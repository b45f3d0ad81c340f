"""The page: as displayed by headless Chromium, and the written file, which needs no browser."""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner, Result

from otel_flyte import semconv
from otel_flyte.cli import main as cli
from otel_flyte.recording import otlp_file
from otel_flyte.recording.tree import Analysis, ExecutionTree
from otel_flyte.report import charts, links, page, static
from otel_flyte.report import text as tree_text
from otel_flyte.report.terminal import Terminal
from support import pods, traces, usages
from support.browser import CHROMIUM, CONTRAST, MISSING, Browser
from support.receiver import Receiver
from support.traces import EXECUTION_RESOURCE, Recorder, in_execution

pytestmark = pytest.mark.newest_only

ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
CONSOLE = "https://flyte.example.com/console/projects/shop/domains/production/executions/f1c0ffee"
TRACE = "https://tempo.example.com/trace/{trace_id}?span={span_id}"
EVIL = "<script>window.hacked = 1</script></script><img src=x onerror='window.hacked = 1'>"
PHONE = (390, 844)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


def log(path: Path, name: str, *lines: tuple[str, str], at: float = 15.0, most: int = 1) -> None:
    """Append log records to the first spans of that name."""
    ids = [
        (span["traceId"], span["spanId"])
        for line in path.read_text().splitlines()
        for span in _spans(json.loads(line))
        if span["name"] == name
    ]
    records = [
        {
            "timeUnixNano": str(traces.nanoseconds(at + number)),
            "severityText": severity,
            "body": {"stringValue": text},
            "traceId": trace_id,
            "spanId": span_id,
        }
        for trace_id, span_id in ids[:most]
        for number, (severity, text) in enumerate(lines)
    ]
    with path.open("a") as file:
        file.write(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}) + "\n")


def _spans(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in document.get("resourceSpans", ()):
        for scope in resource["scopeSpans"]:
            yield from scope["spans"]


def failed_map(path: Path, items: int = 40) -> Path:
    """Write an execution with a failed map; one of ten items fails, by one of two errors."""
    recorder = Recorder.of_file(path, {**EXECUTION_RESOURCE, semconv.EXECUTION_URL: CONSOLE})
    prepare = {
        **usages.node("n0", "train.prepare"),
        **usages.quota(),
        **usages.usage(),
        semconv.CODE_FILE_PATH: "/code/pipelines/train.py",
        semconv.CODE_LINE_NUMBER: 12,
        semconv.CODE_FUNCTION_NAME: "prepare",
        semconv.INPUT_URI.format(variable="raw"): "s3://bucket/raw/reviews.parquet",
    }
    recorder.task("train.prepare", 0, 10, prepare, parent=in_execution(1))
    first = {**usages.node("n1", "train.fit"), semconv.ERROR_KIND: "RECOVERABLE", semconv.RESULT: "failure"}
    recorder.task("train.fit", 12, 40, first, parent=in_execution(2), error=("ValueError", "loss is not finite"))
    recorder.task("train.fit", 45, 100, usages.node("n1", "train.fit", 1), parent=in_execution(3))
    for index in range(items):
        what = {
            **usages.node(f"n2/n{index}", "train.score"),
            semconv.ARRAY_INDEX: index,
            **usages.quota(),
            **usages.usage(memory=(1 + index % 4) * GIB),
        }
        error = None
        if index % 10 == 7:
            error = ("KeyError", "'label'") if index % 20 == 7 else ("MemoryError", "no room for the batch")
        recorder.task(
            "train.score", 100 + index % 5, 105 + index % 13, what, parent=in_execution(100 + index), error=error
        )
    log(path, semconv.PHASE_USER_CODE, ("INFO", "tokenised 512 reviews"), ("WARN", "3 reviews are empty"), at=2)
    return path


def with_long_logs(path: Path) -> Path:
    """Add log records to a recording, so many that the data of its page are compressed."""
    log(path, semconv.PHASE_USER_CODE, *(("INFO", f"line {number} é <b>" + " x" * 2000) for number in range(400)))
    return path


def spread_map(path: Path) -> Path:
    """Write an execution with a map of 200 subtasks of 0.3 s, most of whose time is spent waiting for a node."""
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    for index in range(200):
        start = index * (58 * 60 + 3 - 0.3) / 199
        what = {**usages.node(f"n0/n{index}", "train.score"), semconv.ARRAY_INDEX: index}
        recorder.task("train.score", start, start + 0.3, what, parent=in_execution(100 + index))
    return path


def heavy(path: Path) -> Path:
    """Write a task that used more memory than it had requested, and two GPUs."""
    minutes = 95
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    attributes = {
        **usages.node("n0", "train.fit"),
        semconv.QUOTA_CPU_LIMIT: 4.0,
        semconv.QUOTA_CPU_REQUEST: 2.0,
        semconv.QUOTA_MEMORY_LIMIT: 6 * GIB,
        semconv.QUOTA_MEMORY_REQUEST: 4 * GIB,
        semconv.QUOTA_GPU_REQUEST: 2.0,
        **usages.usage(2.6, 4.0, int(5.4 * GIB), 122.0),
        **usages.device(0, 0.81, 1.0, 74 * GIB),
        **usages.device(1, 0.66, 0.98, 61 * GIB),
        **usages.series(
            cpu_cores=[1 + minute % 4 for minute in range(minutes)],
            mem_bytes=[(1 + 4 * minute / minutes) * GIB for minute in range(minutes)],
            gpu_util=[60 + minute % 40 for minute in range(minutes)],
            gpu_mem_usage=[30 + minute / 2 for minute in range(minutes)],
        ),
    }
    with recorder.span("task train.fit", 0, 60 * minutes, attributes, parent=in_execution(1)):
        recorder.leaf(semconv.PHASE_LOAD, 0, 30)
        with recorder.span(semconv.PHASE_USER_CODE, 30, 60 * minutes - 60):
            for epoch in range(8):
                recorder.leaf(f"epoch {epoch}", 30 + 660 * epoch, 660 + 660 * epoch, scope="trainer")
        recorder.leaf(
            semconv.PHASE_OUTPUT,
            60 * minutes - 60,
            60 * minutes,
            {semconv.OUTPUT_ARTIFACT.format(variable="o0"): "reviews-model"},
        )
    return path


def short(path: Path, gpus: int = 2) -> Path:
    """Write a task of five seconds that was busy for two of them."""
    attributes = {
        **usages.node("n0", "train.fit"),
        **usages.quota(gpus=gpus),
        **usages.usage(0.5, 1.4, 3 * GIB),
        **usages.series(cpu_cores=[0.5], mem_bytes=[GIB], gpu_util=[40.0], gpu_mem_usage=[30.0]),
        **usages.curves(
            cpu="1.00/1.40 0.96 0.02 - 0.01",
            memory="100 900/3072 3072 3072 3072",
            gpu__utilization=[f"{index}: {90 - 10 * index} 80/99 0 0 0" for index in range(gpus)],
            gpu__memory=[f"{index}: 10 20 {30 + index} 30 30" for index in range(gpus)],
        ),
    }
    for index in range(gpus):
        attributes |= usages.device(index, 0.4, 0.99, 24 * GIB)
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    with recorder.span("task train.fit", 0, 5.2, attributes, parent=in_execution(1)):
        recorder.leaf(semconv.PHASE_LOAD, 0, 0.8)
        recorder.leaf(semconv.PHASE_USER_CODE, 0.8, 4.9)
        recorder.leaf(semconv.PHASE_OUTPUT, 4.9, 5.2)
    return path


def long(path: Path) -> Path:
    """Write a task of ten hours on eight GPUs, with 225 values of 160 seconds."""
    values = " ".join(f"{20 + index % 60}/{40 + index % 60}" for index in range(225))
    devices = [f"{index}: {values}" for index in range(8)]
    attributes = {
        **usages.node("n0", "train.fit"),
        **usages.quota(cpu=16.0, memory=64 * GIB, gpus=8),
        **usages.usage(8, 14, 60 * GIB),
        **usages.curves(
            step=160.0, cpu="8/10 " * 225, memory="40000 " * 225, gpu__utilization=devices, gpu__memory=devices
        ),
    }
    Recorder.of_file(path, EXECUTION_RESOURCE).task("train.fit", 0, 36_000, attributes, parent=in_execution(1))
    return path


def written(source: Path, *, trace_url: str = TRACE) -> Path:
    path = source.with_suffix(".html")
    page.write(Analysis.of(otlp_file.read(source, required=())), path, trace_url)
    return path


def content(path: Path) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(found)


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["report", *map(str, arguments)])


# --- the displayed page ----------------------------------------------------------------------------------------------


@needs_chromium
def test_the_page_of_a_failed_map_begins_with_the_errors(chromium: Browser, tmp_path: Path, pictures: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")))
    chromium.screenshot(pictures / "map.png")
    shown = chromium.text()

    assert shown.index("KeyError: 'label'") < shown.index("execution f1c0ffee")
    assert "MemoryError: no room for the batch" in shown
    assert "map item 7" in shown
    assert "user code and 1 more" in shown
    assert "at /code/pipelines/train.py:42 in fit" in shown
    assert "40 items" in chromium.text(".rows")
    assert chromium.run("document.querySelector('.links a').href") == CONSOLE
    assert chromium.run("[...document.querySelectorAll('.links a')].at(-1).href").startswith(
        "https://tempo.example.com/trace/f1c0ffee"
    )
    assert (chromium.complaints, len(chromium.requests)) == ([], 1)


@needs_chromium
def test_ten_hours_on_eight_gpus_have_a_curve_each_and_ticks_of_hours(
    chromium: Browser, tmp_path: Path, pictures: Path
) -> None:
    chromium.open(written(long(tmp_path / "long.jsonl")), height=1600)
    chromium.screenshot(pictures / "long.png")
    details = chromium.text(".details")
    assert [f"GPU {index}" for index in range(8) if f"GPU {index}" not in details] == []
    figures = "[...document.querySelectorAll('.details figure')].map(each => each.querySelectorAll('path').length)"
    assert len(chromium.run(figures)) == 4
    assert chromium.run(figures)[2] >= 8
    ticks = "[...document.querySelectorAll('.details figure text')].map(each => each.textContent)"
    assert {"2 h", "4 h", "6 h", "8 h", "10 h"} <= set(chromium.run(ticks))
    assert "80 of 160 core-hours used, 50 %" in chromium.text(".whole")
    assert chromium.complaints == []


@needs_chromium
def test_a_map_expands_to_a_list_of_subtasks_with_state_duration_and_peak(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")))
    chromium.press("End", "ArrowRight")
    items = [line for line in chromium.text(".rows").splitlines() if line.startswith("map item")]
    assert len(items) > 10
    first = chromium.run("document.querySelector('.row[aria-level=\"3\"]:has(.number.share:not(:empty))').innerText")
    assert re.search(r"map item \d+.* s\s+\d+ %", first, re.DOTALL)
    chromium.run(
        "(s => { s.value = 'state'; s.dispatchEvent(new Event('change')) })(document.querySelector('.toolbar select'))"
    )
    worst = chromium.run(
        "[...document.querySelectorAll('.row')].filter(e => e.innerText.includes('map item')).slice(0, 4)"
        ".map(e => e.querySelector('.mark').ariaLabel)"
    )
    assert worst == ["failure"] * 4


@needs_chromium
def test_a_group_has_the_sum_of_its_members_and_the_time_in_which_they_ran(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(spread_map(tmp_path / "map.jsonl")))
    chromium.press("End")
    (line,) = [row for row in chromium.text(".rows").split("task ") if row.startswith("train.score") and "Σ" in row]

    assert "Σ 1 min 00 s" in line
    assert "200 items · wall 1 min 00 s · median 300 ms · slowest 300 ms" in line
    details = " ".join(chromium.text(".details").split())
    assert "wall time 1 min 00 s sum 1 min 00 s" in details
    assert "first start to last end 58 min 03 s" in details


@needs_chromium
def test_usage_is_drawn_with_request_and_limit_without_clipping(
    chromium: Browser, tmp_path: Path, pictures: Path
) -> None:
    chromium.open(written(heavy(tmp_path / "heavy.jsonl")))
    chromium.screenshot(pictures / "heavy.png")
    details = chromium.text(".details")
    for words in (
        "peak 5.4 GiB · request 4 GiB · limit 6 GiB",
        "throttled for 2 min 02 s (2 % of the time)",
        "GPU utilisation",
        "GPU memory",
        "GPU 1",
    ):
        assert words in details
    outside = chromium.run(
        "[...document.querySelectorAll('figure svg')].flatMap(svg => { const b = svg.getBoundingClientRect();"
        "return [...svg.querySelectorAll('path, .peak')].map(e => e.getBoundingClientRect())"
        ".filter(r => r.top < b.top || r.bottom > b.bottom + 1) })"
    )
    assert outside == []
    assert chromium.run("document.querySelectorAll('figure path.limit').length") == 2
    assert "90 %" in chromium.text(".rows")  # as the 5.4 GiB of 6 GiB beside it
    assert chromium.complaints == []


FIGURES = """
[...document.querySelectorAll('figure')].map(figure => ({
  title: figure.querySelector('b').textContent,
  levels: [...figure.querySelectorAll('path:not(.band):not(.limit):not(.allocated)')].map(path =>
    new Set(path.getAttribute('d').match(/(?:V|M[\\d.]+ )[\\d.]+/g).map(each => each.replace(/^M\\S+ |V/, ''))).size),
  names: [...figure.querySelectorAll('.legend span')].map(each => each.textContent),
  bands: figure.querySelectorAll('path.band').length,
  phases: [...figure.querySelectorAll('rect title')].map(each => each.textContent.split(' · ')[0]),
  ticks: [...figure.querySelectorAll('text[text-anchor]:not([dy])')].map(each => each.textContent),
  colours: new Set([...figure.querySelectorAll('path:not(.band)')].map(each => getComputedStyle(each).stroke)).size,
  outside: [...figure.querySelectorAll('path, rect, text')].filter(each => {
    const [inner, outer] = [each.getBoundingClientRect(), each.closest('svg').getBoundingClientRect()];
    return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1;
  }).length,
}))
"""


def page_of(source: Path) -> Path:
    return written(source)


def picture_of(source: Path) -> Path:
    """Write the picture that a deck has."""
    analysis = Analysis.of(otlp_file.read(source))
    path = source.with_suffix(".html")
    path.write_text(
        f"<meta charset=utf-8><style>{static.style()}</style>{static.picture(analysis.tree, analysis.attempts)}"
    )
    return path


@needs_chromium
@pytest.mark.parametrize("drawn", [page_of, picture_of], ids=["page", "picture"])
def test_a_short_task_has_curves_and_no_flat_lines(
    chromium: Browser, tmp_path: Path, pictures: Path, drawn: Callable[[Path], Path]
) -> None:
    chromium.open(drawn(short(tmp_path / "short.jsonl")))
    chromium.screenshot(pictures / f"{drawn.__name__}.png", full_page=True)
    memory, cpu, utilization, device_memory = chromium.run(FIGURES)

    assert (cpu["title"], cpu["levels"], cpu["bands"]) == ("CPU", [4], 1)
    assert (memory["title"], memory["levels"], memory["bands"]) == ("Memory", [3], 1)
    assert utilization["names"] == ["GPU 0", "GPU 1"]
    assert utilization["levels"] == [3, 2]
    assert device_memory["levels"] == [3, 4]
    assert utilization["colours"] == 2
    for figure in (memory, cpu, utilization, device_memory):
        assert figure["phases"] == [semconv.PHASE_LOAD, semconv.PHASE_USER_CODE, semconv.PHASE_OUTPUT]
        assert figure["ticks"] == ["0", "2 s", "4 s"]
        assert figure["outside"] == 0
    assert chromium.complaints == []


@needs_chromium
def test_the_value_under_the_pointer_has_its_maximum_and_its_phase(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(short(tmp_path / "short.jsonl")))
    chromium.run(
        "(svg => { const box = svg.getBoundingClientRect(); svg.dispatchEvent(new PointerEvent('pointermove',"
        "{ clientX: box.left + box.width * 0.3 })) })(document.querySelectorAll('figure svg')[2])"
    )
    shown = chromium.run("document.querySelectorAll('figure p')[2].textContent")
    assert shown.endswith("GPU 0 80 (max 99) · GPU 1 80 (max 99) % · user code")


@needs_chromium
def test_the_details_of_a_task_have_its_logs_inputs_and_source(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")))
    chromium.press("Home", "j")
    details = chromium.text(".details")
    assert "task train.prepare" in details
    assert "3 reviews are empty" in details
    assert "s3://bucket/raw/reviews.parquet" in details
    assert "/code/pipelines/train.py:12 in prepare" in details
    chromium.press("j")
    assert "3 reviews are empty" not in chromium.text(".details")


@needs_chromium
def test_a_search_finds_names_errors_attributes_and_logs(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")))
    for query, found in (
        ("no room", "2 matches"),
        ("tokenised", "1 match"),
        ("reviews.parquet", "1 match"),
        ("train.prepare", "1 match"),
        ("nowhere", "0 matches"),
    ):
        chromium.press("Escape", "/")
        assert chromium.run("document.activeElement.type") == "search"
        chromium.press(*query)
        assert chromium.text(".tally") == found, query
        chromium.press("Escape")
    chromium.press("/", *"no room", "Enter")
    assert chromium.text(".tally") == "1 of 2 matches"
    assert chromium.run("document.querySelector('.row[aria-selected=true]').innerText").startswith("✗\nuser code")


@needs_chromium
def test_the_page_can_be_used_by_keyboard(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")))

    def selected() -> str:
        return str(chromium.run("document.querySelector('.row[aria-selected=true] .label').innerText"))

    chromium.press("Home")
    assert selected() == "execution f1c0ffee"
    chromium.press("j", "ArrowDown", "k")
    assert selected() == "task train.prepare"
    chromium.press("h")
    assert chromium.run("document.querySelector('.row[aria-selected=true]').ariaExpanded") == "false"
    chromium.press("l", "l")
    assert selected() == "input translation"
    chromium.press("h")
    assert selected() == "task train.prepare"
    chromium.press("n")
    assert "ValueError" in chromium.text(".details")
    before = chromium.run("document.querySelector('.lane i').style.width")
    chromium.press("f")
    assert chromium.text(".axis") != ""
    chromium.press("0")
    assert chromium.run("document.querySelector('.lane i').style.width") == before
    chromium.press("?")
    assert chromium.run("document.querySelector('dialog').open") is True
    chromium.press("Escape")
    assert chromium.run("document.querySelector('dialog').open") is False
    chromium.press("t")
    assert chromium.run("document.documentElement.dataset.theme") in ("dark", "light")
    chromium.run("localStorage.clear()")


@needs_chromium
def test_only_visible_rows_of_a_wide_map_are_rendered(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "wide.jsonl", items=600)))
    chromium.press("End", "ArrowRight")
    assert chromium.run("document.querySelector('.grid').ariaRowCount") > "600"
    assert chromium.run("document.querySelectorAll('.row').length") < 100
    chromium.run("scrollTo(0, document.documentElement.scrollHeight)")
    chromium.settle()
    chromium.settle()
    assert "map item" in chromium.text(".rows")
    assert chromium.run("document.querySelectorAll('.row').length") < 100


@needs_chromium
def test_the_page_is_readable_on_a_phone_and_in_dark_mode(chromium: Browser, tmp_path: Path, pictures: Path) -> None:
    path = written(failed_map(tmp_path / "map.jsonl"))
    chromium.open(path, *PHONE, dark=True)
    chromium.screenshot(pictures / "phone-dark.png")
    assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
    red, green, blue = map(
        int, re.findall(r"\d+", chromium.run("getComputedStyle(document.documentElement).backgroundColor"))[:3]
    )
    assert max(red, green, blue) < 60
    assert chromium.run("getComputedStyle(document.querySelector('.details')).display") == "none"
    chromium.click(".row:nth-child(2)")
    assert chromium.run("getComputedStyle(document.querySelector('.details')).display") == "block"
    chromium.click(".close")
    assert chromium.run("getComputedStyle(document.querySelector('.details')).display") == "none"


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_enough_contrast(chromium: Browser, tmp_path: Path, dark: bool) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")), dark=dark)
    assert chromium.run(CONTRAST) == []


@needs_chromium
def test_texts_of_a_trace_are_never_run_as_scripts(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "evil.jsonl"
    recorder = Recorder.of_file(
        path, {**EXECUTION_RESOURCE, semconv.EXECUTION_URL: "javascript:alert(1)", semconv.RUN_NAME: EVIL}
    )
    attributes = {**usages.node("n0", EVIL), "note": EVIL, EVIL: EVIL, **usages.usage()}
    recorder.task(EVIL, 0, 10, attributes, error=(EVIL, EVIL))
    log(path, semconv.PHASE_USER_CODE, ("INFO", EVIL), (EVIL, "text"))
    html = written(path, trace_url="javascript:alert('{trace_id}')")
    for script in (True, False):
        chromium.open(html, script=script)
        if script:
            chromium.press("End", "Enter", "Home", "j")
            assert chromium.run("window.hacked") is None
            assert chromium.run("document.querySelectorAll('[href^=javascript], img').length") == 0
            assert EVIL in chromium.text()
            assert chromium.complaints == []
    assert "<img" not in html.read_text()


@needs_chromium
def test_the_page_has_a_static_picture_without_scripts(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(heavy(tmp_path / "heavy.jsonl")), script=False)
    text = (tmp_path / "heavy.html").read_text()
    assert "peak 5.4 GiB · request 4 GiB · limit 6 GiB" in text.partition("<noscript>")[2].partition("</noscript>")[0]


@needs_chromium
def test_the_printed_page_has_the_timeline_and_the_details(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(written(failed_map(tmp_path / "map.jsonl")))
    chromium.pdf(tmp_path / "map.pdf")
    assert (tmp_path / "map.pdf").stat().st_size > 10_000


# --- other recordings ------------------------------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("empty", "is empty, its process has ended no span yet"),
        ("without a root", "parent not recorded"),
        ("another program", "GET /reviews"),
        ("running", "last seen in user code for 42.0 s"),
        ("cut off", "line 6 is incomplete"),
        ("only logs", "holds no span, only logs"),
    ],
)
def test_the_page_describes_incomplete_and_foreign_recordings(
    chromium: Browser, tmp_path: Path, name: str, expected: str
) -> None:
    path = tmp_path / "trace.jsonl"
    match name:
        case "empty":
            path.touch()
        case "without a root":
            Recorder.of_file(path).task("shop.fetch", 0, 1, parent=in_execution(1))
        case "another program":
            Recorder.of_file(path, {"service.name": "shop"}).leaf("GET /reviews", 0, 1, scope="requests")
        case "running":
            traces.killed(path)
        case "cut off":
            Recorder.of_file(path).task("shop.fetch", 0, 1)
            Recorder.of_file(path).leaf("again", 2, 3)
            with path.open("a") as file:
                file.write('\n{"resourceSpans": [')
        case "only logs":
            Recorder.of_file(path).leaf("span", 0, 1)
            log(path, "span", ("INFO", "a line without its span"))
            path.write_text(path.read_text().splitlines()[-1])
    done = report(path, "-o", tmp_path / "out.html")
    assert done.exit_code == 0, done.output
    chromium.open(tmp_path / "out.html")
    shown = chromium.text() + chromium.run("[...document.querySelectorAll('.row')].map(e => e.title).join(' ')")
    assert expected.replace("line 6", "") in re.sub(r"line \d+", "", shown)
    assert chromium.complaints == []
    if name == "only logs":
        assert "a line without its span" in shown


def test_a_file_that_is_not_a_trace_is_reported_in_one_line(tmp_path: Path) -> None:
    for text in ('{"a": 1}', "not json", "\x00\x01"):
        path = tmp_path / "other.txt"
        path.write_text(text)
        done = report(path)
        assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert report(tmp_path / "missing.jsonl").exit_code == 2
    assert not list(tmp_path.glob("*.html"))


@needs_chromium
def test_a_large_page_is_drawn_from_compressed_data(chromium: Browser, tmp_path: Path) -> None:
    path = written(with_long_logs(failed_map(tmp_path / "map.jsonl")))
    assert path.stat().st_size < 210_000
    chromium.open(path)
    chromium.ready()
    assert chromium.text("h1") == "f1c0ffee"
    assert "MemoryError: no room for the batch" in chromium.text(".errors")
    assert "40 items" in chromium.text(".rows")
    chromium.press("End", "ArrowRight")
    assert "map item 0" in chromium.text(".rows")
    chromium.run(
        "(s => { s.value = 'line 399 é <b> x'; s.dispatchEvent(new Event('input')) })"
        "(document.querySelector('input[type=search]'))"
    )
    assert chromium.text(".tally") == "1 match"
    assert (chromium.complaints, len(chromium.requests)) == ([], 1)


@needs_chromium
def test_a_browser_that_can_not_decompress_a_large_page_says_so(chromium: Browser, tmp_path: Path) -> None:
    path = written(with_long_logs(failed_map(tmp_path / "map.jsonl")))
    removed = chromium.without("DecompressionStream")
    try:
        chromium.open(path)
        assert "can't decompress the page: open it in one of 2023 or later" in chromium.text()
        chromium.open(written(failed_map(tmp_path / "small.jsonl")))
        assert "40 items" in chromium.text(".rows")
    finally:
        chromium.with_all(removed)


# --- the written file ------------------------------------------------------------------------------------------------


def test_the_page_is_written_to_the_current_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "traces").mkdir()
    heavy(tmp_path / "traces" / "fit.jsonl")
    monkeypatch.chdir(tmp_path)
    assert report("traces/fit.jsonl").output == "fit.html\n"
    assert report("traces", "-o", "all.html").output == "all.html\n"
    assert (tmp_path / "fit.html").exists()
    assert (tmp_path / "all.html").exists()
    assert report("traces", "-o", "nowhere/all.html").exit_code == 2


def test_a_page_never_overwrites_its_sources(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Recorder.of_file(path).leaf("task t", 0, 1)
    before = path.read_bytes()
    for source in (path, tmp_path):
        result = report(source, "-o", path)
        assert result.exit_code == 2
        assert result.stderr == f"otel-flyte: {path} is a source of the page: name another file with -o\n"
    assert path.read_bytes() == before


def test_a_page_can_be_written_to_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Recorder.of_file(path).leaf("task t", 0, 1)
    assert report(path, "-o", "-").stdout.startswith("<!doctype html>")


def test_the_page_loads_nothing_and_is_small(tmp_path: Path) -> None:
    path = written(failed_map(tmp_path / "map.jsonl"))
    text = path.read_text()
    assert path.stat().st_size < 2**20
    assert "default-src 'none'" in text
    assert re.findall(r"<(?:link|script[^>]+src|img|iframe)", text) == []
    assert [url for url in re.findall(r"https?://[^\s\"'<>)]+", text) if "example.com" not in url] == [
        "http://www.w3.org/2000/svg"
    ]


def test_the_page_has_every_subtask_with_its_peak_memory(tmp_path: Path) -> None:
    held = content(written(failed_map(tmp_path / "map.jsonl")))
    values, (execution,) = held["values"], held["executions"]
    items = [row for row in execution["rows"] if values[row[1]].startswith("map item")]
    assert len(items) == 40
    assert sorted({row[7] for row in items}) == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.quick
def test_large_data_are_compressed_and_small_data_can_be_read_in_the_file(tmp_path: Path) -> None:
    source = failed_map(tmp_path / "map.jsonl")
    assert 'type="application/json"' in written(source).read_text()
    text = written(with_long_logs(source)).read_text()
    (packed,) = re.findall(r'<script type="application/zlib" id="data">([A-Za-z0-9+/=]*)</script>', text)
    held = json.loads(zlib.decompress(base64.b64decode(packed)))
    (execution,) = held["executions"]
    lines = [line[2].partition(" é <b> x")[0] for line in execution["logs"] if line[2].startswith("line")]
    assert lines == [f"line {number}" for number in range(400)]
    assert held["remarks"] == []


@pytest.mark.quick
@pytest.mark.parametrize("form", ["show", "explain", "static"])
def test_no_form_shows_the_time_from_first_to_last_as_time_spent(form: str, tmp_path: Path) -> None:
    analysis = Analysis.of(otlp_file.read(spread_map(tmp_path / "map.jsonl")))
    forms: dict[str, Callable[[], str]] = {
        "show": lambda: tree_text.render(analysis.tree, Terminal(width=160)),
        "explain": analysis.tree.explain,
        "static": lambda: static.picture(analysis.tree, ()),
    }
    (line,) = [each for each in re.split(r"\n|<tr>", forms[form]()) if "200 items" in each]

    assert re.search("wall 1 min 00 s.*median 300 ms.*slowest 300 ms", line)
    assert ("sum 1 min 00 s" if form == "explain" else "Σ 1 min 00 s") in line
    assert "58 min 03 s" not in line
    assert not re.search(r"\d %|\d%", line)


@pytest.mark.quick
def test_the_duration_of_a_retried_node_is_without_the_time_between_its_attempts(tmp_path: Path) -> None:
    recorder = Recorder.of_file(tmp_path / "f.jsonl", EXECUTION_RESOURCE)
    for number, start in enumerate((0, 600)):
        recorder.task("t", start, start + 10, usages.node("n0", "t", number), parent=in_execution(number + 1))
    shown = tree_text.render(ExecutionTree.from_file(tmp_path / "f.jsonl"), Terminal(width=160))

    (line,) = [each for each in shown.splitlines() if "2 attempts" in each]
    assert "wall 20.0 s" in line
    assert "Σ 20.0 s" in line


@pytest.mark.quick
@pytest.mark.parametrize(
    ("quota", "share"),
    [((4, 6), 0.5), ((4, None), None), ((None, 6), 0.5)],
    ids=["request and limit", "request", "limit"],
)
def test_the_column_of_memory_is_the_share_that_the_notes_tell(
    tmp_path: Path, quota: tuple[int | None, int | None], share: float | None
) -> None:
    names = (semconv.QUOTA_MEMORY_REQUEST, semconv.QUOTA_MEMORY_LIMIT)
    declared = {name: size * GIB for name, size in zip(names, quota, strict=True) if size is not None}
    recorder = Recorder.of_file(tmp_path / "f.jsonl", EXECUTION_RESOURCE)
    recorder.task("t", 0, 10, {**usages.node("n0", "t"), **usages.usage(), **declared}, parent=in_execution(1))
    data = content(written(tmp_path / "f.jsonl"))

    row = next(row for row in data["executions"][0]["rows"] if "3 GiB" in data["values"][row[2]])
    assert row[7] == share
    assert ("3 GiB of 6 GiB" in data["values"][row[2]]) == (share is not None)


def test_numbers_beyond_the_range_of_javascript_are_strings(tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    Recorder.of_file(path).leaf("span", 0, 1, {"large": 2**60, "odd": float("nan"), "list": [1, 2]}, scope="mine")
    values = content(written(path))["values"]
    assert str(2**60) in values
    assert "nan" in values
    assert [1, 2] in values


def test_only_links_to_servers_are_allowed() -> None:
    assert links.to_trace(TRACE, "abc", "12") == "https://tempo.example.com/trace/abc?span=12"
    grafana = 'https://grafana.example.com/explore?left={"query":"{trace_id}"}'
    assert links.to_trace(grafana, "abc") == 'https://grafana.example.com/explore?left={"query":"abc"}'
    for url in ("javascript:alert(1)", "data:text/html,x", "//host/x", "", "http://", "https://[broken", None, 3):
        assert links.safe(url) == ""


def test_the_documented_query_finds_the_spans_of_a_pod(tmp_path: Path, receiver: Receiver) -> None:
    attempt = pods.Attempt()
    values = {
        ".executionName": attempt.execution,
        ".executionProject": attempt.project,
        ".executionDomain": attempt.domain,
        ".nodeID": attempt.unique_node,
        ".taskRetryAttempt": str(attempt.number),
    }
    text = unquote((ROOT / "docs" / "report.md").read_text()).replace('\\"', '"')
    expected = re.findall(r'resource\.(flyte\.\w+) = "?\{\{ (\.\w+) \}\}"?', text)
    assert len(expected) == 3 + 3 + 2
    environment = receiver.environment("http/protobuf")
    pods.execute(tmp_path / "pod", "task_kinds.increment", {"value": 5}, env=environment)
    spans = receiver.spans()
    assert spans
    for span in spans:
        assert {name: str(span.resource[name]) for name, _ in expected} == {
            name: values[value] for name, value in expected
        }


# --- the charts ------------------------------------------------------------------------------------------------------


def charts_of(path: Path) -> dict[str, charts.Chart]:
    (attempt,) = Analysis.of(otlp_file.read(path)).attempts
    return {chart.title: chart for chart in charts.charts_of(attempt)}


def task(path: Path, seconds: float = 180.0, **attributes: Any) -> Path:
    Recorder.of_file(path).task("t", 0, seconds, {k.replace("__", "."): v for k, v in attributes.items()})
    return path


def test_memory_is_a_percentage_of_the_request_and_allocated_is_the_maximum_of_both(tmp_path: Path) -> None:
    quota = {semconv.QUOTA_MEMORY_LIMIT: 6 * GIB, semconv.QUOTA_MEMORY_REQUEST: 4 * GIB}
    memory = usages.series(mem_bytes=[2.0 * GIB, 5.0 * GIB, -1.0])
    chart = charts_of(task(tmp_path / "t.jsonl", **quota, **memory))["Memory"]
    assert {curve.name: curve.values for curve in chart.curves} == {
        charts.LIMIT: (150.0,),
        charts.ALLOCATED: (100.0, 125.0, None),
        charts.USED: (50.0, 125.0, None),
    }
    assert chart.unit == "% of the request"


def test_cpu_is_in_cores(tmp_path: Path) -> None:
    quota = {semconv.QUOTA_CPU_LIMIT: 4.0, semconv.QUOTA_CPU_REQUEST: 2.0}
    chart = charts_of(task(tmp_path / "t.jsonl", **quota, **usages.series(cpu_cores=[0.5, 3.25, 4.0])))["CPU"]
    assert {curve.name: curve.values for curve in chart.curves} == {
        charts.LIMIT: (4.0,),
        charts.ALLOCATED: (2.0,),
        charts.USED: (0.5, 3.25, 4.0),
    }


def test_gpu_utilization_is_a_percentage_of_the_requested_gpus(tmp_path: Path) -> None:
    expected = {
        semconv.QUOTA_GPU_REQUEST: 4.0,
        **usages.device(0, 0.5, 1.0, GIB),
        **usages.device(1, 0.5, 1.0, GIB),
        **usages.series(gpu_util=[50.0, 100.0]),
    }
    chart = charts_of(task(tmp_path / "t.jsonl", **expected))["GPU utilisation"]
    assert chart.curves == (charts.Curve(charts.USED, (25.0, 50.0)),)


def test_curves_at_the_sampling_interval_replace_those_by_the_minute(tmp_path: Path) -> None:
    drawn = charts_of(short(tmp_path / "t.jsonl"))
    used = drawn["CPU"].curves[-1]
    assert (drawn["CPU"].step, used.values) == (1.0, (1.0, 0.96, 0.02, None, 0.01))
    assert used.maxima == (1.4, 0.96, 0.02, None, 0.01)
    assert drawn["Memory"].curves[-1].values == (2.4, 22.0, 75.0, 75.0, 75.0)
    assert [curve.name for curve in drawn["GPU memory"].curves] == ["GPU 0", "GPU 1"]
    assert [phase.tone for phase in drawn["CPU"].phases] == ["phase", "task", "phase"]


def test_one_gpu_has_one_curve_of_the_devices_requested(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    expected = {**usages.device(0, 0.5, 1.0, GIB), **usages.curves(gpu__utilization=["0: 50/60 100"])}
    chart = charts_of(task(path, 2.0, **{semconv.QUOTA_GPU_REQUEST: 2.0}, **expected))["GPU utilisation"]
    assert chart.curves == (charts.Curve(charts.USED, (25.0, 50.0), (30.0, 50.0)),)


def test_the_maxima_of_many_gpus_do_not_hide_their_curves(tmp_path: Path) -> None:
    chart = charts_of(short(tmp_path / "t.jsonl", gpus=8))["GPU utilisation"]
    assert [curve.tone for curve in chart.curves] == [f"device{index}" for index in range(8)]
    assert not chart.has_bands


def test_a_single_value_is_the_mean_with_all_its_digits(tmp_path: Path) -> None:
    expected = {semconv.USAGE_CPU_MEAN: 0.0042, **usages.curves(cpu="0.00")}
    assert charts_of(task(tmp_path / "t.jsonl", 0.5, **expected))["CPU"].curves[-1].values == (0.004,)


@pytest.mark.parametrize(
    "texts",
    [
        {"cpu": "one 2 3"},
        {"cpu": "nan inf -1 1e999"},
        {"cpu": ""},
        {"cpu": "/ / 1/2/3"},
        {"cpu": "1 " * 100_000},
        {"gpu__utilization": ["0: ", "no label", ": 1 2"] * 100},
        {"memory": ["1 2"]},
        {"cpu": "1 2", "step": 0.0},
        {"cpu": "1 2", "step": -1.0},
    ],
)
def test_broken_curves_do_no_harm(tmp_path: Path, texts: dict[str, Any]) -> None:
    path = task(tmp_path / "t.jsonl", **usages.curves(**texts))
    assert all(len(curve.values) <= 240 for chart in charts_of(path).values() for curve in chart.curves)
    assert "data" in written(path).read_text()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.35, ["0", "0.1 s", "0.2 s", "0.3 s"]),
        (3.0, ["0", "1 s", "2 s", "3 s"]),
        (59.0, ["0", "15 s", "30 s", "45 s"]),
        (150.0, ["0", "30 s", "60 s", "90 s", "120 s", "150 s"]),
        (480.0, ["0", "2 min", "4 min", "6 min", "8 min"]),
        (3 * 3600.0, ["0", "1 h", "2 h", "3 h"]),
        (12 * 86_400.0, ["0", "72 h", "144 h", "216 h", "288 h"]),
    ],
)
def test_ticks_are_at_round_times(seconds: float, expected: list[str]) -> None:
    assert [text for _, text in charts.Chart("CPU", "cores", 1.0, seconds, ()).ticks] == expected


def test_the_curves_of_many_attempts_have_fewer_values_each(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    recorder = Recorder.of_file(path)
    texts = usages.curves(cpu=" ".join(f"{index % 8}.00/{index % 8}.50" for index in range(240)))
    for _ in range(500):
        recorder.leaf("task t", 0, 240, texts)
    (execution, *_) = content(written(path))["executions"]
    (((chart, *_), _), *_) = execution["charts"].values()
    [_, values, maxima, _] = chart["curves"][-1]
    assert (len(values), chart["step"]) == (120, 2.0)
    assert (values[1], maxima[1]) == (2.5, 3.5)


def test_memory_of_a_task_without_requests_is_in_mebibytes(tmp_path: Path) -> None:
    expected = {semconv.USAGE_MEMORY_MEAN: 256 * 2**20, semconv.USAGE_MEMORY_PEAK: 512 * 2**20}
    chart = charts_of(task(tmp_path / "t.jsonl", 5, **expected))["Memory"]
    assert (chart.unit, chart.peak, chart.curves) == ("MiB", 512.0, (charts.Curve(charts.USED, (256.0,)),))


def test_a_peak_alone_is_not_a_line_of_usage(tmp_path: Path) -> None:
    expected = {semconv.USAGE_MEMORY_PEAK: 5 * GIB, semconv.QUOTA_MEMORY_REQUEST: 4 * GIB}
    chart = charts_of(task(tmp_path / "t.jsonl", 0.5, **expected))["Memory"]
    assert [curve.name for curve in chart.curves] == [charts.ALLOCATED]
    assert (chart.peak, chart.top) == (125.0, 125.0)
