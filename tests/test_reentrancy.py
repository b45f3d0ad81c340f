"""A signal handler, a finalizer or a time limit interrupts a task inside our bookkeeping: it goes on as without us."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from support import programs
from support.receiver import Receiver

TASK = """
    import gc
    import json
    import sys

    from flytekit import current_context, task
    from opentelemetry import trace

    import otel_flyte



    def interrupted(function, by, times=30):
        # A signal handler interrupts anywhere: here wherever Python calls or leaves a function.
        for _ in range(times):
            sys.setprofile(lambda *_: by())
            try:
                function()
            finally:
                sys.setprofile(None)
        return times
"""

INTERRUPTED = {
    "a gauge": """
        @task
        def work() -> int:
            stats = current_context().stats
            return interrupted(lambda: stats.gauge("level", 0), by=lambda: stats.gauge("level", 1))
    """,
    "a new metric each time": """
        @task
        def work() -> int:
            stats, names = current_context().stats, iter(range(10**9))

            def count():
                stats.incr(f"count_{next(names)}")

            return interrupted(count, by=count)
    """,
    "a finalizer": """
        class Counted:
            def __init__(self):
                self.itself = self

            def __del__(self):
                current_context().stats.incr("finalized")

        @task
        def work() -> int:
            gc.set_threshold(10)
            for _ in range(10_000):
                Counted()
                current_context().stats.incr("made")
            return 1
    """,
    "a span": """
        @task
        def work() -> int:
            tracer = trace.get_tracer("otel_flyte")

            def traced():
                tracer.start_span("traced").end()

            return interrupted(traced, by=traced)
    """,
    "a flush": """
        @task
        def work() -> int:
            return interrupted(lambda: otel_flyte.flush(0.2), by=lambda: otel_flyte.flush(0.01), times=3)
    """,
}


@pytest.mark.quick
@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_task_does_not_hang_when_it_is_interrupted_inside(name: str, receiver: Receiver, tmp_path: Path) -> None:
    # A batch of one span wakes the sending thread with each span that ends.
    env = {**receiver.environment(), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
    program = f"{dedent(TASK)}{dedent(INTERRUPTED[name])}print(json.dumps(work()))"
    ended = programs.run(program, tmp_path, env, timeout=30)

    assert ended.printed > 0


LIMITED = """
    import json
    import os
    import sys

    from flytekit import current_context, task
    from opentelemetry import trace

    import otel_flyte


    class Late(Exception):
        pass


    def interrupted_at(number, function):
        # As a handler of a signal does: it raises at any step, and gets the frame that it interrupts.
        steps = 0

        def step(frame, event, arg):
            nonlocal steps
            # No handler runs where a function is left by an exception.
            steps += event != "return" and "otel_flyte" in frame.f_code.co_filename
            if steps == number and event != "return":
                sys.setprofile(None)
                raise Late

        sys.setprofile(step)
        try:
            function()
        except BaseException as error:
            return chain_of(error)
        finally:
            sys.setprofile(None)
        return None if steps < number else []


    def chain_of(error):
        return [] if error is None else [type(error), *chain_of(error.__cause__ or error.__context__)]


    def missed(function):
        found, number = [], 1
        while (chain := interrupted_at(number, function)) is not None:
            if Late not in chain:
                found.append(number)
            number += 1
        return [number > 20, found]


    @task
    def twice(value: int) -> int:
        return 2 * value


    @task
    def measured() -> str:
        stats = current_context().stats
        return json.dumps([missed(lambda: stats.incr("rows")), missed(lambda: stats.gauge("level", 1))])

    twice(value=1)
"""


@pytest.mark.quick
def test_a_time_limit_inside_a_user_metric_is_the_users(receiver: Receiver, tmp_path: Path) -> None:
    ended = programs.run(f"{dedent(LIMITED)}\nprint(measured())", tmp_path, receiver.environment())

    assert ended.printed == [[True, []], [True, []]]
    assert ended.our_lines == []


def test_a_time_limit_inside_a_dispatch_is_the_users_and_leaves_nothing_open(
    receiver: Receiver, tmp_path: Path
) -> None:
    program = """
    left = []

    def run():
        try:
            twice(value=2)
        finally:
            sys.setprofile(None)
            if trace.get_current_span() is not trace.INVALID_SPAN or "TRACEPARENT" in os.environ:
                left.append("a current span")

    print(json.dumps([missed(run), left]))
    twice(value=3)
    """
    ended = programs.run(f"{dedent(LIMITED)}{dedent(program)}", tmp_path, receiver.environment(), timeout=60)

    assert json.loads(ended.stdout.splitlines()[-1]) == [[True, []], []]
