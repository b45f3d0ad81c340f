"""One attempt to deliver an OTLP request, and the answer of the receiver.

The SDK's exporters retry on their own schedule, hide partial success and return only success or failure. Delivery
within a bound and a count of every dropped record need the answer itself. Retries are left to the caller.
"""

import enum
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import DecodeError, Message

from otel_flyte.export import otlp_requests
from otel_flyte.runtime.limits import in_brief


class Verdict(enum.Enum):
    """The result of one attempt."""

    ACCEPTED = enum.auto()
    RETRY = enum.auto()
    """The same request may be sent again."""
    TOO_LARGE = enum.auto()
    """The records may be sent in smaller requests."""
    REJECTED = enum.auto()
    """The records are invalid: no receiver will accept them."""
    REFUSED = enum.auto()
    """This receiver does not accept them; another one, or this one with other headers, may."""


class Outcome(NamedTuple):
    """The answer to one request.

    Attributes:
        verdict: the result.
        reason: a few words for users; empty if the request was accepted without a warning.
        rejected: number of records of an accepted request that the receiver rejected.
        retry_after: seconds to wait before the next attempt, if the receiver named them.
    """

    verdict: Verdict
    reason: str = ""
    rejected: int = 0
    retry_after: float | None = None


class Transport(Protocol):
    """A connection to one receiver for one signal.

    Attributes:
        destination: the endpoint without credentials.
        timeout: seconds that one attempt may take, as configured.
        request_limit: bytes that receivers accept in one request by default.
    """

    destination: str
    timeout: float
    request_limit: int

    def send(self, request: Message, timeout: float) -> Outcome:
        """Send a request once, for at most ``timeout`` seconds. It never raises."""

    def close(self) -> None:
        """Close the connection."""


def accepted(signal: str, body: bytes) -> Outcome:
    """Return the outcome of an accepted request, with the records that its response rejects."""
    response: Any = otlp_requests.response(signal)
    try:
        response.ParseFromString(body)
    except DecodeError:
        # Some receivers answer in JSON or plain text. The status says that they accepted the request.
        return Outcome(Verdict.ACCEPTED)
    partial = response.partial_success
    rejected = next((number for field, number in partial.ListFields() if field.name.startswith("rejected")), 0)
    return Outcome(Verdict.ACCEPTED, in_brief(partial.error_message), rejected)
