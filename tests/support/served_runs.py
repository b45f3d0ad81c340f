"""Executions for tests of the server: with usage, with workers, with log records, and one that runs."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry import trace

from otel_flyte import semconv
from support import otlp, traces, usages
from support.server import Served

ATTEMPT = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT}
MEASURED = "shop:development:measured"
RUNNING = "shop:development:running"
CPU = [10.0, 20.5, 30.25]


def resource(name: str, **more: str) -> dict[str, str]:
    """Return the resource of an execution in development."""
    return {**traces.EXECUTION_RESOURCE, semconv.RUN_NAME: name, semconv.DOMAIN: "development", **more}


def parent(number: int) -> trace.SpanContext:
    """Return an unrecorded span of the control plane in a trace of its own."""
    return trace.SpanContext(0xBEE << 100 | number, 0xC0 << 56, True, trace.TraceFlags(1))


def measured(folder: Path) -> Path:
    """Write an execution with usage: a task of three minutes, a retried one, a map, and one of two workers."""
    path = folder / "measured.jsonl"
    recorder = traces.Recorder.of_file(path, resource("measured", **{semconv.WORKFLOW_NAME: "shop.main"}))
    series = usages.series(cpu_usage=CPU, mem_usage=[40.0, 50.0, 60.0])
    own = {**ATTEMPT, **usages.quota(), **usages.usage(), **series}
    fetch = {**own, **usages.node("n0", "shop.fetch"), "customer": "a:b"}
    recorder.task("shop.fetch", 0, 170, fetch, parent=parent(1))
    failure = ("ValueError", "loss is not finite")
    recorder.task("shop.fit", 170, 180, {**ATTEMPT, **usages.node("n1", "shop.fit")}, parent=parent(1), error=failure)
    again = {**own, **usages.node("n1", "shop.fit", 1)}
    recorder.task("shop.fit", 180, 350, again, parent=parent(1))
    for index in range(3):
        item = {**own, **usages.node(f"n2/n{index}", "shop.score"), semconv.ARRAY_INDEX: index}
        recorder.task("shop.score", 350, 500, item, parent=parent(1))
    for replica in ("0", "1"):
        worker = {**own, **usages.node("n3", "shop.rank"), semconv.REPLICA: replica}
        recorder.task("shop.rank", 500, 640, worker, parent=parent(1))
    return path


def running(folder: Path) -> Path:
    """Write an execution whose only attempt runs since two and a half minutes: its pending span and its points."""
    path = folder / "running.jsonl"
    begin = (time.time_ns() - traces.BEGIN_NS) / 1e9 - 150
    own = resource("running", **{semconv.ACTION_NAME: "n0", semconv.ATTEMPT: "0", semconv.TASK_NAME: "shop.fit"})
    attempt = trace.SpanContext(parent(2).trace_id, 7, True, trace.TraceFlags(1))
    pending = {
        **usages.node("n0", "shop.fit"),
        semconv.SPAN_ROLE: semconv.SPAN_ROLE_PENDING,
        semconv.PENDING_START: traces.nanoseconds(begin),
    }
    recorder = traces.Recorder.of_file(path, resource("running"))
    for at in (begin, begin + 150):
        recorder.leaf("running", at, at, pending, parent=attempt)
    points = {round(begin) + at: value for at, value in ((61, 10.0), (121, 20.0))}
    usages.write_points(path, own, "shop.fit", cpu_usage=points)
    return path


def log_lines(span_id: str, texts: Mapping[str, str], begin: float = 0) -> str:
    """Return a request with a log record of the measured execution for each text, with its severity."""
    records: list[dict[str, Any]] = [
        {
            **otlp.log_record(text),
            "timeUnixNano": str(traces.nanoseconds(begin + number)),
            "severityText": severity,
            "traceId": f"{parent(1).trace_id:032x}",
            "spanId": span_id,
        }
        for number, (text, severity) in enumerate(texts.items())
    ]
    return json.dumps(otlp.message("logs", resource("measured"), records))


def send_all(served: Served) -> None:
    """Send a finished execution, one with usage, one that runs, and a local run."""
    folder = served.folder / "sent"
    folder.mkdir()
    traces.execution(traces.Recorder.of_file(folder / "finished.jsonl", traces.EXECUTION_RESOURCE))
    traces.local_run(traces.Recorder.of_file(folder / "local.jsonl"))
    for path in (folder / "finished.jsonl", folder / "local.jsonl", measured(folder), running(folder)):
        served.send_file(path)
