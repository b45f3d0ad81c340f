"""Delivery over HTTP: whose credentials, proxies and certificates it uses, and whose mocks it passes by."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
import requests
import urllib3.connectionpool

from faults.test_collectors import EXPORT
from otel_flyte.config import endpoints, standard
from otel_flyte.export.connection import connect
from otel_flyte.export.transport import Outcome, Verdict
from support import programs
from support.receiver import Receiver

pytestmark = pytest.mark.quick

SECONDS = 5.0
ACCEPTED = Outcome(Verdict.ACCEPTED)
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"


def send(environ: dict[str, str]) -> Outcome:
    values = standard.usable(environ)
    transport = connect(endpoints.plan("traces", values), values)
    try:
        return transport.send(EXPORT, SECONDS)
    finally:
        transport.close()


def headers(receiver: Receiver) -> dict[str, str]:
    [request] = receiver.requests()
    return request.headers


class Server(ThreadingHTTPServer):
    """Forwards requests to another server as a proxy does, or answers them itself where they name no other one."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        super().__init__((self.host, 0), _Handler)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Proxy-Authorization", "")))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        status = 200
        if url.netloc:
            forwarded = http.client.HTTPConnection(url.netloc)
            forwarded.request("POST", url.path, body, {"Content-Type": self.headers["Content-Type"]})
            status = forwarded.getresponse().status
            forwarded.close()
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its caller names it
        """Write nothing."""


class Ipv6Server(Server):
    address_family = socket.AF_INET6
    host = "::"


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# --- credentials -----------------------------------------------------------------------------------------------------

PROVIDERS = """
    import requests

    def with_password():
        session = requests.Session()
        session.auth = ("user", "own")
        return session
"""


@pytest.fixture
def providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = "opentelemetry_otlp_credential_provider"
    entries = {group: {"bare": "requests.Session", "password": "with_password"}}
    folder = programs.distribution(tmp_path / "site", "providers_of_the_test", PROVIDERS, entries)
    monkeypatch.syspath_prepend(str(folder))


def by(provider: str) -> dict[str, str]:
    return {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": provider} if provider else {}


of_providers = pytest.mark.parametrize("provider", ["", "bare"])


@pytest.fixture(params=["default", "machine 127.0.0.1"])
def netrc(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text(f"{request.param} login builder password s3cret\n")
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc", "providers")
class TestNetrc:
    @of_providers
    def test_a_password_of_netrc_does_not_replace_a_header(self, receiver: Receiver, provider: str) -> None:
        assert send({**receiver.environment(), **by(provider), HEADERS: "Authorization=Bearer%20token"}) == ACCEPTED
        assert headers(receiver)["authorization"] == "Bearer token"

    @of_providers
    def test_a_password_of_netrc_is_not_sent(self, receiver: Receiver, provider: str) -> None:
        assert send({**receiver.environment(), **by(provider)}) == ACCEPTED
        assert "authorization" not in headers(receiver)

    @of_providers
    def test_a_password_of_the_endpoint_is_sent(self, receiver: Receiver, provider: str) -> None:
        endpoint = receiver.endpoint().replace("://", "://user:pa%20ss@")
        assert send({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **by(provider)}) == ACCEPTED
        assert headers(receiver)["authorization"] == "Basic dXNlcjpwYSBzcw=="

    def test_the_password_of_a_providers_session_is_sent(self, receiver: Receiver) -> None:
        assert send({**receiver.environment(), **by("password")}) == ACCEPTED
        assert headers(receiver)["authorization"] == "Basic dXNlcjpvd24="


# --- mocks of users --------------------------------------------------------------------------------------------------

MOCKED = {
    "responses": (requests.adapters.HTTPAdapter, "send"),
    "requests_mock": (requests.Session, "get_adapter"),
    "a patched session": (requests.Session, "send"),
    "a patched request": (requests.Session, "request"),
    "vcrpy": (urllib3.connectionpool.HTTPConnectionPool, "ConnectionCls"),
}
"""The parts that are replaced by packages which answer or record the requests of a test."""


@pytest.mark.parametrize("name", MOCKED)
def test_a_mock_of_a_user_does_not_see_deliveries(name: str, receiver: Receiver) -> None:
    with mock.patch.object(*MOCKED[name]) as replaced:
        assert send(receiver.environment()) == ACCEPTED

    assert len(receiver.requests()) == 1
    assert replaced.mock_calls == []


def test_the_session_of_a_provider_is_used(providers: None, receiver: Receiver) -> None:
    send_request = requests.Session.send
    with mock.patch.object(requests.Session, "send", autospec=True, side_effect=send_request) as sent:
        assert send({**receiver.environment(), **by("bare")}) == ACCEPTED

    assert sent.call_count == 1


TASK_WITH_A_MOCK = """
    import json
    from unittest import mock

    import flytekit
    import otel_flyte
    import requests

    @flytekit.task
    def fetch() -> int:
        with mock.patch("requests.adapters.HTTPAdapter.send") as send:
            send.return_value = requests.Response()
            send.return_value.status_code, send.return_value.raw = 200, None
            with mock.patch("requests.sessions.extract_cookies_to_jar"):
                requests.get("http://example.invalid/")
            otel_flyte.flush()
            return send.call_count

    print(json.dumps(fetch()))
"""


def test_a_mock_in_a_task_sees_the_requests_of_the_task_only(tmp_path: Path, receiver: Receiver) -> None:
    ended = programs.run(TASK_WITH_A_MOCK, tmp_path, receiver.environment())

    assert ended.printed == 1
    assert ended.our_lines == []
    assert receiver.spans()


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(variable: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server()) as proxy:
        monkeypatch.setenv(variable, f"http://user:pa%20ss@{proxy.place}")
        assert send(receiver.environment()) == ACCEPTED

    assert proxy.seen == [(f"{receiver.endpoint()}/v1/traces", "Basic dXNlcjpwYSBzcw==")]
    assert len(receiver.requests()) == 1


def test_a_proxy_without_a_scheme_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.place)
        assert send(receiver.environment()) == ACCEPTED

    assert len(proxy.seen) == 1


@pytest.mark.parametrize("value", ["127.0.0.1", "127.0.0.0/8", "example.com, 127.0.0.1"])
def test_a_host_in_no_proxy_is_reached_directly(
    value: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", value)
    assert send(receiver.environment()) == ACCEPTED


def test_a_proxy_that_a_task_sets_after_the_first_request_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = receiver.environment()
    transport = connect(endpoints.plan("traces", environ), environ)
    with serving(Server()) as proxy:
        assert transport.send(EXPORT, SECONDS) == ACCEPTED
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.place}")
        assert transport.send(EXPORT, SECONDS) == ACCEPTED
    transport.close()

    assert len(proxy.seen) == 1


def test_a_socks_proxy_without_its_package_is_reported(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert send(receiver.environment()).reason == "a SOCKS proxy requires PySocks, run pip install pysocks"


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate of its own for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificate")
    parts = [folder / "key.pem", folder / "certificate.pem"]
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=receiver -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(parts[0]), "-out", str(parts[1])]
    subprocess.run(["openssl", *options.split(), *files], check=True, capture_output=True)
    (folder / "both.pem").write_text("".join(part.read_text() for part in parts))
    return folder / "both.pem"


@pytest.fixture
def tls(certificate: Path) -> Iterator[dict[str, str]]:
    """The variables for a server with TLS that requires the client to have the same certificate."""
    server = Server()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{server.place}"}


CLIENT = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY")


def with_client(certificate: Path, *names: str) -> dict[str, str]:
    return dict.fromkeys(names or CLIENT, str(certificate))


def test_the_files_of_the_exporter_are_used(tls: dict[str, str], certificate: Path) -> None:
    trusted = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate)}
    assert send({**tls, **trusted, **with_client(certificate)}) == ACCEPTED
    assert send({**tls, **trusted, **with_client(certificate, CLIENT[0])}) == ACCEPTED


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_authorities_of_requests_are_used(
    variable: str, tls: dict[str, str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    assert send({**tls, **with_client(certificate)}) == ACCEPTED


def test_an_unknown_certificate_is_refused(tls: dict[str, str], certificate: Path) -> None:
    outcome = send({**tls, **with_client(certificate)})
    assert outcome.verdict is Verdict.REFUSED
    assert "TLS failed" in outcome.reason


def test_missing_authorities_are_refused_with_the_name_of_the_file(
    tls: dict[str, str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    outcome = send({**tls, **with_client(certificate)})
    assert outcome.verdict is Verdict.REFUSED
    assert "/no/such/file" in outcome.reason


# --- IPv6 ------------------------------------------------------------------------------------------------------------


def link_local() -> tuple[str, str] | None:
    """Return a link-local address of this machine and its zone."""
    interfaces = Path("/proc/net/if_inet6")
    lines = [line.split() for line in interfaces.read_text().splitlines()] if interfaces.exists() else []
    found = ((str(ipaddress.IPv6Address(int(line[0], 16))), line[5]) for line in lines if line[0].startswith("fe80"))
    return next(found, None)


def test_an_ipv6_address_is_reached() -> None:
    with Ipv6Server() as server, serving(server):
        assert send({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://[::1]:{server.server_port}"}) == ACCEPTED


@pytest.mark.skipif(link_local() is None, reason="this machine has no link-local address")
@pytest.mark.parametrize("separator", ["%25", "%"])
def test_an_ipv6_address_with_a_zone_is_reached(separator: str) -> None:
    host = separator.join(link_local() or ())
    with Ipv6Server() as server, serving(server):
        assert send({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://[{host}]:{server.server_port}"}) == ACCEPTED
