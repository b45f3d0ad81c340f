"""Two executions, compared node by node."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from inline_snapshot import snapshot

from otel_flyte import semconv
from otel_flyte.cli import main as cli
from otel_flyte.recording.compare import Comparison, compare
from otel_flyte.recording.model import Scope, Span
from otel_flyte.recording.tree import ExecutionTree
from otel_flyte.report.comparison import as_json, as_text
from support import traces, usages
from support.traces import Recorder
from support.usages import GIB

pytestmark = pytest.mark.newest_only

SCRIPTS = Path(sys.executable).parent
DEMO = Path(cli.__file__).parent.parent / "examples" / "demo.py"

Write = Callable[[Recorder], None]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, env={"COLUMNS": "118"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, write: Write, resource: Mapping[str, str] | None = traces.EXECUTION_RESOURCE) -> ExecutionTree:
    write(Recorder.of_file(path, resource))
    return ExecutionTree.from_file(path)


def compared(folder: Path, a: Write, b: Write, resource: Mapping[str, str] | None = None) -> Comparison:
    """Compare the executions of two recordings in pods, or with an empty resource of local runs."""
    resource = traces.EXECUTION_RESOURCE if resource is None else resource
    of_a, of_b = (write(folder / name, each, resource) for name, each in (("a.jsonl", a), ("b.jsonl", b)))
    return compare(of_a.executions[0], of_b.executions[0])


def changes(comparison: Comparison) -> list[str]:
    """Return the lines of what changed, without both headings, the table and what follows."""
    return as_text(comparison).split("\n\n")[1].splitlines()


def parts(line: str) -> list[str]:
    return line.partition(": ")[2].split(", ")


def gaps(comparison: Comparison) -> list[str]:
    return [line for line in as_text(comparison).splitlines() if line.startswith("not compared: ")]


def train(end: float = 10, attributes: Mapping[str, Any] | None = None, *, memory: int | None = None) -> Write:
    """A pod with one task, ``shop.train`` of node ``n0``."""

    def run(recorder: Recorder) -> None:
        measured = {} if memory is None else usages.usage(memory=memory)
        given = {**usages.node("n0", "shop.train"), **measured, **(attributes or {})}
        recorder.task("shop.train", 0, end, given, parent=traces.in_execution(1))

    return run


def nodes(*tasks: tuple[str, float]) -> Write:
    """Pods with one node after another: the task and its seconds."""

    def run(recorder: Recorder) -> None:
        begin = 0.0
        for number, (task, seconds) in enumerate(tasks):
            identity = usages.node(f"n{number}", task)
            recorder.task(task, begin, begin + seconds, identity, parent=traces.in_execution(number))
            begin += seconds

    return run


def attempts(*ends: tuple[float, tuple[str, str] | None]) -> Write:
    """Pods with one node: for each attempt its seconds and its error."""

    def run(recorder: Recorder) -> None:
        begin = 0.0
        for number, (seconds, error) in enumerate(ends):
            identity = usages.node("n0", "shop.train", number)
            parent = traces.in_execution(number)
            recorder.task("shop.train", begin, begin + seconds, identity, parent=parent, error=error)
            begin += seconds

    return run


def mapped(*seconds: float, failed: int | None = None) -> Write:
    """Pods of the items of a map."""

    def run(recorder: Recorder) -> None:
        for index, each in enumerate(seconds):
            item = usages.node(f"n2/n{index}", "shop.score") | {semconv.ARRAY_INDEX: index}
            error = ("KeyError", "'label'") if index == failed else None
            recorder.task("shop.score", 0, each, item, parent=traces.in_execution(index), error=error)

    return run


def local(*tasks: tuple[str, float], workflow: str = "shop.main") -> Write:
    """A local run with one task after another: the task and its seconds."""

    def run(recorder: Recorder) -> None:
        begin = 0.0
        with recorder.span(f"workflow {workflow}", 0, sum(seconds for _, seconds in tasks)):
            for task, seconds in tasks:
                recorder.task(task, begin, begin + seconds)
                begin += seconds

    return run


@pytest.fixture(scope="module")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two recordings of the demo, of which the second trains for longer."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copy(DEMO, folder)
    for name, seconds in (("a", "0.25"), ("b", "3")):
        command = [str(SCRIPTS / "otel-flyte"), "run", "--output", f"{name}.jsonl", "demo.py", "pipeline"]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "FLYTE"))}
        done = subprocess.run(
            [*command, "--seconds", seconds],
            cwd=folder,
            env={**environ, "HOME": str(folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


class TestRealRuns:
    def test_the_slowed_task_is_first(self, demo_runs: Path) -> None:
        result = call("compare", str(demo_runs / "a.jsonl"), str(demo_runs / "b.jsonl"))
        assert (result.exit_code, result.stderr) == (0, "")
        whole, first, *_ = result.stdout.split("\n\n")[1].splitlines()
        assert whole.startswith("execution: took ")
        assert re.match(r"demo\.train \(3\): user code took [23]\.\d+ s longer", first)

    def test_tasks_around_the_slowed_one_are_longer_with_the_tasks_inside_them(self, demo_runs: Path) -> None:
        lines = call("compare", str(demo_runs / "a.jsonl"), str(demo_runs / "b.jsonl")).stdout.splitlines()
        [tune] = [line for line in lines if line.startswith("demo.tune: ")]
        assert tune.endswith(" with the tasks inside it")

    def test_all_nodes_are_matched(self, demo_runs: Path) -> None:
        document = json.loads(call("compare", str(demo_runs / "a.jsonl"), str(demo_runs / "b.jsonl"), "--json").stdout)
        assert {node["side"] for node in document["nodes"]} == {"both"}
        assert document["most_changed"][0] == "demo.train (3)"

    def test_the_same_run_did_not_change(self, demo_runs: Path) -> None:
        result = call("compare", str(demo_runs / "a.jsonl"), str(demo_runs / "a.jsonl"))
        assert result.stdout.split("\n\n")[1] == "nothing changed"


@pytest.mark.quick
class TestWords:
    def test_all_of_it(self, tmp_path: Path) -> None:
        def longer(recorder: Recorder) -> None:
            traces.execution(recorder)
            recorder.task("train.publish", 110, 130, usages.node("n3", "train.publish"), parent=traces.in_execution(9))

        assert as_text(compared(tmp_path, traces.execution, longer)) == snapshot("""\
A  execution f1c0ffee shop/production  2026-05-28 20:26:40 UTC  1 min 48 s  failure
B  execution f1c0ffee shop/production  2026-05-28 20:26:40 UTC  2 min 10 s  failure

execution: took 22.0 s longer (1.2x)
only in B: train.publish (n3)

node                         A           B  change     memory A  memory B  result
train.prepare (n0)      10.0 s      10.0 s             -         -         success
train.fit (n1)      1 min 28 s  1 min 28 s             -         -         success
train.score (n2)        8.00 s      8.00 s             -         -         failure; 30 items
train.publish (n3)           -      20.0 s  only in B  -         -         success

A change of less than 10 %, or than 100 ms, 16 MiB, 0.1 cores, 5 % of a GPU, is noise.\
""")

    def test_the_documented_output_is_that_of_the_command(self, tmp_path: Path) -> None:
        page = (Path(__file__).parents[1] / "docs" / "compare.md").read_text()
        sides = [
            write(tmp_path / f"{name}.jsonl", documented(begin, end, memory, version), resource).executions[0]
            for name, begin, end, memory, version in (
                ("f1c0ffee", 0, 92, 3.1, "v1"),
                ("f2c0ffee", 86_400, 140, 5.9, "v2"),
            )
            for resource in [{**traces.EXECUTION_RESOURCE, semconv.RUN_NAME: name}]
        ]
        assert f"```text\n{as_text(compare(*sides))}\n```" in page

    def test_time_and_memory_of_a_node_are_one_line(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, train(50, memory=3 * GIB), train(100, memory=6 * GIB))
        assert changes(comparison) == snapshot(
            [
                "execution: took 50.0 s longer (2.0x)",
                "shop.train (n0): user code took 40.0 s longer (2.0x), memory peak 3 GiB -> 6 GiB",
            ]
        )

    def test_the_own_time_of_a_node_decides(self, tmp_path: Path) -> None:
        a, b = nodes(("shop.a", 5), ("shop.b", 100), ("shop.c", 9)), nodes(("shop.a", 8), ("shop.b", 80), ("shop.c", 9))
        assert [node.task for node in compared(tmp_path, a, b).notable] == ["shop.b", "shop.a"]

    def test_a_slow_task_comes_before_the_tasks_around_it(self, tmp_path: Path) -> None:
        def nested(seconds: float) -> Write:
            def run(recorder: Recorder) -> None:
                # The outer tasks became slower by themselves, too, but by less.
                with recorder.span("task shop.outer", 0, 2 * seconds), recorder.span("user code", 0, 2 * seconds):
                    with recorder.span("task shop.inner", 0, 1.5 * seconds):
                        recorder.task("shop.fit", 0, seconds)
                    recorder.task("shop.load", 2 * seconds - 0.1, 2 * seconds)

            return run

        comparison = compared(tmp_path, nested(10), nested(40), {"service.name": "flyte"})
        assert [node.task for node in comparison.notable] == ["shop.fit", "shop.inner", "shop.outer"]
        [outer] = [node for node in comparison.nodes if node.task == "shop.outer"]
        own = outer.change("own duration")
        assert own
        assert (round(own.a or 0, 3), round(own.b or 0, 3)) == (4.9, 19.9)

    @pytest.mark.parametrize("write", [traces.local_run, traces.execution, mapped(1, 2), train(memory=GIB)])
    def test_an_execution_equals_itself(self, tmp_path: Path, write: Write) -> None:
        comparison = compared(tmp_path, write, write)
        assert (comparison.is_equal, comparison.is_notable, comparison.notable) == (True, False, [])
        assert changes(comparison) == ["nothing changed"]

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (train(10), train(10.9)),
            (train(0.1), train(0.19)),
            (train(memory=10 * GIB), train(memory=10 * GIB + 2**29)),
            (train(memory=10 * 2**20), train(memory=25 * 2**20)),
            (train(attributes={"flyte.output.o0.length": 100}), train(attributes={"flyte.output.o0.length": 109})),
        ],
    )
    def test_noise_is_not_told(self, tmp_path: Path, a: Write, b: Write) -> None:
        comparison = compared(tmp_path, a, b)
        assert (comparison.is_equal, comparison.is_notable) == (False, False)
        assert changes(comparison) == ["no difference worth telling"]

    @pytest.mark.parametrize(
        ("a", "b", "word"),
        [
            (train(10), train(11.2), "took 960 ms longer (1.1x)"),
            (train(memory=GIB), train(memory=2 * GIB), "memory peak 1 GiB -> 2 GiB"),
            (
                train(attributes=usages.usage(mean=2.0)),
                train(attributes=usages.usage(mean=0.5)),
                "CPU 2 cores -> 0.5 cores",
            ),
            (
                train(attributes={**usages.usage(), **usages.device(0, 0.9, 1.0, 70 * GIB)}),
                train(attributes={**usages.usage(), **usages.device(0, 0.3, 1.0, 20 * GIB)}),
                "GPU utilisation 90 % -> 30 %, GPU memory peak 70 GiB -> 20 GiB",
            ),
            (
                train(attributes=usages.usage(throttled=0.0)),
                train(attributes=usages.usage(throttled=3.0)),
                "CPU throttling 0 µs -> 3.00 s",
            ),
            (
                train(attributes={"flyte.input.rows.length": 30}),
                train(attributes={"flyte.input.rows.length": 300}),
                "length of input rows 30 -> 300",
            ),
            (
                train(attributes={"flyte.input.rows.size": 2**10}),
                train(attributes={"flyte.input.rows.size": 2**20}),
                "size of input rows 1 KiB -> 1 MiB",
            ),
            (
                train(attributes={"flyte.input.rows.type": "int"}),
                train(attributes={"flyte.input.rows.type": "float"}),
                "type of input rows float instead of int",
            ),
            (
                train(attributes={semconv.CACHE_STATUS: semconv.CACHE_HIT}),
                train(attributes={semconv.CACHE_STATUS: semconv.CACHE_MISS}),
                "cache miss instead of hit",
            ),
        ],
    )
    def test_a_change_is_told(self, tmp_path: Path, a: Write, b: Write, word: str) -> None:
        [line] = [line for line in changes(compared(tmp_path, a, b)) if not line.startswith("execution: ")]
        assert line.startswith("shop.train (n0): ")
        assert word in line

    def test_a_new_version_is_one_line_for_all_tasks(self, tmp_path: Path) -> None:
        write = nodes(("shop.a", 1), ("shop.b", 1))
        a, b = (write_version(tmp_path / f"{version}.jsonl", write, version).executions[0] for version in ("v1", "v2"))
        comparison = compare(a, b)
        assert changes(comparison) == ["version v2 instead of v1: shop.a (n0), shop.b (n1)"]
        assert (comparison.notable, comparison.is_notable, comparison.is_equal) == ([], True, False)


def documented(begin: float, end: float, memory: float, version: str) -> Write:
    def run(recorder: Recorder) -> None:
        for number, (task, start, until, gib) in enumerate(
            (("shop.prepare", 0, 42, 1.0), ("shop.train", 42, end, memory))
        ):
            attributes = {
                **usages.node(f"n{number}", task),
                **usages.usage(memory=int(gib * GIB)),
                semconv.TASK_VERSION: version,
            }
            recorder.task(task, begin + start, begin + until, attributes, parent=traces.in_execution(number))

    return run


def write_version(path: Path, each: Write, version: str) -> ExecutionTree:
    return write(path, each, {**traces.EXECUTION_RESOURCE, semconv.TASK_VERSION: version})


@pytest.mark.quick
class TestOutcomes:
    FAILURE = ("ValueError", "loss is not finite")

    def test_a_failure_comes_before_time(self, tmp_path: Path) -> None:
        def failed(recorder: Recorder) -> None:
            nodes(("shop.a", 100))(recorder)
            recorder.task(
                "shop.b", 100, 101, usages.node("n1", "shop.b"), parent=traces.in_execution(1), error=self.FAILURE
            )

        assert changes(compared(tmp_path, nodes(("shop.a", 1), ("shop.b", 1)), failed)) == snapshot(
            [
                "execution: failure instead of no failure recorded",
                "execution: took 1 min 39 s longer (50x)",
                "shop.b (n1): failure instead of success: ValueError: loss is not finite",
                "shop.a (n0): user code took 1 min 19 s longer (100x)",
            ]
        )

    def test_a_repaired_task_is_told(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, attempts((10, self.FAILURE)), attempts((10, None)))
        assert changes(comparison) == snapshot(
            ["execution: no failure recorded instead of failure", "shop.train (n0): success instead of failure"]
        )

    def test_phases_after_a_failure_are_unknown(self, tmp_path: Path) -> None:
        [node] = compared(tmp_path, attempts((100, None)), attempts((100, self.FAILURE))).nodes
        change = node.change(semconv.PHASE_OUTPUT)
        assert change
        assert (change.b, change.is_notable) == (None, False)

    def test_another_error_is_told(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, attempts((1, self.FAILURE)), attempts((1, ("KeyError", "'label'"))))
        assert changes(comparison) == ["shop.train (n0): KeyError: 'label' instead of ValueError: loss is not finite"]

    def test_more_attempts_are_told_with_their_time(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, attempts((10, None)), attempts((10, self.FAILURE), (10, None)))
        assert parts(changes(comparison)[-1]) == snapshot(
            [
                "an attempt failed: ValueError: loss is not finite",
                "all attempts took 10.0 s longer (2.0x)",
                "attempts 1 -> 2",
            ]
        )

    def test_a_killed_attempt_has_no_duration(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "killed.jsonl")
        other = write(tmp_path / "other.jsonl", traces.execution)
        comparison = compare(other.executions[0], ExecutionTree.from_file(tmp_path / "killed.jsonl").executions[0])
        assert "not compared: duration: it never ended in B: train.fit (n1)" in gaps(comparison)
        assert comparison.duration.b is None
        assert json.loads(as_json(comparison))["b"]["seconds"] is None

    def test_usage_of_one_side_is_not_compared(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, train(memory=GIB), train())
        assert gaps(comparison) == [
            "not compared: CPU, memory and GPU: no usage recorded in B: shop.train (n0)",
        ]

    def test_usage_of_neither_side_is_not_missed(self, tmp_path: Path) -> None:
        assert gaps(compared(tmp_path, train(), train(20))) == []

    def test_usage_of_other_tasks_is_not_compared(self, tmp_path: Path) -> None:
        shared = train(attributes={semconv.USAGE_SHARED: True}, memory=4 * GIB)
        comparison = compared(tmp_path, train(memory=GIB), shared)
        assert changes(comparison) == ["no difference worth telling"]
        assert gaps(comparison) == [
            "not compared: CPU, memory and GPU: other tasks ran in the process in B: shop.train (n0)",
        ]

    def test_memory_from_before_is_not_compared(self, tmp_path: Path) -> None:
        left = train(attributes={semconv.USAGE_MEMORY_LEFT: 3 * GIB}, memory=4 * GIB)
        comparison = compared(tmp_path, left, train(memory=GIB))
        assert gaps(comparison) == ["not compared: memory: much of it was in use before in A: shop.train (n0)"]
        assert comparison.notable == []


@pytest.mark.quick
class TestMatching:
    def test_a_node_before_others_does_not_shift_them(self, tmp_path: Path) -> None:
        a, b = nodes(("shop.b", 5), ("shop.c", 5)), nodes(("shop.a", 1), ("shop.b", 5), ("shop.c", 50))
        comparison = compared(tmp_path, a, b)
        assert changes(comparison) == snapshot(
            [
                "execution: took 46.0 s longer (5.6x)",
                "shop.c (n2): user code took 36.0 s longer (10x)",
                "only in B: shop.a (n0)",
            ]
        )
        assert [(node.name, node.path_a) for node in comparison.nodes if node.side == "both"] == [
            ("shop.b (n1)", "n0"),
            ("shop.c (n2)", "n1"),
        ]

    def test_a_renamed_task_is_the_same_node(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, nodes(("shop.a", 1), ("shop.b", 5)), nodes(("shop.a", 1), ("shop.c", 5)))
        assert changes(comparison) == ["shop.c (n1): task shop.c instead of shop.b"]

    def test_a_renamed_task_of_a_local_run_is_the_one_at_its_place(self, tmp_path: Path) -> None:
        a, b = local(("shop.a", 1), ("shop.b", 5), ("shop.d", 1)), local(("shop.a", 1), ("shop.c", 5), ("shop.d", 1))
        comparison = compared(tmp_path, a, b, {"service.name": "flyte"})
        assert changes(comparison) == ["shop.c: task shop.c instead of shop.b"]

    def test_nodes_of_one_side_are_named(self, tmp_path: Path) -> None:
        one, two = nodes(("shop.a", 1)), nodes(("shop.a", 1), ("shop.b", 1))
        assert "only in A: shop.b (n1)" in changes(compared(tmp_path, two, one))
        back = compare(*(write(tmp_path / name, each).executions[0] for name, each in (("c", one), ("d", two))))
        assert "only in B: shop.b (n1)" in changes(back)

    def test_a_map_is_compared_as_a_group(self, tmp_path: Path) -> None:
        comparison = compared(tmp_path, mapped(1, 2, 3), mapped(1, 2, 3, 14, failed=0))
        assert parts(changes(comparison)[-1]) == snapshot(
            [
                "failure instead of success: KeyError: 'label'",
                "took 11.0 s longer (4.7x)",
                "items 3 -> 4",
                "failed items 0 -> 1",
                "median item 2.00 s -> 2.50 s",
                "slowest item 3.00 s -> 14.0 s",
                "sum of items 6.00 s -> 20.0 s",
            ]
        )
        [node] = comparison.nodes
        assert (node.name, node.is_map) == ("shop.score (n2)", True)

    def test_a_local_map_is_compared_as_a_group(self, tmp_path: Path) -> None:
        def longer(recorder: Recorder) -> None:
            with recorder.span("workflow shop.main", 0, 10):
                task = recorder.span(f"task shop.map_score_{'1e' * 16}-arraynode", 3, 9)
                with task, recorder.span(semconv.PHASE_USER_CODE, 3, 9):
                    for index in range(3):
                        recorder.leaf(semconv.SPAN_MAP_ITEM, 3 + 2 * index, 5 + 2 * index, {semconv.ARRAY_INDEX: index})

        comparison = compared(tmp_path, traces.local_run, longer, {"service.name": "flyte"})
        [line] = [line for line in changes(comparison) if line.startswith("shop.map_score")]
        assert parts(line) == snapshot(
            [
                "user code took 3.00 s longer (2.0x)",
                "median item 1.00 s -> 2.00 s",
                "slowest item 1.00 s -> 2.00 s",
                "sum of items 3.00 s -> 6.00 s",
            ]
        )

    def test_tasks_of_local_runs_are_matched_by_name_and_order(self, tmp_path: Path) -> None:
        a = local(("shop.fit", 1), ("shop.load", 1), ("shop.fit", 1))
        b = local(("shop.load", 1), ("shop.fit", 1), ("shop.fit", 9))
        comparison = compared(tmp_path, a, b, {"service.name": "flyte"})
        assert [node.name for node in comparison.notable] == ["shop.fit (2)"]
        assert {node.side for node in comparison.nodes} == {"both"}

    def test_a_local_run_is_matched_with_pods(self, tmp_path: Path) -> None:
        a = write(tmp_path / "a.jsonl", local(("shop.a", 1), ("shop.b", 1)), None).executions[0]
        b = write(tmp_path / "b.jsonl", nodes(("shop.a", 1), ("shop.b", 4))).executions[0]
        comparison = compare(a, b)
        assert [node.side for node in comparison.nodes] == ["both", "both"]
        assert [node.name for node in comparison.notable] == ["shop.b (n1)"]

    def test_a_renamed_workflow_has_the_same_tasks(self, tmp_path: Path) -> None:
        a, b = local(("shop.a", 1)), local(("shop.a", 1), workflow="shop.other")
        assert changes(compared(tmp_path, a, b, {"service.name": "flyte"})) == ["nothing changed"]

    def test_recordings_of_other_programs_have_a_duration_only(self, tmp_path: Path) -> None:
        def request(seconds: float) -> Write:
            return lambda recorder: recorder.leaf("GET /", 0, seconds, scope="requests")

        comparison = compared(tmp_path, request(1), request(2), {"service.name": "shop"})
        assert changes(comparison) == ["execution: took 1.00 s longer (2.0x)"]
        assert gaps(comparison) == ["not compared: nodes: neither has a task attempt"]


@pytest.mark.quick
class TestCommand:
    @pytest.fixture
    def two(self, folder: Path) -> Path:
        """A file with two executions."""
        path = folder / "two.jsonl"
        for name in ("first", "second"):
            recorder = Recorder.of_file(path, {**traces.EXECUTION_RESOURCE, semconv.RUN_NAME: name})
            recorder.task("shop.train", 0, 10 if name == "first" else 20, usages.node("n0", "shop.train"))
            # Ids of a new recorder begin at 1 again.
            path.write_text(path.read_text().replace("a000000000", f"{name:x<10}".encode().hex()[:10]))
        return path

    @pytest.fixture
    def runs(self, folder: Path) -> Path:
        """A file with two local runs of one workflow."""
        recorder = Recorder.of_file(folder / "runs.jsonl")
        for _ in range(2):
            local(("shop.a", 1))(recorder)
        return folder / "runs.jsonl"

    def test_executions_of_a_file_have_names(self, two: Path) -> None:
        result = call("compare", "two.jsonl#first", "two.jsonl#second")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "shop.train (n0): user code took 8.00 s longer (2.0x)" in result.stdout
        assert call("compare", "two.jsonl#shop/production/first", "two.jsonl#second").stdout == result.stdout

    def test_an_execution_of_several_must_be_chosen(self, two: Path) -> None:
        result = call("compare", "two.jsonl", "two.jsonl#second")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "otel-flyte: two.jsonl holds 2 executions: choose one of two.jsonl#first, two.jsonl#second\n"
        )

    def test_an_unknown_name_is_one_line_with_the_choices(self, two: Path) -> None:
        result = call("compare", "two.jsonl#third", "two.jsonl#second")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "otel-flyte: third is not an execution of two.jsonl: choose one of two.jsonl#first, two.jsonl#second\n"
        )

    def test_runs_of_one_workflow_are_chosen_by_trace_id(self, runs: Path) -> None:
        result = call("compare", "runs.jsonl#shop.main", "runs.jsonl")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "otel-flyte: shop.main is the name of several executions of runs.jsonl: choose one of "
            "runs.jsonl#a0000000000000000000000000000001 (shop.main, 2026-05-28 20:26:40 UTC), "
            "runs.jsonl#a0000000000000000000000000000007 (shop.main, 2026-05-28 20:26:40 UTC)\n"
        )
        ids = [execution.trace_ids[0] for execution in ExecutionTree.from_file(runs).executions]
        assert "nothing changed" in call("compare", *(f"runs.jsonl#{trace_id}" for trace_id in ids)).stdout

    def test_a_local_run_that_was_sent_to_an_endpoint_is_chosen_by_its_workflow_too(self, folder: Path) -> None:
        identity = {semconv.PROJECT: "local", semconv.DOMAIN: "local", semconv.RUN_NAME: "main-k4x"}
        local(("shop.a", 1))(Recorder.of_file(folder / "runs.jsonl", identity))
        write(folder / "runs.jsonl", train())
        for name in ("main-k4x", "shop.main"):
            result = call("compare", f"runs.jsonl#{name}", f"runs.jsonl#{name}")
            assert "nothing changed" in result.stdout, result.stderr

    @pytest.mark.parametrize("name", ["a#b.jsonl", "a#.jsonl", "#.jsonl"])
    def test_a_file_may_have_the_separator_in_its_name(self, folder: Path, name: str) -> None:
        write(folder / name, train())
        assert "nothing changed" in call("compare", name, f"{name}#f1c0ffee").stdout

    @pytest.mark.parametrize("argument", ["#first", "two.jsonl#", "#"])
    def test_half_a_name_is_one_line(self, two: Path, argument: str) -> None:
        result = call("compare", argument, "two.jsonl#first")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"otel-flyte: {argument} is not FILE#NAME: name a file and an execution of it\n"

    def test_a_missing_file_is_one_line(self, two: Path) -> None:
        for argument in ("none.jsonl", "none.jsonl#first"):
            result = call("compare", argument, "two.jsonl#first")
            assert (result.exit_code, result.stdout) == (2, "")
            assert result.stderr == "otel-flyte: none.jsonl does not exist: check the path\n"

    def test_a_pending_span_alone_is_no_execution(self, folder: Path) -> None:
        pending = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_PENDING}
        write(folder / "pending.jsonl", lambda recorder: recorder.leaf("running", 0, 0, pending))
        result = call("compare", "pending.jsonl", "pending.jsonl")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == snapshot(
            "otel-flyte: pending.jsonl holds no execution: name a file with the spans of a task\n"
        )

    def test_remarks_are_printed_once(self, two: Path) -> None:
        two.write_text(two.read_text() + "{\n")
        assert call("compare", "two.jsonl#first", "two.jsonl#second").stderr.count("\n") == 1

    def test_a_folder_is_read(self, two: Path) -> None:
        assert "shop.train (n0)" in call("compare", ".#first", f"{two}#second").stdout

    def test_numbers_at_the_limits_are_json(self, folder: Path) -> None:
        for name, cpu, memory in (("a.jsonl", 5e-324, -1e308), ("b.jsonl", 1e18, 1e308)):
            write(folder / name, train(attributes={semconv.USAGE_CPU_MEAN: cpu, semconv.USAGE_MEMORY_PEAK: memory}))
        result = call("compare", "a.jsonl", "b.jsonl", "--json")
        assert result.exit_code == 0
        [node] = json.loads(result.stdout, parse_constant=pytest.fail)["nodes"]
        changed = {change["name"]: change for change in node["changes"]}
        assert changed["CPU"]["factor"] is None
        # No usage is that large: it is unknown.
        assert "memory peak" not in changed
        assert call("compare", "a.jsonl", "b.jsonl").exit_code == 0

    def test_an_ascii_terminal_and_a_process_without_flytekit_suffice(self, folder: Path) -> None:
        write(folder / "a.jsonl", train(1e-4))
        program = """
import sys
from otel_flyte.cli.main import main
main(["compare", "a.jsonl", "a.jsonl"], standalone_mode=False)
assert not {name.split(".")[0] for name in sys.modules} & {"flytekit", "opentelemetry", "google", "grpc"}
"""
        environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()

    def test_hostile_names_do_not_reach_the_terminal(self, folder: Path) -> None:
        evil = "shop.\x1b[2J\u202etrain\n"
        given = {f"flyte.input.{evil}.type": "int", "flyte.input.x.type": evil, semconv.TASK_VERSION: evil}

        def run(value: str) -> Write:
            def each(recorder: Recorder) -> None:
                identity = usages.node("n0\x1b", evil)
                attributes = {**given, **{name: f"{text}{value}" for name, text in given.items()}, **identity}
                error = (f"{evil}{value}", evil)
                recorder.task(evil, 0, 1, attributes, parent=traces.in_execution(1), error=error)

            return each

        resource = {**traces.EXECUTION_RESOURCE, semconv.RUN_NAME: evil, semconv.PROJECT: evil}
        for name, value in (("a.jsonl", "1"), ("b.jsonl", "2")):
            write(folder / name, run(value), resource)
        printed = call("compare", "a.jsonl", "b.jsonl").stdout + call("compare", "a.jsonl#x", "b.jsonl").stderr
        assert not {"\x1b", "\u202e"} & set(printed)
        assert "version shop" in printed

    def test_the_json_has_a_stable_shape(self, folder: Path) -> None:
        write(folder / "a.jsonl", train(50, attributes={semconv.TASK_VERSION: "v1"}, memory=3 * GIB))
        write(folder / "b.jsonl", train(100, attributes={semconv.TASK_VERSION: "v2"}, memory=6 * GIB))
        result = call("compare", "a.jsonl", "b.jsonl", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout) == snapshot(
            {
                "a": {
                    "label": "execution f1c0ffee",
                    "name": "f1c0ffee",
                    "scope": "shop/production",
                    "trace_ids": ["f1c0ffee000000000000000000000000"],
                    "start_ns": 1780000000000000000,
                    "result": "unknown",
                    "seconds": 50.0,
                },
                "b": {
                    "label": "execution f1c0ffee",
                    "name": "f1c0ffee",
                    "scope": "shop/production",
                    "trace_ids": ["f1c0ffee000000000000000000000000"],
                    "start_ns": 1780000000000000000,
                    "result": "unknown",
                    "seconds": 100.0,
                },
                "is_equal": False,
                "is_notable": True,
                "duration": {
                    "name": "duration",
                    "unit": "s",
                    "a": 50.0,
                    "b": 100.0,
                    "is_notable": True,
                    "difference": 50.0,
                    "factor": 2.0,
                },
                "most_changed": ["shop.train (n0)"],
                "nodes": [
                    {
                        "name": "shop.train (n0)",
                        "task": "shop.train",
                        "side": "both",
                        "path_a": "n0",
                        "path_b": "n0",
                        "is_map": False,
                        "is_notable": True,
                        "results": {"a": "success", "b": "success"},
                        "changes": [
                            {
                                "name": "input translation",
                                "unit": "s",
                                "a": 5.0,
                                "b": 10.0,
                                "is_notable": True,
                                "difference": 5.0,
                                "factor": 2.0,
                            },
                            {
                                "name": "user code",
                                "unit": "s",
                                "a": 40.0,
                                "b": 80.0,
                                "is_notable": True,
                                "difference": 40.0,
                                "factor": 2.0,
                            },
                            {
                                "name": "output translation",
                                "unit": "s",
                                "a": 5.0,
                                "b": 10.0,
                                "is_notable": True,
                                "difference": 5.0,
                                "factor": 2.0,
                            },
                            {
                                "name": "duration",
                                "unit": "s",
                                "a": 50.0,
                                "b": 100.0,
                                "is_notable": True,
                                "difference": 50.0,
                                "factor": 2.0,
                            },
                            {
                                "name": "own duration",
                                "unit": "s",
                                "a": 50.0,
                                "b": 100.0,
                                "is_notable": True,
                                "difference": 50.0,
                                "factor": 2.0,
                            },
                            {
                                "name": "CPU",
                                "unit": "{core}",
                                "a": 1.0,
                                "b": 1.0,
                                "is_notable": False,
                                "difference": 0.0,
                                "factor": 1.0,
                            },
                            {
                                "name": "CPU throttling",
                                "unit": "s",
                                "a": 0.0,
                                "b": 0.0,
                                "is_notable": False,
                                "difference": 0.0,
                                "factor": None,
                            },
                            {
                                "name": "memory peak",
                                "unit": "By",
                                "a": 3221225472,
                                "b": 6442450944,
                                "is_notable": True,
                                "difference": 3221225472,
                                "factor": 2.0,
                            },
                            {
                                "name": "OOM kills",
                                "unit": "{count}",
                                "a": 0,
                                "b": 0,
                                "is_notable": False,
                                "difference": 0,
                                "factor": None,
                            },
                            {
                                "name": "attempts",
                                "unit": "{count}",
                                "a": 1,
                                "b": 1,
                                "is_notable": False,
                                "difference": 0,
                                "factor": 1.0,
                            },
                        ],
                        "facts": [{"name": "version", "a": "v1", "b": "v2"}],
                        "gaps": [],
                    }
                ],
                "noise": {"fraction": 0.1, "least": {"s": 0.1, "By": 16777216, "{core}": 0.1, "1": 0.05}},
            }
        )


class TestLarge:
    def test_forty_thousand_spans_take_seconds(self) -> None:
        a, b = many(0), many(10**9)
        began = time.process_time()
        comparison = compare(a.executions[0], b.executions[0])
        assert len(as_text(comparison).splitlines()) > 5000
        assert len(json.loads(as_json(comparison))["nodes"]) == 5000
        assert len(comparison.notable) == 5000
        assert time.process_time() - began < 20

    def test_tasks_that_nest_by_the_thousand_are_compared(self) -> None:
        spans = [
            Span("ab" * 16, f"{i + 1:016x}", f"{i:016x}" if i else None, "task shop.again", i, 10**9 - i, scope=SCOPE)
            for i in range(5000)
        ]
        [execution] = ExecutionTree.from_spans(spans).executions
        assert compare(execution, execution).is_equal


SCOPE = Scope(semconv.SCOPE)


def many(more_ns: int) -> ExecutionTree:
    """Return an execution of 40,000 spans: 5,000 tasks, each with a phase and six spans of a user."""
    trace_id, resource, spans = "ab" * 16, {semconv.RUN_NAME: "large"}, []
    for number in range(5000):
        ids = [f"{number * 8 + offset + 1:016x}" for offset in range(8)]
        start, end = number * 10**9, (number + 1) * 10**9 + more_ns
        identity = usages.node(f"n{number}", f"shop.task{number % 50}")
        attributes = {**identity, **usages.usage()}
        task = f"task {identity[semconv.TASK_NAME]}"
        spans.append(
            Span(trace_id, ids[0], None, task, start, end, attributes=attributes, scope=SCOPE, resource=resource)
        )
        spans.append(
            Span(trace_id, ids[1], ids[0], semconv.PHASE_USER_CODE, start, end, scope=SCOPE, resource=resource)
        )
        spans += [Span(trace_id, id_, ids[1], "step", start, end, resource=resource) for id_ in ids[2:]]
    return ExecutionTree.from_spans(spans)
