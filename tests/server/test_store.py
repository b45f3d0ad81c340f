"""What the server acknowledges is on disk: it survives any end of the server, and is there once."""

import gzip
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_flyte import semconv
from otel_flyte.server.store import batches, schema
from otel_flyte.server.store.retention import Limits
from otel_flyte.server.store.writer import Writer
from support import otlp, programs
from support.server import Served, free_ports, serving

pytestmark = pytest.mark.newest_only

PROTOBUF = {"Content-Type": "application/x-protobuf"}
KILLS = int(os.environ.get("KILLS", "8"))
"""The number of times that the server is killed."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as server:
        yield server


def request(
    *numbers: int, run: str = "f1", size: int = 0, end_ns: int | None = None, trace: bytes = b""
) -> ExportTraceServiceRequest:
    """Return a request with a span for each number, which is its id."""
    made = ExportTraceServiceRequest()
    in_resource = made.resource_spans.add()
    identity = {semconv.RUN_NAME: run, semconv.PROJECT: "p", semconv.DOMAIN: "d", "service.name": "test"}
    for name, value in identity.items() if run else ():
        in_resource.resource.attributes.add(key=name).value.string_value = value
    in_scope = in_resource.scope_spans.add()
    in_scope.scope.name = "users.own"
    for number in numbers:
        end = time.time_ns() if end_ns is None else end_ns
        span = in_scope.spans.add(
            trace_id=(trace or run.encode()).rjust(16, b"\1"),
            span_id=number.to_bytes(8, "big"),
            name="step",
            start_time_unix_nano=end - 1000,
            end_time_unix_nano=end,
        )
        span.attributes.add(key="filling").value.string_value = "x" * size
    return made


def send(served: Served, message: ExportTraceServiceRequest, **options: Any) -> requests.Response:
    options = {"headers": PROTOBUF, "data": message.SerializeToString(), **options}
    return requests.post(f"{served.otlp_http}/v1/traces", timeout=30, **options)


def stored(folder: Path) -> list[int]:
    """Return the ids of the stored spans."""
    with sqlite3.connect(folder / ".otel-flyte" / "telemetry.db") as database:
        return sorted(int.from_bytes(span_id, "big") for (span_id,) in database.execute("SELECT span_id FROM spans"))


def test_acknowledged_spans_survive_any_kill_and_are_there_once(tmp_path: Path) -> None:
    numbers = iter(range(1, 10**9))
    acknowledged: set[int] = set()
    unanswered: list[list[int]] = []
    for _ in range(KILLS):
        with serving(tmp_path) as served:
            sender = threading.Thread(target=_send_until_it_fails, args=(served, numbers, acknowledged, unanswered))
            sender.start()
            time.sleep(random.uniform(0.05, 0.6))
            served.process.send_signal(signal.SIGKILL)
            sender.join()
    with serving(tmp_path) as served:
        for batch in unanswered:
            assert send(served, request(*batch)).status_code == 200

    sent = acknowledged.union(*unanswered)
    assert len(acknowledged) > KILLS
    assert stored(tmp_path) == sorted(sent)


def _send_until_it_fails(
    served: Served, numbers: Iterator[int], acknowledged: set[int], unanswered: list[list[int]]
) -> None:
    # What was sent without an answer before is sent again first, as an exporter does.
    while True:
        batch = unanswered.pop() if unanswered else [next(numbers) for _ in range(100)]
        try:
            assert send(served, request(*batch)).status_code == 200
        except requests.RequestException:
            unanswered.append(batch)
            return
        acknowledged |= set(batch)


def test_a_request_that_is_sent_again_changes_nothing(served: Served) -> None:
    for _ in range(3):
        assert send(served, request(1, 2, 3)).status_code == 200

    (execution,) = served.executions()
    assert (execution["key"], execution["spans"]) == ("p:d:f1", 3)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_requests_are_read(encoding: str, served: Served) -> None:
    plain = request(1).SerializeToString()
    body = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    headers = {**PROTOBUF, "Content-Encoding": encoding}
    assert send(served, request(1), data=body, headers=headers).status_code == 200
    assert stored(served.folder) == [1]


REFUSED = {
    "no protobuf": (b"\xff\xff", PROTOBUF, 400, "not OTLP protobuf"),
    "no JSON": (b"{", {"Content-Type": "application/json"}, 400, "not OTLP JSON"),
    "another signal": (b'{"resourceLogs": []}', {"Content-Type": "application/json"}, 400, "holds logs"),
    "another type": (b"a", {"Content-Type": "text/plain"}, 415, "content type must be"),
    "no gzip": (b"abc", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "is not gzip"),
    "half a gzip": (gzip.compress(b"abc" * 99)[:-9], {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "complete gzip"),
    "an unknown encoding": (b"abc", {**PROTOBUF, "Content-Encoding": "br"}, 400, "use gzip"),
    "a bomb": (gzip.compress(b"\0" * (65 * 2**20)), {**PROTOBUF, "Content-Encoding": "gzip"}, 413, "smaller batches"),
}


def test_requests_that_are_no_otlp_are_refused_with_the_reason(served: Served) -> None:
    for body, headers, code, reason in REFUSED.values():
        answer = requests.post(f"{served.otlp_http}/v1/traces", body, headers=headers, timeout=30)
        assert (answer.status_code, reason in answer.text) == (code, True), answer.content
    assert send(served, request(1)).status_code == 200


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_spans_without_valid_ids_are_rejected_alone(protocol: str, served: Served) -> None:
    message = request(0, 1, 2)

    answer = ExportTraceServiceResponse()
    if protocol == "http":
        answer.ParseFromString(send(served, message).content)
    else:
        answer = export(served, message)

    assert answer.partial_success.rejected_spans == 1
    assert "must be 16 and 8 bytes" in answer.partial_success.error_message
    assert stored(served.folder) == [1, 2]


@pytest.mark.parametrize("name", ["traceId", "spanId"])
@pytest.mark.parametrize("wrong", ["abcd", "no hex" * 5, "g" * 32, "ab" * 99, "", "0" * 32, 5, None, ["ab"], {"a": 1}])
def test_a_span_of_json_without_valid_ids_is_rejected_alone(shared: Served, name: str, wrong: object) -> None:
    valid = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "good", "startTimeUnixNano": "1"}
    spans = [{**valid, name: wrong}, {**valid, "parentSpanId": "abcd"}]
    answer = post_json(shared, {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    assert (answer.status_code, answer.json()["partialSuccess"]["rejectedSpans"]) == (200, "1")
    assert shared.executions()[0]["spans"] == 1


@pytest.mark.parametrize("body", ["{}", " {\n} "])
@pytest.mark.parametrize("signal_name", ["traces", "metrics", "logs"])
def test_an_empty_request_is_valid(shared: Served, signal_name: str, body: str) -> None:
    shared.send(signal_name, body)


def post_json(served: Served, document: dict[str, Any]) -> requests.Response:
    return requests.post(f"{served.otlp_http}/v1/traces", json=document, timeout=30)


def test_times_and_names_beyond_all_bounds_are_kept(served: Served) -> None:
    message = request(1, end_ns=2**64 - 1)
    message.resource_spans[0].resource.attributes.add(key="k" * 2**20).value.string_value = "v\0\u202e" * 2**10
    assert send(served, message).status_code == 200
    assert send(served, request(2, end_ns=2000)).status_code == 200
    assert stored(served.folder) == [1, 2]


def export(served: Served, message: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    with grpc.insecure_channel(served.otlp_grpc.removeprefix("http://")) as channel:
        call = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            request_serializer=ExportTraceServiceRequest.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
        answer: ExportTraceServiceResponse = call(message, timeout=30)
        return answer


def test_a_sender_that_gives_up_does_not_end_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    schema.create(path)
    writer = Writer(path, Limits())
    try:
        for number in (1, 2):
            # uvicorn cancels the requests that are still open when it ends.
            writer.put(batches.groups("traces", request(number))[0], 1).cancel()
        writer.put(batches.groups("traces", request(3))[0], 1).result(30)
    finally:
        writer.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM spans").fetchone() == (3,)


def test_a_listener_that_fails_does_not_end_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    schema.create(path)
    writer = Writer(path, Limits())

    def fail(_: set[int]) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    writer.changed.append(fail)
    try:
        for number in (1, 2):
            writer.put(batches.groups("traces", request(number))[0], 1).result(30)
    finally:
        writer.close()


def test_senders_are_told_to_come_back_while_the_database_is_held(served: Served) -> None:
    """Another program holds the database, so that requests wait until there are too many."""
    answers: list[requests.Response] = []
    with sqlite3.connect(served.folder / ".otel-flyte" / "telemetry.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        senders = [
            threading.Thread(target=lambda number=number: answers.append(send(served, request(number, size=9 * 10**6))))
            for number in range(1, 13)
        ]
        for sender in senders:
            sender.start()
        deadline = time.monotonic() + 20
        while not answers and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(grpc.RpcError) as refusal:
            export(served, request(99, size=9 * 10**6))
        other.execute("ROLLBACK")
    for sender in senders:
        sender.join()

    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" in dict(refusal.value.trailing_metadata())
    assert len(stored(served.folder)) == len(answers) - len(refused)


MOUNT = "mkdir .otel-flyte && mount -t tmpfs -o size=1500k none .otel-flyte"
WITHIN_A_SMALL_DISK = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-c")


def _can_mount() -> bool:
    try:
        return not subprocess.run(
            [*WITHIN_A_SMALL_DISK, "mount -t tmpfs none /tmp"], check=False, timeout=10
        ).returncode
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not _can_mount(), reason="no file system can be mounted here")
def test_a_full_disk_is_one_line_and_what_was_acknowledged_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path, within=(*WITHIN_A_SMALL_DISK, f'{MOUNT} && exec "$@"', "sh")) as served:
        codes = [send(served, request(number, size=200_000)).status_code for number in range(1, 11)]
        answer = send(served, request(11, size=200_000))
        (execution,) = served.executions()

    assert codes == sorted(codes)
    assert {codes[0], codes[-1]} == {200, 503}
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert execution["spans"] == codes.count(200)
    (line,) = (tmp_path / "stderr").read_text().splitlines()
    assert line.endswith("telemetry.db can't grow, the disk is full: make room, or limit it by --keep-bytes")


def test_old_executions_are_removed_while_the_server_runs(tmp_path: Path) -> None:
    hours_ago = time.time_ns() - 5 * 3600 * 10**9
    with serving(tmp_path, "--keep", "1h") as served:
        assert send(served, request(1, run="old", end_ns=hours_ago)).status_code == 200
        assert send(served, request(2, run="new")).status_code == 200
        _until(lambda: [each["name"] for each in served.executions()] == ["new"])
        # Its records may come late: they are taken, and removed again.
        assert send(served, request(3, run="old", end_ns=hours_ago)).status_code == 200
        _until(lambda: stored(tmp_path) == [2])


def test_the_oldest_executions_are_removed_above_a_size(tmp_path: Path) -> None:
    with serving(tmp_path, "--keep-bytes", "4MB") as served:
        for number in range(1, 13):
            assert send(served, request(number, run=f"f{number:02}", size=10**6)).status_code == 200
        _until(lambda: 1 <= len(stored(tmp_path)) <= 4)
        assert stored(tmp_path)[-1] == 12
        _until(lambda: size(tmp_path) < 8 * 10**6)


def test_records_of_no_execution_are_removed_above_a_size(tmp_path: Path) -> None:
    with serving(tmp_path, "--keep-bytes", "4MB") as served:
        for number in range(12):
            record = {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": f"{number}" * 10**6}}
            served.send("logs", json.dumps(otlp.message("logs", {"service.name": "other"}, [record])))
        _until(lambda: size(tmp_path) < 8 * 10**6)


def test_old_executions_are_removed_while_requests_wait_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / ".otel-flyte" / "telemetry.db"
    schema.lock(path)
    schema.create(path)
    writer = Writer(path, Limits(size=2 * 10**6))
    waiting: deque[Any] = deque()
    number, end = 0, time.monotonic() + 4
    while time.monotonic() < end:
        number += 1
        made = request(number, run=f"f{number}", size=10**6)
        waiting.append(writer.put(batches.groups("traces", made)[0], made.ByteSize()))
        if len(waiting) > 20:
            waiting.popleft().result(20)
    kept = stored(tmp_path)
    writer.close()
    assert len(kept) < number - 20


def size(folder: Path) -> int:
    return (folder / ".otel-flyte" / "telemetry.db").stat().st_size


def _until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("names", [("a", ""), ("", "a")], ids=["named first", "named last"])
def test_spans_of_a_trace_belong_to_the_execution_that_another_one_names(
    names: tuple[str, str], served: Served
) -> None:
    for number, name in enumerate(names, 1):
        send(served, request(number, run=name, trace=b"shared"))

    assert [(each["name"], each["spans"]) for each in served.executions()] == [("a", 2)]


def test_a_download_can_be_shown_and_replayed(served: Served, tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": served.otlp_http}
    assert programs.run_command(["otel-flyte", "demo"], tmp_path, endpoint).returncode == 0
    (execution,) = served.executions()

    downloaded = tmp_path / "downloaded.jsonl"
    downloaded.write_bytes(served.get(f"/api/v1/executions/{execution['key']}/recording").content)

    shown = programs.run_command(["otel-flyte", "show", str(downloaded)], tmp_path)
    assert "train" in shown.stdout, shown.stderr
    with serving(tmp_path / "second") as second:
        replay = ["otel-flyte", "replay", str(downloaded), "--endpoint", second.otlp_http]
        replayed = programs.run_command(replay, tmp_path)
        assert replayed.returncode == 0, replayed.stderr
        assert [each["spans"] for each in second.executions()] == [execution["spans"]]


def test_a_log_record_is_kept_once_whenever_it_was_observed(shared: Served) -> None:
    def record(body: str, time_ns: int, observed_ns: int) -> dict[str, Any]:
        times = {"timeUnixNano": str(time_ns), "observedTimeUnixNano": str(observed_ns)}
        return {**times, "traceId": "ab" * 16, "spanId": "cd" * 8, "body": {"stringValue": body}}

    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "fit", "startTimeUnixNano": "1"}
    shared.send("traces", json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    sent = [("a", 5, 6), ("a", 5, 7), ("b", 5, 6), ("a", 6, 6), ("own time unknown", 0, 8), ("own time unknown", 0, 9)]
    records = [record(*each) for each in sent]
    shared.send("logs", json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}))
    logs = shared.get(f"/api/v1/executions/trace:{'ab' * 16}/logs").json()["logs"]
    assert sorted(each["text"] for each in logs) == ["a", "a", "b", "own time unknown", "own time unknown"]


def test_a_slow_download_does_not_keep_the_database_from_shrinking(served: Served, tmp_path: Path) -> None:
    for begin in range(1, 3001, 100):
        assert send(served, request(*range(begin, begin + 100), size=10_000)).status_code == 200
    with requests.get(f"{served.url}/api/v1/executions/p:d:f1/recording", stream=True, timeout=30) as answer:
        content = answer.raw.read(1000)
        with sqlite3.connect(tmp_path / ".otel-flyte" / "telemetry.db", timeout=5) as database:
            assert send(served, request(1, run="f2")).status_code == 200
            (is_held, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        content += answer.raw.read()
    assert not is_held
    assert len(set(re.findall(rb'"spanId":"(\w+)"', content))) == 3000


def refused_start(folder: Path, *options: str) -> str:
    """Return the line of a server that does not start."""
    ended = programs.run_command(["otel-flyte", "serve", *options], folder)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def test_a_second_server_on_the_same_database_says_so(served: Served) -> None:
    line = refused_start(served.folder, "--port", "1", "--otlp-http-port", "2", "--otlp-grpc-port", "3")
    assert "telemetry.db is in use by another server: stop it" in line


@pytest.mark.parametrize("option", ["--port", "--otlp-http-port", "--otlp-grpc-port"])
def test_a_taken_port_is_named(option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        names = ("--port", "--otlp-http-port", "--otlp-grpc-port")
        numbers = dict(zip(names, map(str, free_ports(3)), strict=True)) | {option: port}
        line = refused_start(tmp_path, *(part for pair in numbers.items() for part in pair))
    assert f"port {port} is taken" in line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--otlp-http-port", "4317"], "--otlp-http-port and --otlp-grpc-port are both 4317"),
        (["--port", "4318"], "--port and --otlp-http-port are both 4318"),
        (["--port", "7", "--otlp-grpc-port", "7"], "--port and --otlp-grpc-port are both 7"),
    ],
)
def test_two_options_with_the_same_port_are_named(options: list[str], line: str, tmp_path: Path) -> None:
    assert refused_start(tmp_path, *options) == f"otel-flyte: {line}: choose another port for one of them"


@pytest.mark.parametrize("option", [("--store", "x.db"), ("--keep", "1d"), ("--keep-bytes", "1GiB")])
def test_options_of_keeping_do_not_fit_a_source(option: tuple[str, str], tmp_path: Path) -> None:
    line = refused_start(tmp_path, str(tmp_path), *option)
    assert line == (
        f"otel-flyte: {option[0]} can't be used with SOURCE, which receives and keeps nothing: remove one of them"
    )


@pytest.mark.parametrize(
    "content", [b"no database at all, and longer than a header" * 99, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_database_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".otel-flyte").mkdir()
    (tmp_path / ".otel-flyte" / "telemetry.db").write_bytes(content)
    assert "telemetry.db is damaged or no database" in refused_start(tmp_path)


@pytest.mark.parametrize(("version", "age"), [(1, "an older"), (99, "a newer")])
def test_a_database_of_another_version_is_left_alone(version: int, age: str, tmp_path: Path) -> None:
    path = tmp_path / ".otel-flyte" / "telemetry.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    content = path.read_bytes()
    assert f"telemetry.db was written by {age} otel-flyte: " in refused_start(tmp_path)
    assert path.read_bytes() == content


def test_a_recording_that_can_not_be_read_is_one_line_on_stderr(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    (recordings / "a.jsonl").write_text("no JSON\n")
    with serving(tmp_path / "server", str(recordings), receives=False):
        shutil.rmtree(recordings)
        # The folder is looked at twice a second.
        time.sleep(3)
    invalid, missing = (tmp_path / "server" / "stderr").read_text().splitlines()
    assert re.fullmatch(r"otel-flyte: \S+a\.jsonl, line 1 is not OTLP \(.*\): it is ignored", invalid)
    assert missing.startswith(f"otel-flyte: {recordings} can't be read (No such file or directory): ")


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE x (y)")
    database.close()
    content = (tmp_path / "other.db").read_bytes()
    assert "other.db is a database of another program: choose" in refused_start(tmp_path, "--store", "other.db")
    assert (tmp_path / "other.db").read_bytes() == content


def test_a_size_needs_a_unit_and_an_age_may_be_longer_than_time(tmp_path: Path) -> None:
    assert "write it as 10GiB" in refused_start(tmp_path, "--keep-bytes", "10")
    with serving(tmp_path / "serve", "--keep", "99999999d") as served:
        assert send(served, request(1)).status_code == 200
        time.sleep(2)
        assert send(served, request(2)).status_code == 200


def test_a_folder_of_recordings_is_served_as_it_grows(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    run = ["otel-flyte", "demo"]
    with serving(tmp_path / "server", str(recordings)) as served:
        assert served.executions() == []
        programs.run_command(run, tmp_path)
        (recorded,) = (tmp_path / ".otel-flyte").glob("*.jsonl")
        content = recorded.read_bytes()
        half = content.index(b"\n", len(content) // 2) - 20
        (recordings / "a.jsonl").write_bytes(content[:half])
        _until(lambda: len(served.executions()) == 1)
        before = served.executions()[0]["spans"]
        with (recordings / "a.jsonl").open("ab") as file:
            file.write(content[half:])
        _until(lambda: served.executions()[0]["spans"] > before)
    assert not (tmp_path / "server" / ".otel-flyte").exists()
