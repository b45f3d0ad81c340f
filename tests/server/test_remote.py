"""A server that reads Tempo and Loki: what it asks them, what follows, and what it says when they do not answer."""

import contextlib
import html
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from otel_flyte import semconv
from otel_flyte.tasks.identity import Attempt, Execution
from support import native, otlp, remote_runs, served_runs, stores
from support.remote_runs import Backends
from support.server import Served, free_ports, serving
from support.stores import Asked, Reply, Store

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

KEY = served_runs.MEASURED
PATHS = ("/api/v1/executions", f"/api/v1/executions/{KEY}", f"/api/v1/executions/{KEY}/logs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    folder = tmp_path_factory.mktemp("remote")
    with remote_runs.running(folder / "serve") as ready:
        for line in remote_runs.lines(folder / "recordings"):
            ready.send(line)
        yield ready


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Backends]:
    with remote_runs.running(tmp_path / "serve") as ready:
        yield ready


def task(
    name: str, trace_id: int, span_id: int, *, ago: float = 60, seconds: float = 1, **attributes: str
) -> dict[str, Any]:
    """Return the span of a task that began some seconds ago."""
    start = time.time_ns() - round(ago * 1e9)
    own = {semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT, semconv.TASK_NAME: name, **attributes}
    times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + round(seconds * 1e9))}
    found = otlp.span(f"{trace_id:032x}", f"{span_id:016x}", name=f"task {name}", attributes=otlp.attributes(own))
    return {**found, **times}


def send(to: Store, execution: str, *spans: dict[str, Any]) -> None:
    to.send(json.dumps(otlp.message("traces", served_runs.resource(execution), spans, semconv.SCOPE)))


def own_trace(execution: str) -> int:
    return Execution("shop", "development", execution).trace_id()


# --- lists -----------------------------------------------------------------------------------------------------------


def test_pages_follow_each_other_without_gaps_over_days(empty: Backends) -> None:
    ages = [10, 1800, 3 * 3600, 5 * 3600, 20 * 3600, 3 * 86400, 12 * 86400, 29 * 86400, 40 * 86400]
    for number, ago in enumerate(ages):
        send(empty.tempo, f"run{number}", task("t", own_trace(f"run{number}"), number + 1, ago=ago))
    begin = datetime.now(timezone.utc) - timedelta(days=60)
    # What is older than a month is not searched for, unless somebody asks for it.
    assert all_names(empty, "limit=2") == [f"run{number}" for number in range(8)]
    assert all_names(empty, f"limit=3&since={begin:%Y-%m-%dT%H:%M:%SZ}") == [f"run{number}" for number in range(9)]


def all_names(backends: Backends, query: str) -> list[str]:
    found, after = [], ""
    while True:
        page = backends.served.get(f"/api/v1/executions?{query}&after={after}").json()
        found += [each["name"] for each in page["executions"]]
        after = page["next"]
        if not after:
            return found


def test_an_execution_that_began_long_ago_comes_after_those_that_began_later(empty: Backends) -> None:
    send(empty.tempo, "long", task("t", own_trace("long"), 1, ago=8 * 3600, seconds=8 * 3600 - 30))
    send(empty.tempo, "short", task("t", own_trace("short"), 2, ago=2 * 3600))
    found = [each["name"] for each in empty.served.executions(limit="2")]
    assert found == ["short", "long"]
    assert [each["name"] for each in empty.served.executions(limit="1")] == ["short"]


def test_more_executions_than_a_search_returns_are_all_listed(empty: Backends) -> None:
    for number in range(450):
        send(empty.tempo, f"run{number}", task("t", own_trace(f"run{number}"), number + 1, ago=10 + 2 * number))
    found = [each["name"] for each in empty.served.executions(limit="1000")]
    assert found == [f"run{number}" for number in range(450)]
    assert empty.served.get("/v2/shop:development/training-jobs").json()["total"] == 450


def test_the_map_subtasks_with_traces_of_their_own_are_one_execution(empty: Backends) -> None:
    execution = Execution("shop", "development", "wide")
    send(empty.tempo, "wide", task("prepare", execution.trace_id(), 1, ago=3 * 3600))
    for index in range(500, 750):
        node = Attempt(execution, f"n1/n{index}", f"n1-0-n{index}", 0, index)
        more: dict[str, Any] = {
            semconv.ARRAY_INDEX: str(index),
            semconv.NODE_PATH: node.node_path,
            semconv.ATTEMPT: "0",
        }
        send(empty.tempo, "wide", task("score", node.trace_id(500), index, ago=2000, **more))
    (listed,) = empty.served.executions()
    page = empty.served.get("/api/v1/executions/shop:development:wide?limit=1000").json()
    assert listed == page["execution"]
    assert listed["spans"] == 251
    assert len(page["spans"]) == 251
    asked = len(empty.tempo.paths("/api/traces/"))
    assert asked == 251
    time.sleep(2.5)
    empty.served.get("/api/v1/executions/shop:development:wide")
    # What has ended is not fetched again.
    assert len(empty.tempo.paths("/api/traces/")) == asked + 1


def test_names_stay_texts_in_every_query(shared: Backends) -> None:
    for name in HOSTILE:
        asked = len(shared.tempo.asked), len(shared.loki.asked)
        for parameters in (
            {"project": name[:250]},
            {"text": name[:250]},
            {"attribute": f"{name[:250].replace(':', '')}:x"},
            {"attribute": f"x:{name[:250]}"},
        ):
            answer = shared.served.get("/api/v1/executions", params=parameters)
            assert answer.status_code in (200, 400), answer.text
            assert answer.json().get("executions", []) == []
        key = quote(f"shop:development:{name[:250]}", safe="")
        answer = shared.served.get(f"/api/v1/executions/{key}")
        assert answer.status_code == 404, answer.text
        assert (len(shared.tempo.asked), len(shared.loki.asked)) > asked


HOSTILE = [
    'a"b',
    "a\\",
    "a\\" * 20,
    "a\nb\r\tc",
    "a`b",
    'a} || {} | select("x")',
    '") || (.flyte.run_name =~ ".*',
    "\u202eevil",
    "a\x00b",
    "$(x)${y}{{z}}",
    ".*|(?i)[a-z]+",
    "x" * 10**6,
    "\N{PILE OF POO}é",
]


# --- following -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(backends: Backends, path: str) -> Iterator[Iterator[str]]:
    with requests.get(backends.served.url + path, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        yield (line.decode() for line in answer.iter_lines(chunk_size=1) if line)


def until_changed(lines: Iterator[str]) -> None:
    while "changed" not in next(lines):
        pass


@pytest.mark.parametrize("path", ["/api/v1/executions/{key}/events", "/events/{key}"])
def test_a_new_span_is_told_to_those_who_listen(empty: Backends, path: str) -> None:
    send(empty.tempo, "live", task("first", own_trace("live"), 1, ago=20))
    with listening(empty, path.format(key="shop:development:live")) as lines:
        until_changed(lines)
        send(empty.tempo, "live", task("second", own_trace("live"), 2, ago=10))
        asked = len(empty.tempo.paths("/api/traces/"))
        native.wait_until(lambda: len(empty.tempo.paths("/api/traces/")) > asked, "no further fetch", timeout=30)
        until_changed(lines)
    assert len(empty.served.get("/api/v1/executions/shop:development:live").json()["spans"]) == 2


def test_a_log_record_that_comes_before_the_spans_of_its_process_is_there_once(empty: Backends) -> None:
    def of(instance: str, signal: str, record: dict[str, Any]) -> str:
        resource = served_runs.resource("live", **{semconv.SERVICE_INSTANCE_ID: instance, "host.arch": "arm64"})
        return json.dumps(otlp.message(signal, resource, [record], semconv.SCOPE))

    empty.tempo.send(of("one", "traces", task("first", own_trace("live"), 1, ago=20)))
    empty.loki.send(of("two", "logs", otlp.log_record("hello")))
    path = "/api/v1/executions/shop:development:live"
    assert [line["text"] for line in empty.served.get(f"{path}/logs").json()["logs"]] == ["hello"]
    empty.tempo.send(of("two", "traces", task("second", own_trace("live"), 2, ago=10)))
    native.wait_until(lambda: len(empty.served.get(path).json()["spans"]) == 2, "the second span is not fetched")
    assert [line["text"] for line in empty.served.get(f"{path}/logs").json()["logs"]] == ["hello"]


def test_a_database_that_is_held_is_one_line_and_nothing_is_lost(empty: Backends) -> None:
    path = "/api/v1/executions/shop:development:live"
    send(empty.tempo, "live", task("first", own_trace("live"), 1, ago=20))
    with contextlib.closing(sqlite3.connect(database_of(empty.served), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = empty.served.get(path)
        other.execute("ROLLBACK")
    assert answer.status_code == 503
    assert "can't be used (database is locked)" in answer.json()["detail"]
    native.wait_until(lambda: empty.served.get(path).status_code == 200, "the server does not go on", timeout=30)
    assert len(empty.served.get(path).json()["spans"]) == 1


def database_of(served: Served) -> str:
    """Return the database of a running server, which is in a temporary folder."""
    opened = (str(each.readlink()) for each in Path(f"/proc/{served.process.pid}/fd").iterdir())
    return next(path for path in opened if path.endswith("telemetry.db"))


def test_a_new_execution_is_told_to_those_who_look_at_the_list(empty: Backends) -> None:
    send(empty.tempo, "one", task("t", own_trace("one"), 1, ago=20))
    with listening(empty, "/events") as lines:
        until_changed(lines)
        native.wait_until(lambda: len(empty.tempo.paths("/api/search")) > 20, "the list is not looked for")
        send(empty.tempo, "two", task("t", own_trace("two"), 2, ago=10))
        until_changed(lines)


def test_all_who_listen_share_a_look_and_nobody_listening_is_none(empty: Backends) -> None:
    send(empty.tempo, "live", task("first", own_trace("live"), 1, ago=20))
    with contextlib.ExitStack() as open_ones:
        for _ in range(8):
            lines = open_ones.enter_context(listening(empty, "/api/v1/executions/shop:development:live/events"))
            until_changed(lines)
        asked = len(empty.tempo.paths("/api/traces/"))
        time.sleep(9)
        looks = len(empty.tempo.paths("/api/traces/")) - asked
    assert 1 <= looks <= 6
    time.sleep(4)
    asked = len(empty.tempo.asked)
    time.sleep(6)
    assert len(empty.tempo.asked) == asked


# --- backends that do not answer -------------------------------------------------------------------------------------

REFUSALS = {
    401: (502, "refuses access (401): give its credentials by --backend-header or in --tempo"),
    403: (502, "refuses access (403): give its credentials by --backend-header or in --tempo"),
    429: (503, "is busy or not ready (429): ask again later"),
    500: (502, "fails (500): see its log, and ask again later"),
    503: (503, "is busy or not ready (503): ask again later"),
    400: (502, "refuses the query (400: no such thing): ask for less, or check its limits"),
    404: (502, "does not answer as Tempo does: check --tempo"),
    302: (502, "redirects too often: give its own address in --tempo"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_is_one_line_for_all_clients(empty: Backends, status: int) -> None:
    headers = {"Location": "/again"} if status == 302 else {}
    empty.tempo.instead = lambda _: Reply(status, b"no such thing\n", "text/plain", headers)
    code, text = REFUSALS[status]
    says_all(empty, code, f"Tempo at {empty.tempo.url} {text}")


@pytest.mark.parametrize(
    "body", [b"<html>Sign in</html>", b"", b"[]", b'{"traces": 5}', b'{"traces": [{}]}', b"\xff" * 100, b"{" * 100_000]
)
def test_nonsense_is_one_line_for_all_clients(empty: Backends, body: bytes) -> None:
    empty.tempo.instead = lambda _: Reply(200, body)
    says_all(empty, 502, f"Tempo at {empty.tempo.url} does not answer as Tempo does: check --tempo")


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (503, {"Content-Length": "1000"}, "can't be reached (the connection broke): start it, or correct --tempo"),
        (502, {"Content-Encoding": "gzip"}, "does not answer as Tempo does: check --tempo"),
    ],
)
def test_an_answer_that_breaks_off_is_one_line_for_all_clients(
    empty: Backends, status: int, headers: dict[str, str], text: str
) -> None:
    empty.tempo.instead = lambda _: Reply(200, b'{"traces": [', headers={**headers, "Connection": "close"})
    says_all(empty, status, f"Tempo at {empty.tempo.url} {text}")


def test_a_trace_that_is_no_protobuf_is_one_line(empty: Backends) -> None:
    empty.tempo.instead = lambda asked: Reply(200, b"<html>") if "/api/traces/" in asked.path else None
    answer = empty.served.get(f"/api/v1/executions/{KEY}")
    assert (answer.status_code, "does not answer as Tempo does" in answer.json()["detail"]) == (502, True)


def test_an_execution_is_shown_without_the_others_and_what_is_missing_is_named_until_it_is_there(
    tmp_path: Path,
) -> None:
    with stores.tempo() as tempo, stores.loki() as loki, stores.loki() as no_prometheus:
        options = ("--tempo", tempo.url, "--loki", loki.url, "--prometheus", no_prometheus.url)
        with serving(tmp_path, *options, receives=False) as served:
            for line in remote_runs.lines(tmp_path / "recordings"):
                Backends(tempo, loki, served).send(line)
            loki.instead = lambda _: Reply(500)
            nonsense = "does not answer as Prometheus does: check --prometheus"
            remarks = [
                f"Log records are missing, as Loki at {loki.url} fails (500): see its log, and ask again later",
                f"The usage of running and killed tasks is missing, as Prometheus at {no_prometheus.url} {nonsense}",
            ]
            for path in PATHS[1:]:
                answer = served.get(path)
                assert (answer.status_code, answer.json()["remarks"]) == (200, remarks)
            tree, attempts, data = (
                served.get(path).json() for path in (PATHS[1], f"{PATHS[1]}/attempts", f"/data/{KEY}")
            )
            assert tree["spans"]
            assert attempts["remarks"] == data["remarks"] == remarks
            assert served.get(f"/executions/{KEY}?plain").text.count("is missing, as Prometheus") == 1
            loki.instead = lambda _: None
            native.wait_until(lambda: served.get(PATHS[2]).json()["logs"], "no log record is shown")
            assert served.get(PATHS[1]).json()["remarks"] == remarks[1:]


def test_a_loki_that_hangs_is_left_alone(empty: Backends) -> None:
    send(empty.tempo, "measured", task("t", own_trace("measured"), 1))
    empty.loki.delay = 12
    answer = empty.served.get(PATHS[2]).json()
    (remark,) = answer["remarks"]
    assert remark.startswith(f"Log records are missing, as Loki at {empty.loki.url} does not answer in time: ")
    asked = len(empty.loki.asked)
    time.sleep(2.5)
    begun = time.monotonic()
    assert empty.served.get(PATHS[2]).json()["remarks"] == [remark]
    assert time.monotonic() - begun < 8
    assert len(empty.loki.asked) == asked


def test_the_age_is_that_of_the_last_record_and_not_of_its_arrival(shared: Backends) -> None:
    shared.served.get(PATHS[1])
    time.sleep(0.5)
    with listening(shared, f"{PATHS[1]}/events") as lines:
        data = next(line for line in lines if line.startswith("data: "))
        sign = json.loads(data.removeprefix("data: "))
        assert remote_runs.AGO - 700 < sign["age"] < remote_runs.AGO
        assert sign["is_over"]
        assert [*lines] == ["event: ended", "data: {}"]


def says_all(backends: Backends, code: int, line: str) -> None:
    """Check the answer of the API, of ModelArts' API and of a page, and that the server goes on."""
    served = backends.served
    api = served.get("/api/v1/executions")
    assert (api.status_code, api.json()) == (code, {"detail": line})
    modelarts = served.get("/v2/shop:development/training-jobs")
    assert (modelarts.status_code, modelarts.json()["error_msg"]) == (code, line)
    page = served.get("/")
    assert page.status_code == code
    assert line in html.unescape(page.text)
    backends.tempo.instead = lambda _: None
    assert served.get("/api/v1/executions").status_code == 200


def test_a_passing_fault_is_asked_again(empty: Backends) -> None:
    send(empty.tempo, "one", task("t", own_trace("one"), 1))
    faults = iter([Reply(503), Reply(429)])
    empty.tempo.instead = lambda _: next(faults, None)
    assert [each["name"] for each in empty.served.executions()] == ["one"]


def test_a_slow_backend_ends_at_the_deadline(empty: Backends) -> None:
    empty.tempo.delay = 12
    begun = time.monotonic()
    answer = empty.served.get("/api/v1/executions")
    assert time.monotonic() - begun < 60
    assert answer.status_code == 503
    assert answer.json() == {
        "detail": f"Tempo at {empty.tempo.url} does not answer in time: ask again later, or for less"
    }


def test_the_server_ends_while_a_backend_is_slow(empty: Backends) -> None:
    served = empty.served
    send(empty.tempo, "live", task("t", own_trace("live"), 1, ago=20))
    with listening(empty, "/events"), listening(empty, "/api/v1/executions/shop:development:live/events"):
        empty.tempo.delay = 30
        asked = len(empty.tempo.asked)
        threading.Thread(target=ask_in_vain, args=(f"{served.url}/",), daemon=True).start()
        native.wait_until(lambda: len(empty.tempo.asked) >= asked + 3, "no search begins")
        begun = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) in (0, -signal.SIGTERM)
        assert time.monotonic() - begun < 15
    assert (served.folder / "stderr").read_text() == ""


def ask_in_vain(url: str) -> None:
    with contextlib.suppress(requests.RequestException):
        requests.get(url, timeout=60)


def test_the_server_starts_without_its_backends_and_serves_once_they_are_up(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    problem = f"Tempo at {url} can't be reached (connection refused): start it, or correct --tempo"
    with serving(tmp_path, "--tempo", url, receives=False) as served:
        answer = served.get("/api/v1/executions")
        assert (answer.status_code, answer.json()) == (503, {"detail": problem})
        native.wait_until((tmp_path / "stderr").read_text, "nothing is said")
        assert (tmp_path / "stderr").read_text() == f"otel-flyte: {problem}\n"
        with stores.tempo(port) as tempo:
            send(tempo, "one", task("t", own_trace("one"), 1))
            assert [each["name"] for each in served.executions()] == ["one"]
    assert (tmp_path / "stderr").read_text() == f"otel-flyte: {problem}\n"


# --- credentials -----------------------------------------------------------------------------------------------------


def test_credentials_are_sent_and_never_shown(tmp_path: Path) -> None:
    with stores.tempo() as tempo, stores.tempo() as other:
        with_password = tempo.url.replace("//", "//reader:s3cr3t%40@")
        options = ("--tempo", with_password, "--backend-header", "X-Scope-OrgID: te-nant")
        with serving(tmp_path, *options, receives=False) as served:
            assert served.get("/api/v1/executions").status_code == 200
            assert {each.headers["x-scope-orgid"] for each in tempo.asked} == {"te-nant"}
            assert {each.headers["authorization"] for each in tempo.asked} == {"Basic cmVhZGVyOnMzY3IzdEA="}
            tempo.instead = lambda asked: Reply(307, headers={"Location": f"{other.url}{asked.path}"})
            texts = [served.get(path).text for path in ("/", "/api/v1/executions", f"/v2/a:b/training-jobs/{KEY}")]
            tempo.instead = lambda _: Reply(500)
            texts += [served.get(path).text for path in ("/", *PATHS, f"/executions/{KEY}", f"/data/{KEY}")]
        shown = "".join(texts) + (tmp_path / "stderr").read_text()
        assert "s3cr3t" not in shown
        assert "te-nant" not in shown
        assert "cmVhZGVy" not in shown
        assert other.asked
        assert not any({"authorization", "x-scope-orgid"} & each.headers.keys() for each in other.asked)


def test_a_redirect_to_another_path_keeps_the_headers(tmp_path: Path) -> None:
    def moved(asked: Asked) -> Reply | None:
        if asked.path.startswith("/old"):
            query = "&".join(f"{name}={quote(value)}" for name, value in asked.parameters.items())
            return Reply(308, headers={"Location": f"{asked.path.removeprefix('/old')}?{query}"})
        return None

    with stores.tempo() as tempo:
        tempo.instead = moved
        send(tempo, "one", task("t", own_trace("one"), 1))
        options = ("--tempo", f"{tempo.url}/old/", "--backend-header", "X-Scope-OrgID: a")
        with serving(tmp_path, *options, receives=False) as served:
            assert [each["name"] for each in served.executions()] == ["one"]
        assert {each.headers["x-scope-orgid"] for each in tempo.asked} == {"a"}


def test_many_clients_at_once_get_the_same_answer(shared: Backends) -> None:
    found: list[Any] = []
    path = f"/api/v1/executions/{KEY}?depth=30"
    threads = [threading.Thread(target=lambda: found.append(shared.served.get(path).json())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(each == found[0] for each in found)
