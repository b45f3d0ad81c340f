"""The CPU time of one `dispatch_execute`, in µs: `python benchmarks/dispatch.py VARIANT`.

It dispatches a few times for each line of its input, and prints the time of the thread that dispatches. At the end of
its input it prints the time of the thread that sends spans, until everything is delivered. `benchmarks/run.py` gives
all variants their turns, so that each suffers from the same noise of the machine. In an environment with flytekit
alone, only `bare` runs.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flytekit import task
from flytekit.core import utils
from flytekit.core.base_task import PythonTask
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.core.type_engine import TypeEngine

DISPATCHES = 50
SENDERS = ("otel-flyte-traces", "OtelBatchSpanRecordProcessor")
"""Names of the threads that encode and send spans: ours, and the SDK's."""

TIMED = {"Execute user level code": "user code", "dispatch execute": "output translation"}


@task(retries=2, timeout=30)
def increment(value: int) -> int:
    return value + 1


def main(variant: str) -> None:
    with VARIANTS[variant]() as (call, flush):
        _calling_seconds(call)
        flush()
        began, turns = _sending_seconds(), 0
        for _ in sys.stdin:
            _print(_calling_seconds(call))
            turns += 1
        flush()
        _print((_sending_seconds() - began) / turns / DISPATCHES)
    os._exit(0)


def _print(seconds: float) -> None:
    sys.stdout.write(f"{seconds * 1e6}\n")
    sys.stdout.flush()


def _calling_seconds(call: Callable[[], object]) -> float:
    start = time.thread_time()
    for _ in range(DISPATCHES):
        call()
    return (time.thread_time() - start) / DISPATCHES


def _sending_seconds() -> float:
    senders = [each.ident for each in threading.enumerate() if each.name in SENDERS and each.ident]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in senders)


def _dispatch() -> Callable[[], object]:
    context = FlyteContextManager.current_context()
    inputs = TypeEngine.dict_to_literal_map(context, {"value": 5})
    state = context.execution_state.with_params(mode=ExecutionState.Mode.LOCAL_TASK_EXECUTION)
    context = context.with_execution_state(state).build()
    return lambda: increment.dispatch_execute(context, inputs)


Measured = Iterator[tuple[Callable[[], object], Callable[[], object]]]


@contextlib.contextmanager
def _bare() -> Measured:
    yield _dispatch(), lambda: None


@contextlib.contextmanager
def _ours() -> Measured:
    import otel_flyte

    yield _dispatch(), otel_flyte.flush


@contextlib.contextmanager
def _ours_with_their_provider() -> Measured:
    import otel_flyte

    provider = _stock_provider()
    otel_flyte.instrument(tracer_provider=provider)
    yield _dispatch(), provider.force_flush


@contextlib.contextmanager
def _by_hand() -> Measured:
    """Four spans by hand: one around the dispatch, and one around each of its three phases."""
    import otel_flyte
    from otel_flyte.adapters.flytekit_v1 import task_attributes

    otel_flyte.uninstrument()
    provider = _stock_provider()
    tracer = provider.get_tracer("by hand")
    description = task_attributes.describe(increment)
    dispatch = _dispatch()

    def call() -> object:
        with tracer.start_as_current_span(description.span_name, attributes=description.attributes):
            return dispatch()

    with _three_phases(tracer):
        yield call, provider.force_flush


def _stock_provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=100_000))
    return provider


@contextlib.contextmanager
def _three_phases(tracer: Any) -> Iterator[None]:
    translate, enter, leave = (
        PythonTask._literal_map_to_python_input,
        utils.timeit.__enter__,
        utils.timeit.__exit__,
    )

    def traced_translate(self: Any, literal_map: Any, ctx: Any) -> Any:
        with tracer.start_as_current_span("input translation"):
            return translate(self, literal_map, ctx)

    def traced_enter(self: Any) -> Any:
        result = enter(self)
        if self._name in TIMED:
            self.span = tracer.start_as_current_span(TIMED[self._name])
            self.span.__enter__()
        return result

    def traced_leave(self: Any, *error: Any) -> Any:
        if self._name in TIMED:
            self.span.__exit__(*error)
        return leave(self, *error)

    PythonTask._literal_map_to_python_input = traced_translate
    utils.timeit.__enter__, utils.timeit.__exit__ = traced_enter, traced_leave
    try:
        yield
    finally:
        PythonTask._literal_map_to_python_input = translate
        utils.timeit.__enter__, utils.timeit.__exit__ = enter, leave


VARIANTS = {
    "bare": _bare,
    "unconfigured": _ours,
    "by hand": _by_hand,
    "ours": _ours,
    "their provider": _ours_with_their_provider,
}


if __name__ == "__main__":
    main(sys.argv[1])
