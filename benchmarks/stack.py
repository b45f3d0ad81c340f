"""The capacity of the bundled stack, natively on this machine: `python benchmarks/stack.py [SUBTASKS] [PROCESSES]`.

Counts the stored spans of a wide map task, and of a burst of short task processes while Tempo is stopped for a minute.
Prints a Markdown table. Each process has a dispatch and exports of its own: see `benchmarks/fleet.py`. Needs a Tempo on
PATH or in OTEL_FLYTE_TEMPO.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fleet
import psutil
import requests

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.stack import processes
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.tasks.identity import Attempt, Execution, unique_node_id
from support import native, pods, stack
from support.stack import Stack

MIB = 2**20
TRACE_LIMIT = 5_000_000
"""Tempo's default limit of a trace in bytes; beyond it the spans that end last are lost."""

OUTAGE_SECONDS = 60.0
TIMEOUT_SECONDS = 240.0
_AT_ONCE = 4


class Stored(NamedTuple):
    """The spans of some traces in Tempo."""

    spans: int
    duplicates: int
    """Spans that are stored twice: a span that was not acknowledged is sent again."""
    largest: int
    """Bytes of the largest trace."""


def main(subtasks: int, burst: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, stack.running(Path(name)) as running:
        if "tempo" not in running.state["processes"]:
            sys.exit("benchmarks/stack.py: Tempo is not installed: put `tempo` on PATH, or set OTEL_FLYTE_TEMPO")
        print("| measured | figure |")
        print("|---|---|")
        _map(running, Path(name) / "map", subtasks)
        discarded = _total(running, "tempo_discarded_spans_total")
        _burst(running, Path(name) / "burst", burst)
        discarded += _total(running, "tempo_discarded_spans_total")
        print(f"| spans discarded by Tempo | {discarded:,} |")
        print(f"| memory of Tempo, of the collector | {_memory(running, 'tempo')}, {_memory(running, 'collector')} |")


def _map(running: Stack, folder: Path, subtasks: int) -> None:
    search = f'{{ resource.{semconv.RUN_NAME} = "{fleet.MAP_EXECUTION}" }}'
    with _forked(running, folder, subtasks, "map") as ended:
        began = time.monotonic()
        _until(lambda: bool(_found(running, search)) or ended.is_set())
        first = time.monotonic() - began
    seconds = time.monotonic() - began
    sent = _sent(folder)
    ids = sorted({_trace_id(fleet.of_map(index)) for index in range(subtasks)})
    _until(lambda: _total(running, "tempo_distributor_spans_received_total") >= sent["traces"])
    stored = _stored(running, ids, sent["traces"])
    print(f"| subtasks of one map task, each a process | {subtasks:,}, in {seconds:.0f} s |")
    print(f"| spans sent, stored, stored twice | {sent['traces']:,}, {stored.spans:,}, {stored.duplicates:,} |")
    limit = f"{TRACE_LIMIT / 1e6:.0f} MB"
    print(f"| traces; the largest, with a limit of {limit} | {len(ids):,}; {stored.largest / 1e6:.2f} MB |")
    print(f"| first search result, after the start of the first process | {first:.1f} s |")
    print(f"| search for the execution, after all spans arrived | {_seconds(lambda: _found(running, search)):.2f} s |")
    last = search.replace("}", f"&& span.{semconv.ARRAY_INDEX} = {subtasks - 1} }}")
    print(f"| search for its last subtask | {_seconds(lambda: _found(running, last)):.2f} s |")
    execution = f"{Execution(pods.Attempt().project, pods.Attempt().domain, fleet.MAP_EXECUTION).trace_id():032x}"
    print(f"| opening the trace of the execution | {_seconds(lambda: _trace(running, execution)):.2f} s |")


def _burst(running: Stack, folder: Path, count: int) -> None:
    _stop(running, "tempo")
    stopped = began = time.monotonic()
    with _forked(running, folder, count, "executions"):
        pass
    seconds = time.monotonic() - began
    time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - stopped)))
    outage = time.monotonic() - stopped
    started = running.run("stack", "up", "--native")
    if started.returncode:
        sys.exit(started.stderr)
    sent = _sent(folder)
    ids = [_trace_id(fleet.of_executions(index)) for index in range(count)]
    catching_up = time.monotonic()
    _until(lambda: _total(running, "tempo_distributor_spans_received_total") >= sent["traces"])
    catching_up = time.monotonic() - catching_up
    stored = _stored(running, ids, sent["traces"])
    print(f"| short task processes in a burst | {count:,}, in {seconds:.0f} s |")
    print(f"| outage of Tempo during the burst | {outage:.0f} s |")
    print(f"| all spans arrived, after Tempo answered again | {catching_up:.0f} s |")
    print(f"| spans sent, stored, stored twice | {sent['traces']:,}, {stored.spans:,}, {stored.duplicates:,} |")
    print(f"| dropped spans | {sent['traces'] - stored.spans:,} |")


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def _forked(running: Stack, folder: Path, count: int, kind: str) -> Iterator[threading.Event]:
    """Run the processes. The event is set when all have ended, and the end of the block waits for it."""
    folder.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "FLYTE"))}
    command = [sys.executable, fleet.__file__, str(folder), str(count), kind]
    process = subprocess.Popen(command, env={**environ, **running.sender()})
    ended = threading.Event()

    def wait() -> None:
        process.wait()
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield ended
    finally:
        waiting.join()
    if process.returncode:
        sys.exit(f"benchmarks/stack.py: some of the {count} processes failed: {(folder / 'log').read_text()[-2000:]}")


def _sent(folder: Path) -> dict[str, int]:
    lines = [json.loads(line) for line in (folder / "counts").read_text().splitlines()]
    return {signal: sum(line.get(signal, 0) for line in lines) for signal in ("traces", "logs", "metrics")}


def _stop(running: Stack, part: str) -> None:
    processes.stop({processes.Process(**running.state["processes"][part]): BY_NAME[part].grace})


def _memory(running: Stack, part: str) -> str:
    return f"{psutil.Process(running.pid(part)).memory_info().rss / MIB:.0f} MiB"


# --- Tempo -----------------------------------------------------------------------------------------------------------


def _trace_id(pod: pods.Attempt) -> str:
    nodes = [name for name, _ in pod.nodes]
    numbers = [number for _, number in pod.nodes]
    if pod.array_index is not None:
        nodes, numbers = [*nodes, f"n{pod.array_index}"], [*numbers, pod.subtask_attempt]
    execution = Execution(pod.project, pod.domain, pod.execution)
    attempt = Attempt(execution, "/".join(nodes), unique_node_id(nodes, numbers), pod.number, pod.array_index)
    return f"{attempt.trace_id(settings.current().map_nested):032x}"


def _stored(running: Stack, trace_ids: list[str], sent: int) -> Stored:
    """Read traces, repeatedly, because a read may miss spans that Tempo is moving between its components."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (stored := _read(running, trace_ids)).spans < sent and time.monotonic() < deadline:
        time.sleep(5)
    return stored


def _read(running: Stack, trace_ids: list[str]) -> Stored:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda trace_id: _ids_and_size(running, trace_id), trace_ids))
    spans = [span for ids, _ in found for span in ids]
    return Stored(len(set(spans)), len(spans) - len(set(spans)), max(size for _, size in found))


def _ids_and_size(running: Stack, trace_id: str) -> tuple[list[str], int]:
    document = _trace(running, trace_id)
    ids = (
        [
            base64.b64decode(span["spanId"]).hex()
            for batch in json.loads(document)["batches"]
            for scope in batch["scopeSpans"]
            for span in scope["spans"]
        ]
        if document
        else []
    )
    return ids, len(_trace(running, trace_id, "application/protobuf"))


def _trace(running: Stack, trace_id: str, accept: str = "application/json") -> bytes:
    url = running.url("tempo", f"/api/traces/{trace_id}")
    answer = requests.get(url, headers={"Accept": accept}, timeout=native.TIMEOUT)
    return answer.content if answer.ok else b""


def _found(running: Stack, query: str) -> list[Any]:
    answer = _ask(running, "/api/search", q=query, limit=20)
    return list(answer.get("traces", []))


def _ask(running: Stack, path: str, **parameters: Any) -> dict[str, Any]:
    now = int(time.time()) + 1
    parameters |= {"start": now - 3000, "end": now}
    answer = requests.get(running.url("tempo", path), parameters, timeout=native.TIMEOUT)
    return dict(answer.json()) if answer.ok else {}


def _total(running: Stack, counter: str) -> int:
    """Return a counter of Tempo since its start."""
    page = requests.get(running.url("tempo", "/metrics"), timeout=native.TIMEOUT).text
    lines = [line for line in page.splitlines() if line.startswith(f"{counter}{{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.5)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*(int(number) for number in (*sys.argv[1:], *("5000", "1000")[len(sys.argv) - 1 :])))
