"""An execution tree draws itself in a notebook."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

import otel_flyte
from otel_flyte import ExecutionTree
from support import served_runs, traces

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]


def html(tree: ExecutionTree) -> str:
    drawn = tree._repr_html_()
    assert drawn is not None
    parser = _Balanced()
    parser.feed(drawn)
    assert parser.open == []
    return drawn


class _Balanced(HTMLParser):
    """Keeps the elements that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.get_starttag_text() and not str(self.get_starttag_text()).endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_it_draws_its_spans_errors_and_charts(tmp_path: Path) -> None:
    drawn = html(ExecutionTree.from_file(served_runs.measured(tmp_path)))
    for part in ("otel-flyte-picture", "shop.fetch", "loss is not finite", "<figure>", "<style>"):
        assert part in drawn
    assert "<script" not in drawn


def test_names_are_text(tmp_path: Path) -> None:
    recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
    recorder.leaf("task <img src=x onerror=alert(1)>", 0, 1)
    drawn = html(ExecutionTree.from_file(tmp_path / "f.jsonl"))
    assert "&lt;img" in drawn
    assert "<img" not in drawn


def test_it_has_a_mebibyte_at_most_and_tells_what_is_left_out(tmp_path: Path) -> None:
    recorder = traces.Recorder.of_file(tmp_path / "f.jsonl")
    for number in range(40):
        with recorder.span(f"workflow shop.main{number}", 0, 200):
            for each in range(150):
                recorder.leaf(f"step {each} ä" + "x" * 60, each, each + 1, scope="user")
                recorder.leaf(f"task shop.t{each}" + "x" * 60, each, each + 1)
    drawn = html(ExecutionTree.from_file(tmp_path / "f.jsonl"))
    assert 2**19 < len(drawn.encode()) <= 2**20
    assert "more executions are not drawn" in drawn


def test_a_large_execution_alone_is_drawn(tmp_path: Path) -> None:
    traces.execution(traces.Recorder.of_file(tmp_path / "f.jsonl", traces.EXECUTION_RESOURCE))
    assert "not drawn" not in html(ExecutionTree.from_file(tmp_path / "f.jsonl"))


def test_nothing_is_recorded() -> None:
    assert "Nothing is recorded" in html(ExecutionTree(()))


def test_the_tree_is_the_public_one() -> None:
    assert otel_flyte.ExecutionTree is ExecutionTree
