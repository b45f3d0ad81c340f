"""Traces of the real SDK written by the real exporter, with fixed times and ids."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Status, StatusCode

from otel_flyte import semconv
from otel_flyte.export.file_exporter import FileSpanExporter

BEGIN_NS = 1_780_000_000_000_000_000
"""2026-05-28 20:26:40 UTC"""

STACKTRACE = """\
Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/flytekit/core/utils.py", line 312, in wrapper
    return fn(*args, **kwargs)
  File "/code/pipelines/train.py", line 42, in fit
    raise ValueError("loss is not finite")
"""


class Recorder:
    """Exports spans as they end; all times are seconds since ``BEGIN_NS``."""

    def __init__(self, exporter: SpanExporter, resource: Mapping[str, str] | None = None) -> None:
        self._provider = TracerProvider(
            resource=Resource(resource or {"service.name": "flyte"}),
            id_generator=_Counter(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(SimpleSpanProcessor(exporter))

    def add(self, processor: SpanProcessor) -> None:
        self._provider.add_span_processor(processor)

    @classmethod
    def of_file(cls, path: Path, resource: Mapping[str, str] | None = None) -> "Recorder":
        return cls(FileSpanExporter(path), resource)

    @contextmanager
    def span(
        self,
        name: str,
        start: float,
        end: float,
        attributes: Mapping[str, Any] | None = None,
        *,
        scope: str = semconv.SCOPE,
        error: tuple[str, str] | None = None,
        raised_here: bool = True,
        parent: trace.SpanContext | None = None,
    ) -> Iterator[Span]:
        """A span around the ``with`` block; ``error`` is an exception's type and message."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent else None
        tracer = self._provider.get_tracer(scope, "1.0")
        span = tracer.start_span(name, context, attributes=attributes, start_time=nanoseconds(start))
        assert isinstance(span, Span)
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield span
        if error:
            _fail(span, *error, raised_here=raised_here, at=end)
        span.end(nanoseconds(end))

    def leaf(
        self, name: str, start: float, end: float, attributes: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """A span without children."""
        with self.span(name, start, end, attributes, **options):
            pass

    def task(
        self, name: str, start: float, end: float, attributes: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """A task attempt with phases of 10, 80 and 10 per cent; its user code raises the error."""
        step = (end - start) / 10
        error = options.get("error")
        with self.span(f"task {name}", start, end, attributes, **{**options, "raised_here": False}):
            self.leaf(semconv.PHASE_INPUT, start, start + step)
            self.leaf(semconv.PHASE_USER_CODE, start + step, end - step, error=error)
            if not error:
                self.leaf(semconv.PHASE_OUTPUT, end - step, end)


def nanoseconds(seconds: float) -> int:
    return BEGIN_NS + round(seconds * 1e6) * 1000


def in_execution(number: int) -> trace.SpanContext:
    """Return an unrecorded span of the control plane, the parent of spans in pods."""
    return trace.SpanContext(0xF1C0FFEE << 96, 0xC0 << 56 | number, True, trace.TraceFlags(1))


class _Counter(IdGenerator):
    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._numbers)

    def generate_trace_id(self) -> int:
        return 0xA0 << 120 | next(self._numbers)


def _fail(span: Span, kind: str, message: str, *, raised_here: bool, at: float) -> None:
    span.set_status(Status(StatusCode.ERROR, message))
    span.set_attribute(semconv.ERROR_TYPE, kind)
    if raised_here:
        exception = {
            semconv.EXCEPTION_TYPE: kind,
            semconv.EXCEPTION_MESSAGE: message,
            semconv.EXCEPTION_STACKTRACE: f"{STACKTRACE}{kind}: {message}\n",
        }
        span.add_event(semconv.EVENT_EXCEPTION, exception, nanoseconds(at))


def local_run(recorder: Recorder) -> None:
    """Write a local workflow: a task with a user's span, a cached task, a map, and a failed task."""
    failure = ("ValueError", "loss is not finite")
    with recorder.span(
        "workflow shop.main", 0, 10, {semconv.WORKFLOW_NAME: "shop.main"}, error=failure, raised_here=False
    ):
        with recorder.span("task shop.fetch", 0.5, 3, {semconv.CACHE_STATUS: semconv.CACHE_MISS}):
            recorder.leaf(semconv.PHASE_INPUT, 0.5, 0.502)
            with recorder.span(semconv.PHASE_USER_CODE, 0.502, 2.9):
                recorder.leaf("GET /reviews", 1, 2, {"http.response.status_code": 200}, scope="requests")
            recorder.leaf(semconv.PHASE_OUTPUT, 2.9, 3)
        recorder.leaf("task shop.fetch", 3, 3.001, {semconv.CACHE_STATUS: semconv.CACHE_HIT})
        map_task = recorder.span(
            f"task shop.map_score_{'0f' * 16}-arraynode", 3, 6, {semconv.TASK_KIND: semconv.KIND_MAP}
        )
        with map_task, recorder.span(semconv.PHASE_USER_CODE, 3, 6):
            for index in range(3):
                recorder.leaf(semconv.SPAN_MAP_ITEM, 3 + index, 4 + index, {semconv.ARRAY_INDEX: index})
        recorder.task("shop.train", 6, 9.5, error=failure)


def execution(recorder: Recorder) -> None:
    """Write the pods of one execution: a retried node, a map of thirty subtasks, and a cache hit."""
    fit = {semconv.NODE_PATH: "n1", semconv.ACTION_NAME: "n1", semconv.TASK_NAME: "train.fit"}
    recorder.task("train.prepare", 0, 10, {semconv.NODE_PATH: "n0", semconv.ATTEMPT: 0}, parent=in_execution(1))
    verdict = {semconv.ERROR_CODE: "USER:Recoverable", semconv.ERROR_KIND: "RECOVERABLE"}
    failed = {**fit, **verdict, semconv.ATTEMPT: 0, semconv.RESULT: semconv.RESULT_FAILURE}
    succeeded = {**fit, semconv.ATTEMPT: 1, semconv.RESULT: semconv.RESULT_SUCCESS}
    recorder.task("train.fit", 45, 100, succeeded, parent=in_execution(3))
    recorder.task("train.fit", 12, 40, failed, parent=in_execution(2), error=("ValueError", "loss is not finite"))
    for index in range(30):
        subtask = {semconv.NODE_PATH: f"n2/n{index}", semconv.ATTEMPT: 0, semconv.ARRAY_INDEX: index}
        error = ("KeyError", "'label'") if index == 7 else None
        recorder.task("train.score", 100, 102 + index % 7, subtask, parent=in_execution(100 + index), error=error)


def killed(path: Path) -> None:
    """Write the telemetry of an attempt killed in user code: its pending span, its log records, a few spans."""
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    attempt = trace.SpanContext(0xF1C0FFEE << 96, 0xA7 << 56, False, trace.TraceFlags(1))
    inside = trace.SpanContext(0xF1C0FFEE << 96, 0xC0DE << 48, False, trace.TraceFlags(1))
    identity = {semconv.TASK_NAME: "train.fit", semconv.NODE_PATH: "n1", semconv.ATTEMPT: 0}
    marker = {**identity, semconv.MARKER: True, semconv.PHASE: semconv.PHASE_LOAD}
    with recorder.span(semconv.SPAN_RUNNING, 0.5, 0.5, marker, parent=attempt) as running:
        ids = {"traceId": f"{running.context.trace_id:032x}", "spanId": f"{running.context.span_id:016x}"}
    recorder.leaf(semconv.PHASE_LOAD, 0, 2, parent=attempt)
    recorder.leaf(semconv.PHASE_INPUT, 2, 4, parent=attempt)
    recorder.leaf("epoch 1", 5, 25, scope="trainer", parent=inside)
    for name, at, elapsed in ((semconv.EVENT_PHASE, 5, 1.0), (semconv.EVENT_HEARTBEAT, 46, 42.0)):
        values = [
            {"key": semconv.EVENT_NAME, "value": {"stringValue": name}},
            {"key": semconv.PHASE, "value": {"stringValue": semconv.PHASE_USER_CODE}},
            {"key": semconv.PHASE_ELAPSED, "value": {"doubleValue": elapsed}},
        ]
        record = {"timeUnixNano": str(nanoseconds(at)), "attributes": values, **ids}
        with path.open("a") as file:
            file.write(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}) + "\n")


EXECUTION_RESOURCE = {
    "service.name": "flyte",
    semconv.RUN_NAME: "f1c0ffee",
    semconv.PROJECT: "shop",
    semconv.DOMAIN: "production",
}


class Kept(SpanExporter):
    """An exporter that keeps its spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> Any:
        self.spans += spans


def sdk_spans(*names: str, size: int = 0) -> list[ReadableSpan]:
    """Return ended spans of the SDK, each with an attribute of ``size`` characters."""
    kept = Kept()
    provider = TracerProvider(resource=Resource({"service.name": "flyte"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for name in names:
        provider.get_tracer("s").start_span(name, attributes={"filler": "x" * size}).end()
    return kept.spans
