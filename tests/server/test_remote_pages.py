"""The pages of a server that reads Tempo and Loki, in headless Chromium."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from otel_flyte import semconv
from support import native, otlp, remote_runs, served_runs
from support.browser import CHROMIUM, CONTRAST, MISSING, Browser
from support.remote_runs import Backends
from support.stores import Reply

pytestmark = [pytest.mark.newest_only, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]

SIZES = ((1440, 900), (390, 844))
REFUSED = "refuses access (401): give its credentials by --backend-header or in --tempo"


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[Backends]:
    with remote_runs.running(tmp_path / "serve") as ready:
        for line in remote_runs.lines(tmp_path / "recordings"):
            ready.send(line)
        yield ready


def page(key: str) -> str:
    return f"/executions/{quote(key, safe='')}"


def until(browser: Browser, text: str) -> None:
    native.wait_until(lambda: text in browser.text(), f"{text} is not shown: {browser.text()[:2000]}")


def test_a_list_and_an_execution_are_shown_and_followed(backends: Backends, chromium: Browser, pictures: Path) -> None:
    url = backends.served.url
    chromium.open(f"{url}/")
    until(chromium, "measured")
    chromium.screenshot(pictures / "remote-list.png")
    assert len(chromium.run("[...document.querySelectorAll('tbody tr')].map((row) => row.dataset.key)")) == 4
    chromium.open(url + page(served_runs.RUNNING))
    until(chromium, "task shop.fit")
    new: dict[str, Any] = otlp.span(f"{served_runs.parent(2).trace_id:032x}", "ab" * 8, name="epoch 1")
    backends.tempo.send(json.dumps(otlp.message("traces", served_runs.resource("running"), [new], "trainer")))
    until(chromium, "epoch 1")
    record = {**otlp.log_record("a line of Loki"), "traceId": new["traceId"], "spanId": new["spanId"]}
    backends.loki.send(json.dumps(otlp.message("logs", served_runs.resource("running"), [record])))
    until(chromium, "1 INFO")
    assert chromium.complaints == []


def test_a_backend_that_refuses_is_named_in_the_page_that_follows_it(backends: Backends, chromium: Browser) -> None:
    chromium.open(backends.served.url + page(served_runs.RUNNING))
    until(chromium, "task shop.fit")
    backends.tempo.instead = lambda _: Reply(401)
    until(chromium, f"{REFUSED}, next try in")
    backends.tempo.instead = lambda _: None
    until(chromium, "live")
    assert REFUSED not in chromium.text()


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_missing_is_named_in_the_page_until_it_is_there(
    backends: Backends, chromium: Browser, pictures: Path, *, dark: bool
) -> None:
    backends.loki.instead = lambda _: Reply(500)
    for width, height in SIZES:
        chromium.open(backends.served.url + page(served_runs.RUNNING), width, height, dark=dark)
        until(chromium, "Log records are missing, as Loki at")
        assert "task shop.fit" in chromium.text()
        assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
        assert chromium.run(CONTRAST) == []
        chromium.screenshot(pictures / f"remote-missing-{width}{'-dark' * dark}.png")
    backends.loki.instead = lambda _: None
    native.wait_until(lambda: "are missing" not in chromium.text(), "the remark stays")
    backends.loki.instead = lambda _: Reply(500)
    until(chromium, "Log records are missing, as Loki at")
    assert chromium.complaints == []


def test_an_old_execution_ended_long_ago(backends: Backends, chromium: Browser) -> None:
    chromium.open(backends.served.url + page(served_runs.MEASURED))
    until(chromium, "ended · last record 1 h ago")


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_without_an_answer_says_why(
    backends: Backends, chromium: Browser, pictures: Path, *, dark: bool
) -> None:
    backends.tempo.instead = lambda _: Reply(401)
    for width, height in SIZES:
        for path in ("/", page(f"shop:development:other{time.time_ns()}")):
            chromium.open(backends.served.url + path, width, height, dark=dark)
            assert REFUSED in chromium.text()
            assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
            assert chromium.run(CONTRAST) == []
            chromium.screenshot(pictures / f"remote-error-{width}{'-dark' * dark}.png")


def test_names_of_a_backend_stay_text(backends: Backends, chromium: Browser) -> None:
    evil = "<img src=x onerror='window.hacked = 1'>\u202egnp.exe"
    own = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT, semconv.TASK_NAME: evil}
    span = otlp.span("ee" * 16, "ee" * 8, name=f"task {evil}", attributes=otlp.attributes(own))
    backends.tempo.send(json.dumps(otlp.message("traces", {"service.name": evil}, [span], semconv.SCOPE)))
    for path in ("/", page(f"trace:{'ee' * 16}")):
        chromium.open(backends.served.url + path)
        until(chromium, "<img src=x")
        assert chromium.run("window.hacked === undefined && !document.querySelector('#app img')")
    backends.tempo.instead = lambda _: Reply(400, evil.encode(), "text/plain")
    chromium.open(f"{backends.served.url}/")
    assert "<img src=x" in chromium.text()
    assert "\u202e" not in chromium.text()
    assert chromium.run("window.hacked === undefined && !document.querySelector('#app img')")
