"""Times of the commands that read a large recording: `python benchmarks/recordings.py [SPANS] [ROUNDS]`.

Each figure is of a whole process, the best of some rounds, with the most memory that the process had. The recording is
an execution: a map of thousands of subtasks, of which some fail and are tried again, each with its phases, spans of its
user, log records and, in the longest, metric records. It is the same in each run.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from otel_flyte import semconv  # noqa: E402  # after the path, as the next
from support import usages  # noqa: E402
from support.traces import BEGIN_NS, EXECUTION_RESOURCE, STACKTRACE  # noqa: E402

SPANS_OF_SUBTASK = 20
ERRORS = (("KeyError", "'label'"), ("ValueError", "loss is not finite"), ("MemoryError", "no room for the batch"))
PHASES = (
    (semconv.PHASE_LOAD, 0.0, 0.1),
    (semconv.PHASE_INPUT, 0.1, 0.15),
    (semconv.PHASE_USER_CODE, 0.15, 0.95),
    (semconv.PHASE_OUTPUT, 0.95, 1.0),
)
GOALS = {"report": (5.0, 5.0), "show": (2.0, None), "dump": (6.0, None), "explain": (None, None)}
"""Seconds, and MiB of the page."""

TRACE_ID = f"{0xF1C0FFEE << 96:032x}"

Json = dict[str, Any]


class Figures(NamedTuple):
    """Of one command: seconds, seconds of CPU, MiB of its output, MiB of memory at its peak."""

    seconds: float
    cpu: float
    output: float
    memory: float


def main(spans: int, rounds: int) -> None:
    """Print the table as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.jsonl"
        write(path, spans)
        print("| command | s | goal | s of CPU | MiB of output | goal | MiB of memory |")
        print("|---|---|---|---|---|---|---|")
        for command, goals in GOALS.items():
            taken = [_run(command, path, Path(folder) / "output") for _ in range(rounds)]
            best = Figures(*map(min, zip(*taken, strict=True)))
            most, largest = ("" if goal is None else f"≤ {goal:g}" for goal in goals)
            print(
                f"| `{command}` | {best.seconds:.2f} | {most} | {best.cpu:.2f} "
                f"| {best.output:.1f} | {largest} | {best.memory:.0f} |",
                flush=True,
            )
        print(f"\n{spans:,} spans in {path.stat().st_size / 2**20:.0f} MiB; {rounds} rounds, the best of each")


def write(path: Path, spans: int) -> None:
    """Write a recording with so many spans, or a few more."""
    chance = random.Random(0)  # the same recording in each run
    with path.open("w") as file:
        for index in range(-(-spans // SPANS_OF_SUBTASK)):
            for line in _pod(chance, index):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _run(command: str, source: Path, output: Path) -> Figures:
    """Run a command in a process of its own."""
    options = ["-o", str(output)] if command == "report" else []
    began = time.perf_counter()
    with Path(os.devnull if options else output).open("wb") as written:
        arguments = [sys.executable, "-m", "otel_flyte", command, str(source), *options]
        process = subprocess.Popen(arguments, stdout=written)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} exited with {process.returncode}")
    # Linux counts KiB, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    took = time.perf_counter() - began
    return Figures(took, usage.ru_utime + usage.ru_stime, output.stat().st_size / 2**20, usage.ru_maxrss / unit)


def _pod(chance: random.Random, index: int) -> Iterator[Json]:
    """Return the lines that the pods of a subtask write: of one in fifty that of a failed attempt before it."""
    attempts = 2 if index % 50 == 7 else 1
    begin = BEGIN_NS + index % 97 * 10**9
    for number in range(attempts):
        length = round((5 + index % 13 + chance.random()) * 10**9) * (10 if index % 100 == 3 else 1)
        error = ERRORS[index % 3] if number < attempts - 1 or index % 250 == 9 else None
        yield from _attempt(chance, (index, number), (begin, begin + length), error, SPANS_OF_SUBTASK // attempts)
        begin += length + 10**9


def _attempt(
    chance: random.Random,
    place: tuple[int, int],
    times: tuple[int, int],
    error: tuple[str, str] | None,
    spans: int,
) -> Iterator[Json]:
    index, number = place
    begin, end = times
    resource = {
        **EXECUTION_RESOURCE,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.2",
        "service.instance.id": _id(chance, 16),
        "k8s.namespace.name": "shop-production",
        "k8s.pod.name": f"f1c0ffee-n2-{number}-n{index}-{number}",
        semconv.WORKFLOW_NAME: "train.main",
    }
    task_id, user_code = _id(chance), _id(chance)
    task = {
        **usages.node(f"n2/n{index}", "train.score", number),
        semconv.ARRAY_INDEX: index,
        semconv.TASK_VERSION: "v7",
        semconv.CODE_FUNCTION_NAME: "train.score",
        semconv.CODE_FILE_PATH: "/code/pipelines/train.py",
        semconv.CODE_LINE_NUMBER: 42,
        semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT,
        semconv.INPUT_URI.format(variable="shard"): f"s3://bucket/shards/{index:05}.parquet",
        **usages.quota(),
        **usages.usage(chance.random(), 1 + chance.random(), chance.randrange(usages.GIB, 4 * usages.GIB)),
    }
    own = [_span(task_id, f"{0xC0 << 56 | index:016x}", "task train.score", times, task, error=error)]
    for phase, first, last in PHASES:
        ids = (user_code if phase == semconv.PHASE_USER_CODE else _id(chance), task_id)
        failed = error if phase == semconv.PHASE_USER_CODE else None
        during = (begin + round(first * (end - begin)), begin + round(last * (end - begin)))
        role = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_PHASE}
        own.append(_span(*ids, phase, during, role, error=failed, is_raised=True))
    users = [_users(chance, user_code, (index, step), begin, end - begin) for step in range(spans - len(own))]
    scopes = [
        {"scope": {"name": semconv.SCOPE, "version": "0.1.0"}, "spans": own},
        {"scope": {"name": "train"}, "spans": users},
    ]
    yield {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": scopes}]}
    records = [
        _record(user_code, begin + 10**8 * line, f"shard {index}: scored batch {line} of 2") for line in range(2)
    ]
    scopes = [{"scope": {"name": "train"}, "logRecords": records}]
    yield {"resourceLogs": [{"resource": {"attributes": _attributes(resource)}, "scopeLogs": scopes}]}
    for at in range(begin + 60 * 10**9, end, 60 * 10**9):
        metrics = [_gauge(name, at, chance.random() * 90) for name in (semconv.SERIES_CPU, semconv.SERIES_MEMORY)]
        scopes = [{"scope": {"name": semconv.SCOPE}, "metrics": metrics}]
        yield {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": scopes}]}


def _users(chance: random.Random, parent_id: str, place: tuple[int, int], begin: int, length: int) -> Json:
    """Return a span of a user's: one of a client of HTTP, or a step of a loop."""
    index, step = place
    at = begin + round((0.15 + 0.05 * step) * length)
    end = at + round(chance.random() * 0.04 * length)
    if step % 3:
        return _span(_id(chance), parent_id, "batch", (at, end), {"batch": step, "rows": 512})
    attributes = {
        "http.request.method": "GET",
        "url.full": f"https://reviews.example.com/shards/{index}",
        "http.response.status_code": 200 if chance.random() < 0.98 else 503,
    }
    return _span(_id(chance), parent_id, "GET", (at, end), attributes, kind=3)


def _span(
    span_id: str,
    parent_id: str,
    name: str,
    times: tuple[int, int],
    attributes: Json,
    *,
    error: tuple[str, str] | None = None,
    is_raised: bool = False,
    kind: int = 1,
) -> Json:
    begin, end = times
    span: Json = {
        "traceId": TRACE_ID,
        "spanId": span_id,
        "parentSpanId": parent_id,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(attributes | ({semconv.ERROR_TYPE: error[0]} if error else {})),
        "status": {"code": 2, "message": error[1]} if error else {},
        "flags": 256,
    }
    if error and is_raised:
        exception = {
            semconv.EXCEPTION_TYPE: error[0],
            semconv.EXCEPTION_MESSAGE: error[1],
            semconv.EXCEPTION_STACKTRACE: f"{STACKTRACE}{error[0]}: {error[1]}\n",
        }
        name = semconv.EVENT_EXCEPTION
        span["events"] = [{"name": name, "timeUnixNano": str(end), "attributes": _attributes(exception)}]
    return span


def _record(span_id: str, at: int, text: str) -> Json:
    return {
        "timeUnixNano": str(at),
        "observedTimeUnixNano": str(at),
        "severityNumber": 9,
        "severityText": "INFO",
        "body": {"stringValue": text},
        "attributes": _attributes({semconv.TASK_NAME: "train.score"}),
        "flags": 1,
        "traceId": TRACE_ID,
        "spanId": span_id,
    }


def _gauge(series: str, at: int, value: float) -> Json:
    attributes = _attributes({semconv.TASK_NAME: "train.score"})
    point = {"timeUnixNano": str(at), "asDouble": value, "attributes": attributes}
    return {"name": semconv.METRIC_TASK_SERIES.format(name=series), "unit": "%", "gauge": {"dataPoints": [point]}}


def _attributes(values: Json) -> Sequence[Json]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> Json:
    if isinstance(value, str):
        return {"stringValue": value}
    return {"doubleValue": value} if isinstance(value, float) else {"intValue": str(value)}


def _id(chance: random.Random, size: int = 8) -> str:
    return chance.randbytes(size).hex()


if __name__ == "__main__":
    main(*(int(number) for number in (*sys.argv[1:], *("100000", "3")[len(sys.argv) - 1 :])))
