"""One way through all pages in headless Chromium, before, during and after real runs of the demo."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from otel_flyte.cli.run import DEMO
from support.browser import CHROMIUM, MISSING, Browser
from support.server import Served, environment

pytestmark = [
    pytest.mark.newest_only,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]

Picture: TypeAlias = Callable[[str], None]

ROWS = "document.querySelectorAll('#list tbody tr').length"
TICKS = "document.querySelector('.axis').innerText"
CHOSEN = ".row[aria-selected=true] .label"


def begun(served: Served, folder: Path, seconds: float) -> "subprocess.Popen[str]":
    """Begin a run of the demo, whose slowest task takes some seconds."""
    command = [sys.executable, "-m", "otel_flyte", "run", str(DEMO), "pipeline", "--seconds", str(seconds)]
    variables = {**environment(), "OTEL_EXPORTER_OTLP_ENDPOINT": served.otlp_http}
    with (folder / "stderr").open("w") as errors:
        return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True)


def address(run: "subprocess.Popen[str]") -> str:
    """Wait for the end of a run, and return the address in its last line."""
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    return output.splitlines()[-1].removeprefix("Open ")


def test_runs_are_found_read_and_compared(chromium: Browser, served: Served, tmp_path: Path, pictures: Path) -> None:
    def picture(name: str) -> None:
        chromium.screenshot(pictures / f"way-{name}.png")

    chromium.open(served.url + "/")
    assert "No executions yet" in chromium.text()
    picture("1-before")
    first = begun(served, tmp_path, 1)
    chromium.until(f"{ROWS} === 1")
    assert first.poll() is None
    picture("2-during")
    address(first)
    slowed = address(begun(served, tmp_path, 6))
    chromium.until("document.getElementById('list').innerText.split('demo.pipeline').length === 3")
    picture("3-after")

    find(chromium, served, picture)
    assert chromium.run("location.href") == slowed
    zoom(chromium, picture)
    open_a_subtask(chromium, picture)
    read_logs(chromium, picture)
    compare(chromium, picture)
    assert chromium.run("location.href").startswith(f"{slowed}#span=")
    assert chromium.text(CHOSEN) == "task demo.train"
    assert chromium.complaints == []


def find(chromium: Browser, served: Served, picture: Picture) -> None:
    """Filter the list by state and by text, and open the newer execution."""
    (state,) = {each["state"] for each in served.executions()}
    for wanted, number in (("running", 0), (state, 2)):
        chromium.run(_CHOOSE.format(wanted))
        chromium.until(f"{ROWS} === {number}")
    chromium.press("/", *"PIPE")
    chromium.until(f"location.search === '?text=PIPE&state={state}'")
    chromium.until(f"{ROWS} === 2")
    picture("4-filtered")
    chromium.press(*"x")
    chromium.until(f"{ROWS} === 0")
    chromium.press("Backspace")
    chromium.until(f"{ROWS} === 2")
    chromium.click("#list .what a")
    chromium.until("location.pathname.startsWith('/executions/') && document.readyState === 'complete'")
    chromium.ready()
    picture("5-execution")


_CHOOSE = """
(e => {{ e.value = '{}'; e.dispatchEvent(new Event('input', {{ bubbles: true }})) }})
(document.querySelector('.filters select'))
"""


def zoom(chromium: Browser, picture: Picture) -> None:
    """Zoom by dragging over the axis, and by keys."""
    whole = chromium.run(TICKS)
    chromium.drag(".axis", 0.3, 0.6)
    chromium.drop(".axis", 0.6)
    dragged = chromium.run(TICKS)
    picture("6-dragged")
    chromium.press("+")
    assert len({whole, dragged, chromium.run(TICKS)}) == 3
    chromium.press("0")
    assert chromium.run(TICKS) == whole


def open_a_subtask(chromium: Browser, picture: Picture) -> None:
    """Open a map, and one of its items."""
    choose = partial(_choose, chromium)
    choose("task demo.map_score")
    assert chromium.text(CHOSEN) == "task demo.map_score"
    choose("map item 3")
    assert chromium.text(CHOSEN) == "map item 3"
    assert "map item 3" in chromium.text(".details")
    picture("7-subtask")


def read_logs(chromium: Browser, picture: Picture) -> None:
    """Read the log lines of a task, and filter them."""
    _choose(chromium, "task demo.fetch")
    assert "fetching 3000 rows, though not the newest" in chromium.text(".details .logs")
    picture("8-logs")
    chromium.run("document.querySelector('.details .tools input').focus()")
    chromium.press(*"no such line")
    assert "fetching 3000 rows" not in chromium.text(".details")


def compare(chromium: Browser, picture: Picture) -> None:
    """Compare with the earlier run, and go to the row that changed most."""
    chromium.click('.bar a[href^="/compare"]')
    chromium.until("document.querySelector('h1')?.textContent === 'What changed since an earlier execution'")
    assert "previous" in chromium.text(".list")
    picture("9-choice")
    chromium.click(".list .what a")
    chromium.until("document.querySelector('h1')?.textContent === 'What changed from A to B'")
    picture("10-compared")
    said = chromium.text(".changes").splitlines()
    assert said[0].startswith("execution took ")
    assert re.match(r"demo\.train \(3\) user code took [4-6]\.\d+ s longer", said[1])
    chromium.click(".node[open] a[href*='#span=']:last-of-type")
    chromium.until("location.pathname.startsWith('/executions/') && document.readyState === 'complete'")
    chromium.ready()
    picture("11-row")


def _choose(chromium: Browser, label: str) -> None:
    """Select a row by its label."""
    row = f"[...document.querySelectorAll('.row')].find(each => each.querySelector('.label').textContent === '{label}')"
    chromium.until(f"!!{row}")
    # The toolbar would cover a row at the upper edge.
    chromium.run(f"(e => {{ e.id = 'wanted'; e.scrollIntoView({{ block: 'center' }}) }})({row})")
    chromium.settle()
    chromium.click("#wanted .label")
    chromium.run("document.getElementById('wanted')?.removeAttribute('id')")
