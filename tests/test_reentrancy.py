"""A signal handler, a finalizer or a time limit interrupts a task inside our bookkeeping: it goes on as without us."""

from pathlib import Path
from textwrap import dedent

import pytest

from support import programs
from support.receiver import Receiver

TASK = """
    import gc
    import json
    import signal
    import sys
    import time
    import weakref

    from flytekit import current_context, task
    from opentelemetry import trace

    import otel_flyte

    SECONDS = 1.5


    def interrupt(function):
        signal.signal(signal.SIGALRM, lambda *_: function())
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)


    def repeat(function):
        count, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            function()
            count += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        return count
"""

INTERRUPTED = {
    "a gauge": """
        @task
        def work() -> int:
            stats = current_context().stats
            interrupt(lambda: stats.gauge("interrupts", 1))
            return repeat(lambda: stats.gauge("interrupts", 0))
    """,
    "a new metric each time": """
        @task
        def work() -> int:
            stats, names = current_context().stats, iter(range(10**9))
            interrupt(lambda: stats.incr(f"of_handler_{next(names)}"))
            return repeat(lambda: stats.incr(f"of_task_{next(names)}"))
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
            return repeat(lambda: (Counted(), current_context().stats.incr("made")))
    """,
    "a span": """
        @task
        def work() -> int:
            tracer = trace.get_tracer("otel_flyte")
            interrupt(lambda: tracer.start_span("of the handler").end())
            return repeat(lambda: tracer.start_span("of the task").end())
    """,
    "a flush": """
        @task
        def work() -> int:
            tracer = trace.get_tracer("user")

            def traced():
                with tracer.start_as_current_span("traced"):
                    pass
                otel_flyte.flush(0.2)

            interrupt(lambda: otel_flyte.flush(0.01))
            return repeat(traced)
    """,
}


@pytest.mark.quick
@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_task_does_not_hang_when_it_is_interrupted_inside(name: str, receiver: Receiver, tmp_path: Path) -> None:
    # A batch of one span wakes the sending thread with each span that ends.
    env = {**receiver.environment(), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
    ended = programs.run(f"{dedent(TASK)}{dedent(INTERRUPTED[name])}print(json.dumps(work()))", tmp_path, env)

    assert ended.printed > 0
