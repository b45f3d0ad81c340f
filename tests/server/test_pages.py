"""The pages of the server: in headless Chromium while real tasks run, and as answers over HTTP."""

import html
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from opentelemetry.trace import SpanContext, TraceFlags

from otel_flyte import semconv
from otel_flyte.recording import log_places
from otel_flyte.recording.model import LogRecord
from otel_flyte.recording.tree import ExecutionTree
from support import traces, usages
from support.browser import CHROMIUM, CONTRAST, MISSING, Browser
from support.server import Served, environment, serving
from support.traces import EXECUTION_RESOURCE, Recorder

pytestmark = pytest.mark.newest_only

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

PHONE = (390, 844)
EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u202egnp.exe\x1b[2J\x00"
KEY = "shop:production:f1c0ffee"
SECONDS = 20

SLOW = """
import logging
import time

from flytekit import task, workflow
from opentelemetry import trace

LOG = logging.getLogger("train")
TRACER = trace.get_tracer("trainer")


@task
def fit(epochs: int) -> int:
    for epoch in range(epochs):
        with TRACER.start_as_current_span(f"epoch {epoch}"):
            LOG.warning("epoch %d begins at %d", epoch, time.time_ns())
            time.sleep(0.5)
    return epochs


@workflow
def train(epochs: int = 1) -> int:
    return fit(epochs=epochs)
"""


def page(key: str = KEY) -> str:
    return f"/executions/{quote(key, safe='')}"


def resource(name: str = "f1c0ffee", **other: str) -> dict[str, str]:
    return {**EXECUTION_RESOURCE, semconv.RUN_NAME: name, **other}


def above(of: dict[str, str]) -> SpanContext:
    """Return a parent that is not recorded, in a trace of the execution's own."""
    number = zlib.crc32(of[semconv.RUN_NAME].encode()) or 1
    return SpanContext(number << 96, number, True, TraceFlags(1))


def recorded(path: Path, of: dict[str, str], *tasks: str, fails: bool = False) -> Path:
    """Write an execution with tasks, each with its phases."""
    recorder = Recorder.of_file(path, of)
    for place, name in enumerate(tasks):
        error = ("ValueError", "loss is not finite") if fails else None
        role = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT}
        attributes = {**usages.node(f"n{place}", name), **usages.usage(), **role}
        recorder.task(name, 10 * place, 10 * place + 9, attributes, parent=above(of), error=error)
    return path


def until(found: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return what a function returns once that is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@contextmanager
def running(served: Served, folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the slow workflow, whose telemetry goes to the server."""
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "otel_flyte", "run", "slow.py", "train", *arguments]
    variables = {**environment(), "OTEL_EXPORTER_OTLP_ENDPOINT": served.otlp_http}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def data(served: Served, key: str = KEY, **headers: str) -> Any:
    return served.get(f"/data/{quote(key, safe='')}", headers=headers).json()


# --- the list --------------------------------------------------------------------------------------------------------


@needs_chromium
def test_an_empty_list_says_what_to_do_and_fills_by_itself(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    chromium.open(served.url + "/")
    chromium.screenshot(pictures / "empty.png")
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={served.otlp_http} otel-flyte demo" in chromium.text()
    served.send_file(recorded(tmp_path / "one.jsonl", resource(), "train.fit"))
    until(lambda: "f1c0ffee" in chromium.text("#list"))
    assert chromium.text("#state") == "live"
    assert chromium.complaints == []


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with executions of two projects, one of which failed, and the names of another are hostile."""
    folder = tmp_path_factory.mktemp("filled")
    with serving(folder / "serve") as ready:
        ready.send_file(recorded(folder / "a.jsonl", resource(), "train.prepare", "train.fit"))
        ready.send_file(recorded(folder / "b.jsonl", resource("f2"), "train.fit", fails=True))
        other = resource("f3", **{semconv.PROJECT: "search", semconv.WORKFLOW_NAME: "index.build"})
        ready.send_file(recorded(folder / "c.jsonl", other, "index.build"))
        evil = {semconv.PROJECT: "a/b'\"%2F&", semconv.DOMAIN: "..", semconv.WORKFLOW_NAME: EVIL}
        ready.send_file(recorded(folder / "d.jsonl", resource("x/../y?z#\u202e", **evil), EVIL, "n" * 2**20))
        yield ready


ALIGNMENT = """
[...document.querySelectorAll('#list th')].filter((head, at) => {
  const cell = document.querySelectorAll('#list tbody tr:first-child td')[at];
  const [above, below] = [head, cell].map(each => getComputedStyle(each));
  const isRight = each => each.textAlign === 'right' || each.textAlign === 'end';
  return isRight(above) !== isRight(below) || parseFloat(below.paddingRight) < 12;
}).map(head => head.innerText).filter(Boolean)
"""
"""The heads of columns that stand elsewhere than their cells, and those of cells at the edge."""


@needs_chromium
def test_filters_are_kept_in_the_address_and_a_click_leads_to_an_execution(
    chromium: Browser, filled: Served, pictures: Path
) -> None:
    chromium.open(filled.url + "/")
    chromium.screenshot(pictures / "list.png")
    rows = "document.querySelectorAll('#list tbody tr').length"
    assert chromium.run(rows) == 4
    assert chromium.run(ALIGNMENT) == []
    chromium.press("/", *"f2")
    until(lambda: chromium.run(rows) == 1)
    assert chromium.run("location.search") == "?text=f2"
    assert "failed" in chromium.text("#list")
    chromium.open(filled.url + "/?text=f2&state=failed")
    assert chromium.run("[...document.querySelectorAll('.filters > [name]')].map(each => each.value)") == [
        "f2",
        "failed",
    ]
    assert chromium.run(rows) == 1
    chromium.click("#list .what")
    chromium.ready()
    assert chromium.run("location.pathname") == page("shop:production:f2")
    assert "loss is not finite" in chromium.text(".errors")
    assert chromium.complaints == []


@needs_chromium
@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_the_list_can_be_filtered_by_links_without_a_script(chromium: Browser, filled: Served, script: bool) -> None:
    chromium.open(filled.url + "/", script=script)
    chromium.open(filled.url + "/?project=search", script=script)
    text = filled.get("/?project=search").text
    assert text.count("<tr data-key") == 1
    assert 'class="chip"' in text
    assert filled.get("/?project=nowhere").text.count("No execution matches") == 1


@pytest.mark.quick
def test_older_executions_follow_by_their_place(served: Served, tmp_path: Path) -> None:
    for number in range(103):
        path = tmp_path / f"{number}.jsonl"
        of = resource(f"run{number:03}")
        Recorder.of_file(path, of).task("train.fit", number, number + 1, parent=above(of))
        served.send_file(path)
    first = served.get("/").text
    assert first.count("<tr data-key") == 100
    assert first.index("run102") < first.index("run101")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = served.get(older.replace("&amp;", "&")).text
    assert re.findall(r'data-key="[^"]*:(run\d+)"', second) == ["run002", "run001", "run000"]
    assert 'rel="next"' not in second


@pytest.mark.quick
@pytest.mark.parametrize(
    "query",
    ["?state=<b>", "?after=x", "?after=1.", "?after=99999999999999999999.1", "?after=9223372036854775808.0",
     "?text=%00", "?after=-1.-1", "?project=%ff", "?text=%E2%80%AE<script>"],
)  # fmt: skip
def test_a_wrong_address_is_no_error(filled: Served, query: str) -> None:
    answer = filled.get(f"/{query}")
    assert answer.status_code == 200
    assert "<script>" not in answer.text


@pytest.mark.quick
@pytest.mark.parametrize("query", ["state=zzz", "after=zz", "worflow=main", "state=<b>", "text=a&after=zz"])
def test_the_list_says_which_filter_it_ignores(filled: Served, query: str) -> None:
    ignored = html.escape(query.rpartition("&")[2])
    assert f"No such filter, it is ignored: <code>{ignored}</code></p>" in filled.get(f"/?{query}").text
    assert "No such filter" not in filled.get("/?state=failed&text=&after=1.1").text


@pytest.mark.quick
@pytest.mark.parametrize("path", ["/", "/compare", "/executions/a:b:c", "/assets/page.js", "/assets/none"])
def test_the_headers_of_a_page_can_be_asked_for(filled: Served, path: str) -> None:
    content = filled.get(path)
    head = requests.head(filled.url + path, timeout=60)
    assert (head.status_code, head.content) == (content.status_code, b"")
    assert head.headers["Content-Type"] == content.headers["Content-Type"]


@pytest.mark.quick
@pytest.mark.parametrize("name", ["two\nlines", "\n", "a\r\n\tb\x7f", "a/b\n"])
def test_an_execution_is_found_by_its_link_whatever_its_name(served: Served, tmp_path: Path, name: str) -> None:
    run = traces.Recorder.of_file(tmp_path / "run.jsonl", {**traces.EXECUTION_RESOURCE, semconv.RUN_NAME: name})
    run.task("shop.fit", 0, 1, {})
    served.send_file(tmp_path / "run.jsonl")
    (link,) = re.findall(r'href="/executions/([^"]+)"', served.get("/").text)
    for place in ("executions", "data", "outline"):
        assert served.get(f"/{place}/{link}").status_code == 200, place


# --- an execution ----------------------------------------------------------------------------------------------------


@needs_chromium
def test_a_running_task_is_seen_within_seconds_of_each_span_and_log_line(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    with running(served, tmp_path / "run", "--epochs", "16") as process:
        key = until(served.executions)[0]["key"]
        chromium.open(served.url + page(key))
        chromium.ready()
        until(lambda: "epoch 3 begins" in chromium.text(".details"))
        assert chromium.text("#state").startswith("live · last record ")
        chromium.run(_WATCH)
        until(lambda: "epoch 12" in chromium.text(".rows"))
        seen = chromium.run("window.seen")
        chromium.screenshot(pictures / "running.png")
        assert "running" in chromium.text("header")
        assert "never ended" not in chromium.text()
        assert "parent not recorded" not in chromium.text()
        assert process.poll() is None
        recording = served.get(f"/api/v1{page(key)}/recording").text
    ends, begins = _times(recording)
    spans = [at - ends[name] for name, at in seen.items() if name in ends]
    lines = [at - begins[name] for name, at in seen.items() if name in begins]
    assert len(spans) > 5
    assert len(lines) > 5
    assert max(spans) < 2
    assert max(lines) < 2
    assert chromium.complaints == []


_WATCH = r"""
window.seen = {};
const first = new Set(document.body.innerText.match(/epoch \d+( begins at \d+)?/g));
new MutationObserver(() => {
  for (const row of document.querySelectorAll(".row .label")) note(row.textContent);
  for (const line of document.querySelectorAll(".logs li > span")) note(line.textContent);
}).observe(document.body, { childList: true, subtree: true });
const note = (text) => { if (text.startsWith("epoch ") && !first.has(text)) window.seen[text] ??= Date.now() / 1000; };
"""


def _times(recording: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return when each span ended, and when each log line was written, by what the page shows of it."""
    ends, lines = {}, {}
    for document in map(json.loads, recording.splitlines()):
        for in_resource in document.get("resourceSpans", ()):
            for span in (span for scope in in_resource["scopeSpans"] for span in scope["spans"]):
                ends[span["name"]] = int(span["endTimeUnixNano"]) / 1e9
        for in_resource in document.get("resourceLogs", ()):
            for record in (record for scope in in_resource["scopeLogs"] for record in scope["logRecords"]):
                text = record.get("body", {}).get("stringValue", "")
                lines[text] = int(record["timeUnixNano"]) / 1e9
    return ends, lines


class Growing:
    """An execution that is recorded bit by bit: what is new is sent."""

    def __init__(self, served: Served, path: Path) -> None:
        self._served = served
        self._path = path
        self._sent = 0
        self.recorder = Recorder.of_file(path, resource())

    def send(self) -> None:
        """Send what was recorded since."""
        lines = self._path.read_text().splitlines()
        for line in lines[self._sent :]:
            self._served.send("traces", line)
        self._sent = len(lines)

    def task(self, name: str, start: float, steps: int = 0) -> None:
        """Record and send a task with user spans."""
        attributes = {**usages.node(name, name), semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT}
        with self.recorder.span(f"task {name}", start, start + 9, attributes, parent=above(resource())):
            for step in range(steps):
                self.recorder.leaf(f"{name} step {step}", start, start + 1 + step % 7, scope="trainer")
        self.send()


@needs_chromium
def test_newer_records_leave_what_is_open_selected_filtered_and_scrolled_to(
    chromium: Browser, served: Served, tmp_path: Path
) -> None:
    growing = Growing(served, tmp_path / "growing.jsonl")
    for number in range(8):
        growing.task(f"train.part{number}", 100 + 10 * number, steps=9)
    chromium.open(served.url + page(), height=500)
    chromium.ready()
    chromium.press("Home", "j", "h", "j", "j", "j", "j")
    chosen = chromium.run(_CHOSEN)
    assert chromium.run("document.querySelectorAll('.row[aria-expanded=false]').length") == 1
    chromium.run("document.querySelector('.details details').open = true; scrollTo(0, 200)")
    chromium.settle()
    before = chromium.run(_PLACE)
    growing.task("train.earlier", 10, steps=9)
    until(lambda: "90 spans" in chromium.text(".facts"))
    chromium.settle()
    assert chromium.run(_CHOSEN) == chosen
    assert abs(chromium.run(_PLACE) - before) <= 1
    assert chromium.run("document.querySelectorAll('.row[aria-expanded=false]').length") == 1
    assert chromium.run("document.querySelector('.details details').open")
    chromium.press("/", *"part3 step")
    tally = chromium.text(".tally")
    assert tally == "9 matches"
    growing.task("train.latest", 200, steps=3)
    until(lambda: "94 spans" in chromium.text(".facts"))
    assert chromium.text(".tally") == tally
    assert chromium.run("document.activeElement.type + document.activeElement.value") == "searchpart3 step"
    assert chromium.complaints == []


_CHOSEN = "document.querySelector('.row[aria-selected=true] .label').textContent"
_PLACE = "document.querySelector('.row[aria-selected=true]').getBoundingClientRect().top"


@needs_chromium
def test_an_execution_that_ended_is_no_longer_asked_for(chromium: Browser, served: Served, tmp_path: Path) -> None:
    served.send_file(recorded(tmp_path / "one.jsonl", resource(), "train.fit"))
    chromium.open(served.url + page())
    chromium.ready()
    until(lambda: chromium.text("#state").startswith("ended · last record "))
    asked = len(chromium.requests)
    time.sleep(3)
    chromium.settle()
    assert len(chromium.requests) == asked
    assert "✓ succeeded" in chromium.text("header")


@needs_chromium
def test_an_execution_that_ended_and_goes_on_is_followed_again(
    chromium: Browser, served: Served, tmp_path: Path
) -> None:
    growing = Growing(served, tmp_path / "growing.jsonl")
    growing.task("train.first", 0)
    chromium.open(served.url + page())
    chromium.ready()
    until(lambda: chromium.text("#state").startswith("ended"))
    growing.task("train.second", 20)
    # What a user does who comes back to the tab; else it asks once a minute.
    chromium.run("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: "train.second" in chromium.text(".rows"))
    assert chromium.text("#state").startswith("live")


@needs_chromium
def test_a_lost_connection_is_said_and_made_again(chromium: Browser, tmp_path: Path) -> None:
    with serving(tmp_path / "serve") as ready:
        # An execution whose last record is old has ended, for a server that is new.
        now = time.time() - traces.BEGIN_NS / 1e9 - 10
        Growing(ready, tmp_path / "growing.jsonl").task("train.first", now)
        chromium.open(ready.url + page())
        chromium.ready()
        until(lambda: chromium.text("#state").startswith("live"))
    until(lambda: chromium.text("#state").startswith("connection lost, next try in "))
    assert "train.first" in chromium.text(".rows")
    assert (ready.folder / "stderr").read_text() == ""
    with serving(tmp_path / "serve", "--port", ready.url.rpartition(":")[2]) as again:
        growing = Growing(again, tmp_path / "again.jsonl")
        growing.recorder.leaf("", 0, 1)
        growing.task("train.second", now)
        until(lambda: "train.second" in chromium.text(".rows"))
        assert not chromium.text("#state").startswith("connection lost")


@needs_chromium
def test_a_killed_task_runs_until_nothing_comes_any_more(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    with running(served, tmp_path / "run", "--epochs", "100") as process:
        until(lambda: [each for each in served.executions() if each["state"] == "running"])
        key = served.executions()[0]["key"]
        chromium.open(served.url + page(key))
        chromium.ready()
        until(lambda: "running" in chromium.text("header"))
        os.killpg(process.pid, signal.SIGKILL)
        until(lambda: re.search(r"last record ([5-9]|\d\d) s ago", chromium.text("#state")))
    traces.killed(tmp_path / "killed.jsonl")
    pending = f'{{"key": "{semconv.SPAN_ROLE}", "value": {{"stringValue": "{semconv.SPAN_ROLE_PENDING}"}}}}'
    marker = f'{{"key": "{semconv.MARKER}", "value": {{"boolValue": true}}}}'
    for line in (tmp_path / "killed.jsonl").read_text().splitlines():
        spaced = json.dumps(json.loads(line), separators=(", ", ": "))
        served.send("traces" if "resourceSpans" in line else "logs", spaced.replace(marker, pending))
    chromium.open(served.url + page())
    chromium.ready()
    chromium.screenshot(pictures / "killed.png")
    assert "unknown" in chromium.text("header")
    assert "never ended" in chromium.text(".rows")
    assert chromium.complaints == []


@needs_chromium
def test_log_lines_have_their_phase_and_are_filtered_followed_and_paused(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    with running(served, tmp_path / "run", "--epochs", "30"):
        until(lambda: [each for each in served.executions() if each["state"] == "running"])
        chromium.open(served.url + page(served.executions()[0]["key"]))
        chromium.ready()
        chromium.press("Home")
        until(lambda: "user code epoch 6 begins" in chromium.text(".logs").replace("\n", " "))
        chromium.screenshot(pictures / "logs.png")
        chromium.click(".follow")
        last = chromium.run(_LAST_LINE)
        until(lambda: chromium.text(".follow").startswith("Follow · "))
        assert chromium.run(_LAST_LINE) == last
        chromium.click(".follow")
        until(lambda: chromium.run(_LAST_LINE) != last)
        assert chromium.run("(e => e.scrollHeight - e.scrollTop - e.clientHeight)(document.querySelector('.logs'))") < 2
        chromium.run(_SET)
        until(lambda: "No line has this level" in chromium.text(".details"))
        until(lambda: "epoch 16" in chromium.text(".rows"))
        assert "No line has this level" in chromium.text(".details")
    assert chromium.complaints == []


_LAST_LINE = "[...document.querySelectorAll('.logs li > span')].at(-1).textContent"
_SET = """(e => { e.value = '4'; e.dispatchEvent(new Event('change')) })(document.querySelector('.tools select'))"""


# --- hostile and small -----------------------------------------------------------------------------------------------

HOSTILE = "a/b'\"%2F&:..:x/../y?z#\u202e"


@needs_chromium
def test_hostile_names_are_text_in_the_list_and_in_an_execution(
    chromium: Browser, filled: Served, pictures: Path
) -> None:
    for width, height in ((1440, 900), PHONE):
        chromium.open(filled.url + "/?text=x/../y", width, height)
        chromium.screenshot(pictures / f"hostile-{width}.png")
        assert "<img src=x" in chromium.text("#list")
        chromium.click("#list .what")
        chromium.ready()
        assert chromium.run("location.pathname") == page(HOSTILE)
        assert "task <script>window.hacked = 1</script><img src=x" in chromium.text(".rows")
        chromium.screenshot(pictures / f"hostile-execution-{width}.png")
        assert chromium.run("window.hacked") is None
        assert chromium.run("document.querySelectorAll('img').length") == 0
        assert "\u202e" not in chromium.text()
        assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
        assert chromium.complaints == []


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    "address", ["/", "/?text=nothing", "/?state=ran&worflow=x", page("shop:production:f2"), "/executions/none"]
)
def test_a_page_is_readable_on_a_phone_in_light_and_dark(
    chromium: Browser, filled: Served, pictures: Path, address: str, dark: bool
) -> None:
    chromium.open(filled.url + address, *PHONE, dark=dark)
    if "f2" in address:
        chromium.ready()
    chromium.screenshot(pictures / f"phone-{dark}-{len(address)}.png")
    assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
    assert chromium.run(CONTRAST) == []
    assert chromium.run("document.querySelectorAll('[onclick], [onload], script:not([src]), style').length") == 0


@needs_chromium
def test_an_execution_without_a_script_is_a_picture(chromium: Browser, filled: Served) -> None:
    chromium.open(f"{filled.url}{page(HOSTILE)}?plain", script=False)
    assert "\u202e" not in filled.get(f"{page(HOSTILE)}?plain").text
    assert f"{page(HOSTILE)}?plain" in filled.get(page(HOSTILE)).text
    assert chromium.complaints == []


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate", "gzip"), ("deflate", "deflate"), ("gzip;q=0, deflate", "deflate"), ("*", "gzip"),
     ("identity", None), ("", None), ("br", None), ("GZIP", "gzip")],
)  # fmt: skip
def test_data_are_compressed_and_sent_once(filled: Served, accepted: str, encoding: str | None) -> None:
    address = f"{filled.url}/data/{quote('shop:production:f2', safe='')}"
    with requests.get(address, headers={"Accept-Encoding": accepted}, stream=True, timeout=SECONDS) as answer:
        raw = answer.raw.read(decode_content=False)
    assert answer.headers.get("Content-Encoding") == encoding
    content = raw if encoding is None else zlib.decompress(raw, zlib.MAX_WBITS | 32)
    assert json.loads(content)["executions"][0]["name"] == "f2"
    etag = answer.headers["ETag"]
    assert not etag.startswith("W/")
    for sent in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        headers = {"Accept-Encoding": accepted, "If-None-Match": sent}
        again = requests.get(address, headers=headers, timeout=SECONDS)
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    other = requests.get(address, headers={"Accept-Encoding": accepted, "If-None-Match": '"x"'}, timeout=SECONDS)
    assert other.status_code == 200


@pytest.mark.quick
def test_the_tag_of_data_changes_with_each_record(served: Served, tmp_path: Path) -> None:
    growing = Growing(served, tmp_path / "growing.jsonl")
    tags: list[str] = []
    for number in range(3):
        growing.task(f"train.part{number}", 10 * number)
        answer = until(lambda: _changed(served, tags))
        tags.append(answer.headers["ETag"])
        assert f"train.part{number}" in answer.text


def _changed(served: Served, tags: list[str]) -> Any:
    answer = served.get(f"/data/{quote(KEY, safe='')}", headers={"If-None-Match": ", ".join(tags)})
    return answer if answer.status_code == 200 else None


@pytest.mark.quick
def test_assets_have_a_strong_tag_and_pages_allow_no_other_scripts(filled: Served) -> None:
    for address in ("/", page("shop:production:f2"), f"{page('shop:production:f2')}?plain", "/executions/none"):
        answer = filled.get(address)
        assert "script-src 'self'; style-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        for name in re.findall(r'(?:src|href)="(/assets/[^"]+)"', answer.text):
            asset = filled.get(name)
            assert re.fullmatch(r'"[0-9a-f]{32}-gzip"', asset.headers["ETag"])
            assert filled.get(name, headers={"If-None-Match": asset.headers["ETag"]}).status_code == 304


@pytest.mark.quick
@pytest.mark.parametrize(
    "path", ["/assets/nothing", "/assets/..%2Fpages.py", "/data/x", "/executions/x", "/executions/"]
)
def test_what_is_not_there_is_404(filled: Served, path: str) -> None:
    assert filled.get(path).status_code == 404


@pytest.mark.quick
def test_events_tell_of_the_version_and_the_age_of_an_execution(served: Served, tmp_path: Path) -> None:
    growing = Growing(served, tmp_path / "growing.jsonl")
    growing.task("train.first", 0)
    address = f"{served.url}/events/{quote(KEY, safe='')}"
    with requests.get(address, stream=True, timeout=SECONDS) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = (json.loads(line[5:]) for line in answer.iter_lines(1) if line.startswith(b"data:"))
        first = next(events)
        growing.task("train.second", 20)
        second = next(event for event in events if event["version"] != first["version"])
    assert second["age"] < 2


# --- places of log records -------------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize(
    ("span_id", "at", "attributes", "place"),
    [
        ("of no span", 46, {semconv.TASK_NAME: "train.fit"}, ("a700000000000000", semconv.PHASE_USER_CODE)),
        ("of no span", 4.5, {semconv.TASK_NAME: "train.fit"}, ("a700000000000000", semconv.PHASE_USER_CODE)),
        ("of no span", 3, {semconv.TASK_NAME: "train.fit"}, ("a700000000000000", semconv.PHASE_INPUT)),
        ("of no span", 1, {}, ("a700000000000000", semconv.PHASE_LOAD)),
        ("of no span", 46, {semconv.TASK_NAME: "train.other"}, ("", "")),
        ("of no span", 46, {semconv.ATTEMPT: 1}, ("", "")),
        ("of no span", -5, {}, ("", "")),
        ("0000000000000003", 3, {}, ("0000000000000003", semconv.PHASE_INPUT)),
        ("0000000000000004", 6, {}, ("0000000000000004", "")),
    ],
)
def test_a_record_of_a_running_attempt_belongs_to_it_and_to_its_phase(
    tmp_path: Path, span_id: str, at: float, attributes: dict[str, Any], place: tuple[str, str]
) -> None:
    traces.killed(tmp_path / "killed.jsonl")
    (execution,) = ExecutionTree.from_file(tmp_path / "killed.jsonl").executions
    record = LogRecord(execution.trace_ids[0], span_id, traces.nanoseconds(at), body="text", attributes=attributes)
    assert list(log_places.places_of(execution, [record])) == [place]


# --- large executions ------------------------------------------------------------------------------------------------


def test_the_outline_of_an_execution_has_its_attempts_and_what_failed(served: Served, tmp_path: Path) -> None:
    recorder = Recorder.of_file(tmp_path / "a.jsonl", resource())
    for place, error in enumerate((None, ("ValueError", "loss is not finite"))):
        recorder.task(f"train.t{place}", place, place + 1, attempt(place), parent=above(resource()), error=error)
    served.send_file(tmp_path / "a.jsonl")
    outline, whole = served.get(f"/outline/{quote(KEY, safe='')}").json(), data(served)
    assert [label for label in labels(outline) if label in labels(whole)] == labels(outline)
    assert labels(outline)[1:] == ["task train.t0", "task train.t1", "user code"]
    assert (outline["version"], outline["executions"][0]["charts"]) == (whole["version"], {})
    assert served.get("/outline/a:b:c").status_code == 404


@needs_chromium
def test_a_large_execution_is_drawn_before_all_of_it_is_there(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    recorder = Recorder.of_file(tmp_path / "large.jsonl", resource())
    for place in range(1300):
        recorder.task("train.fit", place, place + 1, attempt(place), parent=above(resource()))
    served.send_file(tmp_path / "large.jsonl")
    chromium.open(served.url + page())
    until(lambda: "5,200 spans" in chromium.text(".facts"))
    fetched = [each.split("/")[3] for each in chromium.requests]
    assert fetched.index("outline") < fetched.index("data")
    chromium.screenshot(pictures / "large.png")
    chromium.press("/", *"user code")
    until(lambda: "1,300 matches" in chromium.text(".tally"))
    assert chromium.complaints == []


def attempt(place: int) -> dict[str, Any]:
    return {**usages.node(f"n{place}", "train.fit"), **usages.usage(), semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT}


def labels(of: Any) -> list[str]:
    """Return the labels of the rows of an execution."""
    return [of["values"][row[1]] for row in of["executions"][0]["rows"]]
