"""The receiver keeps complete exports over both protocols of OTLP."""

import threading
import zlib
from typing import Any

import grpc
import pytest
import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from support.receiver import Event, Link, Protocol, Receiver, children

pytestmark = pytest.mark.quick

RESOURCE = Resource({"service.name": "tests"})
LOGS = ExportLogsServiceRequest()
_of_resource = LOGS.resource_logs.add()
_of_resource.resource.attributes.add(key="service.name").value.string_value = "tests"
_of_scope = _of_resource.scope_logs.add()
_of_scope.scope.name = "scope"
_record = _of_scope.log_records.add(severity_text="WARN", time_unix_nano=7, span_id=b"\1" * 8)
_record.body.string_value = "careful"
_record.attributes.add(key="nested").value.kvlist_value.values.add(key="a").value.int_value = 1


@pytest.fixture(params=["http/protobuf", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


def tracer_of(receiver: Receiver, protocol: Protocol, **options: Any) -> trace.Tracer:
    exporter: Any
    if protocol == "grpc":
        exporter = grpc_traces.OTLPSpanExporter(receiver.endpoint("grpc"), **options)
    else:
        exporter = http_traces.OTLPSpanExporter(f"{receiver.endpoint()}/v1/traces", **options)
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("scope")


def test_a_span_arrives_complete(receiver: Receiver, protocol: Protocol) -> None:
    tracer = tracer_of(receiver, protocol)
    with tracer.start_as_current_span("parent", kind=SpanKind.CONSUMER) as parent:
        linked = parent.get_span_context()
        with tracer.start_as_current_span(
            "child",
            attributes={"text": "a", "number": 1, "share": 0.5, "flag": True, "list": ["x", "y"]},
            links=[trace.Link(linked, {"why": "because"})],
            start_time=1_000,
            end_on_exit=False,
        ) as child:
            child.add_event("happened", {"how": "fast"}, timestamp=1_500)
            child.set_status(Status(StatusCode.ERROR, "broken"))
            child.end(end_time=2_000)

    [got_child, got_parent] = receiver.spans()

    assert (got_parent.name, got_parent.kind, got_parent.parent_span_id) == ("parent", "CONSUMER", "")
    assert got_parent.trace_id == f"{linked.trace_id:032x}"
    assert (got_parent.status, got_parent.status_message) == ("UNSET", "")
    assert children(receiver.spans(), got_parent) == [got_child]
    assert receiver.spans("child") == [got_child]
    assert (got_child.start_ns, got_child.end_ns) == (1_000, 2_000)
    assert (got_child.status, got_child.status_message) == ("ERROR", "broken")
    assert got_child.attributes == {"text": "a", "number": 1, "share": 0.5, "flag": True, "list": ("x", "y")}
    assert got_child.events == (Event("happened", 1_500, {"how": "fast"}),)
    assert got_child.links == (Link(got_parent.trace_id, got_parent.span_id, {"why": "because"}),)
    assert (got_child.resource, got_child.scope) == ({"service.name": "tests"}, "scope")


def test_a_metric_arrives_as_data_points(receiver: Receiver, protocol: Protocol) -> None:
    exporter: Any
    if protocol == "grpc":
        exporter = grpc_metrics.OTLPMetricExporter(receiver.endpoint("grpc"))
    else:
        exporter = http_metrics.OTLPMetricExporter(f"{receiver.endpoint()}/v1/metrics")
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    meter.create_counter("rows", unit="{row}").add(3, {"task": "a"})
    meter.create_up_down_counter("open").add(-2)
    for duration in (0.5, 1.5):
        meter.create_histogram("duration", unit="s").record(duration)
    provider.shutdown()

    points = {point.name: point for point in receiver.metrics()}

    rows, opened, durations = points["rows"], points["open"], points["duration"]
    assert (rows.kind, rows.monotonic, rows.value, rows.unit, rows.attributes) == (
        "sum",
        True,
        3,
        "{row}",
        {"task": "a"},
    )
    assert (opened.kind, opened.monotonic, opened.value) == ("sum", False, -2)
    assert (durations.kind, durations.count, durations.value) == ("histogram", 2, 2.0)
    assert (rows.resource, rows.scope) == ({"service.name": "tests"}, "scope")
    assert receiver.metrics("rows") == [rows]


def test_a_log_record_arrives_complete(receiver: Receiver, protocol: Protocol) -> None:
    if protocol == "grpc":
        with grpc.insecure_channel(receiver.endpoint("grpc").removeprefix("http://")) as channel:
            LogsServiceStub(channel).Export(LOGS)
    else:
        requests.post(f"{receiver.endpoint()}/v1/logs", LOGS.SerializeToString(), timeout=10).raise_for_status()

    [record] = receiver.logs()

    assert (record.body, record.severity, record.time_ns) == ("careful", "WARN", 7)
    assert (record.trace_id, record.span_id) == ("", "01" * 8)
    assert record.attributes == {"nested": {"a": 1}}
    assert (record.resource, record.scope) == ({"service.name": "tests"}, "scope")


@pytest.mark.parametrize("compression", Compression)
def test_a_compressed_request_is_read(receiver: Receiver, compression: Compression) -> None:
    tracer_of(receiver, "http/protobuf", compression=compression).start_span("one").end()

    assert [span.name for span in receiver.spans()] == ["one"]


def test_a_request_is_kept_with_its_protocol_and_headers(receiver: Receiver, protocol: Protocol) -> None:
    tracer_of(receiver, protocol, headers={"authorization": "secret"}).start_span("one").end()

    [request] = receiver.requests()

    assert (request.protocol, request.signal, request.headers["authorization"]) == (protocol, "traces", "secret")
    assert receiver.requests("traces") == [request]
    assert receiver.requests("logs") == []


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        pytest.param("/v1/nothing", b"", {}, 404, id="another path"),
        pytest.param("/v1/traces", b"\xff", {}, 400, id="not protobuf"),
        pytest.param("/v1/traces", zlib.compress(b""), {"Content-Encoding": "gzip"}, 400, id="wrong compression"),
        pytest.param("/v1/traces", b"", {"Content-Encoding": "zstd"}, 400, id="unknown compression"),
    ],
)
def test_a_request_that_is_not_otlp_is_refused(
    receiver: Receiver, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    response = requests.post(receiver.endpoint() + path, body, headers=headers, timeout=10)

    assert response.status_code == status
    assert receiver.requests() == []


def test_wait_for_returns_when_the_condition_is_met(receiver: Receiver, protocol: Protocol) -> None:
    tracer = tracer_of(receiver, protocol)
    later = threading.Timer(0.05, lambda: tracer.start_span("late").end())
    later.start()

    [span] = receiver.wait_for(lambda r: r.spans("late"))

    later.join()
    assert span.name == "late"


def test_a_timeout_of_wait_for_lists_the_received_data(receiver: Receiver) -> None:
    tracer_of(receiver, "http/protobuf").start_span("another").end()

    with pytest.raises(TimeoutError, match=r"1 requests, spans \['another'\]$"):
        receiver.wait_for(lambda r: r.spans("late"), timeout=0.01)


def test_clear_removes_all_data(receiver: Receiver) -> None:
    tracer = tracer_of(receiver, "http/protobuf")
    tracer.start_span("first").end()
    receiver.clear()
    tracer.start_span("second").end()

    assert [span.name for span in receiver.spans()] == ["second"]
