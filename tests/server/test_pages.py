"""The pages of the server: in headless Chromium while real tasks run, and as answers over HTTP."""

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
from opentelemetry.trace import SpanContext, TraceFlags

from otel_flyte import semconv
from support import usages
from support.browser import CHROMIUM, MISSING, Browser, browser
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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the screenshots."""
    return tmp_path_factory.mktemp("pictures")


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
        attributes = {**usages.node(f"n{place}", name), **usages.usage()}
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


def listed(served: Served, **filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.get("/api/v1/executions", params=filters).json()
    return found


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


@needs_chromium
def test_filters_are_kept_in_the_address_and_a_click_leads_to_an_execution(
    chromium: Browser, filled: Served, pictures: Path
) -> None:
    chromium.open(filled.url + "/")
    chromium.screenshot(pictures / "list.png")
    rows = "document.querySelectorAll('#list tbody tr').length"
    assert chromium.run(rows) == 4
    chromium.press("/", *"f2")
    until(lambda: chromium.run(rows) == 1)
    assert chromium.run("location.search") == "?text=f2"
    assert "failed" in chromium.text("#list")
    chromium.open(filled.url + "/?text=f2&state=failed")
    assert chromium.run(
        "document.querySelector('[name=text]').value + document.querySelector('[name=state]').value"
    ) == ("f2failed")
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


# --- an execution ----------------------------------------------------------------------------------------------------


@needs_chromium
def test_a_running_task_is_seen_within_seconds_of_each_span_and_log_line(
    chromium: Browser, served: Served, tmp_path: Path, pictures: Path
) -> None:
    with running(served, tmp_path / "run", "--epochs", "16") as process:
        key = until(lambda: listed(served))[0]["key"]
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
