"""The examples of README and docs work: each page's, in order, in a folder of its own.

``<!-- not run: REASON -->`` above an example excludes it. A Python example with a title is a file that later examples
use.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.receiver import Receiver

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
ENDPOINT = "http://localhost:4318"
"""The endpoint in examples; a receiver of the test takes its place."""

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r"^```(?P<language>sh|python)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Example(NamedTuple):
    language: str
    title: str | None
    code: str
    reason: str | None
    """Why the example is not run."""


def examples(page: Path) -> Iterator[Example]:
    for block in _BLOCK.finditer(page.read_text()):
        yield Example(block["language"], block["title"], block["code"], block["reason"])


RUN = [page for page in PAGES if any(not (each.reason or each.title) for each in examples(page))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of Getting started and a recording of its workflow."""
    folder = tmp_path_factory.mktemp("examples")
    for each in examples(ROOT / "docs" / "getting-started.md"):
        if each.title:
            (folder / each.title).write_text(each.code)
    _run(["otel-flyte", "run", "pipelines.py", "training"], folder)
    return folder


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_examples_run(page: Path, prepared: Path, tmp_path: Path, receiver: Receiver) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(prepared, folder)
    for each in examples(page):
        code = each.code.replace(ENDPOINT, receiver.endpoint())
        if each.title:
            (folder / each.title).write_text(code)
        elif each.reason is None:
            interpreter = {"sh": ["bash", "-eu", "-o", "pipefail"], "python": [sys.executable]}[each.language]
            script = folder / f"example.{each.language}"
            script.write_text(code)
            _run([*interpreter, script.name], folder)
            script.unlink()
    assert bool(receiver.spans()) == (ENDPOINT in page.read_text())


def _run(command: list[str], folder: Path) -> None:
    scripts = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": scripts},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_example_is_found() -> None:
    """An example that the pattern does not match would never run."""
    fences = sum(
        len(re.findall(r"^ *```(?:sh|python|bash|console|py)\b", page.read_text(), re.MULTILINE)) for page in PAGES
    )
    assert fences == sum(len(list(examples(page))) for page in PAGES)
