"""The same telemetry in an embedded database and in stand-ins of Tempo and Loki, as if it were of today."""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from otel_flyte import semconv
from support import served_runs, stores, traces
from support.server import Served, serving
from support.stores import Store

AGO = 7200
"""Seconds since the first task began."""

_TIME = re.compile(r'("(?:time|startTime|endTime|observedTime)UnixNano": ?")(\d+)(")')


@dataclass(frozen=True)
class Backends:
    """Stand-ins, and a server that reads them."""

    tempo: Store
    loki: Store
    served: Served

    def send(self, line: str) -> None:
        """Store a request of OTLP JSON where its signal belongs; points are left out."""
        if '"resourceSpans"' in line[:40]:
            self.tempo.send(line)
        elif '"resourceLogs"' in line[:40]:
            self.loki.send(line)


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Backends]:
    with stores.tempo() as tempo, stores.loki() as loki:
        addresses = ("--tempo", tempo.url, "--loki", loki.url)
        with serving(folder, *addresses, *options, receives=False) as served:
            yield Backends(tempo, loki, served)


def lines(folder: Path) -> list[str]:
    """Return requests: a finished execution, a local run, one with usage and log records, and one that runs."""
    folder.mkdir(exist_ok=True)
    traces.execution(traces.Recorder.of_file(folder / "finished.jsonl", traces.EXECUTION_RESOURCE))
    traces.local_run(traces.Recorder.of_file(folder / "local.jsonl"))
    measured = served_runs.measured(folder)
    old = [folder / "finished.jsonl", folder / "local.jsonl", measured]
    found = [_with_roles(_today(line)) for path in old for line in path.read_text().splitlines()]
    span_id = _span_ids(measured)["task shop.fetch"]
    texts = {"reading": "INFO", "slow": "WARN", "broken\nhere": "ERROR", "plain": ""}
    found.append(_today(served_runs.log_lines(span_id, texts)))
    return found + served_runs.running(folder).read_text().splitlines()


def _today(line: str) -> str:
    moved = time.time_ns() // 10**9 * 10**9 - AGO * 10**9 - traces.BEGIN_NS
    return _TIME.sub(lambda match: f"{match[1]}{int(match[2]) + moved}{match[3]}", line)


def _with_roles(line: str) -> str:
    """Return a request whose spans of tasks and workflows have their role, which a search in Tempo goes by."""
    document = json.loads(line)
    for resource in document.get("resourceSpans", ()):
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                role = _ROLES.get(span["name"].partition(" ")[0])
                attributes = span.setdefault("attributes", [])
                if role and all(each["key"] != semconv.SPAN_ROLE for each in attributes):
                    attributes.append({"key": semconv.SPAN_ROLE, "value": {"stringValue": role}})
    return json.dumps(document)


_ROLES = {"task": semconv.SPAN_ROLE_ATTEMPT, "workflow": semconv.SPAN_ROLE_EXECUTION}


def _span_ids(path: Path) -> dict[str, str]:
    documents: Sequence[dict[str, list[dict[str, list[dict[str, list[dict[str, str]]]]]]]] = [
        json.loads(line) for line in path.read_text().splitlines()
    ]
    return {
        span["name"]: span["spanId"]
        for document in documents
        for resource in document.get("resourceSpans", ())
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }
