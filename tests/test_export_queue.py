"""The export queue: delivery of records to a receiver, and dropped records."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan

from faults import collectors
from otel_flyte import providers, semconv
from otel_flyte.config import endpoints, settings
from otel_flyte.export import dropped, sender
from otel_flyte.export.codecs import CODECS
from otel_flyte.export.connection import connect
from otel_flyte.export.queue import ExportQueue, Limits
from otel_flyte.export.spool.files import SpoolFile
from otel_flyte.export.spool.write_ahead import WriteAhead
from otel_flyte.process import shutdown
from support import pods, programs, traces
from support.receiver import Protocol, Receiver, Reply, Request

pytestmark = pytest.mark.quick

LONG = 60.0
"""Seconds: longer than any test waits."""
TEARDOWN_SECONDS = 2.5
"""Additional seconds for the end of an interpreter on a loaded machine."""
of_protocols = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])


@pytest.fixture(autouse=True)
def _nothing_lost(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    dropped.report()
    capfd.readouterr()
    yield
    dropped.report()


def numbered(count: int, size: int = 0) -> list[ReadableSpan]:
    return traces.sdk_spans(*map(str, range(count)), size=size)


@contextmanager
def open_queue(
    endpoint: str,
    protocol: Protocol = "http/protobuf",
    *,
    queue: int = 10_000,
    batch: int = 512,
    delay: float = LONG,
    spool: Path | None = None,
) -> Iterator[ExportQueue]:
    """A queue for spans; the end of the ``with`` block stands for the end of its process."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    transport = connect(endpoints.plan("traces", environ), environ)
    file = SpoolFile(spool, "traces") if spool else None
    made = ExportQueue(CODECS["traces"], transport, Limits(queue, batch, delay), spool=file)
    try:
        yield made
    finally:
        made.hurry(time.monotonic() + 2)
        made.finish()


def put(made: ExportQueue, records: list[ReadableSpan], *, wait: bool = True) -> None:
    for record in records:
        made.put(record)
    if wait:
        assert made.mark().wait(LONG)


def names(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.spans()]


def drop_reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Report dropped records now; return the lines."""
    dropped.report()
    return [message for message in caplog.messages if " dropped (" in message]


def first_then(*first: Reply) -> Callable[[Request], Reply]:
    """Answer the first exports with these replies, and accept all others."""
    replies = iter(first)
    return lambda _: next(replies, Reply())


# --- batches ---------------------------------------------------------------------------------------------------------


@of_protocols
def test_records_arrive_in_batches_in_their_order(protocol: Protocol, receiver: Receiver) -> None:
    with open_queue(receiver.endpoint(protocol), protocol, batch=100) as made:
        put(made, numbered(1050))

    assert names(receiver) == [str(number) for number in range(1050)]
    assert max(request.size for request in receiver.requests()) <= 100


def test_a_full_batch_is_sent_at_once(receiver: Receiver) -> None:
    with open_queue(receiver.endpoint(), batch=10) as made:
        put(made, numbered(10), wait=False)
        receiver.wait_for(lambda receiver: len(receiver.spans()) == 10)


def test_an_incomplete_batch_waits_for_its_delay(receiver: Receiver) -> None:
    with open_queue(receiver.endpoint(), delay=0.2) as made:
        put(made, numbered(3), wait=False)
        receiver.wait_for(lambda receiver: len(receiver.spans()) == 3)

    assert receiver.attempts == 1


def test_a_kicked_queue_is_sent_at_once(receiver: Receiver) -> None:
    with open_queue(receiver.endpoint()) as made:
        put(made, numbered(3), wait=False)
        made.kick()
        receiver.wait_for(lambda receiver: len(receiver.spans()) == 3)


def test_each_record_of_many_threads_arrives_once(receiver: Receiver) -> None:
    with open_queue(receiver.endpoint(), batch=50) as made:
        threads = [threading.Thread(target=put, args=(made, numbered(200))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert Counter(names(receiver)) == dict.fromkeys(map(str, range(200)), 4)


def test_a_burst_arrives_complete_with_the_default_limits(receiver: Receiver) -> None:
    with open_queue(receiver.endpoint(), queue=2**15, delay=1.0) as made:
        put(made, numbered(10_000))

    assert len(receiver.spans()) == 10_000


# --- dropped records -------------------------------------------------------------------------------------------------


def test_the_oldest_records_of_a_full_queue_are_dropped_and_counted(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with open_queue(receiver.endpoint(), queue=10, batch=20) as made:
        put(made, numbered(15), wait=False)

    assert names(receiver) == [str(number) for number in range(5, 15)]
    assert drop_reports(caplog) == [
        "otel-flyte: 5 spans were dropped (5 queue full): raise OTEL_BSP_MAX_QUEUE_SIZE or OTEL_BLRP_MAX_QUEUE_SIZE"
    ]


@of_protocols
def test_rejected_records_are_counted_and_not_sent_again(protocol: Protocol, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(lambda _: Reply(takes=2)) as receiver, open_queue(receiver.endpoint(protocol), protocol) as made:
        put(made, numbered(5))

    assert receiver.attempts == 1
    [line] = drop_reports(caplog)
    assert line.startswith("otel-flyte: 3 spans were dropped (3 rejected by ")
    assert line.endswith("misbehaving as configured): check why the receiver rejects them")


@of_protocols
def test_a_bad_request_is_counted_and_not_sent_again(protocol: Protocol, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(first_then(Reply(400))) as receiver, open_queue(receiver.endpoint(protocol), protocol) as made:
        put(made, numbered(5))
        put(made, traces.sdk_spans("next"))

    assert receiver.attempts == 2
    assert names(receiver) == ["next"]
    [line] = drop_reports(caplog)
    assert line.startswith("otel-flyte: 5 spans were dropped (5 rejected by ")
    assert ("INVALID_ARGUMENT" if protocol == "grpc" else "400") in line


@of_protocols
def test_a_refusal_for_wrong_headers_is_reported_with_the_dropped_records(
    protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(lambda _: Reply(401)) as receiver, open_queue(receiver.endpoint(protocol), protocol) as made:
        put(made, numbered(5))

    assert receiver.attempts == 1
    [line] = drop_reports(caplog)
    assert line.startswith("otel-flyte: 5 spans were dropped (5 refused by ")
    assert "check OTEL_EXPORTER_OTLP_HEADERS" in line


@pytest.mark.parametrize("patience", [0.0, LONG])
def test_a_refusal_is_reported_at_once_only_if_it_lasts(
    patience: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "PATIENCE_SECONDS", patience)
    with Receiver(lambda _: Reply(401)) as receiver, open_queue(receiver.endpoint()) as made:
        for _ in range(2):
            put(made, numbered(1))

    assert sum(" are refused by " in message for message in caplog.messages) == (0 if patience else 1)
    assert len(drop_reports(caplog)) == 1


def test_unanswered_requests_are_counted_by_reason(caplog: pytest.LogCaptureFixture) -> None:
    with collectors.refused() as collector, open_queue(collector.endpoint()) as made:
        put(made, numbered(5), wait=False)

    [line] = drop_reports(caplog)
    assert line.startswith("otel-flyte: 5 spans were dropped (5 connection refused")


def test_dropped_records_are_reported_once(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    with open_queue(receiver.endpoint(), queue=1, batch=20) as made:
        put(made, numbered(3), wait=False)

    assert drop_reports(caplog) == drop_reports(caplog)


# --- retries ---------------------------------------------------------------------------------------------------------


@of_protocols
@pytest.mark.parametrize("status", [429, 503])
def test_requests_wait_for_the_time_of_retry_after(status: int, protocol: Protocol) -> None:
    with Receiver(first_then(Reply(status, retry_after=1))) as receiver:
        with open_queue(receiver.endpoint(protocol), protocol, delay=0.05) as made:
            began = time.monotonic()
            put(made, numbered(5), wait=False)
            made.kick()
            receiver.wait_for(lambda receiver: receiver.spans())
            waited = time.monotonic() - began

        assert waited >= 1
        assert receiver.attempts == 2
        assert len(receiver.spans()) == 5


@of_protocols
def test_all_records_arrive_in_order_after_an_outage(protocol: Protocol) -> None:
    with Receiver() as receiver:
        receiver.down()
        with open_queue(receiver.endpoint(protocol), protocol, batch=10, delay=0.05) as made:
            put(made, numbered(50), wait=False)
            time.sleep(0.3)
            receiver.up()
            assert made.mark().wait(LONG)

        assert names(receiver) == [str(number) for number in range(50)]


# --- too large -------------------------------------------------------------------------------------------------------


def test_grpc_requests_never_exceed_the_size_limit(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    with open_queue(receiver.endpoint("grpc"), "grpc") as made:
        put(made, numbered(10, size=1_000_000))

    assert names(receiver) == [str(number) for number in range(10)]
    assert receiver.attempts == len(receiver.requests())
    assert max(request.message.ByteSize() for request in receiver.requests()) <= 4 * 2**20
    assert drop_reports(caplog) == []


@of_protocols
@pytest.mark.parametrize("with_spool", [False, True], ids=["no spool", "spool"])
def test_only_the_record_that_is_too_large_is_reported_and_dropped(
    protocol: Protocol, with_spool: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = tmp_path if with_spool else None
    with Receiver(collectors.with_limit()) as receiver:
        with open_queue(receiver.endpoint(protocol), protocol, spool=spool) as made:
            put(made, [*numbered(10), *traces.sdk_spans("huge", size=5_000_000), *traces.sdk_spans("last")])

        assert names(receiver) == [*map(str, range(10)), "last"]
    [line] = drop_reports(caplog)
    assert line.startswith("otel-flyte: 1 span was dropped (1 too large for ")
    assert "huge, 5,000," in line


def test_a_replay_repeats_no_part_of_a_batch_that_was_done_before_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The receiver rejects one record as too large and then accepts one request: the others stay in the spool."""
    limit = collectors.with_limit()
    accepted = 0

    def respond(request: Request) -> Reply:
        nonlocal accepted
        reply = limit(request)
        accepted += reply.status == 200
        return reply if accepted < 2 else Reply(503)

    with Receiver(respond) as receiver:
        with open_queue(receiver.endpoint(), spool=tmp_path) as made:
            put(made, [*traces.sdk_spans("huge", size=5_000_000), *numbered(40)], wait=False)
        arrived = names(receiver)
    [line] = drop_reports(caplog)
    with Receiver() as later:
        replayed = programs.run_command(["otel-flyte", "replay", str(tmp_path)], tmp_path, later.environment())
        rest = names(later)

    assert "1 too large for" in line
    assert arrived
    assert rest
    assert replayed.returncode == 0, replayed.stderr
    assert sorted([*arrived, *rest], key=int) == [str(number) for number in range(40)]


@pytest.mark.parametrize("with_spool", [False, True], ids=["no spool", "spool"])
def test_only_the_record_that_cannot_be_encoded_is_dropped(
    with_spool: bool, tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with open_queue(receiver.endpoint(), spool=tmp_path if with_spool else None) as made:
        put(made, [*traces.sdk_spans("first"), *traces.sdk_spans("half \ud83d"), *traces.sdk_spans("last")])

    assert names(receiver) == ["first", "last"]
    assert drop_reports(caplog) == ["otel-flyte: 1 span was dropped (1 not encodable): check their names and values"]


def test_invalid_utf_8_is_replaced_in_the_spool(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.down()
    with open_queue(receiver.endpoint(), batch=1, delay=0.05, spool=tmp_path) as made:
        put(made, [*numbered(8), *traces.sdk_spans("half \ud83d"), *traces.sdk_spans("last")], wait=False)
        time.sleep(0.5)
        receiver.up()
        assert made.mark().wait(10)

    assert names(receiver) == [*map(str, range(8)), "half \ufffd", "last"]
    assert drop_reports(caplog) == []


def test_invalid_utf_8_is_replaced_in_a_replay(tmp_path: Path, receiver: Receiver) -> None:
    with collectors.refused() as collector, open_queue(collector.endpoint(), spool=tmp_path) as made:
        put(made, [*traces.sdk_spans("first"), *traces.sdk_spans("half \ud83d"), *traces.sdk_spans("last")], wait=False)

    command = ["otel-flyte", "replay", str(tmp_path)]
    replayed = programs.run_command(command, tmp_path, receiver.environment())
    assert replayed.returncode == 0, replayed.stderr
    assert names(receiver) == ["first", "half \ufffd", "last"]


# --- programs of users -----------------------------------------------------------------------------------------------

PROGRAM = """
    import json, time
    import flytekit, otel_flyte
    from opentelemetry import metrics, trace

    @flytekit.task
    def double(value: int) -> int:
        metrics.get_meter("users.own").create_counter("rows").add(1)
        return 2 * value

    def timed(function):
        began = time.monotonic()
        return [function(), time.monotonic() - began]

    double(value=1)
"""


def test_dropped_records_are_a_metric(tmp_path: Path) -> None:
    with Receiver(lambda request: Reply(takes=1 if request.signal == "traces" else None)) as receiver:
        ended = programs.run(
            programs.joined(PROGRAM, "otel_flyte.flush()\nprint(json.dumps(0))"), tmp_path, receiver.environment()
        )
        counted = receiver.metrics("otel.sdk.exporter.span.exported")
        lost = 4 - len(receiver.spans())

    assert ended.printed == 0
    assert lost > 0
    assert {tuple(point.attributes.items()) for point in counted} == {(("error.type", "rejected"),)}
    assert max(point.value for point in counted) == lost
    [line] = [line for line in ended.our_lines if " dropped (" in line]
    assert f"{lost} spans were dropped ({lost} rejected by" in line


def test_a_spool_that_can_not_be_written_is_reported_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    chosen = tmp_path / "file" / "spool"
    monkeypatch.setattr(settings, "_current", settings.read({"OTEL_FLYTE_SPOOL": str(chosen)}))
    assert WriteAhead(SpoolFile(chosen, "traces")).write(b"{}\n") == 0
    problem = f"OTEL_FLYTE_SPOOL={chosen} can't be written (Not a directory)"
    assert caplog.messages == [f"otel-flyte: {problem}: continuing without a spool"]


def test_flush_waits_until_all_records_are_delivered(tmp_path: Path, receiver: Receiver) -> None:
    program = """
        flushed = timed(otel_flyte.flush)
        print(json.dumps(flushed))
        import os
        os._exit(0)
        """
    flushed, seconds = programs.run(
        programs.joined(PROGRAM, program), tmp_path, receiver.environment() | {"PYTHONUNBUFFERED": "1"}
    ).printed

    assert flushed is True
    assert seconds < 2 + TEARDOWN_SECONDS
    assert len(receiver.spans("task program.double")) == 1
    assert receiver.metrics("rows")


def test_flush_succeeds_without_recorded_data(tmp_path: Path) -> None:
    assert programs.run("import json, otel_flyte; print(json.dumps(otel_flyte.flush(5)))", tmp_path).printed is True


@of_protocols
def test_every_kind_of_flush_to_a_black_hole_is_bounded(protocol: Protocol, tmp_path: Path) -> None:
    program = """
        flushed = [
            timed(lambda: otel_flyte.flush(0.5)),
            timed(otel_flyte.flush),
            timed(trace.get_tracer_provider().force_flush),
            timed(lambda: trace.get_tracer_provider().force_flush(300)),
            timed(metrics.get_meter_provider().force_flush),
        ]
        print(json.dumps([flushed, time.monotonic()]))
        """
    with collectors.black_hole() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        flushed, ended = programs.run(programs.joined(PROGRAM, program), tmp_path, env, forked=True).printed
        exit_seconds = time.monotonic() - ended

    assert [result for result, _ in flushed[:4]] == [False] * 4
    for (_, seconds), bound in zip(flushed, (0.5, 2, 2, 0.3, 2), strict=True):
        assert seconds < bound + 1
    assert exit_seconds < 2 + TEARDOWN_SECONDS


# --- other providers -------------------------------------------------------------------------------------------------


def under_the_launcher(pod: pods.Pod) -> pods.Pod:
    site = programs.distro(pod.directory.parent / "site")
    path = f"{site}:{pod.environment['PYTHONPATH']}"
    launcher = str(pods.SCRIPTS / "opentelemetry-instrument")
    return replace(pod, arguments=(launcher, *pod.arguments), environment={**pod.environment, "PYTHONPATH": path})


@of_protocols
def test_a_pod_with_the_providers_of_a_launcher_does_not_wait_for_a_missing_collector(
    protocol: Protocol, tmp_path: Path
) -> None:
    env = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    with collectors.black_hole() as collector:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint(protocol)
        prepared = pods.prepare("execute", tmp_path / "pod", "traced_forks.tell_time", {"value": 1}, env=env)
        result = under_the_launcher(prepared).run()
        ended = time.time()

    assert result.returncode == 0, result.stderr
    assert result.outputs is not None
    seconds = ended - result.outputs.literals["o0"].scalar.primitive.float_value
    assert seconds < 2 + TEARDOWN_SECONDS, result.stderr


def test_the_providers_of_a_launcher_deliver_all_records(tmp_path: Path, receiver: Receiver) -> None:
    env = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "none"}
    prepared = pods.prepare(
        "execute", tmp_path / "pod", "traced_forks.count", {"value": 4}, env=receiver.environment() | env
    )
    result = under_the_launcher(prepared).run()

    assert result.returncode == 0, result.stderr
    assert len(receiver.spans("task traced_forks.count")) == 1
    assert [point.value for point in receiver.metrics("rows")] == [4]
    assert programs.our_lines(result.stderr) == []


# --- the metrics of dropped records ----------------------------------------------------------------------------------


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """The reader of the meter provider in use."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(providers, "given_meter_provider", MeterProvider([reader], shutdown_on_exit=False))
    return reader


def published(reader: InMemoryMetricReader) -> dict[str, float]:
    """Return the sums so far by the names of their metrics."""
    data = reader.get_metrics_data()
    found: dict[str, float] = {}
    scopes = [scope for each in data.resource_metrics for scope in each.scope_metrics] if data else []
    for metric in [metric for scope in scopes for metric in scope.metrics]:
        points = [point for point in metric.data.data_points if isinstance(point, NumberDataPoint)]
        found[metric.name] = sum(point.value for point in points)
    return found


def test_dropped_records_are_counted_in_metrics_only_until_the_process_ends(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped.count("traces", dropped.REFUSED, 2)
    with monkeypatch.context() as ending:
        ending.setattr(shutdown, "has_begun_to_end", lambda: True)
        dropped.publish()
    assert published(reader) == {}

    dropped.publish()
    assert published(reader) == {semconv.METRIC_SPANS_EXPORTED: 2}


def test_records_that_are_dropped_before_there_is_a_meter_provider_are_counted_once_there_is_one(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped.count("logs", dropped.REFUSED, 3)
    with monkeypatch.context() as before:
        before.setattr(providers, "given_meter_provider", None)
        before.setattr(metrics, "get_meter_provider", metrics.NoOpMeterProvider)
        dropped.publish()
    dropped.count("logs", dropped.QUEUE_FULL, 4)
    for _ in range(2):
        dropped.publish()

    assert published(reader) == {semconv.METRIC_LOGS_EXPORTED: 7}


def test_dropped_records_are_counted_after_a_meter_provider_has_failed(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(metrics.NoOpMeterProvider):
        def get_meter(self, *args: Any, **kwargs: Any) -> metrics.Meter:
            raise OSError("no metrics now")

    dropped.count("metrics", dropped.TOO_LARGE, 5)
    with monkeypatch.context() as failing:
        failing.setattr(providers, "given_meter_provider", Failing())
        dropped.publish()
    dropped.publish()

    assert published(reader) == {semconv.METRIC_DATA_POINTS_EXPORTED: 5}


def test_dropped_records_are_our_metric_if_the_program_has_replaced_the_global_provider(tmp_path: Path) -> None:
    replace_and_flush = """
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        theirs = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([theirs]))
        otel_flyte.flush()
        print(json.dumps("exported" in str(theirs.get_metrics_data())))
    """
    with Receiver(lambda request: Reply(takes=1 if request.signal == "traces" else None)) as receiver:
        ended = programs.run(programs.joined(PROGRAM, replace_and_flush), tmp_path, receiver.environment())
        counted = receiver.metrics(semconv.METRIC_SPANS_EXPORTED)
        lost = 4 - len(receiver.spans())

    assert ended.printed is False
    assert max(point.value for point in counted) == lost > 0
