"""The answer of every misbehaving collector has the same meaning over both protocols."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults import collectors
from faults.collectors import Collector, Start, answering
from faults.test_collectors import EXPORT
from otel_flyte.config import endpoints
from otel_flyte.export.connection import connect
from otel_flyte.export.transport import Outcome, Transport, Verdict
from support.receiver import Protocol, Receiver, Reply

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

SECONDS = 0.5
"""The bound of an unanswered attempt."""


@contextmanager
def transport(collector: Collector, protocol: Protocol) -> Iterator[Transport]:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint(protocol),
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    made = connect(endpoints.plan("traces", environ), environ)
    yield made
    made.close()


def refusing(status: int, retry_after: int | None = None) -> Start:
    return answering(lambda: collectors.refusing(status, retry_after=retry_after))


def retry(reason: str, retry_after: float | None = None) -> Outcome:
    return Outcome(Verdict.RETRY, reason, retry_after=retry_after)


def rejected(reason: str) -> Outcome:
    return Outcome(Verdict.REJECTED, reason)


def refused(reason: str) -> Outcome:
    return Outcome(Verdict.REFUSED, reason)


NOTHING_LISTENS = retry("connection refused, nothing listens there")
TIMED_OUT = retry("timed out")
RESET = retry("connection reset")
BROKE = retry("UNAVAILABLE (the connection broke)")
SOME_REJECTED = Outcome(Verdict.ACCEPTED, "misbehaving as configured", rejected=3)
EXHAUSTED = "RESOURCE_EXHAUSTED (misbehaving as configured)"
UNAVAILABLE = "UNAVAILABLE (misbehaving as configured)"
CHECK = ", check OTEL_EXPORTER_OTLP_HEADERS"

ANSWERS: dict[str, tuple[Start, Outcome, Outcome]] = {
    "healthy": (collectors.healthy, Outcome(Verdict.ACCEPTED), Outcome(Verdict.ACCEPTED)),
    "refused": (collectors.refused, NOTHING_LISTENS, NOTHING_LISTENS),
    "black hole": (collectors.black_hole, TIMED_OUT, TIMED_OUT),
    "SYN dropped": (collectors.dropping_syn, TIMED_OUT, TIMED_OUT),
    "slow": (answering(collectors.slow), TIMED_OUT, TIMED_OUT),
    "connection reset during an export": (collectors.hanging_up, RESET, RESET),
    "connection lost before its answer": (answering(lambda: collectors.losing_answers(1)), RESET, BROKE),
    "ends during an export": (answering(lambda: collectors.dying_after(0)), RESET, BROKE),
    "accepts 2 records": (answering(lambda: collectors.taking(2)), SOME_REJECTED, SOME_REJECTED),
    "400": (
        refusing(400),
        rejected("400 Bad Request (misbehaving as configured)"),
        rejected("INVALID_ARGUMENT (misbehaving as configured)"),
    ),
    "401": (
        refusing(401),
        refused(f"401 Unauthorized{CHECK}"),
        refused(f"UNAUTHENTICATED (misbehaving as configured){CHECK}"),
    ),
    "413": (refusing(413), Outcome(Verdict.TOO_LARGE, "413 Request Entity Too Large"), refused(EXHAUSTED)),
    "429": (refusing(429), retry("429 Too Many Requests"), refused(EXHAUSTED)),
    "429, Retry-After 7": (refusing(429, 7), retry("429 Too Many Requests", 7.0), retry(EXHAUSTED, 7.0)),
    "503": (refusing(503), retry("503 Service Unavailable"), retry(UNAVAILABLE)),
    "503, Retry-After 7": (refusing(503, 7), retry("503 Service Unavailable", 7.0), retry(UNAVAILABLE, 7.0)),
}
"""A collector, and the outcome of an attempt over HTTP and over gRPC."""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_mapped(name: str, protocol: Protocol) -> None:
    start, over_http, over_grpc = ANSWERS[name]
    with start() as collector, transport(collector, protocol) as made:
        assert made.send(EXPORT, SECONDS) == (over_grpc if protocol == "grpc" else over_http)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_transport_connects_again(protocol: Protocol) -> None:
    with Receiver(lambda request: Reply()) as collector, transport(collector, protocol) as made:
        assert made.send(EXPORT, SECONDS).verdict is Verdict.ACCEPTED
        collector.down()
        assert made.send(EXPORT, SECONDS).verdict is Verdict.RETRY
        collector.up()
        deadline = time.monotonic() + 10
        # gRPC waits before it connects again, and answers at once meanwhile.
        while made.send(EXPORT, SECONDS).verdict is not Verdict.ACCEPTED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
