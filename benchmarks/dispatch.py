"""The time that the instrumentation adds to one `dispatch_execute`, in this process.

Prints a line of JSON: medians over interleaved rounds of pairwise ratios, so that a machine that slows down slows both
sides of a pair. Started by `benchmarks/run.py`, pinned to one CPU.
"""

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flytekit import task
from flytekit.core import utils
from flytekit.core.base_task import PythonTask
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import otel_flyte
from otel_flyte import semconv
from otel_flyte.adapters.flytekit_v1 import task_attributes
from otel_flyte.config import settings
from otel_flyte.sdk.id_generator import FlyteIdGenerator
from otel_flyte.usage import recorder

DISPATCHES = 200
TIMED = {"Execute user level code": "user code", "dispatch execute": "output translation"}


class NullExporter(SpanExporter):
    """Discards spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@task(retries=2, timeout=30)
def increment(value: int) -> int:
    return value + 1


def main(rounds: int) -> None:
    provider = TracerProvider(id_generator=FlyteIdGenerator())
    provider.add_span_processor(BatchSpanProcessor(NullExporter(), max_queue_size=100_000))
    dispatch = _dispatch()
    by_hand = _by_hand(provider, dispatch)
    otel_flyte.uninstrument()
    _seconds(dispatch)
    samples = [_round(provider, dispatch, by_hand) for _ in range(rounds)]
    print(
        json.dumps(
            {
                "bare": statistics.median(bare for bare, *_ in samples),
                "unconfigured": statistics.median(idle / bare for bare, idle, *_ in samples),
                "by hand": statistics.median(hand / bare for bare, _, hand, *_ in samples),
                "delivering": statistics.median(ours / bare for bare, _, _, ours, _ in samples),
                "share": statistics.median((ours - bare) / (hand - bare) for bare, _, hand, ours, _ in samples),
                "share without usage": statistics.median(
                    (without - bare) / (hand - bare) for bare, _, hand, _, without in samples
                ),
            }
        )
    )


def _round(
    provider: TracerProvider, dispatch: Callable[[], object], by_hand: Callable[[], object]
) -> tuple[float, float, float, float, float]:
    bare = _seconds(dispatch)
    with _four_spans(provider):
        hand = _seconds(by_hand)
    otel_flyte.instrument()
    idle = _seconds(dispatch)
    otel_flyte.instrument(tracer_provider=provider)
    ours = _seconds(dispatch)
    with _no_usage():
        without_usage = _seconds(dispatch)
    otel_flyte.uninstrument()
    provider.force_flush()
    gc.collect()
    return bare, idle, hand, ours, without_usage


@contextmanager
def _no_usage() -> Iterator[None]:
    """Reset values that a process reads only once, as in a new process."""
    recording, recorder._recorder, settings._current = recorder._recorder, None, None
    os.environ[semconv.OTEL_FLYTE_SAMPLE_INTERVAL] = "0"
    try:
        yield
    finally:
        del os.environ[semconv.OTEL_FLYTE_SAMPLE_INTERVAL]
        recorder._recorder, settings._current = recording, None


def _dispatch() -> Callable[[], object]:
    context = FlyteContextManager.current_context()
    inputs = TypeEngine.dict_to_literal_map(context, {"value": 5})
    state = context.execution_state.with_params(mode=ExecutionState.Mode.LOCAL_TASK_EXECUTION)
    context = context.with_execution_state(state).build()
    return lambda: increment.dispatch_execute(context, inputs)


def _by_hand(provider: TracerProvider, dispatch: Callable[[], object]) -> Callable[[], object]:
    tracer = provider.get_tracer("by hand")
    description = task_attributes.describe(increment)

    def call() -> object:
        with tracer.start_as_current_span(description.span_name, attributes=description.attributes):
            return dispatch()

    return call


@contextmanager
def _four_spans(provider: TracerProvider) -> Iterator[None]:
    """The same three phases written by hand, with `start_as_current_span` around each."""
    tracer = provider.get_tracer("by hand")
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


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(DISPATCHES):
        call()
    return (time.perf_counter() - start) / DISPATCHES


if __name__ == "__main__":
    main(int(sys.argv[1]))
