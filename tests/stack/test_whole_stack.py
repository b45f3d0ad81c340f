"""The bundled stack, whole: what real tasks send is found by every query of every panel, variable, rule and link.

`pytest tests/stack/test_whole_stack.py -s` starts it from its own files, prints what each query found, then stops each
part in turn under load and prints what was sent and what is stored.
"""

import base64
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml

from otel_flyte import semconv
from otel_flyte.stack import processes
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.tasks.identity import Execution
from support import feed, flyte_pages, load, native, stack
from support.prometheus import Prometheus
from support.stack import Stack

pytest.importorskip("promql_parser", reason="promql-parser needs Python 3.11: no rule is taken apart")

import promql_parser
from grafana.generate import queries as dashboards
from grafana.generate.queries import LINK, VARIABLE, Query

from support import grammars

DASHBOARDS = [json.loads(file.read_text()) for file in sorted((native.ROOT / "grafana" / "dashboards").glob("*.json"))]
SOURCES = yaml.safe_load((native.ROOT / "grafana" / "provisioning" / "datasources" / "stack.yaml").read_text())[
    "datasources"
]
RULES = [
    rule
    for file in sorted((native.ROOT / "backends" / "rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]

ALL = ".*"
RANGE = 900
"""Seconds of the time range that is looked at."""
STEP = 60
"""Seconds between two points, as a chart of some hours has them."""
WITHIN = {"__rate_interval": "240s", "1": "$1"}
"""As Grafana computes it for samples once a minute; ``$1`` is a group of ``label_replace``, and no variable."""

SECONDS = 200.0
"""What has not come by then does not come: a rate over whole minutes needs the third of them."""

Row = dict[str, Any]


# --- the stack and what is asked of it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """What the backends of a stack answer to queries as Grafana asks them."""

    stack: Stack
    prometheus: Prometheus

    def of(self, query: Query, values: Mapping[str, str]) -> list[Row]:
        """Return the rows of a query of a dashboard: series, log streams, traces or values of a variable."""
        text = filled(query, values)
        if query.kind == VARIABLE and query.shape == "series":
            return [{query.label: value} for value in self.prometheus.values_of_label(query.label, text)]
        match query.datasource, query.shape:
            case "prometheus", shape:
                found = self.prometheus.now(text) if shape == "instant" else self._over(text)
                return [series["metric"] for series in found if _has_number(series) or _OF_FLYTE in text]
            case "loki", _:
                return self.lines_or_counts(text)
            case "tempo", "metrics":
                return self.series_of_traces(text)
            case _:
                return self.spans(text)

    def can_be_asked(self, query: Query) -> bool:
        is_of_tempo = query.datasource == "tempo" or "tempo_" in query.text
        return not is_of_tempo or "tempo" in self.stack.state["processes"]

    def lines_or_counts(self, logql: str) -> list[Row]:
        answer = self._get("loki", "/loki/api/v1/query_range", query=logql, limit=1000, **_time_range(10**9), step=STEP)
        return [{**each.get("stream", {}), **each.get("metric", {})} for each in answer["data"]["result"]]

    def spans(self, traceql: str) -> list[Row]:
        found = self._get("tempo", "/api/search", q=traceql, limit=100, spss=500, **_time_range(1))
        return [span for each in found.get("traces", []) for span in _spans(each)]

    def series_of_traces(self, traceql: str) -> list[Row]:
        found = self._get("tempo", "/api/metrics/query_range", q=traceql, **_time_range(1), step=f"{STEP}s")
        return [
            each
            for each in found.get("series", [])
            if any(sample.get("value", 0) for sample in each.get("samples", []))
        ]

    def exemplars(self, promql: str) -> list[Row]:
        found = self._get("prometheus", "/api/v1/query_exemplars", query=promql, **_time_range(1))["data"]
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    def has_trace(self, trace_id: str) -> bool:
        return requests.get(self.stack.url("tempo", f"/api/v2/traces/{trace_id}"), timeout=30).ok

    def _over(self, promql: str) -> list[Row]:
        return self.prometheus.over(promql, seconds=RANGE, step=STEP)

    def _get(self, part: str, path: str, **parameters: Any) -> Any:
        answer = requests.get(self.stack.url(part, path), parameters, timeout=native.TIMEOUT)
        assert answer.ok, f"{parameters}: {answer.text}"
        return answer.json()


def filled(query: Query, values: Mapping[str, str]) -> str:
    return dashboards.filled(query.text, {**WITHIN, **values}, step=f"{STEP}s", time_range=f"{RANGE}s")


def _has_number(series: Mapping[str, Any]) -> bool:
    return not all(math.isnan(float(value)) for _, value in series.get("values") or [series["value"]])


_OF_FLYTE = "{quantile="
"""Summaries of Flyte's services are `NaN` where nothing has happened for ten minutes."""


def _time_range(unit: int) -> dict[str, int]:
    now = int(time.time()) + 1
    return {"start": (now - RANGE) * unit, "end": now * unit}


def _spans(trace: Mapping[str, Any]) -> Iterator[Row]:
    for found in trace.get("spanSets") or [trace.get("spanSet", {})]:
        for span in found.get("spans", []):
            columns = {each["key"]: next(iter(each["value"].values())) for each in span.get("attributes", [])}
            yield {"traceIdHidden": trace["traceID"], **columns}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """A stack that has been fed."""
    folder = tmp_path_factory.mktemp("whole")
    with flyte_pages.serving() as pages, stack.running(folder, feed.variables(pages)) as running:
        feed.send(running, folder / "pods")
        yield Answers(running, Prometheus(running.url("prometheus")))


@dataclass
class Report:
    """What was found, line by line, and what was not."""

    title: str
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"\n{self.title}")  # noqa: T201

    def line(self, where: str, found: int, *queries: str, of: str = "series") -> None:
        """Print how many were found; the queries that found none, if any, are missing."""
        print(f"  {where}: {found} {of}")  # noqa: T201
        self.missing += [f"{where}: {query}" for query in queries if not found]

    def left_out(self, where: str, why: str) -> None:
        print(f"  {where}: left out, {why}")  # noqa: T201


def picked(dashboard: Mapping[str, Any]) -> dict[str, str]:
    """What is picked on a dashboard: everything, and the execution that has all."""
    names = [variable["name"] for variable in dashboard.get("templating", {}).get("list", [])]
    return {**dict.fromkeys(names, ALL), **({"execution": feed.EXECUTION} if "execution" in names else {})}


def until_all(ask: Callable[[Any], Sequence[Any]], of: Sequence[Any]) -> list[Sequence[Any]]:
    """Ask again for what has no answer yet, until all has one or it is too late."""
    deadline = time.monotonic() + SECONDS
    found = [ask(each) for each in of]
    while not all(found) and time.monotonic() < deadline:
        time.sleep(2)
        found = [before or ask(each) for before, each in zip(found, of, strict=True)]
    return found


# --- dashboards ------------------------------------------------------------------------------------------------------


def test_every_query_of_every_panel_and_variable_returns_data(answers: Answers) -> None:
    report = Report("dashboards")
    asked = [
        (query, picked(board)) for board in DASHBOARDS for query in dashboards.queries(board) if query.kind != LINK
    ]
    for query, _ in asked:
        if not answers.can_be_asked(query):
            report.left_out(f"{query.dashboard} / {query.panel}", "no tempo binary; TraceQL is parsed all the same")
    _parse([filled(query, values) for query, values in asked if query.datasource == "tempo"])
    asked = [(query, values) for query, values in asked if answers.can_be_asked(query)]
    found = zip(asked, until_all(lambda each: answers.of(*each), asked), strict=True)
    for (where, of), of_panel in groupby(found, key=lambda each: _panel(each[0][0])):
        rows = {query.text: len(rows) for (query, _), rows in of_panel}
        empty = [text for text, number in rows.items() if not number]
        report.line(where, 0 if empty else sum(rows.values()), *empty, of=of)
    assert report.missing == []


def _panel(query: Query) -> tuple[str, str]:
    """Where a query stands, and what it finds."""
    of = {"series": "values", "search": "spans"}.get(query.shape, "series")
    return f"{query.dashboard} / {'$' * (query.kind == VARIABLE)}{query.panel}", of


def _parse(queries: Sequence[str]) -> None:
    problems = grammars.problems([("traceql", query) for query in queries])
    assert [problem for problem in problems if problem] == []


PICKS: dict[str, Sequence[Mapping[str, str]]] = {
    "flyte-task": [{"node": node, "attempt": "0"} for node in ("n0", "n1", "n2", "n3", "n6")]
    + [{"node": "n4", "attempt": "0", "index": "1"}],
    "flyte-executions": [{"task": task} for task in ("traced_usage.fail", "traced_usage.work")],
    "flyte-efficiency": [{"task": task} for task in ("traced_usage.train", "traced_usage.be_held_back")],
}
"""Of which one at least has what each panel shows."""


@pytest.mark.parametrize("uid", PICKS)
def test_what_is_picked_is_found_by_every_panel(uid: str, answers: Answers) -> None:
    (board,) = (board for board in DASHBOARDS if board["uid"] == uid)
    one = {"project": feed.PROJECT, "domain": feed.DOMAIN, "workflow": feed.WORKFLOW}
    names = picked(board)
    choices = [
        {**names, **{name: value for name, value in one.items() if name in names}, **each} for each in PICKS[uid]
    ]
    of_panels = [
        query for query in dashboards.queries(board) if query.kind == dashboards.PANEL and answers.can_be_asked(query)
    ]
    found = until_all(
        lambda query: next(filter(None, (answers.of(query, values) for values in choices)), []), of_panels
    )
    assert [f"{query.panel}: {query.text}" for query, rows in zip(of_panels, found, strict=True) if not rows] == []


def test_every_link_of_a_panel_leads_to_a_dashboard_with_values_of_what_it_is_on(answers: Answers) -> None:
    report = Report("links")
    known = {board["uid"]: set(picked(board)) for board in DASHBOARDS}
    for board in DASHBOARDS:
        values = picked(board)
        asked = list(dashboards.queries(board))
        for link in (query for query in asked if query.kind == LINK):
            of_panel = [query for query in asked if query.panel == link.panel and query.kind == dashboards.PANEL]
            where = f"{link.dashboard} / {link.panel}: {link.text.partition('?')[0]}"
            if not all(map(answers.can_be_asked, of_panel)):
                report.left_out(where, "no tempo: its rows are not known")
                continue
            rows = [row for query in of_panel for row in answers.of(query, values)]
            fields = set(_FIELD.findall(link.text))
            report.line(where, sum(fields <= row.keys() | _NOT_OF_ALL for row in rows), link.text, of="rows")
            url = urlsplit(_followed(link.text, values, rows[0]))
            assert url.path.removeprefix("/d/") in known, url
            said = {name.removeprefix("var-") for name in parse_qs(url.query, keep_blank_values=True)} - {"from", "to"}
            assert said <= known[url.path.removeprefix("/d/")], url
            assert "${" not in url.query, url
    assert report.missing == []


_FIELD = re.compile(r'\$\{__(?:data\.fields\["|field\.labels\.)([\w.]+)(?:"\])?\}')
_NOT_OF_ALL = {"flyte_array_index", "flyte.array_index"}
"""What only some rows have."""


def _followed(url: str, values: Mapping[str, str], row: Row) -> str:
    """A link as Grafana opens it from a row of a table."""
    url = _FIELD.sub(lambda match: str(row.get(match[1], "")), url)
    url = re.sub(r"\$\{(\w+):queryparam\}", lambda match: f"var-{match[1]}={values[match[1]]}", url)
    return re.sub(r"\$\{__(?:from|to)\}", str(int(time.time() * 1000)), url)


# --- from one source to another --------------------------------------------------------------------------------------


def test_a_trace_leads_to_its_logs_and_metrics(answers: Answers) -> None:
    report = Report("sources")
    (tempo,) = (source["jsonData"] for source in SOURCES if source["uid"] == "tempo")
    trace_id = f"{Execution(feed.PROJECT, feed.DOMAIN, feed.EXECUTION).trace_id():032x}"
    logs = tempo["tracesToLogsV2"]["query"].replace("$${__trace.traceId}", trace_id)
    report.line("a trace to its logs", len(answers.lines_or_counts(logs)), logs)
    attributes = {"flyte.run_name": feed.EXECUTION, "flyte.action_name": "n0"}
    tags = ",".join(f'{tag["value"]}="{attributes[tag["key"]]}"' for tag in tempo["tracesToMetrics"]["tags"])
    for query in tempo["tracesToMetrics"]["queries"]:
        text = query["query"].replace("$$__tags", tags)
        report.line(
            f"a trace to its metrics / {query['name']}", len(answers.prometheus.over(text, seconds=RANGE)), text
        )
    assert report.missing == []


def test_exemplars_and_log_records_lead_to_a_trace_that_is_there(answers: Answers) -> None:
    stack.needs("tempo")
    report = Report("sources")
    (metrics,) = (source["jsonData"] for source in SOURCES if source["uid"] == "prometheus")
    (logs,) = (source["jsonData"]["derivedFields"] for source in SOURCES if source["uid"] == "loki")
    labels = {destination["name"] for destination in metrics["exemplarTraceIdDestinations"]}
    for board in DASHBOARDS:
        for panel in dashboards.panels(board):
            for target in panel.get("targets", []):
                if target.get("exemplar"):
                    text = dashboards.filled(target["expr"], {**WITHIN, **picked(board)}, step=f"{STEP}s")
                    named = [each[name] for each in answers.exemplars(text) for name in labels & each.keys()]
                    where = f"an exemplar of {board['uid']} / {panel['title']} to its trace"
                    report.line(where, sum(map(answers.has_trace, set(named[:20]))), text, of="traces")
    for derived in logs:
        pattern = derived["matcherRegex"].replace("$$", "$")
        rows = answers.lines_or_counts(f'{{service_name=~".+"}} | flyte_run_name="{feed.EXECUTION}"')
        named = [value for row in rows for label, value in row.items() if re.fullmatch(pattern, label)]
        report.line("a log record to its trace", sum(map(answers.has_trace, set(named[:20]))), pattern, of="traces")
    graph = 'traces_service_graph_request_total{client="training", server="features"}'
    (calls,) = until_all(answers.prometheus.now, [graph])
    report.line("the graph of services", len(calls), graph)
    assert report.missing == []


# --- rules -----------------------------------------------------------------------------------------------------------


def test_every_rule_is_evaluated_and_what_it_reads_is_there(answers: Answers) -> None:
    report = Report("rules")
    asked = [(_name(rule), selector) for rule in RULES for selector in _selectors(rule["expr"])]
    found = until_all(lambda each: answers.prometheus.now(f"last_over_time({each[1]}[{RANGE}s])"), asked)
    for (name, selector), series in zip(asked, found, strict=True):
        report.line(f"{name} / {selector}", len(series), selector)
    assert report.missing == []
    (evaluated,) = until_all(lambda _: _all_evaluated(answers), [None])
    assert [rule["name"] for rule in evaluated] == [_name(rule) for rule in RULES]
    recorded = [rule["record"] for rule in RULES if "record" in rule]
    assert all(until_all(answers.prometheus.now, recorded)), recorded


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("alert") or rule.get("record"))


def _all_evaluated(answers: Answers) -> list[Row]:
    groups = requests.get(answers.prometheus.url + "/api/v1/rules", timeout=native.TIMEOUT).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule for rule in rules if rule["health"] == "err"] == []
    return rules if all(rule["health"] == "ok" for rule in rules) else []


def _selectors(expression: str) -> list[str]:
    """The series that an expression reads, whatever it makes of them and whenever."""
    return sorted(
        {re.sub(r" (?:offset|@) .*", "", found.prettify()) for found in _within(promql_parser.parse(expression))}
    )


def _within(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "param", "args", "vector_selector"):
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from _within(each)


# --- records sent, and records stored --------------------------------------------------------------------------------

PROCESSES = 2
AWAY = 3.0
"""Seconds for which each part is stopped."""


@dataclass(frozen=True)
class Loading:
    """A process under load that says at its end what it has recorded."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]

    def said(self) -> Row:
        (self.folder / "stop").touch()
        assert self.process.wait(native.TIMEOUT) == 0, (self.folder / "log").read_text()
        said: Row = json.loads((self.folder / "said.json").read_text())
        return said


@contextmanager
def loading(stack: Stack, folder: Path, name: str) -> Iterator[Loading]:
    folder.mkdir()
    environ = {
        **{key: value for key, value in stack.environ.items() if not key.startswith("OTEL_")},
        **stack.sender(),
        "PYTHONPATH": str(native.ROOT / "tests"),
        "OTEL_RESOURCE_ATTRIBUTES": f"{semconv.RUN_NAME}={name}",
        semconv.METRIC_EXPORT_INTERVAL: "1000",
        semconv.OTEL_FLYTE_EXIT_TIMEOUT: "30",
        "FLYTE_SDK_LOGGING_LEVEL": "50",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, load.__file__, str(folder)], cwd=folder, env=environ, stdout=log, stderr=log
        )
    try:
        yield Loading(name, folder, process)
    finally:
        process.kill()
        process.wait()


def test_what_is_sent_is_stored_though_every_part_is_stopped_under_load(answers: Answers, tmp_path: Path) -> None:
    running = answers.stack
    parts = [part for part in ("collector", "tempo", "prometheus", "loki") if part in running.state["processes"]]
    with ExitStack() as opened:
        loads = [
            opened.enter_context(loading(running, tmp_path / f"load-{number}", f"load-{number}"))
            for number in range(PROCESSES)
        ]
        for part, by in [*((part, signal.SIGTERM) for part in parts), ("collector", signal.SIGKILL)]:
            _stop(running, part, by)
            time.sleep(AWAY)
            again = running.run("stack", "up", "--native")
            assert again.returncode == 0, again.stderr
        said = {each.name: each.said() for each in loads}
    sent = {
        "spans": sum(len(set(each["spans"])) for each in said.values()),
        "log records": sum(each["logs"] for each in said.values()),
        "counted by metrics": sum(each["metrics"] for each in said.values()),
    }
    if "tempo" not in parts:
        sent.pop("spans")

    def stored() -> Row:
        return {
            **({"spans": sum(_spans_stored(answers, each) for each in said.values())} if "tempo" in parts else {}),
            "log records": sum(_log_records_stored(answers, name) for name in said),
            "counted by metrics": sum(_counted(answers, name) for name in said),
        }

    deadline = time.monotonic() + SECONDS
    # One reading may lack what Tempo is just moving from one of its parts to the next: a later one has it again.
    while (found := stored()) != sent and time.monotonic() < deadline:
        time.sleep(2)
    print("\n| signal | sent | stored |\n|---|---|---|")  # noqa: T201
    for name, number in sent.items():
        print(f"| {name} | {number} | {found[name]} |")  # noqa: T201
    assert found == sent


def _stop(running: Stack, part: str, by: signal.Signals) -> None:
    process = processes.Process(**running.state["processes"][part])
    if by == signal.SIGKILL:
        os.kill(process.pid, by)
    processes.stop({process: BY_NAME[part].grace})
    assert not processes.is_running(process)


def _spans_stored(answers: Answers, said: Row) -> int:
    """Count those spans of a trace that were sent, each once: what was not acknowledged is sent again."""
    answer = requests.get(answers.stack.url("tempo", f"/api/traces/{said['trace']}"), timeout=native.TIMEOUT)
    if not answer.ok:
        return 0
    found = {
        base64.b64decode(span["spanId"]).hex()
        for batch in answer.json()["batches"]
        for scope in batch["scopeSpans"]
        for span in scope["spans"]
    }
    return len(found & set(said["spans"]))


def _log_records_stored(answers: Answers, name: str) -> int:
    lines = f'{{service_name=~".+"}} | {semconv.RUN_NAME.replace(".", "_")}="{name}" |= "{load.LINE}"'
    count = f"sum(count_over_time({lines} [{RANGE}s]))"
    answer = requests.get(answers.stack.url("loki", "/loki/api/v1/query"), {"query": count}, timeout=native.TIMEOUT)
    return sum(int(series["value"][1]) for series in answer.json()["data"]["result"])


def _counted(answers: Answers, name: str) -> int:
    query = f'last_over_time(flyte_user_{load.STAT}_total{{flyte_run_name="{name}"}}[{RANGE}s])'
    return sum(int(float(series["value"][1])) for series in answers.prometheus.now(query))
