"""The tree as printed on a terminal."""

import io
import re
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from otel_flyte import semconv
from otel_flyte.recording.cells import width
from otel_flyte.recording.model import Event, Scope, Span
from otel_flyte.recording.tree import ExecutionTree
from otel_flyte.report.terminal import Terminal
from otel_flyte.report.text import render
from support import traces

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

TRACE, ROOT, CHILD = "ab" * 16, "01" * 8, "02" * 8


@pytest.fixture
def local_run(tmp_path: Path) -> ExecutionTree:
    traces.local_run(traces.Recorder.of_file(tmp_path / "f.jsonl"))
    return ExecutionTree.from_file(tmp_path / "f.jsonl")


@pytest.fixture
def execution(tmp_path: Path) -> ExecutionTree:
    traces.execution(traces.Recorder.of_file(tmp_path / "f.jsonl", traces.EXECUTION_RESOURCE))
    return ExecutionTree.from_file(tmp_path / "f.jsonl")


def task(*, end: int | None = 10, **fields: object) -> Span:
    """Return a task of ours that begins at the epoch, with times in seconds."""
    end_ns = None if end is None else end * 10**9
    return Span(TRACE, ROOT, None, "task t", 1, end_ns, scope=Scope(semconv.SCOPE), **fields)  # type: ignore[arg-type]


def failed(message: str, stacktrace: str = "") -> Span:
    exception = {"exception.type": "ValueError", "exception.message": message, "exception.stacktrace": stacktrace}
    return task(status_code="error", events=(Event("exception", 1, exception),))


class Stream(io.TextIOWrapper):
    """A stream with any encoding that can be a terminal."""

    def __init__(self, encoding: str = "utf-8", *, tty: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


def test_a_local_run_has_a_timeline_and_its_error_below_the_failed_span(local_run: ExecutionTree) -> None:
    assert render(local_run) == snapshot("""\
2026-05-28 20:26:40 UTC · trace a0000000000000000000000000000001
✗ workflow shop.main                  10.0 s  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
├─ ✓ task shop.fetch  cache miss      2.50 s    ╺━━━━━━━━━━━━━
│  ├─ user code                       2.40 s    ╺━━━━━━━━━━━━╸
│  │  └─ GET /reviews                 1.00 s       ━━━━━━
│  └─ output translation              100 ms                 ╺
├─ ✓ task shop.fetch  cache hit      1.00 ms                  ╸
├─ ✓ task shop.map_score  map         3.00 s                  ━━━━━━━━━━━━━━━━╸
│  └─ user code                       3.00 s                  ━━━━━━━━━━━━━━━━╸
│     ├─ map item 0                   1.00 s                  ━━━━━╸
│     ├─ map item 1                   1.00 s                       ╺━━━━━
│     └─ map item 2                   1.00 s                             ━━━━━╸
└─ ✗ task shop.train                  3.50 s                                  ━━━━━━━━━━━━━━━━━━━╸
   ├─ input translation               350 ms                                  ━━╸
   └─ ✗ user code                     2.80 s                                    ━━━━━━━━━━━━━━━╸
         ValueError: loss is not finite
         at /code/pipelines/train.py:42 in fit
15 spans · 1 error · 1 phase below 1% of the whole not shown
critical path: 30 % task shop.map_score / user code (3.00 s)
  28 % task shop.train / user code (2.80 s) · 24 % task shop.fetch / user code (2.40 s)
  10 % waiting (1.00 s) · 4 more parts\
""")


def test_an_execution_has_the_attempts_of_a_node_and_a_summarised_map(execution: ExecutionTree) -> None:
    assert render(execution) == snapshot("""\
2026-05-28 20:26:40 UTC · trace f1c0ffee000000000000000000000000
✗ execution f1c0ffee  shop/production · parents not reco…  1 min 48 s  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
├─ ✓ task train.prepare  n0                                    10.0 s  ━━╸
│  └─ user code                                                8.00 s  ━━╸
├─ ✓ task train.fit  n1 · 2 attempts · wall 1 min 23 s   Σ 1 min 23 s     ━━━━━━━╸─━━━━━━━━━━━━━━━
│  ├─ ✗ attempt 0  USER:Recoverable, recoverable               28.0 s     ━━━━━━━╸
│  │  ├─ input translation                                     2.80 s     ━
│  │  └─ ✗ user code                                           22.4 s     ╺━━━━━━
│  │        ValueError: loss is not finite
│  │        at /code/pipelines/train.py:42 in fit
│  └─ ✓ attempt 1                                              55.0 s              ━━━━━━━━━━━━━━━
│     ├─ input translation                                     5.50 s              ━╸
│     ├─ user code                                             44.0 s               ╺━━━━━━━━━━━╸
│     └─ output translation                                    5.50 s                           ━━
└─ ✗ task train.score  30 items · wall 8.00 s · 1 failu… Σ 2 min 25 s                            ╺━━
   ├─ ✗ map item 7                                             2.00 s                            ╺╸
   │  └─ ✗ user code                                           1.60 s                            ╺╸
   │        KeyError: 'label'
   │        at /code/pipelines/train.py:42 in fit
   ├─ ✓ map item 6                                             8.00 s                            ╺━━
   │  └─ user code                                             6.40 s                             ━━
   ├─ ✓ map item 13                                            8.00 s                            ╺━━
   │  └─ user code                                             6.40 s                             ━━
   ├─ ✓ map item 20                                            8.00 s                            ╺━━
   │  └─ user code                                             6.40 s                             ━━
   ├─ ✓ map item 27                                            8.00 s                            ╺━━
   │  └─ user code                                             6.40 s                             ━━
   └─ ✓ map item 5                                             7.00 s                            ╺━╸
      └─ user code                                             5.60 s                             ━╸
130 spans · 2 errors · 13 phases below 1% of the whole not shown
critical path: 41 % task train.fit / attempt 1 / user code (44.0 s)
  21 % task train.fit / attempt 0 / user code (22.4 s) · 7 % task train.prepare / user code (8.00 s)
  7 % task train.score (8.00 s) · 7 more parts\
""")


def test_only_ascii_is_printed_to_an_ascii_terminal(local_run: ExecutionTree) -> None:
    drawn = render(local_run, Terminal(width=80, unicode=False))
    assert drawn.isascii()
    assert drawn == snapshot("""\
2026-05-28 20:26:40 UTC - trace a0000000000000000000000000000001
x workflow shop.main                  10.0 s  ==================================
|- + task shop.fetch  cache miss      2.50 s   =========
|  |- user code                       2.40 s   =========
|  |  `- GET /reviews                 1.00 s     ====
|  `- output translation              100 ms           =
|- + task shop.fetch  cache hit      1.00 ms            =
|- + task shop.map_score  map         3.00 s            ===========
|  `- user code                       3.00 s            ===========
|     |- map item 0                   1.00 s            ====
|     |- map item 1                   1.00 s               ====
|     `- map item 2                   1.00 s                   ====
`- x task shop.train                  3.50 s                      =============
   |- input translation               350 ms                      ==
   `- x user code                     2.80 s                       ==========
         ValueError: loss is not finite
         at /code/pipelines/train.py:42 in fit
15 spans - 1 error - 1 phase below 1% of the whole not shown
critical path: 30 % task shop.map_score / user code (3.00 s)
  28 % task shop.train / user code (2.80 s)
  24 % task shop.fetch / user code (2.40 s) - 10 % waiting (1.00 s)
  4 more parts\
""")


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 160, 400])
def test_no_row_is_wider_than_the_terminal(local_run: ExecutionTree, execution: ExecutionTree, columns: int) -> None:
    for tree in (local_run, execution):
        for line in render(tree, Terminal(width=columns)).splitlines():
            is_a_row = not re.search(r"UTC · trace|spans · ", line)
            assert not is_a_row or width(line) <= min(max(columns, 40), 160), line


def test_a_narrow_terminal_gets_durations_and_no_bars(local_run: ExecutionTree) -> None:
    drawn = render(local_run, Terminal(width=45))
    assert "━" not in drawn
    assert "10.0 s" in drawn


def test_colours_do_not_change_the_text(execution: ExecutionTree) -> None:
    colored = render(execution, Terminal(color=True))
    assert "\x1b[31m" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == render(execution)


@pytest.mark.parametrize(
    ("stream", "environ", "terminal"),
    [
        (Stream(), {}, Terminal(90, color=True, unicode=True)),
        (Stream(), {"NO_COLOR": "1"}, Terminal(90, color=False, unicode=True)),
        (Stream(), {"NO_COLOR": ""}, Terminal(90, color=True, unicode=True)),
        (Stream(), {"TERM": "dumb"}, Terminal(90, color=False, unicode=True)),
        (Stream(tty=False), {}, Terminal(90, color=False, unicode=True)),
        (Stream("latin-1"), {}, Terminal(90, color=True, unicode=False)),
        (Stream("ascii"), {}, Terminal(90, color=True, unicode=False)),
    ],
)
def test_the_style_depends_on_the_stream(stream: Stream, environ: dict[str, str], terminal: Terminal) -> None:
    assert Terminal.of(stream, environ, 90) == terminal


def test_a_span_without_an_end_is_dashed_to_the_end_of_the_timeline() -> None:
    child = Span(TRACE, CHILD, ROOT, "user code", 5 * 10**9, 10 * 10**9, scope=Scope(semconv.SCOPE))
    assert render(ExecutionTree.from_spans([task(end=None), child]), Terminal(width=60)) == snapshot("""\
1970-01-01 00:00:00 UTC · trace abababababababababababababababab
? task t  last seen after use… never ended  ┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅
└─ user code                        5.00 s         ╺━━━━━━━━
2 spans · 0 errors
critical path: 50 % task t / user code (5.00 s)
  50 % task t (5.00 s)\
""")


def test_a_killed_attempt_is_printed_with_its_last_seen_phase(tmp_path: Path) -> None:
    traces.killed(tmp_path / "killed.jsonl")
    assert render(ExecutionTree.from_file(tmp_path / "killed.jsonl"), Terminal(width=110)) == snapshot("""\
2026-05-28 20:26:40 UTC · trace f1c0ffee000000000000000000000000
? execution f1c0ffee  shop/production                       never ended  ┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅
└─ ? task train.fit  n1 · last seen in user code for 42.0 s never ended  ┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅┅
   ├─ load                                                       2.00 s  ━╸
   ├─ input translation                                          2.00 s   ╺━
   └─ epoch 1  parent not recorded                               20.0 s      ━━━━━━━━━━━━━━━━
4 spans · 0 errors
critical path: 48 % task train.fit (22.0 s) · 43 % epoch 1 (20.0 s) · 4 % task train.fit / load (2.00 s)
  4 % task train.fit / input translation (2.00 s)\
""")


def test_a_trace_without_its_root_is_not_a_success() -> None:
    orphan = Span(TRACE, ROOT, CHILD, "task t", 1, 10**9, scope=Scope(semconv.SCOPE))
    assert render(ExecutionTree.from_spans([orphan]), Terminal(width=70)) == snapshot("""\
1970-01-01 00:00:00 UTC · trace abababababababababababababababab
· trace abababababababababababababab…      1.00 s  ━━━━━━━━━━━━━━━━━━━
└─ ✓ task t                                1.00 s  ━━━━━━━━━━━━━━━━━━━
1 span · 0 errors\
""")
    pods = [
        Span(TRACE, span_id, None, f"task {span_id[1]}", 1, 10**9, scope=Scope(semconv.SCOPE))
        for span_id in (ROOT, CHILD)
    ]
    assert render(ExecutionTree.from_spans(pods), Terminal(width=70)) == snapshot("""\
1970-01-01 00:00:00 UTC · trace abababababababababababababababab
· trace abababababababababababababab…      1.00 s  ━━━━━━━━━━━━━━━━━━━
├─ ✓ task 1                                1.00 s  ━━━━━━━━━━━━━━━━━━━
└─ ✓ task 2                                1.00 s  ━━━━━━━━━━━━━━━━━━━
2 spans · 0 errors\
""")


def test_an_attempt_without_any_ended_span_is_printed() -> None:
    assert render(ExecutionTree.from_spans([task(end=None)]), Terminal(width=60)) == snapshot("""\
1970-01-01 00:00:00 UTC · trace abababababababababababababababab
? task t never ended  ╸
1 span · 0 errors\
""")


def test_a_long_message_is_wrapped_and_cut() -> None:
    drawn = render(
        ExecutionTree.from_spans([failed("\n".join(f"line {number} " + "x" * 50 for number in range(9)))]),
        Terminal(width=60),
    )
    assert drawn == snapshot("""\
1970-01-01 00:00:00 UTC · trace abababababababababababababababab
✗ task t      10.0 s  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
   ValueError: line 0
   xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
   line 1 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
   line 2 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
   … 6 more lines
1 span · 1 error\
""")


def test_control_sequences_in_a_message_are_replaced() -> None:
    drawn = render(ExecutionTree.from_spans([failed("\x1b[2J\x07bad\ud800")]))
    assert "�[2J�bad�" in drawn
    assert "\x1b" not in drawn


def test_several_runs_are_printed_below_each_other(local_run: ExecutionTree, execution: ExecutionTree) -> None:
    both = ExecutionTree((*local_run.executions, *execution.executions))
    assert render(both) == f"{render(local_run)}\n\n{render(execution)}"


def test_remarks_come_last(local_run: ExecutionTree) -> None:
    assert render(ExecutionTree(local_run.executions, ("f.jsonl is cut",))).endswith("\n\nnote: f.jsonl is cut")


def test_names_in_wide_characters_keep_the_columns() -> None:
    child = Span(TRACE, CHILD, ROOT, "特徴量", 1, 10**9, scope=Scope("user"))
    rows = render(ExecutionTree.from_spans([task(), child])).splitlines()[1:3]
    assert len({width(row.partition(" s")[0]) for row in rows}) == 1
