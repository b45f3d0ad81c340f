"""Two executions compared on the server: the page, the ways to it, and the API."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from otel_flyte import semconv
from support import served_runs, usages
from support.browser import CHROMIUM, CONTRAST, MISSING, Browser
from support.server import Served, serving
from support.traces import Recorder

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

LOOKS = [(width, height, dark) for width, height in ((1440, 900), (390, 844)) for dark in (False, True)]
EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u202egnp.exe\x1b[2J"
MONDAY, TUESDAY, EVIL_ONE = "shop:development:monday", "shop:development:tuesday", "shop:development:evil"


def daily(path: Path, name: str, begin: float, *, training: float, version: str = "v1") -> Path:
    """Write an execution of the daily workflow, whose training takes some seconds."""
    recorder = Recorder.of_file(path, served_runs.resource(name, **{semconv.WORKFLOW_NAME: "shop.daily"}))
    of = {**served_runs.ATTEMPT, semconv.TASK_VERSION: version}
    data = {"flyte.input.rows.type": "int", "flyte.input.rows.value": "3" if version == "v1" else "4"}
    fetch = {**of, **usages.node("n0", "shop.fetch"), **usages.usage(memory=2**30)}
    train = {**of, **usages.node("n1", "shop.train"), **usages.usage(memory=(3 + (version != "v1")) * 2**30), **data}
    parent = served_runs.parent(100 + len(name) + round(begin))
    recorder.task("shop.fetch", begin, begin + 20, fetch, parent=parent)
    recorder.task("shop.train", begin + 20, begin + 20 + training, train, parent=parent)
    return path


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with three executions of a workflow, one whose names are hostile, and others."""
    folder = tmp_path_factory.mktemp("days")
    with serving(folder / "serve") as ready:
        ready.send_file(daily(folder / "a.jsonl", "sunday", 0, training=60))
        ready.send_file(daily(folder / "b.jsonl", "monday", 1000, training=60))
        ready.send_file(daily(folder / "c.jsonl", "tuesday", 2000, training=150, version="v2"))
        recorder = Recorder.of_file(folder / "d.jsonl", served_runs.resource("evil", **{semconv.WORKFLOW_NAME: EVIL}))
        for name in (EVIL, "n" * 2**20):
            node = {**served_runs.ATTEMPT, **usages.node(name, name), semconv.TASK_VERSION: EVIL}
            recorder.task(name, 3000, 3010, node, parent=served_runs.parent(7), error=(EVIL, EVIL * 500))
        ready.send_file(folder / "d.jsonl")
        served_runs.send_all(ready)
        yield ready


def address(**keys: str) -> str:
    return f"/compare?{urlencode(keys)}"


def text_of(content: str) -> str:
    """Return the text of HTML, with blanks for tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", content)).split())


class TestPage:
    def test_it_says_what_changed_most_first(self, days: Served) -> None:
        text = text_of(days.get(address(a=MONDAY, b=TUESDAY)).text)
        said = text[text.index("execution took") :]
        assert said.startswith(
            "execution took 1 min 30 s longer (2.1x) shop.train (n1) user code took 1 min 12 s longer"
        )
        assert "memory peak 3 GiB -> 4 GiB" in said
        assert "value of input rows 4 instead of 3" in said
        assert "version v2 instead of v1 shop.fetch (n0), shop.train (n1)" in said

    def test_nodes_have_all_numbers_and_lead_to_their_rows(self, days: Served) -> None:
        content = days.get(address(a=MONDAY, b=TUESDAY)).text
        first, second = re.findall(r"<details class=.*?</details>", content, re.DOTALL)
        assert text_of(first).startswith("shop.train (n1) success 1 min 00 s 2 min 30 s +1 min 30 s (2.5x) 3 GiB 4 GiB")
        assert "input translation 6.00 s 15.0 s +9.00 s (2.5x)" in text_of(first)
        assert 'class="node noted" id="node-0" open' in first
        assert " open" not in second.partition(">")[0]
        assert re.findall(r'href="(/executions/[^"]+)"', first) == [
            f"/executions/{key.replace(':', '%3A')}#span=0000000000000005" for key in (MONDAY, TUESDAY)
        ]

    def test_it_can_be_swapped(self, days: Served) -> None:
        content = days.get(address(a=MONDAY, b=TUESDAY)).text
        (swapped,) = re.findall(r'href="([^"]+)">⇄ Swap', content)
        assert "user code took 1 min 12 s less (0.4x)" in text_of(days.get(html.unescape(swapped)).text)

    def test_what_cannot_be_compared_is_said(self, days: Served) -> None:
        text = text_of(days.get(address(a=served_runs.MEASURED, b=served_runs.RUNNING)).text)
        assert "B is running: what has not ended is compared once it has" in text
        assert "not compared: duration: it never ended in B: shop.fit (n0)" in text
        assert "only in A shop.fetch (n0), shop.score (n2), shop.rank (n3)" in text

    def test_equal_executions_did_not_change(self, days: Served) -> None:
        text = text_of(days.get(address(a="shop:development:sunday", b=MONDAY)).text)
        assert "Nothing changed." in text

    @pytest.mark.parametrize(
        ("query", "status", "reason"),
        [
            (urlencode({"a": MONDAY, "b": MONDAY}), 400, "A and B are the same execution. Choose another one"),
            (urlencode({"a": MONDAY, "b": "shop:x:y"}), 404, "No execution shop:x:y is kept."),
            (urlencode({"b": EVIL}), 404, "No execution <script>window.hacked = 1</script><img"),
            (urlencode({"a": "\x00"}), 404, "No execution \ufffd is kept."),
            ("", 400, "Choose two executions in the list"),
            ("execution=", 400, "Choose two executions in the list"),
            ("&".join(f"execution={each}" for each in (MONDAY, TUESDAY, EVIL_ONE)), 400, "3 executions are chosen"),
        ],
    )
    def test_what_is_no_pair_has_a_page_that_helps(self, days: Served, query: str, status: int, reason: str) -> None:
        answer = days.get(f"/compare?{query}")
        assert answer.status_code == status
        assert reason in text_of(answer.text)
        assert "<script" not in answer.text

    @needs_chromium
    @pytest.mark.parametrize("look", LOOKS, ids=str)
    @pytest.mark.parametrize("keys", [{"a": MONDAY, "b": TUESDAY}, {"a": MONDAY, "b": EVIL_ONE}, {"b": TUESDAY}])
    def test_it_is_readable_and_hostile_names_are_text(
        self, chromium: Browser, days: Served, pictures: Path, keys: dict[str, str], look: tuple[int, int, bool]
    ) -> None:
        width, height, dark = look
        chromium.open(days.url + address(**keys), width, height, dark=dark)
        chromium.screenshot(pictures / f"compare-{'-'.join(keys.values())}-{width}-{dark}.png", full_page=True)
        assert chromium.run("window.hacked") is None
        assert chromium.run("document.querySelectorAll('img, script').length") == 0
        assert "\u202e" not in chromium.text()
        assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
        assert chromium.run(CONTRAST) == []
        assert chromium.complaints == []


class TestWays:
    @needs_chromium
    def test_two_executions_are_checked_in_the_list(self, chromium: Browser, days: Served) -> None:
        chromium.open(f"{days.url}/?workflow=shop.daily")
        for key in (TUESDAY, "shop:development:sunday"):
            chromium.click(f'input[value="{key}"]')
        chromium.click('[form="compare"]:not([type])')
        until_at(chromium, "/compare")
        # The older one is A, in whichever order they were checked.
        assert chromium.run("location.search") == address(a="shop:development:sunday", b=TUESDAY).removeprefix(
            "/compare"
        )

    @needs_chromium
    def test_an_execution_leads_to_the_previous_ones_of_its_workflow(self, chromium: Browser, days: Served) -> None:
        chromium.open(f"{days.url}/executions/{TUESDAY}")
        chromium.ready()
        chromium.click('.bar a[href^="/compare"]')
        until_at(chromium, "/compare")
        names = "[...document.querySelectorAll('.list .what')].map(each => each.innerText)"
        assert chromium.run(names) == ["monday\nprevious", "sunday"]
        chromium.click(".list .what a")
        until_at(chromium, "/compare", MONDAY.replace(":", "%3A"))
        chromium.click(".node a[href*='tuesday']")
        until_at(chromium, "/executions/")
        chromium.ready()
        assert (
            chromium.run("document.querySelector('.row[aria-selected=true] .label').textContent") == "task shop.train"
        )

    def test_one_that_is_checked_leads_to_earlier_ones(self, days: Served) -> None:
        answer = days.get(f"/compare?execution={TUESDAY}", allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, address(b=TUESDAY))

    def test_the_first_execution_of_a_workflow_has_none_before(self, days: Served) -> None:
        text = text_of(days.get(address(b="shop:development:sunday")).text)
        assert "No earlier execution of this workflow is kept." in text


def until_at(chromium: Browser, path: str, query: str = "") -> None:
    """Wait for an address."""
    at_path = f"location.pathname.startsWith('{path}') && location.search.includes('{query}')"
    chromium.until(f"document.readyState === 'complete' && {at_path}")


class TestApi:
    def ask(self, days: Served, **parameters: Any) -> Any:
        answer = days.get("/api/v1/compare", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def test_it_has_the_words_and_the_numbers(self, days: Served) -> None:
        found = self.ask(days, a=MONDAY, b=TUESDAY)
        assert found["changes"][1].startswith("shop.train (n1): user code took 1 min 12 s longer (2.5x)")
        assert (found["a"]["key"], found["b"]["name"], found["is_equal"]) == (MONDAY, "tuesday", False)
        assert found["duration"]["difference"] == 90
        node = found["nodes"][0]
        assert (node["name"], node["is_notable"], node["span_b"]) == ("shop.train (n1)", True, "0000000000000005")
        memory = next(change for change in node["changes"] if change["name"] == "memory peak")
        assert (memory["a"], memory["b"], memory["unit"]) == (3 * 2**30, 4 * 2**30, "By")
        assert {"name": "value of input rows", "a": "3", "b": "4"} in node["facts"]

    def test_pages_have_each_node_once(self, days: Served) -> None:
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = self.ask(days, a=served_runs.MEASURED, b=served_runs.RUNNING, limit=1, after=after)
            assert len(page["nodes"]) == 1
            found.append(page["nodes"][0]["name"])
            after = page["next"]
        assert found == ["shop.fit (n0)", "shop.fetch (n0)", "shop.score (n2)", "shop.rank (n3)"]

    def test_an_execution_compared_with_itself_is_equal(self, days: Served) -> None:
        assert self.ask(days, a=MONDAY, b=MONDAY)["is_equal"] is True

    def test_new_records_are_compared(self, served: Served, tmp_path: Path) -> None:
        for name, begin in (("one", 0), ("two", 500)):
            served.send_file(daily(tmp_path / f"{name}.jsonl", name, begin, training=50))
        keys = {"a": "shop:development:one", "b": "shop:development:two"}
        assert self.ask(served, **keys)["is_notable"] is False
        recorder = Recorder.of_file(tmp_path / "more.jsonl", served_runs.resource("two"))
        node = {**served_runs.ATTEMPT, **usages.node("n2", "shop.publish")}
        recorder.task("shop.publish", 600, 610, node, parent=served_runs.parent(999))
        served.send_file(tmp_path / "more.jsonl")
        assert self.ask(served, **keys)["changes"][-1] == "only in B: shop.publish (n2)"

    @pytest.mark.parametrize(
        ("query", "status", "reason"),
        [
            (f"a={MONDAY}&b=shop:x:y", 404, "no execution shop:x:y is recorded"),
            (f"a={MONDAY}", 400, "b: Field required"),
            (f"a={MONDAY}&b={TUESDAY}&after=x", 400, "after is not from an answer"),
            (f"a={MONDAY}&b={TUESDAY}&c=1", 400, "c is not a parameter of this request"),
        ],
    )
    def test_a_wrong_question_is_one_line(self, days: Served, query: str, status: int, reason: str) -> None:
        answer = days.get(f"/api/v1/compare?{query}")
        assert answer.status_code == status
        assert answer.json()["detail"].startswith(reason)


def send_at_once(served: Served, path: Path) -> None:
    """Send a recording of spans in one request."""
    spans = [each for line in path.read_text().splitlines() for each in json.loads(line)["resourceSpans"]]
    served.send("traces", json.dumps({"resourceSpans": spans}))


def test_a_page_has_a_bounded_number_of_nodes(served: Served, tmp_path: Path) -> None:
    for name, begin in (("one", 0), ("two", 100_000)):
        recorder = Recorder.of_file(tmp_path / f"{name}.jsonl", served_runs.resource(name))
        for number in range(700):
            node = {**served_runs.ATTEMPT, **usages.node(f"n{number}", "shop.step"), **usages.usage()}
            recorder.task("shop.step", begin + number, begin + number + 1, node, parent=served_runs.parent(begin + 1))
        send_at_once(served, tmp_path / f"{name}.jsonl")
    keys = {"a": "shop:development:one", "b": "shop:development:two"}
    content = served.get(address(**keys)).text
    assert content.count("<details") == 300
    assert "400 more nodes changed less" in text_of(content)
    assert len(content) < 3 * 2**20
