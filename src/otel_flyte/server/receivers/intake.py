"""Takes requests of OTLP, whichever protocol brings them."""

import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from otel_flyte.export import otlp_json, otlp_requests
from otel_flyte.server.store import batches
from otel_flyte.server.store.writer import Writer

if TYPE_CHECKING:
    from concurrent.futures import Future

LARGEST_REQUEST = 64 * 2**20
"""Bytes of a decompressed request."""

RETRY_SECONDS = 1
"""How long a sender waits whose request is refused because too many wait."""

_EMPTY = re.compile(rb"\s*\{\s*\}\s*")
"""A request of any signal without records."""

_REJECTED = "ids of spans must be 16 and 8 bytes, and not zero"


class InvalidRequestError(Exception):
    """A request can't be read. The message is the reason."""


class TooLargeError(Exception):
    """A request is larger than :data:`LARGEST_REQUEST`."""


class Taken(NamedTuple):
    """A request that is being written.

    Attributes:
        written: ends once it is on disk.
        response: the answer after that, with the number of rejected spans.
    """

    written: "Future[None]"
    response: Any


def take(writer: Writer, signal: str, request: Any, size: int) -> Taken:
    """Hand a request to the writer.

    Raises:
        BusyError: too many requests wait.
    """
    groups, rejected = batches.groups(signal, request)
    response = otlp_requests.response(signal)
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = _REJECTED
    return Taken(writer.put(groups, size), response)


def parsed(signal: str, body: bytes, *, is_json: bool) -> Any:
    """Return the request in a body.

    Raises:
        InvalidRequestError: it is none of this signal.
    """
    if is_json and _EMPTY.fullmatch(body):
        return otlp_requests.request(signal)
    if is_json:
        try:
            # Spans without valid ids are rejected later, and counted.
            found, request = otlp_json.request_of(body, any_ids=True)
        except ValueError as error:
            raise InvalidRequestError(f"the body is not OTLP JSON: {error}") from None
        if found != signal:
            raise InvalidRequestError(f"the body holds {found}: send it to /v1/{found}")
        return request
    request = otlp_requests.request(signal)
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise InvalidRequestError("the body is not OTLP protobuf") from None
    return request


def decompressed(body: bytes, encoding: str) -> bytes:
    """Return a body without its content encoding.

    Raises:
        InvalidRequestError: it has another one than gzip or deflate, or is broken.
        TooLargeError: it is too large then.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidRequestError(f"the content encoding {encoding:.40} is unknown: use gzip")
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS)
    try:
        content = decompressor.decompress(body, LARGEST_REQUEST + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is not {encoding}: {error}") from None
    if len(content) > LARGEST_REQUEST:
        raise TooLargeError
    if not decompressor.eof:
        raise InvalidRequestError(f"the body is not complete {encoding}")
    return content
