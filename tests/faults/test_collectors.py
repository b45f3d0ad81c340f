"""The misbehaving collectors of this suite behave as described, over both protocols."""

import socket
import time
from typing import Any

import grpc
import pytest
import requests
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from faults import collectors
from faults.collectors import Collector, answering
from support.receiver import Protocol, Receiver, Reply

pytestmark = pytest.mark.newest_only

EXPORT = ExportTraceServiceRequest()
for _number in range(5):
    EXPORT.resource_spans.add().scope_spans.add().spans.add(span_id=bytes([_number]) * 8)


@pytest.fixture(params=["http/protobuf", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


def export(collector: Collector, protocol: Protocol, timeout: float = 5.0) -> Any:
    """Send an export like an OTLP client; return the response, or the error as a word and a status."""
    endpoint = collector.endpoint(protocol)
    return _export_by_grpc(endpoint, timeout) if protocol == "grpc" else _export_by_http(endpoint, timeout)


def _export_by_http(endpoint: str, timeout: float) -> Any:
    try:
        answer = requests.post(f"{endpoint}/v1/traces", EXPORT.SerializeToString(), timeout=timeout)
    except requests.Timeout:
        return "timeout"
    except requests.ConnectionError:
        return "no connection"
    if answer.ok:
        return ExportTraceServiceResponse.FromString(answer.content)
    return answer.status_code, float(answer.headers.get("Retry-After", 0))


def _export_by_grpc(endpoint: str, timeout: float) -> Any:
    with grpc.insecure_channel(endpoint.removeprefix("http://")) as channel:
        try:
            return TraceServiceStub(channel).Export(EXPORT, timeout=timeout)
        except grpc.RpcError as error:
            status = status_pb2.Status.FromString(
                dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            )
            delay = error_details_pb2.RetryInfo()
            for detail in status.details:
                detail.Unpack(delay)
            code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "timeout"
    if code is grpc.StatusCode.UNAVAILABLE and not status.code:
        return "no connection"
    http = {"INVALID_ARGUMENT": 400, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}
    return http[code.name], delay.retry_delay.seconds


def test_a_refusal_has_a_retry_after_time(protocol: Protocol) -> None:
    with answering(lambda: collectors.refusing(429, retry_after=7))() as collector:
        assert export(collector, protocol) == (429, 7)
        assert collector.requests() == []


def test_a_collector_that_refuses_some_exports_accepts_the_next(protocol: Protocol) -> None:
    with answering(lambda: collectors.refusing(503, times=1))() as collector:
        assert export(collector, protocol) == (503, 0)
        assert export(collector, protocol) == ExportTraceServiceResponse()
        assert [request.size for request in collector.requests()] == [5]


def test_a_partial_success_has_the_number_of_rejected_records(protocol: Protocol) -> None:
    with Receiver(collectors.taking(2)) as collector:
        assert export(collector, protocol).partial_success.rejected_spans == 3
        assert [span.span_id for span in collector.spans()] == ["00" * 8, "01" * 8]


def test_a_slow_collector_accepts_nothing_from_a_closed_connection(protocol: Protocol) -> None:
    with Receiver(collectors.slow()) as collector:
        assert export(collector, protocol, timeout=0.2) == "timeout"
        time.sleep(0.2)
        assert collector.attempts == 1
        assert collector.requests() == []


def test_an_export_with_a_lost_answer_was_accepted(protocol: Protocol) -> None:
    with Receiver(collectors.losing_answers(1)) as collector:
        assert export(collector, protocol) == "no connection"
        assert export(collector, protocol) == ExportTraceServiceResponse()
        assert [request.size for request in collector.requests()] == [5, 5]


def test_a_dying_collector_closes_its_connections(protocol: Protocol) -> None:
    with Receiver(collectors.dying_after(1)) as collector:
        assert export(collector, protocol) == ExportTraceServiceResponse()
        assert export(collector, protocol) == "no connection"
        assert export(collector, protocol) == "no connection"
        assert len(collector.requests()) == 1


def test_a_collector_comes_back_at_the_same_port(protocol: Protocol) -> None:
    with Receiver(lambda request: Reply()) as collector:
        endpoint = collector.endpoint(protocol)
        collector.down()
        assert export(collector, protocol) == "no connection"
        collector.up()
        assert collector.endpoint(protocol) == endpoint
        assert export(collector, protocol) == ExportTraceServiceResponse()


def test_a_port_is_refused(protocol: Protocol) -> None:
    with collectors.refused() as collector:
        assert export(collector, protocol) == "no connection"


def test_a_black_hole_accepts_and_never_answers(protocol: Protocol) -> None:
    with collectors.black_hole() as collector:
        assert export(collector, protocol, timeout=0.2) == "timeout"


def test_a_port_that_drops_packets_never_accepts_a_connection() -> None:
    with collectors.dropping_syn() as collector, socket.socket() as client:
        client.settimeout(0.2)
        host, _, port = collector.endpoint().removeprefix("http://").partition(":")
        with pytest.raises(TimeoutError):
            client.connect((host, int(port)))


def test_a_collector_that_hangs_up_resets_the_connection(protocol: Protocol) -> None:
    with collectors.hanging_up() as collector:
        assert export(collector, protocol) == "no connection"
