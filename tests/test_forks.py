"""Forked child processes of a task: their telemetry arrives, and the task's open spans stay those of the parent."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest

from otel_flyte import semconv
from otel_flyte.runtime.forks import ForkLock, importing
from otel_flyte.sdk.once import Once
from support import fake_nvml, pods, programs, receiver, runs
from support.receiver import MetricPoint, Protocol, Receiver
from support.runs import Result, Run, Runs, Scenario

pytestmark = pytest.mark.quick

FIVE = {"value": 5}


def bare_task(task: str) -> Scenario:
    def run(root: Path, receiver: Receiver) -> Result:
        return pods.execute(root, f"traced_forks.{task}", FIVE, bare=True)

    return run


TASKS = ("return_twice", "raise_in_child", "count_in_children", "leave_in_child")
WATCHED = Path(__file__).parent / "support" / "watched_imports"


def watched_imports(protocol: Protocol) -> Scenario:
    def change(pod: pods.Pod) -> pods.Pod:
        noted = {
            "NOTED_IMPORTS": str(pod.directory / "noted imports"),
            semconv.OTEL_FLYTE_SPOOL: str(pod.directory / "spool"),
            "PYTHONPATH": os.pathsep.join([str(WATCHED), str(fake_nvml.PATH), pod.environment["PYTHONPATH"]]),
            fake_nvml.VARIABLE: "2",
            semconv.METRIC_EXPORT_INTERVAL: "500",
            semconv.OTEL_FLYTE_SAMPLE_INTERVAL: "1",
        }
        return replace(pod, environment={**pod.environment, **noted})

    return runs.pod("traced_forks.use_everything", FIVE, protocol=protocol, change=change)


SCENARIOS: dict[str, Scenario] = {
    **{task: runs.pod(f"traced_forks.{task}", FIVE, env={"OTEL_METRIC_EXPORT_INTERVAL": "600000"}) for task in TASKS},
    **{f"{task}, bare": bare_task(task) for task in TASKS},
    "everything over HTTP": watched_imports("http/protobuf"),
    "everything over gRPC": watched_imports("grpc"),
}


ran = runs.fixture(SCENARIOS)


def fork(succeeds: Callable[[], bool]) -> int:
    """Fork a child with a time limit of ten seconds, and return its exit status."""
    child = os.fork()
    if not child:
        # The test runner may use the same signal.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        code = 1
        try:
            code = 0 if succeeds() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_forked_while_a_thread_creates_a_provider_has_it() -> None:
    begun = threading.Event()

    def make() -> int:
        begun.set()
        time.sleep(0.2)
        return os.getpid()

    once = Once(make)
    maker = threading.Thread(target=once)
    maker.start()
    begun.wait()
    returncode = fork(lambda: once() > 0)
    maker.join()

    assert returncode == 0


def test_a_fork_holds_no_lock_that_a_concurrent_import_needs() -> None:
    begun, ended = threading.Event(), threading.Event()
    lock = ForkLock(0.5)

    def imports() -> None:
        with importing:
            begun.set()
            time.sleep(0.2)
            # A library may log a line during its import.
            with lock:
                ended.set()

    importer = threading.Thread(target=imports)
    importer.start()
    begun.wait()
    returncode = fork(ended.is_set)
    importer.join()

    assert returncode == 0


@pytest.mark.parametrize("protocol", ["HTTP", "gRPC"])
def test_our_threads_import_nothing_while_a_task_may_fork(protocol: str, ran: Runs) -> None:
    run = ran(f"everything over {protocol}")

    assert run.pod.returncode == 0, run.pod.stderr
    assert points(run, semconv.METRIC_HW_GPU_UTILIZATION)
    assert [noted.read_text() for noted in run.root.rglob("noted imports")] == [""]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_forks_ends_as_without_otel_flyte(task: str, ran: Runs) -> None:
    run, without = ran(task).pod, ran(f"{task}, bare").pod

    assert run.returncode == without.returncode, run.stderr
    assert run.outputs == without.outputs
    assert run.files.keys() == without.files.keys()
    assert run.stdout == without.stdout
    assert programs.our_lines(run.stderr) == []


@pytest.mark.parametrize("task", TASKS)
def test_spans_open_before_a_fork_are_ended_by_the_parent_only(task: str, ran: Runs) -> None:
    run = ran(task)
    ended = Counter(span.name for span in run.spans)

    assert ended[f"task traced_forks.{task}"] == ended[semconv.PHASE_USER_CODE] == 1
    assert {span.status for span in run.spans if span.name in (run.attempt.name, semconv.PHASE_USER_CODE)} == {"UNSET"}
    assert run.attempt.end_ns >= run.named(semconv.PHASE_USER_CODE).end_ns
    assert len({span.span_id for span in run.spans}) == len(run.spans)


def test_a_task_continued_in_a_child_ends_with_its_parent(ran: Runs) -> None:
    user_code = ran("return_twice").named(semconv.PHASE_USER_CODE)

    assert user_code.end_ns - user_code.start_ns >= 0.2e9


@pytest.mark.parametrize(("task", "names"), [("count_in_children", (5, 6, 7)), ("leave_in_child", (6,))])
def test_spans_of_children_are_below_the_forking_span(task: str, names: tuple[int, ...], ran: Runs) -> None:
    run = ran(task)
    counting = [span for span in run.spans if span.scope == "users.own"]

    assert Counter(span.name for span in counting) == Counter(f"counting {number}" for number in names)
    assert {span.parent_span_id for span in counting} == {run.named(semconv.PHASE_USER_CODE).span_id}


def points(run: Run, name: str) -> list[MetricPoint]:
    requests = [request for request in run.requests if request.signal == "metrics"]
    return [point for each in requests for point in receiver._points(each.message) if point.name == name]


def test_metrics_of_a_child_start_at_0_and_have_their_own_identity(ran: Runs) -> None:
    counted = points(ran("count_in_children"), "rows")

    assert sorted(point.value for point in counted) == [5, 6, 7]
    identities = {point.value: point.resource.get("service.instance.id") for point in counted}
    assert len(set(identities.values())) == 3
    assert identities[6]
    assert identities[7]
    assert {point.resource["service.name"] for point in counted} == {"flyte"}


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_left_in_the_temporary_folder(task: str, ran: Runs) -> None:
    assert list((ran(task).root / "tmp").glob("otel-flyte*")) == []


RETURNS = """
    import os

    from flytekit import task


    @task
    def work() -> int:
        return os.fork()


    child = work()
    if child:
        os.waitpid(child, 0)
"""


def test_a_child_that_returns_through_flytekit_adds_its_own_spans_alone(receiver: Receiver, tmp_path: Path) -> None:
    ended = programs.run(RETURNS, tmp_path, receiver.environment())
    assert ended.returncode == 0, ended.stderr

    spans = receiver.spans()
    (task,) = (span for span in spans if span.name.startswith("task "))
    assert sorted(span.name for span in spans if span is not task) == [
        "input translation",
        # Each process translates the output that it returns.
        *("output translation", "output translation"),
        "user code",
    ]
    assert len({span.span_id for span in spans}) == len(spans)
    assert {span.parent_span_id for span in spans if span is not task} == {task.span_id}


# --- lines that a thread writes during a fork ------------------------------------------------------------------------

SLOW_STREAM = """
    import io
    import logging
    import os
    import signal
    import threading
    import time

    import flytekit
    from opentelemetry import metrics, trace

    writing = threading.Event()

    class Slow(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            if threading.current_thread() is not threading.main_thread():
                writing.set()
                time.sleep(0.2)
            return len(data)

    # Like stderr, it has a lock that a child inherits.
    stream = io.TextIOWrapper(io.BufferedWriter(Slow()), line_buffering=True)
    logging.basicConfig(stream=stream, force=True)

    def status_of_child():
        assert writing.wait(20)
        child = os.fork()
        if not child:
            signal.alarm(5)
            logging.warning("of the child")
            stream.write("of the child")
            os._exit(0)
        return os.waitpid(child, 0)[1]
"""
LINES_OF_THREADS = {
    "the reader of metrics": """
        def broken(options):
            raise ValueError("the callback of a user")

        metrics.get_meter("users.own").create_observable_gauge("broken", [broken])
    """,
    "the queue of spans": """
        trace.get_tracer("users.own").start_span("odd", attributes={"name": "\\ud800"}).end()
    """,
    "a thread of ours": """
        from otel_flyte.runtime.guard import say, start_thread

        start_thread("otel-flyte-test", lambda: say("a line"))
    """,
}
PROGRESS = """
    from otel_flyte.report.terminal import Terminal
    from otel_flyte.run.progress import ProgressProcessor

    progress = ProgressProcessor(stream, Terminal())
    provider = TracerProvider()
    provider.add_span_processor(progress)
    provider.get_tracer(semconv.SCOPE).start_span(semconv.PHASE_USER_CODE)
    print(status_of_child())
"""


@pytest.mark.parametrize("line", LINES_OF_THREADS)
def test_a_child_forked_while_a_thread_of_telemetry_writes_a_line_can_write_its_own(
    line: str, receiver: Receiver, tmp_path: Path
) -> None:
    task = programs.joined(SLOW_STREAM, "@flytekit.task\ndef fork() -> int:")
    body = indent(programs.joined(LINES_OF_THREADS[line], "return status_of_child()"), "    ")
    env = receiver.environment() | {semconv.METRIC_EXPORT_INTERVAL: "100", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    assert programs.run(f"{task}\n{body}\nprint(fork())", tmp_path, env).printed == 0


def test_a_child_forked_while_the_progress_of_a_local_run_is_written_can_write_its_own_lines(tmp_path: Path) -> None:
    imports = "from opentelemetry.sdk.trace import TracerProvider\nfrom otel_flyte import semconv"

    assert programs.run(programs.joined(SLOW_STREAM, imports, PROGRESS), tmp_path, {}).printed == 0
