"""Who may read, from where, and what no request can do."""

import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from otel_flyte.cli import main as cli
from support import served_runs, traces
from support.served_runs import MEASURED
from support.server import Served, command, environment, serving

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

TOKEN, OTLP_TOKEN = "a" * 20, "b" * 20
JOBS = "/v2/shop:development/training-jobs"
ROUTES = [
    "/api/v1/openapi.json",
    "/api/v1/executions",
    f"/api/v1/executions/{MEASURED}",
    f"/api/v1/executions/{MEASURED}/attempts",
    f"/api/v1/executions/{MEASURED}/attempts/n0/series",
    f"/api/v1/executions/{MEASURED}/rightsize",
    f"/api/v1/executions/{MEASURED}/logs",
    f"/api/v1/executions/{MEASURED}/recording",
    f"/api/v1/executions/{MEASURED}/events",
    JOBS,
    f"{JOBS}/measured",
    f"{JOBS}/measured/metrics/n0",
    "/",
    "/api/v1/nothing",
]
PAGES = [
    f"/executions/{MEASURED}",
    f"/executions/{MEASURED}?plain",
    f"/data/{MEASURED}",
    f"/outline/{MEASURED}",
    f"/events/{MEASURED}",
    "/events",
    f"/compare?a={MEASURED}&b={MEASURED}",
    f"/compare?execution={MEASURED}",
    f"/api/v1/compare?a={MEASURED}&b={MEASURED}",
    "/assets/page.js",
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("serve")) as ready:
        served_runs.send_all(ready)
        yield ready


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that asks for tokens."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "otlp-token").write_text(OTLP_TOKEN)
    with serving(folder, "--token-file", "token", "--otlp-token-file", "otlp-token") as ready:
        yield ready


def raw(served: Served, target: str, host: str | None = "localhost", **headers: str) -> tuple[int, str]:
    """Ask for a target exactly as it is written; return the status and the body."""
    connection = HTTPConnection(served.url.removeprefix("http://"), timeout=60)
    connection.putrequest("GET", target, skip_host=True)
    for name, value in {**({} if host is None else {"Host": host}), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def sent(served: Served, request: bytes) -> bytes:
    """Return the first bytes of the answer to any bytes."""
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(request)
        return connection.recv(100)


class TestTokens:
    @pytest.mark.parametrize("path", [*ROUTES, *PAGES])
    @pytest.mark.parametrize("token", [None, "", OTLP_TOKEN, TOKEN[:-1], TOKEN + "a", "ä" * 20])
    def test_no_route_answers_without_it(self, closed: Served, path: str, token: str | None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        answer = closed.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer, Basic realm=")
        assert "send it as `Authorization: Bearer TOKEN`" in answer.text

    @pytest.mark.parametrize("token", [None, "", TOKEN, OTLP_TOKEN[:-1]])
    def test_a_receiver_tells_its_page_only_to_senders(self, closed: Served, token: str | None) -> None:
        address = f"{closed.otlp_http}/.well-known/otel-flyte"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        assert requests.get(address, headers=headers, timeout=60).status_code == 401
        allowed = requests.get(address, headers={"Authorization": f"Bearer {OTLP_TOKEN}"}, timeout=60)
        assert allowed.json() == {"page_port": int(closed.url.rpartition(":")[2])}

    def test_it_opens_the_api(self, closed: Served) -> None:
        answer = closed.get("/api/v1/executions", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.json() == {"executions": [], "next": None}

    def test_a_browser_sends_it_as_a_password(self, closed: Served) -> None:
        assert closed.get("/", auth=("anybody", TOKEN)).status_code == 200
        for wrong in (TOKEN[:-1], f"{TOKEN}:", ""):
            assert closed.get("/", auth=("anybody", wrong)).status_code == 401
        assert closed.get("/", headers={"Authorization": "Basic %%%"}).status_code == 401

    def test_any_host_is_right_with_a_token(self, closed: Served) -> None:
        authorized = {"Authorization": f"Bearer {TOKEN}"}
        assert raw(closed, "/api/v1/executions", "flyte.example.com", **authorized)[0] == 200
        assert raw(closed, "/api/v1/executions", "flyte.example.com")[0] == 401

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "must hold one token of 16 ASCII characters or more"),
            (b"short\n", "must hold one token of 16 ASCII characters or more"),
            (b"two tokens in one line", "must hold one token"),
            (b"a" * 20 + b"\n" + b"b" * 20, "must hold one token"),
            ("ä".encode() * 20, "must hold one token"),
            (b"\xff" * 20, "can't be read (it is not text)"),
            (None, "can't be read (No such file or directory)"),
        ],
    )
    def test_a_file_without_one_is_one_line(self, tmp_path: Path, content: bytes | None, problem: str) -> None:
        if content is not None:
            (tmp_path / "token").write_bytes(content)
        for option in ("--token-file", "--otlp-token-file"):
            assert problem in refused(option, tmp_path / "token")


class TestStart:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "flyte.example.com"])
    @pytest.mark.parametrize("given", [[], ["--token-file"], ["--otlp-token-file"]])
    def test_another_address_needs_both_tokens(self, tmp_path: Path, host: str, given: list[str]) -> None:
        (tmp_path / "token").write_text(TOKEN)
        options = [part for option in given for part in (option, tmp_path / "token")]
        line = refused("--store", tmp_path / "db", "--host", host, *options)
        assert line == (
            f"otel-flyte: {host} can be reached from other machines: "
            "give --token-file and --otlp-token-file, or --insecure"
        )


def refused(*options: object) -> str:
    """Return the line of a server that does not start."""
    result = CliRunner().invoke(cli.main, ["serve", *map(str, options)])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    return result.stderr.strip()


class TestHost:
    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:7311", "localhost.", "127.0.0.1:1", "[::1]:7311", "192.0.2.1", "[::1]"]
    )
    def test_localhost_and_addresses_are_answered(self, api: Served, host: str) -> None:
        assert raw(api, "/api/v1/executions", host)[0] == 200

    @pytest.mark.parametrize("path", ["/api/v1/executions", "/api/v1/openapi.json", JOBS, "/"])
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:7311", "localhost.evil.example", "127.0.0.1.evil.example", "[x]", "1"]
    )
    def test_another_name_is_refused(self, api: Served, path: str, host: str) -> None:
        status, body = raw(api, path, host)
        assert (status, "localhost and addresses only" in body) == (421, True)

    def test_a_request_of_an_old_protocol_has_none(self, api: Served) -> None:
        assert sent(api, b"GET /api/v1/executions HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


class TestAnswers:
    @pytest.mark.parametrize("path", [*ROUTES[:8], *ROUTES[9:], *(path for path in PAGES if "/events" not in path)])
    def test_no_other_site_may_read_or_frame_them(self, api: Served, path: str) -> None:
        for method in ("GET", "OPTIONS", "POST"):
            headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
            answer = requests.request(method, api.url + path, headers=headers, timeout=60)
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
            assert answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"]
            assert answer.status_code < 500

    def test_the_errors_of_paths_have_their_shape(self, api: Served) -> None:
        assert api.get("/api/v1/nothing").json()["detail"].startswith("Not Found: ")
        assert api.get("/v2/nothing").json()["error_code"] == "ModelArts.0404"


class TestBounds:
    @pytest.mark.parametrize("path", ["/api/v1/executions", JOBS, f"/api/v1/executions/{MEASURED}"])
    def test_a_long_query_is_refused(self, api: Served, path: str) -> None:
        assert raw(api, f"{path}?x={'x' * 10_000}")[0] == 414

    @pytest.mark.parametrize("path", ["/api/v1/executions/{}", "/v2/{}/training-jobs", "/{}"])
    def test_a_long_path_is_refused(self, api: Served, path: str) -> None:
        assert raw(api, path.format("x" * 5000))[0] == 414
        assert sent(api, f"GET {path.format('x' * 2**20)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()[:200_000])

    @pytest.mark.parametrize("path", ["/api/v1/executions", JOBS, "/"])
    def test_a_body_is_refused_unread(self, api: Served, path: str) -> None:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
        for length in (b"Content-Length: 1000000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            assert sent(api, head.encode() + length).startswith(b"HTTP/1.1 413")

    @pytest.mark.parametrize(
        "request_line",
        [b"GET /api/v1/executions/\xff HTTP/1.1", b"GET  HTTP/1.1", b"\0\0\0", b"GET http://evil.example/ HTTP/1.1"],
    )
    def test_what_is_no_request_ends_nothing(self, api: Served, request_line: bytes) -> None:
        assert sent(api, request_line + b"\r\nHost: localhost\r\n\r\n")[9:12] in (b"400", b"404", b"")
        assert api.get("/api/v1/executions").status_code == 200
        assert (api.folder / "stderr").read_text() == ""


NAMES = ["a/b", "a%2Fb", "a%b", "../..", "\0", "\u202eevil", "'\"; DROP TABLE spans; --", "x" * 900, "ä", "\ud7ff", "%"]


class TestNames:
    """Names that telemetry may have, and that requests may ask for."""

    @pytest.mark.parametrize("name", NAMES)
    def test_one_that_is_not_recorded_is_not_found(self, api: Served, name: str) -> None:
        quoted = requests.utils.quote(name, safe="")  # type: ignore[attr-defined]
        for path in (
            f"/api/v1/executions/{quoted}",
            f"/api/v1/executions/{quoted}/attempts",
            f"/api/v1/executions/{quoted}/logs",
            f"/api/v1/executions/{quoted}/recording",
            f"/api/v1/executions/{quoted}/events",
            f"/api/v1/executions/{MEASURED}/attempts/{quoted}/series",
            f"/v2/shop:development/training-jobs/{quoted}",
            f"/v2/shop:development/training-jobs/measured/metrics/{quoted}",
        ):
            status, body = raw(api, path)
            assert status == 404 or (status == 400 and len(name) > 600), (path, status, body)
            assert len(body) < 3000
        assert raw(api, f"/api/v1/executions?text={quoted}")[0] in (200, 400)

    def test_one_that_is_recorded_is_found(self, tmp_path: Path) -> None:
        names = [name for name in NAMES if name != "\0" and len(name) < 200]
        with serving(tmp_path / "serve") as served:
            for number, name in enumerate(names):
                path = tmp_path / f"{number}.jsonl"
                recorder = traces.Recorder.of_file(path, served_runs.resource(name))
                own: dict[str, Any] = {**served_runs.ATTEMPT, "number": number}
                recorder.leaf("task t", 0, 1, own, parent=served_runs.parent(number))
                served.send_file(path)
            for number, name in enumerate(names):
                key = requests.utils.quote(f"shop:development:{name}", safe="")  # type: ignore[attr-defined]
                status, body = raw(served, f"/api/v1/executions/{key}")
                assert status == 200, body
                assert f'"number":{number}' in body.replace('"number":"', '"number":')
                quoted = requests.utils.quote(name, safe="")  # type: ignore[attr-defined]
                assert raw(served, f"/v2/shop:development/training-jobs/{quoted}")[0] == 200


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two certificates and their keys, of which one has a copy with a password."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("a", "b"):
        made = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.cert -days 1 -subj /CN=localhost"
        )
        subprocess.run(made.split(), cwd=folder, capture_output=True, check=True)
    locked = "openssl rsa -in a.key -aes128 -passout pass:abcd -out locked.key"
    subprocess.run(locked.split(), cwd=folder, capture_output=True, check=True)
    (folder / "text").write_text("no PEM at all\n")
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "line"),
    [
        ("a.key", "a.cert", "a.key is no certificate in PEM: name one by --tls-cert"),
        ("text", "a.key", "text is no certificate in PEM: name one by --tls-cert"),
        ("a.cert", "b.key", "b.key is the key of another certificate: name the key of a.cert by --tls-key"),
        ("a.cert", "text", "text is no key in PEM without a password: name the key of a.cert by --tls-key"),
        ("a.cert", "locked.key", "locked.key is no key in PEM without a password: name the key of a.cert by --tls-key"),
        ("none", "a.key", "none can't be read (No such file or directory): check the path and its permissions"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_line(keys: Path, certificate: str, key: str, line: str) -> None:
    arguments = command("--tls-cert", certificate, "--tls-key", key)
    ended = subprocess.run(
        arguments, cwd=keys, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, f"otel-flyte: {line}\n", "")


def test_tls_encrypts_all_ports(tmp_path: Path) -> None:
    made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost"
    arguments = [*made.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=True)
    with serving(tmp_path, "--tls-cert", "cert.pem", "--tls-key", "key.pem", scheme="https") as served:
        trusted = str(tmp_path / "cert.pem")
        assert served.get("/api/v1/executions", verify=trusted).status_code == 200
        body = requests.post(f"{served.otlp_http}/v1/traces", json={"resourceSpans": []}, verify=trusted, timeout=60)
        assert body.status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.get(served.url.replace("https", "http"), timeout=60)
