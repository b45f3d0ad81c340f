"""A signal handler, a finalizer or a time limit interrupts a task inside our bookkeeping: it goes on as without us."""

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
