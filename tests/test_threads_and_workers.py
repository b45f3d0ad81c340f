"""Spans of threads, greenlets and processes that a task starts: they are below the task's phase, and they arrive."""

from pathlib import Path

import pytest

from otel_flyte import semconv
from support import pods, programs
from support.receiver import Receiver, children

pytestmark = pytest.mark.quick

STARTED = """
    import asyncio
    import multiprocessing
    import os
    import subprocess
    import sys
    import threading
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    from flytekit import task
    from opentelemetry import trace

    from plain_worker import job

    tracer = trace.get_tracer("users.own")


    def by_pool() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(job, range(3)))


    def by_thread() -> None:
        threads = [threading.Thread(target=job, args=(each,)) for each in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


    class Overridden(threading.Thread):
        def run(self) -> None:
            job(0)


    def by_subclass() -> None:
        thread = Overridden()
        thread.start()
        thread.join()


    def by_greenlet() -> None:
        from greenlet import greenlet

        for each in range(3):
            greenlet(job).switch(each)


    def by_spawn() -> None:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(job, range(3)))


    def by_loky() -> None:
        from joblib import Parallel, delayed

        Parallel(n_jobs=2)(delayed(job)(each) for each in range(3))


    def by_subprocess() -> None:
        for each in range(3):
            subprocess.run([sys.executable, "-c", f"import plain_worker; plain_worker.job({each})"], check=True)


    @task
    def start(way: str, is_nested: bool) -> int:
        if is_nested:
            with tracer.start_as_current_span("outer"):
                globals()[way]()
        else:
            globals()[way]()
        return 1
"""

WORKER = """
    from opentelemetry import metrics, trace

    tracer = trace.get_tracer("users.own")


    def job(number):
        metrics.get_meter("users.own").create_counter("jobs").add(1)
        with tracer.start_as_current_span("job"):
            with tracer.start_as_current_span("step"):
                return number
"""

AT_START = f"""
    # A wheel installs the file; the sources do not.
    import site

    site.addsitedir({str(Path(__file__).parent.parent / "src")!r})
"""

IN_THREADS = ("by_pool", "by_thread", "by_subclass", "by_greenlet")
IN_PROCESSES = ("by_spawn", "by_loky", "by_subprocess")


def run(way: str, receiver: Receiver, folder: Path, *, is_nested: bool = False, **env: str) -> pods.Result:
    programs.module(folder / "modules", "task_starting", STARTED)
    programs.module(folder / "modules", "plain_worker", WORKER)
    programs.module(folder / "modules", "sitecustomize", AT_START)
    return pods.prepare(
        "execute",
        folder / "pod",
        "task_starting.start",
        {"way": way, "is_nested": is_nested},
        env={**receiver.environment(), "PYTHONPATH": str(folder / "modules"), **env},
    ).run()


@pytest.mark.parametrize("way", IN_THREADS + IN_PROCESSES)
def test_spans_are_below_the_phase_in_which_their_thread_or_process_is_started(
    way: str, receiver: Receiver, tmp_path: Path
) -> None:
    ended = run(way, receiver, tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert not programs.our_lines(ended.stderr), ended.stderr
    expected = 1 if way == "by_subclass" else 3
    jobs, (user_code,) = receiver.spans("job"), receiver.spans("user code")
    above = user_code if way in IN_THREADS else receiver.spans("task task_starting.start")[0]
    assert len(jobs) == expected
    assert all(job.parent_span_id == above.span_id for job in jobs)
    assert all(len(children(receiver.spans(), job)) == 1 for job in jobs)
    assert sum(point.value for point in receiver.metrics("jobs")) >= expected
    assert {span.resource[semconv.RUN_NAME] for span in jobs} == {user_code.resource[semconv.RUN_NAME]}


# The oldest instrumentation of threads can't be imported without harm.
@pytest.mark.newest_only
@pytest.mark.parametrize("way", ["by_pool", "by_thread"])
def test_spans_of_a_thread_are_below_the_users_span_in_which_it_is_started(
    way: str, receiver: Receiver, tmp_path: Path
) -> None:
    ended = run(way, receiver, tmp_path, is_nested=True)

    assert ended.returncode == 0, ended.stderr
    (outer,) = receiver.spans("outer")
    assert len(children(receiver.spans(), outer)) == 3


def test_threads_are_left_alone_where_the_instrumentation_is_disabled(receiver: Receiver, tmp_path: Path) -> None:
    ended = run("by_pool", receiver, tmp_path, is_nested=True, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="threading")

    assert ended.returncode == 0, ended.stderr
    (outer,), (user_code,) = receiver.spans("outer"), receiver.spans("user code")
    assert not children(receiver.spans(), outer)
    assert len(children(receiver.spans(), user_code)) == 4


FAILING_CONTEXT = """
    from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

    failing = set()

    class Failing(ContextVarsRuntimeContext):
        def attach(self, context):
            if "attach" in failing:
                raise OSError("no context can be attached")
            return super().attach(context)

        def detach(self, token):
            if "detach" in failing:
                raise OSError("no context can be detached")
            super().detach(token)

        def get_current(self):
            if "get_current" in failing:
                raise OSError("there is no current context")
            return super().get_current()
"""
STARTS_THREADS = """
    import json
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from flytekit import task
    from opentelemetry import trace

    import failing_context

    @task
    def start(failing: str) -> list[int]:
        trace.get_tracer("users.own").start_span("first").end()
        done = []
        timer, thread = threading.Timer(0, done.append, [1]), threading.Thread(target=done.append, args=[2])
        failing_context.failing.add(failing)
        for each in (timer, thread):
            each.start()
        with ThreadPoolExecutor(1) as pool:
            numbers = list(pool.map(abs, [-3]))
        for each in (timer, thread):
            each.join()
        failing_context.failing.clear()
        return sorted(done) + numbers
"""


@pytest.mark.parametrize("failing", ["attach", "detach", "get_current"])
def test_threads_run_where_the_context_of_opentelemetry_fails(failing: str, receiver: Receiver, tmp_path: Path) -> None:
    path = programs.distribution(
        tmp_path / "modules", "failing_context", FAILING_CONTEXT, {"opentelemetry_context": {"failing": "Failing"}}
    )
    source = programs.joined(STARTS_THREADS, f"print(json.dumps(start(failing={failing!r})))")
    ended = programs.run(source, tmp_path, receiver.environment() | {"OTEL_PYTHON_CONTEXT": "failing"}, path=[path])

    assert (ended.returncode, ended.printed) == (0, [1, 2, 3])
    assert "Exception in thread" not in ended.stderr
    assert receiver.spans("first")


PARENT = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
USES_SPANS = """
    import json
    import sys

    from opentelemetry import trace

    tracer = trace.get_tracer("users.own")
    {own}
    with tracer.start_as_current_span("job") as span:
        pass
    context = span.get_span_context()
    ours = [name for name in sys.modules if name.startswith("otel_flyte.sdk")]
    print(json.dumps([f"{{context.trace_id:032x}}", bool(ours), type(trace.get_tracer_provider()).__name__]))
"""
OWN = """
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
"""


def process(folder: Path, env: dict[str, str], own: str = "") -> programs.Ended:
    programs.module(folder / "modules", "sitecustomize", AT_START)
    source = programs.joined(USES_SPANS).format(own=programs.joined(own))
    return programs.run(source, folder, env, path=[folder / "modules"])


def test_a_process_with_a_parent_and_an_endpoint_delivers(receiver: Receiver, tmp_path: Path) -> None:
    ended = process(tmp_path, {**receiver.environment(), **PARENT})

    assert ended.printed == ["0af7651916cd43dd8448eb211c80319c", True, "FlyteTracerProvider"]
    assert [span.parent_span_id for span in receiver.spans()] == ["b7ad6b7169203331"]


@pytest.mark.parametrize("missing", ["parent", "endpoint", "switch"])
def test_a_process_that_nobody_traces_stays_untouched(missing: str, receiver: Receiver, tmp_path: Path) -> None:
    configured = receiver.environment()
    env = {
        "parent": configured,
        "endpoint": PARENT,
        "switch": {**configured, **PARENT, "OTEL_SDK_DISABLED": "true"},
    }[missing]

    assert process(tmp_path, env).printed == ["0" * 32, False, "ProxyTracerProvider"]
    assert not receiver.spans()


def test_a_provider_that_such_a_process_sets_is_its_own(receiver: Receiver, tmp_path: Path) -> None:
    ended = process(tmp_path, {**receiver.environment(), **PARENT}, OWN)

    assert ended.printed[2] == "TracerProvider"
    assert not receiver.spans()


def test_such_a_process_ends_in_time_and_counts_what_it_drops(tmp_path: Path) -> None:
    ended = process(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **PARENT})

    assert ended.returncode == 0
    (line,) = programs.our_lines(ended.stderr)
    assert "1 span was dropped" in line
