"""OTLP over HTTP: requests, and the meaning of their answers."""

import gzip
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from google.protobuf.message import DecodeError, Message

from otel_flyte import semconv
from otel_flyte.config.endpoints import GRPC
from otel_flyte.config.urls import without_password, without_passwords
from otel_flyte.export.http_client import Client, OwnClient, Response, SessionClient
from otel_flyte.export.target import USER_AGENT, Target, load_credentials
from otel_flyte.export.transport import Outcome, Verdict, accepted
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief

REQUEST_LIMIT = 20 * 2**20
"""The Collector's default limit of a body, in bytes."""

_RETRYABLE = (408, 429, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_HINTS = {
    400: f", the receiver may not speak OTLP over HTTP, try {semconv.PROTOCOL}={GRPC}",
    401: f", check {semconv.HEADERS}",
    403: f", check {semconv.HEADERS}",
    404: ", no {signal} are received at this path, correct the endpoint or set {exporter}=none",
    405: ", no {signal} are received at this path",
    415: f", the receiver expects another protocol, set {semconv.PROTOCOL}",
}
_NO_RESPONSE = (
    (("Connection refused",), Verdict.RETRY, "connection refused, nothing listens there"),
    (("timed out", "Timeout"), Verdict.RETRY, "timed out"),
    (("reset", "RemoteDisconnected", "Broken pipe"), Verdict.RETRY, "connection reset"),
    (("unreachable", "No route"), Verdict.RETRY, "the host can't be reached"),
    (("resolve", "Name or service", "getaddrinfo"), Verdict.RETRY, "the host's name can't be resolved"),
    (
        ("CERTIFICATE", "SSL", "certificate"),
        Verdict.REFUSED,
        f"TLS failed ({{error}}), check the scheme of the endpoint and {semconv.CERTIFICATE}",
    ),
    (("BadStatusLine",), Verdict.REFUSED, f"the receiver does not speak HTTP/1, try {semconv.PROTOCOL}={GRPC}"),
)
"""Verdicts and reasons by the words of nested exceptions; the first match counts."""

_SIGNAL_PATH = re.compile(r"/v1/(?:traces|metrics|logs)(?=/v1/\w+/?$)")
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


class HttpTransport:
    """A connection that is kept alive between requests.

    Raises:
        LookupError: the credential provider is not installed.
    """

    request_limit = REQUEST_LIMIT

    def __init__(self, target: Target) -> None:
        self.timeout = target.timeout
        self.destination = without_password(target.address)
        self._target = target
        self._client = _client(target)

    def send(self, request: Message, timeout: float) -> Outcome:
        """Post a request once."""
        target = self._target
        body = request.SerializeToString()
        if target.compression:
            body = _COMPRESS[target.compression](body)
        try:
            response = self._client.post(body, timeout)
        except Exception as error:
            return _no_response(error)
        return _outcome(target, response)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _client(target: Target) -> Client:
    # `http.client` writes Latin-1, in which these are the bytes of UTF-8.
    given = {name: value.encode().decode("latin-1") for name, value in target.headers.items()}
    headers = {"user-agent": USER_AGENT, **given, "content-type": "application/x-protobuf"}
    if target.compression:
        headers["content-encoding"] = target.compression
    if target.credentials:
        return SessionClient(target, headers, load_credentials(target.credentials, requests.Session))
    return OwnClient(target, headers)


def _outcome(target: Target, response: Response) -> Outcome:
    status, content_type = response.status, response.headers.get("Content-Type", "")
    if 200 <= status < 300:
        if "html" in content_type:
            return Outcome(Verdict.REFUSED, f"answered {status} with a web page, it is no OTLP receiver")
        return accepted(target.signal, response.body)
    answer = f"{status} {in_brief(response.reason)}".rstrip()
    if status in _RETRYABLE:
        return Outcome(Verdict.RETRY, answer, retry_after=_retry_after(response.headers.get("Retry-After", "")))
    if status == 413:
        return Outcome(Verdict.TOO_LARGE, answer)
    if status in _REDIRECTS and "Location" in response.headers:
        location = in_brief(without_password(response.headers["Location"]))
        return Outcome(Verdict.REFUSED, f"redirected to {location}, use that as endpoint")
    is_bad = status == 400
    hint = _message(response.body) if is_bad and "protobuf" in content_type else _hint(target, status)
    return Outcome(Verdict.REJECTED if is_bad else Verdict.REFUSED, answer + hint)


def _hint(target: Target, status: int) -> str:
    """Return the remedy. A missing path is mostly the fault of the endpoint."""
    if status in (404, 405):
        path = urlsplit(target.address).path
        twice = _SIGNAL_PATH.search(path)
        if twice:
            return f" at {in_brief(path)}, remove {twice[0]} from the endpoint"
        if path in ("", "/"):
            return f", add /v1/{target.signal} to the endpoint"
    exporter = semconv.EXPORTER.format(signal=target.signal.upper())
    return _HINTS.get(status, "").format(signal=target.signal, exporter=exporter)


def _message(content: bytes) -> str:
    """Read the message of the ``Status`` in which a receiver says why a request is invalid."""
    with importing:
        from google.rpc.status_pb2 import Status

    status = Status()
    with suppress(DecodeError):
        status.ParseFromString(content)
    return f" ({in_brief(status.message)})" if status.message else ""


def _retry_after(value: str) -> float | None:
    """Read ``Retry-After``, which is a number of seconds or a date."""
    if value.isascii() and value.isdigit():
        return float(value)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds())
    return None


def _no_response(error: Exception) -> Outcome:
    words = f"{type(error).__name__}: {error}"
    first_line = in_brief(without_passwords(str(error).strip().partition("\n")[0])) or type(error).__name__
    for marks, verdict, reason in _NO_RESPONSE:
        if any(mark in words for mark in marks):
            return Outcome(verdict, reason.format(error=first_line))
    return Outcome(Verdict.RETRY, first_line)
