"""OTLP over HTTP, by ``requests``: it knows proxies, certificates and whatever else stands between two machines."""

import gzip
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import requests
from google.protobuf.message import DecodeError, Message

from otel_flyte import semconv
from otel_flyte.config.endpoints import GRPC
from otel_flyte.config.urls import without_password, without_passwords
from otel_flyte.export.target import USER_AGENT, Target
from otel_flyte.export.transport import Outcome, Verdict, accepted
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief

REQUEST_LIMIT = 20 * 2**20
"""Bytes of a body that a Collector takes unless told otherwise."""

_RETRYABLE = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_HINTS = {
    HTTPStatus.UNAUTHORIZED: f", check {semconv.HEADERS}",
    HTTPStatus.FORBIDDEN: f", check {semconv.HEADERS}",
    HTTPStatus.NOT_FOUND: ", it takes no {signal} at this path; {exporter}=none keeps them at home",
    HTTPStatus.METHOD_NOT_ALLOWED: ", it takes no {signal} at this path",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: f", it wants another protocol: set {semconv.PROTOCOL}",
    HTTPStatus.BAD_REQUEST: f", does it speak OTLP? {semconv.PROTOCOL}={GRPC} may be what it wants",
}
_SIGNAL_PATH = re.compile(r"/v1/(?:traces|metrics|logs)(?=/v1/\w+/?$)")
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


class HttpTransport:
    """A connection that is kept alive between requests.

    Raises:
        LookupError: the credential provider that was asked for is not installed.
    """

    request_limit = REQUEST_LIMIT

    def __init__(self, target: Target) -> None:
        self.timeout = target.timeout
        self.destination = without_password(target.address)
        self._target = target
        self._session = _session(target.credentials)
        self._session.headers.update(
            {"User-Agent": USER_AGENT, **target.headers, "Content-Type": "application/x-protobuf"}
        )
        if target.compression:
            self._session.headers["Content-Encoding"] = target.compression

    def send(self, request: Message, timeout: float) -> Outcome:
        """Post a request once."""
        target = self._target
        body = request.SerializeToString()
        if target.compression:
            body = _COMPRESS[target.compression](body)
        try:
            response = self._session.post(
                target.address,
                data=body,
                timeout=timeout,
                allow_redirects=False,
                verify=target.certificate or True,
                cert=(target.client_certificate, target.client_key) if target.client_key else target.client_certificate,
            )
        except Exception as error:
            return _no_response(error)
        return _outcome(target, response)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _session(credentials: str) -> requests.Session:
    if not credentials:
        return requests.Session()
    for entry in entry_points(group="opentelemetry_otlp_credential_provider", name=credentials):
        session = entry.load()()
        if isinstance(session, requests.Session):
            return session
    raise LookupError(f"there is no credential provider {credentials} for HTTP here")


def _outcome(target: Target, response: requests.Response) -> Outcome:
    status = response.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if "html" in response.headers.get("Content-Type", ""):
            return Outcome(Verdict.REFUSED, f"answered {status} with a web page: that is no OTLP receiver")
        return accepted(target.signal, response.content)
    said = f"{status} {in_brief(response.reason or '')}".rstrip()
    if status in _RETRYABLE:
        return Outcome(Verdict.RETRY, said, retry_after=_retry_after(response.headers.get("Retry-After", "")))
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Outcome(Verdict.TOO_LARGE, said)
    if response.is_redirect:
        location = in_brief(without_password(response.headers["Location"]))
        return Outcome(Verdict.REFUSED, f"redirected to {location}: name that as endpoint")
    if status == HTTPStatus.BAD_REQUEST and "protobuf" in response.headers.get("Content-Type", ""):
        return Outcome(Verdict.REJECTED, f"{said}{_message(response.content)}")
    verdict = Verdict.REJECTED if status == HTTPStatus.BAD_REQUEST else Verdict.REFUSED
    return Outcome(verdict, f"{said}{_hint(target, status)}")


def _hint(target: Target, status: int) -> str:
    """Say what to look at; where there is nothing at the path, it is mostly the path that is wrong."""
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        path = urlsplit(target.address).path
        twice = _SIGNAL_PATH.search(path)
        if twice:
            return f" at {in_brief(path)}, leave {twice[0]} off the endpoint"
        if path in ("", "/"):
            return f", add /v1/{target.signal} to the endpoint"
    hint = next((text for code, text in _HINTS.items() if code == status), "")
    return hint.format(signal=target.signal, exporter=semconv.EXPORTER.format(signal=target.signal.upper()))


def _message(content: bytes) -> str:
    """Read the words of the ``Status`` by which a receiver says what is wrong."""
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
    """Say in plain words what ``requests`` buries in nested exceptions."""
    words = str(error)
    if "Connection refused" in words:
        return Outcome(Verdict.RETRY, "connection refused, nothing listens there")
    if "timed out" in words or "Timeout" in type(error).__name__:
        return Outcome(Verdict.RETRY, "timed out")
    if "reset" in words or "RemoteDisconnected" in words or "Broken pipe" in words:
        return Outcome(Verdict.RETRY, "connection reset")
    if "resolve" in words or "Name or service" in words or "getaddrinfo" in words:
        return Outcome(Verdict.RETRY, "the host's name can't be resolved")
    if "CERTIFICATE" in words or "SSL" in words or "certificate" in words:
        reason = f"TLS failed ({_first_line(error)}), check the scheme of the endpoint, and {semconv.CERTIFICATE}"
        return Outcome(Verdict.REFUSED, reason)
    if "BadStatusLine" in words:
        return Outcome(Verdict.REFUSED, f"it does not speak HTTP/1: {semconv.PROTOCOL}={GRPC} may be what it wants")
    return Outcome(Verdict.RETRY, _first_line(error))


def _first_line(error: Exception) -> str:
    return in_brief(without_passwords(str(error).strip().partition("\n")[0])) or type(error).__name__
