"""The records in a ledger, at a receiver, and in a spool, each by a unique name.

The name of a span is its id. Only points and log records of the work are counted: they contain their names.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.receiver import Request

NOUNS = {"spans": "span", "metric data points": "point", "log records": "log"}
"""The names of the kinds of records in otel-flyte's lines on stderr."""

_DROPPED = re.compile(r"otel-flyte: (\d+ .+?) (?:was|were) dropped \((.*?)\): ", re.MULTILINE)
_COUNTED = re.compile(r"(\d+) ([a-z ]+?)s?(?:, | and |$)")
_REASON = re.compile(r"(\d+) (.*?)(?=, \d+ |$)")


@dataclass(frozen=True)
class Ledger:
    """The events written by the processes of a program."""

    events: tuple[tuple[float, str], ...]

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return cls(tuple((float(time), event) for time, _, event in (line.partition(" ") for line in whole)))

    @property
    def made(self) -> frozenset[str]:
        return frozenset(event.removeprefix("made ") for _, event in self.events if event.startswith("made "))

    def time_of(self, event: str) -> float | None:
        """Return the time of the first such event."""
        return next((time for time, noted in self.events if noted == event), None)

    @property
    def join_seconds(self) -> float | None:
        """Return the seconds until a terminated child ended."""
        found = [event for _, event in self.events if event.startswith("joined after ")]
        return float(found[0].rpartition(" ")[2]) if found else None


def received(requests: Iterable[Request]) -> Counter[str]:
    """Return how many times each record has arrived."""
    return Counter(name for request in requests for name in _of_message(request.message))


def spooled(folder: Path) -> Counter[str]:
    """Return how many times each record waits in a spool."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.jsonl"):
        if not path.name.endswith(".rejected.jsonl"):
            sent = path.with_name(f"{path.name}.sent")
            found += _of_lines(path.read_bytes()[int(sent.read_text().split()[0]) if sent.exists() else 0 :])
    return found


def put_aside(folder: Path) -> Counter[str]:
    """Return how many times each record is among those that a receiver rejected."""
    files = folder.glob("*.rejected.jsonl")
    return sum((_of_lines(path.read_bytes()) for path in files), Counter[str]())


def dropped(stderr: str) -> dict[str, Counter[str]]:
    """Return the reported numbers of dropped records by reason, for each kind of record."""
    found: dict[str, Counter[str]] = {}
    for kinds, reasons in _DROPPED.findall(stderr):
        counted = _COUNTED.findall(kinds)
        for number, noun in counted:
            counts = found.setdefault(NOUNS[f"{noun}s"], Counter())
            # One line for several kinds has one reason.
            each = _REASON.findall(reasons) if len(counted) == 1 else [(number, reasons)]
            counts.update({reason: int(of_reason) for of_reason, reason in each})
    return found


def _of_lines(content: bytes) -> Counter[str]:
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    return Counter(name for line in whole for name in _of_line(json.loads(line)))


def _of_line(line: Any) -> Iterator[str]:
    for one in line.get("resourceSpans", ()):
        for scope in one["scopeSpans"]:
            yield from (f"span {span['spanId'].lower()}" for span in scope["spans"])
    for one in line.get("resourceLogs", ()):
        for scope in one["scopeLogs"]:
            bodies = (record.get("body", {}).get("stringValue", "") for record in scope["logRecords"])
            yield from (body for body in bodies if body.startswith("log "))
    for one in line.get("resourceMetrics", ()):
        for metric in (metric for scope in one["scopeMetrics"] for metric in scope["metrics"]):
            if metric["name"] == "user.counter":
                points = metric["sum"]["dataPoints"]
                yield from (point["attributes"][0]["value"]["stringValue"] for point in points)


def _of_message(message: Any) -> Iterator[str]:
    kind = type(message).__name__
    if kind == "ExportTraceServiceRequest":
        for scope in (scope for one in message.resource_spans for scope in one.scope_spans):
            yield from (f"span {span.span_id.hex()}" for span in scope.spans)
    elif kind == "ExportLogsServiceRequest":
        for scope in (scope for one in message.resource_logs for scope in one.scope_logs):
            bodies = (record.body.string_value for record in scope.log_records)
            yield from (body for body in bodies if body.startswith("log "))
    else:
        for scope in (scope for one in message.resource_metrics for scope in one.scope_metrics):
            for metric in scope.metrics:
                if metric.name == "user.counter":
                    yield from (point.attributes[0].value.string_value for point in metric.sum.data_points)
