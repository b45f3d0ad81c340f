"""Replays of a spool to a real receiver that accepts, refuses, rejects or delays requests, or is not running."""

import base64
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fsspec import register_implementation  # type: ignore[import-untyped]  # it ships no types
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # it ships no types

from otel_flyte.cli import main as cli
from otel_flyte.cli.replay_output import ReplayOutput
from otel_flyte.export.otlp_json import spans_line
from otel_flyte.export.spool import filesystem, remote
from otel_flyte.export.spool.files import Held, SpoolFile, acknowledged_offset, files, rejected_path, sent_path
from otel_flyte.export.spool.replay import Progress, Replay, Summary, environ_with
from support import pods, traces
from support.programs import Ended, run_command, without_privileges
from support.receiver import Protocol, Receiver, Reply, Request

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

LOG = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"stringValue":"a log"}}]}]}]}\n'
METRIC = (
    b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","sum":{"aggregationTemporality":2,'
    b'"dataPoints":[{"timeUnixNano":"1","asInt":"1"}]}}]}]}]}\n'
)


def line(*names: str) -> bytes:
    return spans_line(traces.sdk_spans(*names))


def names(count: int, prefix: str = "span") -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


def spooled(folder: Path, *lines: bytes, signal: str = "traces") -> Path:
    """Write a spool file whose writer has ended."""
    spool = SpoolFile(folder, signal)
    for content in lines:
        spool.append(content)
    path = spool.path
    assert path is not None
    spool.close()
    return path


def arrived(receiver: Receiver) -> Counter[str]:
    return Counter(span.name for span in receiver.spans())


def once(expected: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(expected, 1))


def replayed(
    receiver: Receiver | str, *paths: Path, protocol: Protocol = "http/protobuf", patience: float = 5
) -> Summary:
    endpoint = receiver if isinstance(receiver, str) else receiver.endpoint(protocol)
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    found = [file for path in paths for file in (files(path) if path.is_dir() else [path])]
    return Replay(environ, patience=patience).run(found)


def problems(summary: Summary) -> list[str]:
    return [problem for file in summary.files for problem in file.problems]


def by_command(spool: Path | str, cwd: Path, *options: str, **environ: str) -> Ended:
    return run_command(["otel-flyte", "replay", str(spool), *options], cwd, environ)


def misbehaving(respond: Callable[[Request], Reply]) -> Receiver:
    return Receiver(respond)


def first_then(*first: Reply) -> Callable[[Request], Reply]:
    """Answer the first exports with these replies, and accept all others."""
    replies = iter(first)
    return lambda _: next(replies, Reply())


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve with a handler, and yield the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


class TestSending:
    @pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
    def test_all_signals_arrive_and_their_files_are_gone(
        self, tmp_path: Path, receiver: Receiver, protocol: Protocol
    ) -> None:
        spool = tmp_path / "spool"
        spooled(spool, line("a", "b"), line("c"))
        spooled(spool, METRIC, signal="metrics")
        spooled(spool, LOG, signal="logs")
        ended = by_command(spool, tmp_path, **receiver.environment(protocol))
        assert (ended.returncode, ended.stdout) == (0, "")
        assert arrived(receiver) == once(["a", "b", "c"])
        assert [record.body for record in receiver.logs()] == ["a log"]
        assert [point.name for point in receiver.metrics()] == ["m"]
        assert list(spool.iterdir()) == []
        output = ended.stderr.splitlines()
        assert len(output) == 3
        assert sum(": 3 spans sent, " in row for row in output) == 1
        assert sum(": 1 log record sent, " in row for row in output) == 1
        assert sum(": 1 metric data point sent, " in row for row in output) == 1

    def test_a_recorded_run_is_sent_once_and_kept(self, tmp_path: Path, receiver: Receiver) -> None:
        path = tmp_path / ".otel-flyte" / "run.jsonl"
        path.parent.mkdir()
        traces.local_run(traces.Recorder.of_file(path))
        before = path.read_bytes()
        first = by_command(path.parent, tmp_path, **receiver.environment())
        again = by_command(path.parent, tmp_path, **receiver.environment())
        assert (first.returncode, again.returncode) == (0, 0)
        assert "run.jsonl: 15 spans sent" in first.stderr
        assert again.stderr == "otel-flyte: there is nothing left to send\n"
        assert len(receiver.spans()) == 15
        assert path.read_bytes() == before

    def test_records_added_after_a_replay_are_sent_by_the_next_one(self, tmp_path: Path, receiver: Receiver) -> None:
        path = tmp_path / "run.jsonl"
        for name in ("a", "b"):
            with path.open("ab") as file:
                file.write(line(name))
            assert replayed(receiver, path).is_complete
        assert arrived(receiver) == once(["a", "b"])

    def test_only_unacknowledged_records_are_sent(self, tmp_path: Path, receiver: Receiver) -> None:
        path = spooled(tmp_path, line("a"), line("b"))
        with Held(path) as held:
            held.acknowledge(len(path.read_bytes().splitlines(keepends=True)[0]))
        assert replayed(receiver, path).is_complete
        assert arrived(receiver) == once(["b"])

    def test_a_fully_acknowledged_file_is_only_removed(self, tmp_path: Path, receiver: Receiver) -> None:
        path = spooled(tmp_path, line("a"))
        with Held(path) as held:
            held.acknowledge(held.size)
        assert replayed(receiver, tmp_path) == Summary()
        assert list(tmp_path.iterdir()) == []
        assert receiver.attempts == 0

    def test_the_endpoint_argument_overrides_every_variable(self, tmp_path: Path, receiver: Receiver) -> None:
        spooled(tmp_path / "spool", line("a"))
        nowhere = "http://127.0.0.1:1"
        ended = by_command(
            tmp_path / "spool",
            tmp_path,
            "--endpoint",
            receiver.endpoint(),
            OTEL_EXPORTER_OTLP_ENDPOINT=nowhere,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=nowhere,
            OTEL_TRACES_EXPORTER="none",
        )
        assert ended.returncode == 0, ended.stderr
        assert arrived(receiver) == once(["a"])

    def test_headers_come_from_the_environment(self, tmp_path: Path, receiver: Receiver) -> None:
        spooled(tmp_path / "spool", line("a"))
        environ = {**receiver.environment(), "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret"}
        assert by_command(tmp_path / "spool", tmp_path, **environ).returncode == 0
        assert [request.headers["authorization"] for request in receiver.requests()] == ["secret"]


class TestInterruptions:
    def test_a_burst_of_20000_spans_survives_an_outage(self, tmp_path: Path) -> None:
        everything = names(20_000)
        lines = [line(*everything[start : start + 512]) for start in range(0, len(everything), 512)]
        spooled(tmp_path, *lines)

        def go_down(request: Request) -> Reply:
            return Reply(is_last=receiver.attempts == 20)

        with misbehaving(go_down) as receiver:
            stopped = replayed(receiver, tmp_path, patience=1)
            assert "connection refused" in stopped.stopped
            assert not stopped.is_complete
            receiver.up()
            assert replayed(receiver, tmp_path).is_complete
            assert arrived(receiver) == once(everything)
        assert list(tmp_path.iterdir()) == []

    def test_remaining_records_are_reported_if_the_receiver_is_gone(self, tmp_path: Path) -> None:
        spooled(tmp_path, line("a"))
        spooled(tmp_path, line("b"))
        output = io.StringIO()
        ReplayOutput(output).finish(replayed("http://127.0.0.1:1", tmp_path, patience=0.5))
        last = output.getvalue().splitlines()[-1]
        assert last.startswith("otel-flyte: traces were not accepted for ")
        assert "http://127.0.0.1:1/v1/traces (connection refused, nothing listens there), " in last
        assert last.endswith(" in 2 files remain: run the same command again")

    def test_a_replay_waits_as_long_as_the_receiver_asks(self, tmp_path: Path) -> None:
        spooled(tmp_path, line("a"))
        with misbehaving(first_then(Reply(503, retry_after=1))) as receiver:
            began = time.monotonic()
            assert replayed(receiver, tmp_path).is_complete
            assert time.monotonic() - began >= 1
            assert arrived(receiver) == once(["a"])

    def test_a_replay_does_not_wait_beyond_its_deadline(self, tmp_path: Path) -> None:
        spooled(tmp_path, line("a"))
        with misbehaving(first_then(Reply(429, retry_after=3600))) as receiver:
            summary = replayed(receiver, tmp_path)
        assert "asks to wait 3600 s" in summary.stopped
        assert (summary.files[0].left > 0, receiver.attempts) == (True, 1)

    def test_a_replay_gives_up_on_a_receiver_that_never_answers(self, tmp_path: Path) -> None:
        spooled(tmp_path, line("a"))
        with misbehaving(first_then(*[Reply(delay=60)] * 9)) as receiver:
            assert "timed out" in replayed(receiver, tmp_path, patience=0.5).stopped
        with misbehaving(first_then()) as receiver:
            assert replayed(receiver, tmp_path).is_complete
            assert arrived(receiver) == once(["a"])

    def test_a_killed_replay_is_resumed_where_it_stopped(self, tmp_path: Path) -> None:
        spool = tmp_path / "spool"
        spooled(spool, *(line(name) for name in names(5)))

        def stall(request: Request) -> Reply:
            return Reply(delay=60 if receiver.attempts == 3 else 0)

        with misbehaving(stall) as receiver:
            command = [sys.executable, "-m", "otel_flyte", "replay", str(spool), "--endpoint", receiver.endpoint()]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while receiver.attempts < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
            process.wait()
            assert replayed(receiver, spool).is_complete
            assert arrived(receiver) == once(names(5))

    def test_concurrent_replays_send_each_record_once(self, tmp_path: Path, receiver: Receiver) -> None:
        spool = tmp_path / "spool"
        expected = [name for number in range(8) for name in names(20, f"file {number} span")]
        for number in range(8):
            spooled(spool, *(line(name) for name in names(20, f"file {number} span")))
        command = [sys.executable, "-m", "otel_flyte", "replay", str(spool), "--endpoint", receiver.endpoint()]
        both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        output = [process.communicate(timeout=60)[1] for process in both]
        assert arrived(receiver) == once(expected), output
        assert list(spool.iterdir()) == []

    def test_a_file_with_a_running_writer_is_reported_and_not_changed(self, tmp_path: Path, receiver: Receiver) -> None:
        writer = SpoolFile(tmp_path / "spool", "traces")
        live = line("live")
        writer.append(live)
        spooled(tmp_path / "spool", line("dead"))
        ended = by_command(tmp_path / "spool", tmp_path, **receiver.environment())
        assert ended.returncode == 1
        assert writer.path is not None
        assert f"{writer.path.name}: in use: another process writes" in ended.stderr
        assert arrived(receiver) == once(["dead"])
        assert writer.path.read_bytes() == live
        assert acknowledged_offset(writer.path) == 0


class TestRefusals:
    def test_a_request_that_is_too_large_is_split_until_it_fits(self, tmp_path: Path) -> None:
        spooled(tmp_path, line(*names(50)), line("after"))
        with misbehaving(lambda request: Reply(413 if request.size > 7 else 200)) as receiver:
            assert replayed(receiver, tmp_path).is_complete
            assert arrived(receiver) == once([*names(50), "after"])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("protocol", ["grpc"])
    def test_a_single_record_that_is_too_large_is_reported_and_kept_and_all_others_are_sent(
        self, tmp_path: Path, receiver: Receiver, protocol: Protocol
    ) -> None:
        big = traces.sdk_spans("big", size=5 * 2**20)
        path = spooled(
            tmp_path, spans_line([*traces.sdk_spans(*names(20)), *big, *traces.sdk_spans(*names(20, "more"))])
        )
        summary = replayed(receiver, tmp_path, protocol=protocol)
        (problem,) = problems(summary)
        assert problem.startswith("big with 5,24")
        assert "bytes is too large for 127.0.0.1:" in problem
        assert not summary.is_complete
        assert arrived(receiver) == once([*names(20), *names(20, "more")])
        (kept,) = tmp_path.glob("*.rejected.jsonl")
        assert kept.name in problem
        assert kept.read_bytes() == spans_line(big)
        assert not path.exists()

    def test_rejected_records_are_reported_and_kept_and_all_others_are_sent(self, tmp_path: Path) -> None:
        path = spooled(tmp_path, line("a"), line("bad", "too"), line("c"))
        bad = path.read_bytes().splitlines(keepends=True)[1]
        with misbehaving(first_then(Reply(), Reply(400))) as receiver:
            summary = replayed(receiver, tmp_path)
            assert arrived(receiver) == once(["a", "c"])
        (problem,) = problems(summary)
        assert problem.startswith("2 spans were rejected by http://127.0.0.1:")
        assert problem.endswith(f"kept in {path.name}.rejected.jsonl")
        assert rejected_path(path).read_bytes() == bad
        assert files(tmp_path) == []

    def test_kept_records_can_be_replayed_by_file_name(self, tmp_path: Path, receiver: Receiver) -> None:
        path = spooled(tmp_path, line("a"))
        with misbehaving(first_then(Reply(400))) as rejecting:
            replayed(rejecting, tmp_path)
        assert replayed(receiver, rejected_path(path)).is_complete
        assert arrived(receiver) == once(["a"])

    @pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
    def test_a_refusal_ends_the_replay_with_one_line_and_a_hint(self, tmp_path: Path, protocol: Protocol) -> None:
        spool = tmp_path / "spool"
        spooled(spool, line("a"), line("b"))
        spooled(spool, line("c"))
        with misbehaving(first_then(Reply(), Reply(401))) as receiver:
            ended = by_command(spool, tmp_path, **receiver.environment(protocol))
            assert ended.returncode == 1
            last = ended.stderr.splitlines()[-1]
            assert last.startswith("otel-flyte: traces are refused by ")
            assert "check OTEL_EXPORTER_OTLP_HEADERS" in last
            assert "in 2 files remain: run the same command again" in last
            assert by_command(spool, tmp_path, **receiver.environment(protocol)).returncode == 0
            assert arrived(receiver) == once(["a", "b", "c"])

    def test_a_header_that_can_not_be_sent_is_left_out_and_reported(self, tmp_path: Path) -> None:
        spooled(tmp_path, line("a"))
        with Receiver() as receiver:
            environ = {**receiver.environment("grpc"), "OTEL_EXPORTER_OTLP_HEADERS": "x-ok=1,x-team=%E2%82%AC"}
            ended = by_command(tmp_path, tmp_path, **environ)
            assert ended.returncode == 0, ended.stderr
            assert arrived(receiver) == once(["a"])
        assert "otel-flyte: OTEL_EXPORTER_OTLP_HEADERS: entry 2 must be ASCII " in ended.stderr

    def test_kept_records_have_the_permissions_of_the_spool(self, tmp_path: Path) -> None:
        path = spooled(tmp_path, line("a"))
        path.chmod(0o640)
        with misbehaving(first_then(Reply(400))) as receiver:
            replayed(receiver, tmp_path)
        assert rejected_path(path).stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_secrets_of_an_endpoint_are_not_printed(self, tmp_path: Path, scheme: str) -> None:
        """If TLS is used with an HTTP server, the client's own message contains the complete path."""
        spooled(tmp_path, line("a"))
        with misbehaving(lambda _: Reply(401)) as receiver:
            place = f"{receiver.endpoint().partition('://')[2]}/v1/traces"
            environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{scheme}://user:hunter2@{place}?api_key=hunter2"}
            ended = by_command(tmp_path, tmp_path, **environ)
        assert ended.returncode == 1
        assert f" are refused by {scheme}://{place}: " in ended.stderr
        assert "hunter2" not in ended.stderr

    def test_secrets_of_a_redirect_target_are_not_printed(self, tmp_path: Path) -> None:
        class Redirecting(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(308)
                self.send_header("Location", "http://user:hunter2@elsewhere/v1/traces?api_key=hunter2")
                self.end_headers()

        spooled(tmp_path, line("a"))
        with serving(Redirecting) as endpoint:
            ended = by_command(tmp_path, tmp_path, "--endpoint", endpoint)
        assert "redirected to http://elsewhere/v1/traces, use that" in ended.stderr
        assert "hunter2" not in ended.stderr

    @pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
    def test_records_of_a_partial_success_are_counted_and_not_retried(self, tmp_path: Path, protocol: Protocol) -> None:
        spooled(tmp_path, line(*names(10)))
        with misbehaving(lambda _: Reply(takes=7)) as receiver:
            summary = replayed(receiver, tmp_path, protocol=protocol)
        (problem,) = problems(summary)
        assert problem.startswith("3 spans were rejected by ")
        assert summary.files[0].sent == {"traces": 7}
        assert receiver.attempts == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_signal_without_an_exporter_is_kept(self, tmp_path: Path, receiver: Receiver) -> None:
        spool = tmp_path / "spool"
        path = spooled(spool, LOG, signal="logs")
        spooled(spool, line("a"))
        ended = by_command(spool, tmp_path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.endpoint()}/v1/traces")
        assert ended.returncode == 1
        assert f"{path.name}: it holds logs, for which no endpoint is configured" in ended.stderr
        assert arrived(receiver) == once(["a"])
        assert files(spool) == [path]


class TestKilledTasks:
    def test_the_spool_of_a_killed_task_can_be_explained_and_replayed(self, tmp_path: Path, receiver: Receiver) -> None:
        spool = tmp_path / "spool"
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_FLYTE_SPOOL": str(spool)}
        pod = pods.prepare("execute", tmp_path / "pod", "traced_signals.wait", {"seconds": 60}, env=environ)
        with pods.started(pod) as process:
            pods.wait_until(lambda: any('"running"' in file.read_text() for file in spool.glob("*")), process)
            process.kill()
            assert pod.finish(process).returncode == -signal.SIGKILL
        explained = call("explain", str(spool)).stdout
        (attempt,) = (row for row in explained.splitlines() if "task traced_signals.wait" in row)
        assert "never ended; n0; last seen " in attempt
        assert replayed(receiver, spool).is_complete
        assert "running" in arrived(receiver)
        assert max(arrived(receiver).values()) == 1


class TestBrokenFiles:
    def test_valid_records_of_a_damaged_spool_file_are_sent_and_the_rest_is_reported_and_kept(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        broken, cut = b"\x00\xffgarbage\n", line("cut")[:-20]
        path = spooled(tmp_path, line("a"), broken, line("b"), cut)
        summary = replayed(receiver, tmp_path)
        assert arrived(receiver) == once(["a", "b"])
        first, second = problems(summary)
        assert first.startswith("line 2 is not OTLP (")
        assert second == f"line 4 is incomplete: kept in {path.name}.rejected.jsonl"
        assert rejected_path(path).read_bytes() == broken + cut + b"\n"
        assert files(tmp_path) == []
        assert not sent_path(path).exists()

    def test_a_file_of_another_program_is_not_changed(self, tmp_path: Path, receiver: Receiver) -> None:
        path = tmp_path / "collector.jsonl"
        whole = line("a") + b"broken\n" + line("b")
        last = line("c")
        path.write_bytes(whole + last[:-20])
        assert problems(replayed(receiver, path))[0].startswith("line 2 is not OTLP (")
        assert problems(replayed(receiver, path)) == ["line 4 is incomplete: it is not sent"]
        path.write_bytes(whole + last)
        assert replayed(receiver, path).is_complete
        assert arrived(receiver) == once(["a", "b", "c"])
        assert [file.name for file in tmp_path.iterdir() if "rejected" in file.name] == []

    def test_a_record_of_another_program_that_is_not_otlp_costs_only_itself(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        documents = [json.loads(line(name)) for name in ("good", "bad id", "bad kind", "bad time")]
        (first, *_) = documents
        spans = [document["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for document in documents]
        spans[1]["links"] = [{"traceId": "xyz", "spanId": "01"}]
        spans[2]["kind"] = "NO_KIND"
        spans[3]["startTimeUnixNano"] = {}
        first["resourceSpans"][0]["scopeSpans"][0]["spans"] = spans
        path = tmp_path / "collector.jsonl"
        path.write_text(json.dumps(first) + "\n")
        (problem,) = problems(replayed(receiver, path))
        reason = "'xyz' is not an id of 16 bytes"
        assert problem == f"line 1 has a record that is not OTLP ({reason}): it is not sent, and 1 more"
        assert arrived(receiver) == once(["good", "bad kind"])

    @pytest.mark.parametrize("shape", ["snake case", "base 64", "batches", "trace", "zeros", "names"])
    def test_other_spellings_of_otlp_are_sent(self, tmp_path: Path, receiver: Receiver, shape: str) -> None:
        (span,) = json.loads(line("a"))["resourceSpans"][0]["scopeSpans"][0]["spans"]
        identity = span["traceId"], span["spanId"]
        span["links"] = [{"traceId": "", "spanId": ""}]
        match shape:
            case "snake case":
                span = {
                    "trace_id": span["traceId"],
                    "span_id": span["spanId"],
                    "name": "a",
                    "start_time_unix_nano": span["startTimeUnixNano"],
                }
            case "base 64":
                for name in ("traceId", "spanId"):
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
            case "zeros":
                span["parentSpanId"] = "0" * 16
            case "names":
                span["kind"], span["status"] = "SPAN_KIND_SERVER", {"code": "STATUS_CODE_OK"}
        resources = [{"scopeSpans": [{"spans": [span]}]}]
        document: dict[str, object] = {"resourceSpans": resources}
        if shape == "snake case":
            document = {"resource_spans": [{"scope_spans": [{"spans": [span]}]}]}
        elif shape in ("batches", "trace"):
            document = {"batches": resources} if shape == "batches" else {"trace": document}
        path = tmp_path / "f.jsonl"
        path.write_text(json.dumps(document) + "\n")
        assert replayed(receiver, path).is_complete
        (found,) = receiver.spans()
        assert (found.trace_id, found.span_id) == identity
        assert not found.parent_span_id

    def test_a_file_that_is_not_otlp_is_reported_and_not_changed(self, tmp_path: Path, receiver: Receiver) -> None:
        (tmp_path / "data.jsonl").write_text(json.dumps({"row": 1}) + "\n" + json.dumps({"row": 2}) + "\n")
        spooled(tmp_path, line("a"))
        (problem,) = problems(replayed(receiver, tmp_path))
        assert problem.startswith("line 1 is not OTLP (not one of resourceSpans")
        assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
        assert arrived(receiver) == once(["a"])

    def test_a_last_line_without_a_line_break_is_sent_if_it_is_complete(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        path = tmp_path / "collector.jsonl"
        path.write_bytes(line("a") + b"\n{}\n" + line("b").rstrip(b"\n"))
        assert replayed(receiver, path).is_complete
        assert arrived(receiver) == once(["a", "b"])

    def test_a_file_without_writable_acknowledgements_is_not_sent_and_others_are(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        path = spooled(tmp_path, line("a"))
        spooled(tmp_path, line("b"))
        sent_path(path).mkdir()
        (problem,) = problems(replayed(receiver, tmp_path))
        assert problem == (
            "its acknowledged offset can't be written (Is a directory): make the file and its folder writable"
        )
        assert arrived(receiver) == once(["b"])


class TestArguments:
    @pytest.mark.parametrize(
        ("spool", "options", "complaint"),
        [
            ("missing", ["--endpoint", "http://127.0.0.1:1"], "does not exist: check the path"),
            ("missing.jsonl", ["--endpoint", "http://127.0.0.1:1"], "does not exist: check the path"),
            (".", [], "give --endpoint URL, or set OTEL_EXPORTER_OTLP_ENDPOINT"),
            (".", ["--endpoint", "nonsense"], "--endpoint nonsense is no URL: use one such as http://host:4318"),
            (".", ["--endpoint", "http://"], "--endpoint http:// is no URL: use one such as http://host:4318"),
            (".", ["--endpoint", "http://[::1"], "--endpoint http://[::1 is no URL: use one such as http://host:4318"),
            (
                ".",
                ["--endpoint", "ftp://user:hunter2@host"],
                "--endpoint ftp://host is no URL: use one such as http://",
            ),
            (
                "nothing://bucket",
                ["--endpoint", "http://127.0.0.1:1"],
                "nothing://bucket can't be used (Protocol not known: nothing): check the URL and its credentials",
            ),
            ("memory://no/such", ["--endpoint", "http://127.0.0.1:1"], "memory://no/such can't be used ("),
        ],
    )
    def test_an_invalid_call_is_reported_in_one_line_with_exit_code_2(
        self, tmp_path: Path, spool: str, options: list[str], complaint: str
    ) -> None:
        ended = by_command(spool, tmp_path, *options)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        assert ended.stderr.startswith("otel-flyte: ")
        assert complaint in ended.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("content", ["name,age\nada,36\n", '{"row": 1}\n', "text"])
    def test_a_file_that_is_not_otlp_has_the_message_of_explain(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "data.csv"
        path.write_text(content)
        ended = by_command(path, tmp_path, "--endpoint", "http://127.0.0.1:1")
        assert (ended.returncode, ended.stderr) == (2, call("explain", str(path)).stderr)
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("command", [["replay", "--endpoint", "http://127.0.0.1:1"], ["explain"]])
    @pytest.mark.parametrize("spool", ["spool", "spool/a.spool.jsonl"])
    def test_an_unreadable_file_is_reported_in_one_line(self, tmp_path: Path, command: list[str], spool: str) -> None:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "a.spool.jsonl").write_bytes(line("a"))
        (tmp_path / spool).chmod(0)
        ended = run_command(without_privileges(["otel-flyte", *command, spool]), tmp_path)
        (tmp_path / spool).chmod(0o700)
        assert ended.returncode == 2
        assert ended.stderr == (
            f"otel-flyte: {spool} can't be read (Permission denied): check the path and its permissions\n"
        )

    def test_nothing_is_sent_from_a_read_only_folder(self, tmp_path: Path, receiver: Receiver) -> None:
        spool = tmp_path / "spool"
        path = spooled(spool, line("a"))
        for writable in (spool, path):
            mode = writable.stat().st_mode
            writable.chmod(0o500)
            command = ["otel-flyte", "replay", str(spool), "--endpoint", receiver.endpoint()]
            ended = run_command(without_privileges(command), tmp_path)
            writable.chmod(mode)
            assert ended.returncode == 1
            assert ended.stderr == (
                f"otel-flyte: {path.name}: its acknowledged offset can't be written (Permission denied): "
                "make the file and its folder writable\n"
            )
        assert receiver.attempts == 0

    def test_an_empty_folder_succeeds(self, tmp_path: Path) -> None:
        ended = by_command(".", tmp_path, "--endpoint", "http://127.0.0.1:1")
        assert (ended.returncode, ended.stderr) == (0, "otel-flyte: there is nothing left to send\n")

    def test_the_environment_is_unchanged_without_an_endpoint(self) -> None:
        environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}
        assert environ_with(None, environ) == environ


class TestMarksOfOtherFiles:
    def test_a_recording_that_replaces_a_longer_one_is_sent_from_its_start(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        path = tmp_path / "run.jsonl"
        path.write_bytes(line(*names(5)))
        assert replayed(receiver, path).is_complete
        path.write_bytes(line("new"))
        ended = by_command(path, tmp_path, **receiver.environment())
        assert ended.returncode == 0
        assert "run.jsonl: run.jsonl.sent belongs to another file: all of it is sent\n" in ended.stderr
        assert arrived(receiver) == once([*names(5), "new"])

    def test_a_recording_that_replaces_a_shorter_one_is_sent_from_its_start(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        path, other = tmp_path / "run.jsonl", tmp_path / "other"
        path.write_bytes(line("old"))
        assert replayed(receiver, path).is_complete
        other.write_bytes(line(*names(5)))
        other.replace(path)
        assert replayed(receiver, path).is_complete
        assert arrived(receiver) == once(["old", *names(5)])

    def test_a_spool_file_is_never_removed_unsent(self, tmp_path: Path, receiver: Receiver, bucket: str) -> None:
        path = spooled(tmp_path, line("a"))
        sent_path(path).write_text("99999999\n")
        pushed = remote.push(tmp_path, bucket)
        assert pushed.remarks == [f"{path.name}: {path.name}.sent belongs to another file: all of it is copied"]
        assert call("replay", bucket, "--endpoint", receiver.endpoint()).exit_code == 0
        path = spooled(tmp_path, line("b"))
        sent_path(path).write_text("99999999\n")
        assert replayed(receiver, tmp_path).is_complete
        assert arrived(receiver) == once(["a", "b"])


class TestRecordsSetAside:
    def test_a_replay_is_incomplete_while_they_exist(self, tmp_path: Path, receiver: Receiver) -> None:
        spool = tmp_path / "spool"
        path = spooled(spool, line("bad", "too"), line("c"))
        with misbehaving(first_then(Reply(400))) as rejecting:
            ended = by_command(spool, tmp_path, **rejecting.environment())
        output = (
            "otel-flyte: 2 records are set aside in *.rejected.jsonl: replay such a file by its name, or remove it\n"
        )
        assert ended.returncode == 1
        assert ended.stderr.endswith(output)
        again = by_command(spool, tmp_path, **receiver.environment())
        assert (again.returncode, again.stderr) == (1, output)
        assert by_command(rejected_path(path), tmp_path, **receiver.environment()).returncode == 0
        assert by_command(spool, tmp_path, **receiver.environment()).returncode == 0
        assert arrived(receiver) == once(["bad", "too"])


class TestTelling:
    def test_a_terminal_shows_progress_in_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("otel_flyte.cli.replay_output._PAUSE_SECONDS", 0)

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        output = ReplayOutput(terminal)
        file = Progress(tmp_path / "f.spool.jsonl", 2000, 0)
        for settled_bytes, sent in ((500, 1), (2000, 4)):
            file.acknowledged = settled_bytes
            file.sent["traces"] = sent
            output.update(file)
        output.finish(Summary([file]))
        assert terminal.getvalue().replace("\r\x1b[K", "<") == (
            "<f.spool.jsonl: 1 span, 25%<f.spool.jsonl: 4 spans sent, 2.0 kB of 2.0 kB\n"
        )


class Bucket(MemoryFileSystem):  # type: ignore[misc]  # it has no types
    """A store that always exists, and whose folders exist as long as they have files."""

    protocol = "bucket"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.removeprefix("bucket://"))
        return stripped

    def exists(self, path: str, **options: object) -> bool:
        return path == "/bucket" or bool(super().exists(path, **options))


@pytest.fixture
def bucket() -> Iterator[str]:
    """The URL of a store that is not on the local disk."""
    register_implementation("bucket", Bucket, clobber=True)
    yield "bucket://bucket/spool"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def objects() -> list[str]:
    return sorted(name.rpartition("/")[2] for name in MemoryFileSystem.store)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


class TestUrls:
    def test_a_spool_is_copied_to_a_url_and_replayed_from_it(
        self, tmp_path: Path, receiver: Receiver, bucket: str
    ) -> None:
        path = spooled(tmp_path, line("settled"), line("a"), line("b"))
        with Held(path) as held:
            held.acknowledge(path.read_bytes().index(b"\n") + 1)
        recorded = tmp_path / "run.jsonl"
        recorded.write_bytes(line("recorded"))
        pushed = call("spool", "push", str(tmp_path), bucket)
        assert (pushed.exit_code, pushed.stderr.count("2 files with ")) == (0, 1)
        assert files(tmp_path) == [recorded]
        assert [name.startswith("run-") or name == path.name for name in objects()] == [True, True]
        replayed_url = call("replay", bucket, "--endpoint", receiver.endpoint())
        assert replayed_url.exit_code == 0, replayed_url.stderr
        assert arrived(receiver) == once(["a", "b", "recorded"])
        assert objects() == []
        assert call("spool", "push", str(tmp_path), bucket).stderr.startswith(
            f"otel-flyte: there is nothing left to copy: {bucket} is not tested\n0 files"
        )
        unusable = call("spool", "push", str(tmp_path), str(recorded / "folder"))
        assert (unusable.exit_code, unusable.stderr.count("\n")) == (2, 1)

    def test_the_remaining_records_replace_the_file(self, tmp_path: Path, bucket: str) -> None:
        path = spooled(tmp_path, line("a"), line("bad"), line("c"))
        remote.push(tmp_path, bucket)
        with misbehaving(first_then(Reply(), Reply(400), Reply(401))) as receiver:
            assert call("replay", bucket, "--endpoint", receiver.endpoint()).exit_code == 1
            rejected, left = objects()[0], objects()[1]
            assert len(objects()) == 2
            if left != path.name:
                rejected, left = left, rejected
            assert left == path.name
            assert rejected.endswith(".rejected.jsonl")
            again = call("replay", bucket, "--endpoint", receiver.endpoint())
            assert arrived(receiver) == once(["a", "c"])
        assert objects() == [rejected]
        assert again.exit_code == 1
        assert again.stderr.splitlines()[-1].startswith("otel-flyte: 1 record is set aside in *.rejected.jsonl: ")

    def test_split_requests_are_sent(self, tmp_path: Path, bucket: str) -> None:
        spooled(tmp_path, line(*names(9)))
        remote.push(tmp_path, bucket)
        with misbehaving(lambda request: Reply(413 if request.size > 2 else 200)) as receiver:
            for _ in range(4):
                call("replay", bucket, "--endpoint", receiver.endpoint())
            assert arrived(receiver) == once(names(9))
        assert objects() == []

    def test_a_file_that_is_being_written_is_kept(self, tmp_path: Path, bucket: str) -> None:
        writer = SpoolFile(tmp_path, "traces")
        writer.append(line("a"))
        pushed = call("spool", "push", str(tmp_path), bucket)
        assert pushed.exit_code == 1
        assert ": in use: " in pushed.stderr
        assert objects() == []
        assert writer.path in files(tmp_path)

    def test_no_file_is_started_after_the_deadline(self, tmp_path: Path, bucket: str) -> None:
        path = spooled(tmp_path, line("a"))
        pushed = remote.push(tmp_path, bucket, time.monotonic() - 1)
        assert (pushed.files, len(pushed.problems)) == (0, 1)
        assert path.exists()

    def test_a_local_folder_can_be_given_as_a_url(self, tmp_path: Path, receiver: Receiver) -> None:
        spooled(tmp_path / "here", line("a"))
        there = (tmp_path / "made" / "there").as_uri()
        assert call("spool", "push", str(tmp_path / "here"), there).exit_code == 0
        (there_too,) = (tmp_path / "made" / "there").iterdir()
        assert [path.stat().st_mode & 0o777 for path in (there_too, there_too.parent)] == [0o600, 0o700]
        assert call("replay", there, "--endpoint", receiver.endpoint()).exit_code == 0
        assert arrived(receiver) == once(["a"])

    @pytest.mark.parametrize("target", ["file://{spool}", "file://{spool}/", "{spool}", "spool", "link", "spool/deep"])
    def test_a_folder_is_not_copied_onto_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = spooled(tmp_path / "spool", line("a"))
        Path("link").symlink_to("spool")
        pushed = call("spool", "push", "spool", target.format(spool=tmp_path / "spool"))
        assert (pushed.exit_code, pushed.stderr.count("\n")) == (2, 1)
        assert pushed.stderr.endswith("the folder that is to be copied: give a URL outside of it\n")
        assert path.read_bytes()
        assert list((tmp_path / "spool").iterdir()) == [path]

    @pytest.mark.parametrize("url", ["memory://spool", "MEMORY://spool", "simplecache::memory://spool", ""])
    def test_a_storage_that_does_not_outlive_the_process_is_refused(self, tmp_path: Path, url: str) -> None:
        path = spooled(tmp_path, line("a"))
        pushed = call("spool", "push", str(tmp_path), url)
        assert (pushed.exit_code, pushed.stderr.count("\n")) == (2, 1)
        assert path.exists()
        for use in (remote.check, remote.prepare):
            with pytest.raises(remote.RemoteError, match=r"this process's memory|is empty"):
                use(url)

    def test_a_full_target_is_reported_with_the_copied_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = sorted(spooled(tmp_path / "here", line(name)) for name in names(3))
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / paths[1].name).mkdir()
        pushed = call("spool", "push", str(tmp_path / "here"), str(tmp_path / "there"))
        assert pushed.exit_code == 1
        assert f"otel-flyte: 1 of 3 files copied, 2 left ({tmp_path / 'there'} can't be used (" in pushed.stderr
        assert files(tmp_path / "here") == paths[1:]
        assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [path.name for path in paths[:2]]

    def test_an_error_names_the_side_that_caused_it(self, tmp_path: Path) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        path = spooled(here, line("a"))
        there.mkdir()

        def pushed_with(folder: Path, mode: int) -> tuple[int, str]:
            folder.chmod(mode)
            ended = run_command(without_privileges(["otel-flyte", "spool", "push", "here", "there"]), tmp_path)
            folder.chmod(0o700)
            return ended.returncode, ended.stderr.splitlines()[0]

        assert pushed_with(here, 0) == (
            2,
            "otel-flyte: here can't be read (Permission denied): check the path and its permissions",
        )
        unwritable = (
            "its acknowledged offset can't be written (Permission denied): make the file and its folder writable"
        )
        assert pushed_with(here, 0o500) == (1, f"otel-flyte: {path.name}: {unwritable}")
        unreadable = "it can't be read (Permission denied): check its permissions"
        assert pushed_with(path, 0) == (1, f"otel-flyte: {path.name}: {unreadable}")
        assert list(there.iterdir()) == []
        code, output = pushed_with(there, 0o500)
        assert (code, output.startswith("otel-flyte: there can't be used (")) == (2, True)
        assert path.read_bytes()

    def test_a_bucket_folder_that_vanished_with_its_last_file_is_empty(self, bucket: str) -> None:
        ended = call("replay", bucket, "--endpoint", "http://127.0.0.1:1")
        assert (ended.exit_code, ended.stderr) == (0, "otel-flyte: there is nothing left to send\n")
        assert call("replay", "bucket://missing/spool", "--endpoint", "http://127.0.0.1:1").exit_code == 2

    @pytest.mark.parametrize("command", [["spool", "push", "."], ["replay"]])
    def test_a_password_in_a_url_is_not_printed_in_an_error(self, tmp_path: Path, command: list[str]) -> None:
        spooled(tmp_path, line("a"))
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
        ended = run_command(["otel-flyte", *command, "ftp://user:hunter2@127.0.0.1:1/spool"], tmp_path, environ)
        assert ended.returncode == 2
        assert ended.stderr.startswith("otel-flyte: ftp://127.0.0.1:1/spool can't be used (")
        assert "hunter2" not in ended.stderr

    def test_a_password_in_a_url_is_not_printed_on_success(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "push", lambda *_: remote.Pushed(1, 10))
        pushed = call("spool", "push", str(tmp_path), "ftp://user:hunter2@host/spool")
        assert pushed.stderr == "1 file with 10 bytes copied to ftp://host/spool\n"

    def test_a_storage_prepared_in_one_thread_is_available_in_all(self, bucket: str) -> None:
        opened: list[object] = []

        def prepare() -> None:
            remote.prepare(bucket)
            opened.append(filesystem._opened(bucket)[0])

        for _ in range(2):
            thread = threading.Thread(target=prepare)
            thread.start()
            thread.join()
        assert opened[0] is opened[1]

    def test_a_storage_that_cannot_be_prepared_is_reported_in_one_line(self) -> None:
        with pytest.raises(remote.RemoteError, match=r"^nothing://bucket can't be used \(.*nothing.*\)$"):
            remote.prepare("nothing://bucket")

    @pytest.mark.parametrize("child", ["", "if os.fork(): os.wait(); os._exit(0)"])
    def test_a_prepared_bucket_receives_the_spool_at_interpreter_exit(self, tmp_path: Path, child: str) -> None:
        taken: dict[str, bytes] = {}

        class Bucket(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                taken[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("ETag", '"1"')
                self.send_header("Content-Length", "0")
                self.end_headers()

        program = f"""
import atexit, os, threading
from pathlib import Path
from otel_flyte.export.spool import filesystem, remote
remote.prepare("s3://bucket/spool")
{child}
remote.prepare("s3://bucket/spool")
exiting, pushed = threading.Event(), threading.Event()
def push():
    exiting.wait()
    remote.push(Path({str(tmp_path / "spool")!r}), "s3://bucket/spool")
    pushed.set()
threading.Thread(target=push, daemon=True).start()
atexit.register(lambda: (exiting.set(), pushed.wait(30)))
"""
        path = spooled(tmp_path / "spool", LOG)
        with serving(Bucket) as url:
            environ = {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "nowhere",
            }
            ended = run_command([sys.executable, "-c", program], tmp_path, environ)
        assert ended.returncode == 0
        assert {name.rpartition("/")[2]: content for name, content in taken.items()} == {path.name: LOG}, ended.stderr
        assert not path.exists()

    @pytest.mark.parametrize("command", [["spool", "push", "."], ["replay"]])
    def test_missing_fsspec_is_reported_in_one_line(self, tmp_path: Path, command: list[str]) -> None:
        program = (
            "import sys; sys.modules['fsspec'] = None\n"
            f"sys.argv = ['otel-flyte', *{command!r}, 's3://bucket']\n"
            "from otel_flyte.cli.main import main; main()"
        )
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
        ended = run_command([sys.executable, "-c", program], tmp_path, environ)
        assert ended.returncode == 2
        assert ended.stderr == "otel-flyte: s3://bucket requires fsspec: run pip install fsspec\n"


def test_a_keyboard_interrupt_loses_no_records(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spooled(spool, line("a"), line("b"))

    def stall(request: Request) -> Reply:
        return Reply(delay=60 if receiver.attempts == 2 else 0)

    with misbehaving(stall) as receiver:
        command = [sys.executable, "-m", "otel_flyte", "replay", str(spool), "--endpoint", receiver.endpoint()]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while receiver.attempts < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
        assert "Traceback" not in output
        assert replayed(receiver, spool).is_complete
        assert arrived(receiver) == once(["a", "b"])
