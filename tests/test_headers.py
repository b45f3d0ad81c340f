"""Headers of users over both protocols: one that can't be sent is left out and reported, the records are delivered."""

import pytest

from faults.test_collectors import EXPORT
from otel_flyte.config import endpoints, standard
from otel_flyte.export.connection import connect
from otel_flyte.export.transport import Outcome, Verdict
from support.receiver import Protocol, Receiver

pytestmark = pytest.mark.quick

NAME = "OTEL_EXPORTER_OTLP_HEADERS"
PAIR = "must be key=value"
VALUE = "must have a URL-encoded value of printable characters"
FRAMING = "must not name a header that the exporter sets"
GRPC = "must be ASCII with a name of letters, digits, '-', '_' and '.', as the protocol is grpc"
of_protocols = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])


def sent(receiver: Receiver, protocol: Protocol, headers: str) -> tuple[dict[str, str], dict[str, str]]:
    """Send a request, and return the headers that arrive and the reported lines."""
    environ = {**receiver.environment(protocol), NAME: headers}
    values = standard.usable(environ)
    transport = connect(endpoints.plan("traces", values), values)
    assert transport.send(EXPORT, 5.0) == Outcome(Verdict.ACCEPTED)
    transport.close()
    [request] = receiver.requests()
    return request.headers, standard.unusable(environ)


def line(which: str, instead: str = "the other entries are used") -> dict[str, str]:
    return {NAME: f"{NAME}: {which}: {instead}"}


@pytest.mark.parametrize(("value", "text"), [("%E2%82%AC", "€"), ("caf%C3%A9", "café"), ("a%20%E6%97%A5", "a 日")])
def test_a_value_that_is_not_ascii_is_sent_as_utf_8_over_http(value: str, text: str, receiver: Receiver) -> None:
    arrived, lines = sent(receiver, "http/protobuf", f"x-ok=1,x-team={value}")

    assert arrived["x-team"].encode("latin-1").decode() == text
    assert lines == {}


@pytest.mark.parametrize("header", ["x-team=%E2%82%AC", "x-team=caf%C3%A9", "x!team=a", "x~=1"])
def test_a_header_that_grpc_can_not_send_is_left_out_and_reported(header: str, receiver: Receiver) -> None:
    arrived, lines = sent(receiver, "grpc", f"x-ok=1,{header}")

    assert arrived["x-ok"] == "1"
    assert header.partition("=")[0] not in arrived
    assert lines == line(f"entry 2 {GRPC}")


@pytest.mark.parametrize(("value", "data"), [("abc", b"abc"), ("%E2%82%AC", "€".encode())])
def test_a_binary_header_of_grpc_is_sent_as_bytes(value: str, data: bytes, receiver: Receiver) -> None:
    arrived, lines = sent(receiver, "grpc", f"x-team-bin={value}")

    assert arrived["x-team-bin"] == str(data)
    assert lines == {}


@of_protocols
def test_a_name_in_upper_case_is_sent(protocol: Protocol, receiver: Receiver) -> None:
    arrived, lines = sent(receiver, protocol, "X-Team=A")

    assert arrived["x-team"] == "A"
    assert lines == {}


@of_protocols
@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("x-team=a%0Ab", VALUE),
        ("x-team=a%0D%0Ax-other: b", VALUE),
        ("x-team=%00", VALUE),
        ("x-team=€", VALUE),
        ("x team=1", PAIR),
        (":path=1", PAIR),
        ("content-encoding=gzip", FRAMING),
        ("Content-Length=5", FRAMING),
        ("transfer-encoding=chunked", FRAMING),
    ],
)
def test_a_header_that_no_protocol_can_send_is_left_out_and_reported(
    header: str, problem: str, protocol: Protocol, receiver: Receiver
) -> None:
    arrived, lines = sent(receiver, protocol, f"x-ok=1,{header}")

    assert arrived["x-ok"] == "1"
    assert lines == line(f"entry 2 {problem}")


def test_each_problem_of_a_list_is_reported_with_its_entries(receiver: Receiver) -> None:
    _, lines = sent(receiver, "grpc", "s3cret,x-team=%E2%82%AC,x-y=%0A,x!=1")
    assert lines == line(f"entry 1 {PAIR} and entries 2, 4 {GRPC} and entry 3 {VALUE}", "no header is used")


OWN = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
    NAME: "x-other=%E2%82%AC",
}
OWN_NAME = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"


def test_a_header_of_one_signal_is_read_by_the_protocol_of_this_signal() -> None:
    environ = {**OWN, OWN_NAME: "x-ok=1,x-team=%E2%82%AC"}

    assert list(standard.unusable(environ)) == [OWN_NAME]
    assert standard.usable(environ)[OWN_NAME] == "x-ok=1"
    assert standard.usable(environ)[NAME] == "x-other=%E2%82%AC"


def test_the_headers_for_all_are_read_where_a_signal_has_none_that_can_be_sent() -> None:
    environ = {**OWN, OWN_NAME: "x-team=%E2%82%AC"}

    assert list(standard.unusable(environ)) == [OWN_NAME, NAME]
    assert not standard.usable(environ).keys() & {OWN_NAME, NAME}
