"""One attempt to deliver a request over OTLP, and what the receiver made of it.

The SDK's exporters retry for as long as they like, swallow partial success and tell nothing but success and failure:
whoever has to be done in time, and to account for every record, needs the answer itself. Retrying is left to the
caller.
"""

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import DecodeError, Message

from otel_flyte.config.endpoints import GRPC, SignalPlan
from otel_flyte.export import otlp_requests
from otel_flyte.export.target import Target
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief


class Verdict(enum.Enum):
    """What became of a request, and what may be done about it."""

    ACCEPTED = enum.auto()
    RETRY = enum.auto()
    """It may be sent again."""
    TOO_LARGE = enum.auto()
    """Fewer records may be sent at once."""
    REJECTED = enum.auto()
    """The records are bad: no receiver will take them."""
    REFUSED = enum.auto()
    """This receiver does not take them; another one, or this one with other headers, may."""


class Outcome(NamedTuple):
    """The answer to one request.

    Attributes:
        verdict: what became of it.
        reason: why, in a few plain words; empty where it was accepted without a remark.
        rejected: records of an accepted request that the receiver did not take.
        retry_after: seconds after which to send it again, where the receiver said so.
    """

    verdict: Verdict
    reason: str = ""
    rejected: int = 0
    retry_after: float | None = None


class Transport(Protocol):
    """The way to one receiver for one signal.

    Attributes:
        destination: the endpoint as it may be shown to anybody.
        timeout: seconds that one attempt may take, as configured.
        request_limit: bytes that receivers take by default in one request.
    """

    destination: str
    timeout: float
    request_limit: int

    def send(self, request: Message, timeout: float) -> Outcome:
        """Send a request once, for at most ``timeout`` seconds. It never raises."""

    def close(self) -> None:
        """Give up the connection."""


def connect(plan: SignalPlan, environ: Mapping[str, str]) -> Transport:
    """Return the transport for a signal; nothing is sent yet.

    Raises:
        OSError, ValueError, ImportError: a certificate can't be read, or the protocol's package can't be imported.
    """
    target = Target.of(plan, environ)
    if plan.protocol == GRPC:
        with importing:
            from otel_flyte.export.grpc_transport import GrpcTransport
        return GrpcTransport(target)
    with importing:
        from otel_flyte.export.http_transport import HttpTransport
    return HttpTransport(target)


def accepted(signal: str, body: bytes) -> Outcome:
    """Return the outcome of a request that was taken, with what its response says about single records."""
    response: Any = otlp_requests.response(signal)
    try:
        response.ParseFromString(body)
    except DecodeError:
        # Some receivers answer in JSON, or with a word of their own: what they accepted they did accept.
        return Outcome(Verdict.ACCEPTED)
    partial = response.partial_success
    rejected = next((number for field, number in partial.ListFields() if field.name.startswith("rejected")), 0)
    return Outcome(Verdict.ACCEPTED, in_brief(partial.error_message), rejected)
