"""The API below ``/api/v1``: a real server with real spans, asked by HTTP."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from otel_flyte import ExecutionTree, semconv
from support import otlp, served_runs, traces, usages
from support.served_runs import CPU, MEASURED
from support.server import Served, serving

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

FINISHED = "shop:production:f1c0ffee"
FETCH = "0000000000000001"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("serve")) as ready:
        served_runs.send_all(ready)
        texts = {"begins": "INFO", "is Slow": "WARN", "fails": "ERROR", "a line": ""}
        ready.send("logs", served_runs.log_lines("0000000000000003", texts))
        ready.send("logs", served_runs.log_lines("00000000000000ff", {"of another span": "INFO"}, begin=1000))
        yield ready


def ask(served: Served, path: str, **parameters: Any) -> Any:
    answer = served.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pages(served: Served, path: str, name: str, **parameters: Any) -> list[list[Any]]:
    """Return all pages of a list."""
    found: list[list[Any]] = []
    after: str | None = ""
    while after is not None:
        page = ask(served, path, after=after, **parameters)
        found.append(page[name])
        after = page["next"]
    return found


def names(served: Served, **parameters: Any) -> list[str]:
    return [each["name"] for each in ask(served, "executions", **parameters)["executions"]]


class TestExecutions:
    def test_the_newest_comes_first(self, api: Served) -> None:
        assert names(api)[0] == "running"
        starts = [each["start_ns"] for each in ask(api, "executions")["executions"]]
        assert starts == sorted(starts, reverse=True)
        assert len(starts) == 4

    def test_an_execution_runs_until_something_says_that_it_does_not(self, served: Served) -> None:
        long_ago = {"endTimeUnixNano": str(time.time_ns() - 200 * 10**9)}
        sent: dict[str, tuple[str, dict[str, str]]] = {
            "without a task": ("load", {"parentSpanId": "f" * 16}),
            "without a task, long silent": ("load", {"parentSpanId": "f" * 16, **long_ago}),
            "of another program": ("GET /", long_ago),
            "from before roles": ("task shop.fit", long_ago),
        }
        for number, (name, (span_name, times)) in enumerate(sent.items(), 1):
            span = otlp.span(f"{number:032x}", f"{number:016x}", name=span_name, **times)
            resource = served_runs.resource(name)
            served.send("traces", json.dumps(otlp.message("traces", resource, [span], semconv.SCOPE)))
        states = {each["name"]: each["state"] for each in ask(served, "executions")["executions"]}
        assert states == {
            "without a task": "running",
            "without a task, long silent": "unknown",
            "of another program": "succeeded",
            "from before roles": "succeeded",
        }

    def test_what_was_cancelled_is_no_success(self, served: Served) -> None:
        cancelled = {"key": semconv.RESULT, "value": {"stringValue": semconv.RESULT_CANCELLATION}}
        span = otlp.span("c" * 32, "a" * 16, attributes=[cancelled])
        served.send("traces", json.dumps(otlp.message("traces", served_runs.resource("f9"), [span], semconv.SCOPE)))
        assert [each["state"] for each in ask(served, "executions", state="cancelled")["executions"]] == ["cancelled"]

    def test_an_error_that_spans_pass_on_is_one(self, served: Served) -> None:
        error: dict[str, Any] = {"status": {"code": 2}}
        inner = otlp.span("c" * 32, "3" * 16, parentSpanId="2" * 16, **error)
        middle = otlp.span("c" * 32, "2" * 16, parentSpanId="1" * 16, **error)
        outer = otlp.span("c" * 32, "1" * 16, **error)
        for span in (middle, inner, outer, otlp.span("c" * 32, "4" * 16, parentSpanId="1" * 16, **error)):
            served.send("traces", json.dumps(otlp.message("traces", {}, [span])))
        (found,) = ask(served, "executions")["executions"]
        assert (found["errors"], found["spans"]) == (2, 4)

    def test_metrics_do_not_make_an_execution_longer(self, served: Served) -> None:
        resource = served_runs.resource("f9")
        span = otlp.span("c" * 32, "a" * 16)
        served.send("traces", json.dumps(otlp.message("traces", resource, [span])))
        time.sleep(0.1)
        served.send("metrics", json.dumps(otlp.message("metrics", resource, [otlp.gauge("m")])))
        (found,) = ask(served, "executions")["executions"]
        assert found["end_ns"] == int(span["endTimeUnixNano"])

    def test_a_local_run_runs_until_the_span_around_its_tasks_is_there(self, served: Served) -> None:
        def send(span_id: str, name: str, **more: str) -> None:
            span = otlp.span("c" * 32, span_id, name=name, **more)
            served.send("traces", json.dumps(otlp.message("traces", {}, [span], semconv.SCOPE)))

        def state() -> list[str]:
            return [each["state"] for each in ask(served, "executions")["executions"]]

        send("a" * 16, "task shop.fit", parentSpanId="b" * 16)
        assert state() == ["running"]
        send("b" * 16, "workflow shop.train")
        assert state() == ["succeeded"]

    def test_pages_have_each_execution_once(self, api: Served) -> None:
        whole = [each["key"] for each in ask(api, "executions")["executions"]]
        found = [each["key"] for page in pages(api, "executions", "executions", limit=1) for each in page]
        assert found == whole

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({"project": "shop"}, ["running", "measured", "f1c0ffee"]),
            ({"project": "sho"}, []),
            ({"domain": "development"}, ["running", "measured"]),
            ({"workflow": "shop.main"}, ["measured", ""]),
            ({"state": "running"}, ["running"]),
            ({"state": "failed"}, ["", "f1c0ffee"]),
            ({"state": "succeeded"}, ["measured"]),
            ({"text": "EASUR"}, ["measured"]),
            ({"text": "SHOP.FIT"}, ["running"]),
            ({"text": "Development:M"}, ["measured"]),
            ({"workflow": "shop.fit"}, ["running"]),
            ({"since": "2026-06-28T00:00:00Z"}, ["running"]),
            ({"until": "2026-06-28T00:00:00Z", "project": "shop"}, ["measured", "f1c0ffee"]),
            ({"since": "2026-06-28 02:00:00.123456789+02:00"}, ["running"]),
            ({"since": "2026-06-28"}, ["running"]),
            ({"until": "2026-06-28", "project": "shop"}, ["measured", "f1c0ffee"]),
            ({"since": "9999-12-31T23:59:59Z"}, []),
            ({"until": "0001-01-01T00:00:00Z"}, []),
            ({"attribute": "customer:a:b"}, ["measured"]),
            ({"attribute": ["customer:a:b", f"{semconv.DOMAIN}:development"]}, ["measured"]),
            ({"attribute": ["customer:a:b", f"{semconv.DOMAIN}:production"]}, []),
            ({"text": "' OR 1=1 --"}, []),
            ({"project": '"; DROP TABLE spans; --'}, []),
        ],
    )
    def test_a_filter_selects(self, api: Served, parameters: dict[str, Any], expected: list[str]) -> None:
        found = names(api, **parameters)
        assert sorted(found) == sorted(expected)

    @pytest.mark.parametrize("text", ["ÜBERSICHT", "übersicht", "STRASSE", "straße"])
    def test_the_list_finds_a_name_in_any_case_of_any_script(self, served: Served, tmp_path: Path, text: str) -> None:
        of = served_runs.resource("f9", **{semconv.WORKFLOW_NAME: "Übersicht.Straße"})
        traces.Recorder.of_file(tmp_path / "a.jsonl", of).task("fit", 0, 1, parent=served_runs.parent(3))
        served.send_file(tmp_path / "a.jsonl")
        assert [each["name"] for each in served.executions(text=text)] == ["f9"]
        assert served.executions(text=text + "x") == []

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("limit=0", "limit: "),
            ("limit=1001", "limit: "),
            ("limit=x", "limit: "),
            ("state=ran", "state=ran is no state: choose from running, succeeded, failed"),
            ("since=yesterday", "since=yesterday is no time: write it as 2026-05-28T20:26:40Z"),
            ("since=0.5", "since=0.5 is no time"),
            ("until=1780000000", "until=1780000000 is no time"),
            ("until=2026-13-01T00:00:00Z", "until=2026-13-01T00:00:00Z is no time"),
            (f"text={'x' * 257}", "text: "),
            ("attribute=customer", "attribute=customer has no name or value"),
            ("attribute=:x", "attribute=:x has no name or value"),
            ("attribute=a:1&attribute=a:2", "attribute a is given with two values"),
            ("&".join(["attribute=a:1"] * 11), "attribute: "),
            ("after=x", "after is not from an answer"),
            ("after=WyJ4Il0", "after is not from an answer"),
            ("after=WzEsMWUzMDBd", "after is not from an answer"),
            ("worflow=main", "worflow is not a parameter of this request: choose from after, attribute, "),
        ],
    )
    def test_a_parameter_that_cannot_be_used_is_one_line(self, api: Served, query: str, reason: str) -> None:
        answer = api.get(f"/api/v1/executions?{query}")
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(reason)
        assert "\n" not in answer.json()["detail"]


class TestTree:
    def test_an_execution_has_its_spans_to_a_depth(self, api: Served) -> None:
        tree = ask(api, f"executions/{MEASURED}", depth=1)
        assert {key: tree["execution"][key] for key in ("key", "state", "workflow", "errors")} == {
            "key": MEASURED,
            "state": "succeeded",
            "workflow": "shop.main",
            "errors": 1,
        }
        assert [(span["name"], span["depth"], span["children"]) for span in tree["spans"]][:2] == [
            ("task shop.fetch", 0, 3),
            ("task shop.fit", 0, 2),
        ]
        assert tree["spans"][1]["result"] == "failure"
        assert len(tree["spans"]) == 8
        assert tree["next"] is None

    def test_spans_below_one_are_loaded_later(self, api: Served) -> None:
        below = ask(api, f"executions/{MEASURED}", below=FETCH)["spans"]
        names = [semconv.PHASE_INPUT, semconv.PHASE_USER_CODE, semconv.PHASE_OUTPUT]
        assert [span["name"] for span in below] == names
        assert {span["depth"] for span in below} == {0}

    def test_pages_have_each_span_once_and_parents_first(self, api: Served) -> None:
        whole = ask(api, f"executions/{FINISHED}", depth=30)["spans"]
        assert len(whole) == 130
        found = [span for page in pages(api, f"executions/{FINISHED}", "spans", depth=30, limit=7) for span in page]
        assert found == whole
        seen: set[str | None] = {None}
        for span in whole:
            assert span["parent_id"] in seen
            seen.add(span["id"])

    def test_an_error_is_told_where_it_arose(self, api: Served) -> None:
        spans = ask(api, f"executions/{MEASURED}", depth=30)["spans"]
        (failed,) = (span for span in spans if span["error"])
        assert (failed["name"], failed["error"]["type"]) == (semconv.PHASE_USER_CODE, "ValueError")

    @pytest.mark.parametrize("query", ["depth=0", "depth=31", "below=x", "below=0000000000000001x", "limit=0"])
    def test_a_parameter_out_of_bounds_is_refused(self, api: Served, query: str) -> None:
        assert api.get(f"/api/v1/executions/{MEASURED}?{query}").status_code == 400

    @pytest.mark.parametrize("path", ["a:b:c", f"{MEASURED}?below=ffffffffffffffff", "a:b:c/attempts", "a:b:c/logs"])
    def test_what_is_not_recorded_is_not_found(self, api: Served, path: str) -> None:
        answer = api.get(f"/api/v1/executions/{path}")
        assert (answer.status_code, "is recorded" in answer.json()["detail"]) == (404, True)


class TestAttempts:
    def test_attempts_have_usage_and_quota(self, api: Served) -> None:
        first, failed, *_ = ask(api, f"executions/{MEASURED}/attempts")["attempts"]
        assert (first["task"], first["name"], first["source"], first["minutes"]) == ("n0", "shop.fetch", "span", 3)
        assert (first["quota"]["cpu_limit"], first["usage"]["cpu_peak"]) == (2.0, 1.6)
        assert (failed["task"], failed["result"], failed["usage"]) == ("n1@0", "failure", None)

    def test_each_is_found_by_its_task(self, api: Served) -> None:
        tasks = [each["task"] for each in ask(api, f"executions/{MEASURED}/attempts")["attempts"]]
        assert tasks == ["n0", "n1@0", "n1@1", "n2/0", "n2/1", "n2/2", "n3-worker-0", "n3-worker-1"]
        for task in tasks:
            assert ask(api, f"executions/{MEASURED}/attempts/{task}/series")["task"] == task

    def test_pages_have_each_attempt_once(self, api: Served) -> None:
        whole = ask(api, f"executions/{FINISHED}/attempts")["attempts"]
        assert len(whole) == 33
        found = [each for page in pages(api, f"executions/{FINISHED}/attempts", "attempts", limit=5) for each in page]
        assert found == whole

    def test_series_are_those_of_the_attempt_all_equally_long(self, api: Served) -> None:
        found = ask(api, f"executions/{MEASURED}/attempts/n0/series")
        assert [each["name"] for each in found["series"]] == list(semconv.SERIES)
        assert {len(each["values"]) for each in found["series"]} == {3}
        assert found["series"][0]["values"] == CPU
        assert found["series"][2]["values"] == [None] * 3

    @pytest.mark.parametrize(
        ("query", "begin", "values"),
        [
            ({"from": 60}, 60, CPU[1:]),
            ({"from": 119, "to": 121}, 60, CPU[1:]),
            ({"to": 60}, 0, CPU[:1]),
            ({"step": 120}, 0, [sum(CPU[:2]) / 2, CPU[2]]),
            ({"step": 600}, 0, [sum(CPU) / 3]),
            ({"from": 600}, 180, []),
        ],
    )
    def test_a_part_of_the_series(self, api: Served, query: dict[str, int], begin: int, values: list[float]) -> None:
        found = ask(api, f"executions/{MEASURED}/attempts/n0/series", **query)
        assert (found["from_seconds"], found["series"][0]["values"]) == (begin, values)

    @pytest.mark.parametrize("query", ["from=-1", "from=60&to=60", "step=0", "step=61", "to=1e99"])
    def test_a_part_that_is_none_is_refused(self, api: Served, query: str) -> None:
        assert api.get(f"/api/v1/executions/{MEASURED}/attempts/n0/series?{query}").status_code == 400

    def test_resources_are_recommended(self, api: Served) -> None:
        found = {each["task"]: each for each in ask(api, f"executions/{MEASURED}/rightsize")}
        assert set(found) == {"shop.fetch", "shop.fit", "shop.score", "shop.rank"}
        assert found["shop.fetch"]["cpu"]["limit_now"] == 2.0
        wide = {each["task"]: each for each in ask(api, f"executions/{MEASURED}/rightsize", cpu_margin=2)}
        assert wide["shop.fetch"]["cpu"]["limit"] > found["shop.fetch"]["cpu"]["limit"]


class TestLogs:
    @pytest.mark.parametrize(
        ("parameters", "texts"),
        [
            ({}, ["begins", "is Slow", "fails", "a line", "of another span"]),
            ({"span": FETCH}, ["begins", "is Slow", "fails", "a line"]),
            ({"level": "WARN"}, ["is Slow", "fails"]),
            ({"level": "warn"}, ["is Slow", "fails"]),
            ({"level": "CRITICAL"}, []),
            ({"text": "SLOW"}, ["is Slow"]),
            ({"text": "%"}, []),
        ],
    )
    def test_lines_are_selected(self, api: Served, parameters: dict[str, str], texts: list[str]) -> None:
        assert [each["text"] for each in ask(api, f"executions/{MEASURED}/logs", **parameters)["logs"]] == texts

    def test_pages_have_each_line_once(self, api: Served) -> None:
        found = pages(api, f"executions/{MEASURED}/logs", "logs", limit=2)
        assert [[each["text"] for each in page] for page in found] == [
            ["begins", "is Slow"],
            ["fails", "a line"],
            ["of another span"],
        ]

    def test_an_unknown_level_is_refused_with_all_levels(self, api: Served) -> None:
        answer = api.get(f"/api/v1/executions/{MEASURED}/logs?level=loud").json()
        assert answer["detail"].startswith("level=loud is no level: choose from TRACE, DEBUG, INFO, WARN")

    @pytest.mark.parametrize("query", ["level=LOUD", "span=x", "after=x", "after=WzEsInh4Il0", "limit=0"])
    def test_a_parameter_out_of_bounds_is_refused(self, api: Served, query: str) -> None:
        assert api.get(f"/api/v1/executions/{MEASURED}/logs?{query}").status_code == 400


class TestDownload:
    def test_a_recording_is_what_was_sent(self, api: Served, tmp_path: Path) -> None:
        (tmp_path / "down.jsonl").write_bytes(api.get(f"/api/v1/executions/{FINISHED}/recording").content)
        found = ExecutionTree.from_file(tmp_path / "down.jsonl").explain()
        assert found == ExecutionTree.from_file(api.folder / "sent" / "finished.jsonl").explain()

    def test_a_download_is_named_by_its_execution(self, api: Served) -> None:
        for key, name in ((MEASURED, "measured"), (FINISHED, "f1c0ffee")):
            answer = api.get(f"/api/v1/executions/{key}/recording")
            assert answer.headers["Content-Disposition"] == f"attachment; filename={name}.jsonl"

    def test_a_client_that_leaves_ends_it(self, tmp_path: Path) -> None:
        with serving(tmp_path / "serve") as served:
            recorder = traces.Recorder.of_file(tmp_path / "large.jsonl", traces.EXECUTION_RESOURCE)
            for number in range(600):
                filler = {"filler": "x" * 20_000}
                recorder.leaf(f"step {number}", 0, 1, filler, parent=traces.in_execution(number + 1))
            served.send("traces", _joined(tmp_path / "large.jsonl"))
            url = f"{served.url}/api/v1/executions/{FINISHED}/recording"
            with requests.get(url, stream=True, timeout=60) as answer:
                next(answer.iter_content(1000))
                during = _connections(served)
            # Idle threads, which have a connection each, end after ten seconds.
            deadline = time.monotonic() + 8
            while _connections(served) == during and time.monotonic() < deadline:
                time.sleep(0.05)
            assert _connections(served) == during - 1


def _joined(path: Path) -> str:
    """Return the lines of a recording as one request."""
    resources = [line.removeprefix('{"resourceSpans":[').removesuffix("]}") for line in path.read_text().splitlines()]
    return f'{{"resourceSpans":[{",".join(resources)}]}}'


def _connections(served: Served) -> int:
    """Return the number of connections to the database: SQLite keeps descriptors of the file itself a while."""
    descriptors = Path(f"/proc/{served.process.pid}/fd").iterdir()
    return sum(each.exists() and each.readlink().name == "telemetry.db-wal" for each in descriptors)


@pytest.mark.parametrize("value", [1e308, 1e30, float("inf"), float("nan")])
def test_a_usage_that_is_impossible_is_unknown(served: Served, tmp_path: Path, value: float) -> None:
    recorder = traces.Recorder.of_file(tmp_path / "f.jsonl", served_runs.resource("measured"))
    series = usages.series(cpu_usage=[value, value, 5.0])
    own = {**served_runs.ATTEMPT, **usages.node("n0", "t"), **usages.quota(value), **usages.usage(value, value)}
    recorder.leaf("task t", 0, 170, {**own, **series}, parent=served_runs.parent(1))
    served.send_file(tmp_path / "f.jsonl")
    assert ask(served, f"executions/{MEASURED}/rightsize")[0]["cpu"] is None
    assert ask(served, f"executions/{MEASURED}/attempts")["attempts"][0]["usage"]["cpu_mean"] is None
    found = ask(served, f"executions/{MEASURED}/attempts/n0/series", step=180)
    assert found["series"][0]["values"] == [5.0]
    job = served.get("/v2/shop:development/training-jobs/measured/metrics/n0").json()
    assert job["metrics"][0]["value"] == [-1, -1, 5.0]


def test_a_series_is_no_longer_than_a_year(served: Served, tmp_path: Path) -> None:
    recorder = traces.Recorder.of_file(tmp_path / "f.jsonl", served_runs.resource("measured"))
    own = {**served_runs.ATTEMPT, **usages.node("n0", "t"), **usages.series(10**14, cpu_usage=[1.0] * 100)}
    recorder.leaf("task t", 0, 170, own, parent=served_runs.parent(1))
    served.send_file(tmp_path / "f.jsonl")
    found = ask(served, f"executions/{MEASURED}/attempts/n0/series", step=86400)
    assert len(found["series"][0]["values"]) <= 366


def test_each_parameter_is_bounded_and_described(api: Served) -> None:
    document = api.get("/api/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        for parameter in operations["get"].get("parameters", ()):
            schema = parameter["schema"]
            kinds = [each for each in schema.get("anyOf", [schema]) if each["type"] != "null"]
            bounds = {bound for kind in kinds for bound in kind}
            assert parameter["description"], (path, parameter)
            assert bounds & {"maximum", "maxLength", "maxItems", "pattern", "format"}, (path, parameter)
