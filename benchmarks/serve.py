"""`otel-flyte serve` beside Jaeger with Badger: `python benchmarks/serve.py [SPANS] [PATH OF JAEGER]`.

Both get the same OTLP over HTTP on one core, one after the other; the sender has another core. Jaeger is the program of
`github.com/jaegertracing/jaeger/cmd/jaeger` 1.76; without its path only otel-flyte is measured. Queries are the best of
three, or the first where answers are kept, over HTTP, to the last byte of the answer. A picture is the one in Chromium:
the first rows of an execution, then all of its spans. Jaeger built from its module has no page: only its JSON is
measured.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from otel_flyte import semconv  # noqa: E402  # after the path, as the next
from support.browser import Browser, browser  # noqa: E402
from support.server import free_ports, serving  # noqa: E402

BATCH = 512
LARGE = 80 * BATCH
"""Spans of the largest execution; all others have a tenth of it."""
SENDERS = 4
BEGIN_NS = 1_700_000_000_000_000_000
CORES = sorted(os.sched_getaffinity(0))
GOALS = {"picture": "≤ 1,000", "ingest": "≥ 10,000", "lost": "0", "memory": "≤ 200", "list": "≤ 100", "search": "≤ 500"}
ROWS = {
    "ingest": "spans/s on one core",
    "lost": "spans lost",
    "memory": "MiB of memory then",
    "disk": "MiB on disk",
    "list": "ms for the list of executions",
    "large": f"ms for all data of an execution of {LARGE:,} spans",
    "picture": "ms to the first picture of it",
    "all": "ms to all of its rows",
    "after": "MiB of memory after the queries",
    "search": "ms for a search by attribute",
}
YAML = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
extensions:
  jaeger_storage:
    backends:
      all: {{badger: {{directories: {{keys: {folder}/keys, values: {folder}/values}}, ephemeral: false}}}}
  jaeger_query:
    storage: {{traces: all}}
    http: {{endpoint: "127.0.0.1:{page}"}}
    grpc: {{endpoint: "127.0.0.1:{grpc}"}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: all}}
"""


class Server(NamedTuple):
    """A server that is ready.

    Attributes:
        otlp: the base of OTLP over HTTP.
        pid: of its process.
        folder: its data.
        queries: the URL of each query.
        stored: returns the number of stored spans, ``None`` where that can't be asked.
        page: the URL of the page of the largest execution, empty where there is none.
    """

    otlp: str
    pid: int
    folder: Path
    queries: dict[str, str]
    stored: Callable[[], int | None]
    page: str = ""


def main(spans: int, jaeger: str | None) -> None:
    """Print the table as Markdown."""
    os.sched_setaffinity(0, {CORES[-1]})
    with tempfile.TemporaryDirectory() as folder:
        measured = {"otel-flyte": _measured(_ours(Path(folder, "ours")), spans)}
        if jaeger is not None:
            measured["Jaeger"] = _measured(_jaegers(Path(folder, "jaeger"), jaeger), spans)
    print(f"| {spans:,} spans | {' | '.join(measured)} | goal |\n|---|{'--:|' * len(measured)}---|")
    for key, row in ROWS.items():
        cells = [f"{value:,.0f}" if (value := values.get(key)) is not None else "" for values in measured.values()]
        print(f"| {row} | {' | '.join(cells)} | {GOALS.get(key, '')} |")


def _measured(running: "contextlib.AbstractContextManager[Server]", spans: int) -> dict[str, float | None]:
    with running as server:
        os.sched_setaffinity(server.pid, {CORES[0]})
        rate = _sent(server, spans)
        stored = server.stored()
        figures: dict[str, float | None] = {
            "ingest": rate,
            "lost": None if stored is None else spans - stored,
            "memory": _memory(server.pid),
            "disk": sum(path.stat().st_size for path in server.folder.rglob("*") if path.is_file()) / 2**20,
        }
        # The server keeps what it has rendered: all data are asked for once.
        rounds = {"large": 1}
        for name, url in server.queries.items():
            figures[name] = min(_asked(url) for _ in range(rounds.get(name, 3)))
        if server.page:
            figures["picture"], figures["all"] = map(min, zip(*(_drawn(server.page) for _ in range(3)), strict=True))
        return figures | {"after": _memory(server.pid)}


def _drawn(page: str) -> tuple[float, float]:
    """Return the milliseconds from a click to the first rows of a page, and to all of its spans."""
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as tab:
        tab.open(page.partition("/executions/")[0])
        begin = time.monotonic()
        tab.run(f"location.href = {page!r}")
        taken = []
        for condition in (FIRST, ALL):
            while not _holds(tab, condition):
                assert time.monotonic() < begin + 60, condition
                time.sleep(0.005)
            taken.append((time.monotonic() - begin) * 1000)
        return taken[0], taken[1]


def _holds(tab: Browser, condition: str) -> bool:
    # There is no page to ask while the browser goes from one to the next.
    with contextlib.suppress(Exception):
        return bool(tab.run(condition))
    return False


FIRST = "document.querySelectorAll('.rows .row').length > 0"
ALL = f"document.querySelector('.facts').textContent.includes('{LARGE:,} spans')"


def _asked(url: str) -> float:
    begin = time.monotonic()
    answer = requests.get(url, timeout=120)
    answer.raise_for_status()
    return (time.monotonic() - begin) * 1000


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _sent(server: Server, spans: int) -> float:
    """Send all spans, and return how many a second."""
    numbers = iter(range(0, spans, BATCH))
    lock = threading.Lock()

    def send() -> None:
        session = requests.Session()
        while True:
            with lock:
                first = next(numbers, None)
            if first is None:
                return
            body = _request(first, min(BATCH, spans - first))
            while (
                code := session.post(f"{server.otlp}/v1/traces", body, headers=HEADERS, timeout=60).status_code
            ) != 200:
                assert code in (429, 503), code
                time.sleep(0.1)

    begin = time.monotonic()
    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return spans / (time.monotonic() - begin)


HEADERS = {"Content-Type": "application/x-protobuf"}


def _execution(first: int) -> int:
    """Return the number of the execution of a span."""
    return 0 if first < LARGE else 1 + (first - LARGE) // (LARGE // 10)


def _request(first: int, number: int) -> bytes:
    made = ExportTraceServiceRequest()
    execution = _execution(first)
    in_resource = made.resource_spans.add()
    _describe(
        in_resource.resource,
        {
            "service.name": "flyte",
            semconv.RUN_NAME: f"f{execution:019d}",
            semconv.PROJECT: "flytesnacks",
            semconv.DOMAIN: "development",
            semconv.WORKFLOW_NAME: "train.pipeline",
            semconv.ACTION_NAME: "n0",
            semconv.SERVICE_INSTANCE_ID: f"{execution}-{first // 5120}",
            "host.name": "node-1",
            "k8s.pod.name": f"f{execution:019d}-n0-{first // 5120}",
        },
    )
    ours, users = in_resource.scope_spans.add(), in_resource.scope_spans.add()
    ours.scope.name, users.scope.name = semconv.SCOPE, "users.own"
    attempt = (first + 1).to_bytes(8, "big")
    for index in range(first, first + number):
        is_attempt, is_phase = index == first, index % 8 == 0
        span = (ours if is_attempt or is_phase else users).spans.add(
            trace_id=(execution + 1).to_bytes(16, "big"),
            span_id=(index + 1).to_bytes(8, "big"),
            parent_span_id=b"" if is_attempt else attempt,
            name="task train.fit" if is_attempt else semconv.PHASE_USER_CODE if is_phase else f"step {index % 7}",
            kind=1,
            start_time_unix_nano=BEGIN_NS + index * 10**6,
            end_time_unix_nano=BEGIN_NS + index * 10**6 + 900_000,
        )
        role = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT if is_attempt else semconv.SPAN_ROLE_PHASE}
        own = {"table": f"t{index % 20}", "shard": f"s{index // 1000}", "code.function.name": "load_batch"}
        _describe(span, role | {semconv.TASK_NAME: "train.fit"} if is_attempt or is_phase else own)
    return made.SerializeToString()


def _describe(message: Any, attributes: dict[str, str]) -> None:
    for name, value in attributes.items():
        message.attributes.add(key=name).value.string_value = value


@contextlib.contextmanager
def _ours(folder: Path) -> Iterator[Server]:
    with serving(folder) as served:
        key = quote(f"flytesnacks:development:f{0:019d}", safe="")
        api = f"{served.url}/api/v1/executions"
        queries = {
            "list": f"{api}?limit=100",
            "large": f"{served.url}/data/{key}",
            "search": f"{api}?attribute=shard:s123",
        }

        def stored() -> int:
            listed, after = 0, ""
            while True:
                answer = requests.get(f"{api}?limit=1000{after}", timeout=60).json()
                listed += sum(int(each["spans"]) for each in answer["executions"])
                if not answer["next"]:
                    return listed
                after = f"&after={quote(answer['next'])}"

        yield Server(served.otlp_http, served.process.pid, folder, queries, stored, f"{served.url}/executions/{key}")


@contextlib.contextmanager
def _jaegers(folder: Path, path: str) -> Iterator[Server]:
    folder.mkdir()
    page, grpc, otlp = free_ports(3)
    (folder / "jaeger.yaml").write_text(YAML.format(folder=folder, page=page, grpc=grpc, otlp=otlp))
    quiet = {**os.environ, "OTEL_TRACES_SAMPLER": "always_off"}
    command = [path, "--config", str(folder / "jaeger.yaml")]
    process = subprocess.Popen(command, env=quiet, stderr=subprocess.DEVNULL)
    api = f"http://127.0.0.1:{page}/api"
    around = f"start={BEGIN_NS // 1000 - 10**6}&end={BEGIN_NS // 1000 + 10**10}"
    queries = {
        "list": f"{api}/traces?service=flyte&limit=100&{around}",
        "large": f"{api}/traces/{1:032x}",
        "search": f"{api}/traces?service=flyte&limit=100&tags=%7B%22shard%22%3A%22s123%22%7D&{around}",
    }
    try:
        while not _answers(f"{api}/services"):
            assert process.poll() is None
            time.sleep(0.2)
        yield Server(f"http://127.0.0.1:{otlp}", process.pid, folder, queries, lambda: None)
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, sys.argv[2] if len(sys.argv) > 2 else None)
