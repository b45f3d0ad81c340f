"""The whole bundled stack: real tasks send, every query of every panel, variable, rule and link finds data.

`pytest tests/stack/test_whole_stack.py -s` prints the results of each query, and the numbers of sent and stored records
while each part was stopped under load.

Spans and log records are also stored in files. Without Tempo or Loki the tests that ask them are skipped by name: their
queries are parsed and their label filters are matched against the stored log records, but no TraceQL and no LogQL is
executed then.
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
from support import feed, file_backend, flyte_pages, load, native, stack
from support.file_backend import FileBackend, Record
from support.prometheus import Prometheus
from support.receiver import Receiver, Reply, Request
from support.stack import Stack

pytest.importorskip("promql_parser", reason="promql-parser needs Python 3.11: the rules are not parsed")

import promql_parser
from grafana.generate import queries as dashboards
from grafana.generate.queries import LINK, PANEL, VARIABLE, Query

from support import grammars

pytestmark = pytest.mark.slow

DASHBOARDS = [json.loads(file.read_text()) for file in sorted((native.ROOT / "grafana" / "dashboards").glob("*.json"))]
SOURCES = {
    source["uid"]: source["jsonData"]
    for source in yaml.safe_load((native.ROOT / "grafana/provisioning/datasources/stack.yaml").read_text())[
        "datasources"
    ]
}
RULES = [
    rule
    for file in sorted((native.ROOT / "backends" / "rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]

ALL = ".*"
RANGE = 900
"""Seconds of the queried time range."""
STEP = 60
"""Seconds between two points, as in a chart of some hours."""
WITHIN = {"__rate_interval": "240s", "1": "$1"}
"""As Grafana computes it for a sample per minute. ``$1`` is a group of ``label_replace``, not a variable."""

TIMEOUT = 200.0
"""Seconds. A rate over whole minutes needs data of the third minute."""

Row = dict[str, Any]
Parts = tuple[str, ...]


# --- the stack and its answers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backends:
    """A stack that has received telemetry, and the answers of its backends to queries as Grafana sends them."""

    stack: Stack
    prometheus: Prometheus
    files: FileBackend

    def rows(self, query: Query, values: Mapping[str, str]) -> list[Row]:
        """Return the rows of a dashboard's query: series, log streams, spans or the values of a variable."""
        text = filled(query, values)
        if query.kind == VARIABLE and query.shape == "series":
            return [{query.label: value} for value in self.prometheus.values_of_label(query.label, text)]
        match query.datasource, query.shape:
            case "prometheus", shape:
                found = self.prometheus.now(text) if shape == "instant" else self._over(text)
                return [series["metric"] for series in found if _has_number(series) or _SUMMARY in text]
            case "loki", _:
                return self.log_streams(text)
            case "tempo", "metrics":
                return self.series_of_traces(text)
            case _:
                return self.spans(text)

    def log_streams(self, logql: str) -> list[Row]:
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


_SUMMARY = "{quantile="
"""Summaries of Flyte's services are `NaN` after ten minutes without an event."""


def _time_range(unit: int) -> dict[str, int]:
    now = int(time.time()) + 1
    return {"start": (now - RANGE) * unit, "end": now * unit}


def _spans(trace: Mapping[str, Any]) -> Iterator[Row]:
    for found in trace.get("spanSets") or [trace.get("spanSet", {})]:
        for span in found.get("spans", []):
            columns = {each["key"]: next(iter(each["value"].values())) for each in span.get("attributes", [])}
            yield {"traceIdHidden": trace["traceID"], **columns}


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    """A stack with telemetry of everything that dashboards and rules show."""
    folder = tmp_path_factory.mktemp("whole")
    with (
        flyte_pages.serving() as pages,
        file_backend.running(folder / "files") as files,
        Receiver(_reject_old) as log_store,
        stack.running(folder, feed.variables(pages) | _exporters(files, log_store)) as running,
    ):
        feed.send(running, folder / "pods")
        yield Backends(running, Prometheus(running.url("prometheus")), files)


def _exporters(files: FileBackend, log_store: Receiver) -> dict[str, str]:
    """Return the variables that send spans and log records to the files and to the installed backends.

    Without Loki the log store takes its place, so that the collector loses records there as well.
    """
    return {
        "EXISTING_BACKEND_ENDPOINT": files.endpoint,
        "TRACES_EXPORTERS": f"[otlp_http/existing{', otlp_http/tempo' * stack.is_installed('tempo')}]",
        "LOGS_EXPORTERS": "[otlp_http/existing, otlp_http/loki]",
        **({} if stack.is_installed("loki") else {"LOKI_OTLP_ENDPOINT": log_store.endpoint()}),
    }


def _reject_old(request: Request) -> Reply:
    """Reject the log record that Loki rejects."""
    return Reply(status=400 if feed.OLD_LINE.encode() in request.message.SerializeToString() else 200)


@dataclass
class Report:
    """The results of queries, printed line by line, and the queries without a result."""

    title: str
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"\n{self.title}")  # noqa: T201

    def line(self, where: str, found: int, *queries: str, unit: str = "series") -> None:
        """Print the number of results; without one the queries are missing."""
        print(f"  {where}: {found} {unit}")  # noqa: T201
        self.missing += [f"{where}: {query}" for query in queries if not found]


def selected(dashboard: Mapping[str, Any]) -> dict[str, str]:
    """Return a selection on a dashboard: everything, and the execution that has all."""
    names = [variable["name"] for variable in dashboard.get("templating", {}).get("list", [])]
    return {**dict.fromkeys(names, ALL), **({"execution": feed.EXECUTION} if "execution" in names else {})}


def needed(*texts: str | Query) -> Parts:
    """Return the parts that must be installed for queries: the data source, or the part with the queried metrics."""
    sources = {each.datasource for each in texts if isinstance(each, Query)}
    words = " ".join(each.text if isinstance(each, Query) else each for each in texts)
    return tuple(part for part in ("loki", "tempo") if part in sources or f"{part}_" in words)


def by_parts(items: Sequence[Any], key: Callable[[Any], Parts]) -> dict[Parts, list[Any]]:
    """Group items by the parts that they need, so that each group is a test of its own, skipped by name."""
    return {parts: [each for each in items if key(each) == parts] for parts in sorted({*map(key, items)})}


def parts_id(parts: object) -> str:
    return "+".join(("prometheus", *parts)) if isinstance(parts, tuple) else str(parts)


def retried(ask: Callable[[Any], Sequence[Any]], items: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the answer for each item; repeat those without an answer until all have one or the time is over."""
    deadline = time.monotonic() + TIMEOUT
    found = [ask(each) for each in items]
    while not all(found) and time.monotonic() < deadline:
        time.sleep(2)
        found = [before or ask(each) for before, each in zip(found, items, strict=True)]
    return found


# --- dashboards ------------------------------------------------------------------------------------------------------

QUERIES = by_parts(
    [(query, selected(board)) for board in DASHBOARDS for query in dashboards.queries(board) if query.kind != LINK],
    lambda each: needed(each[0]),
)


@pytest.mark.parametrize("parts", QUERIES, ids=parts_id)
def test_every_query_of_a_panel_or_variable_returns_data(parts: Parts, backends: Backends) -> None:
    stack.needs(*parts)
    report = Report(f"dashboards, {parts_id(parts)}")
    answers = zip(QUERIES[parts], retried(lambda each: backends.rows(*each), QUERIES[parts]), strict=True)
    for (where, unit), of_panel in groupby(answers, key=lambda each: _panel(each[0][0])):
        rows = {query.text: len(rows) for (query, _), rows in of_panel}
        empty = [text for text, number in rows.items() if not number]
        report.line(where, 0 if empty else sum(rows.values()), *empty, unit=unit)
    assert report.missing == []


def _panel(query: Query) -> tuple[str, str]:
    """Return the position of a query, and the unit of its results."""
    unit = {"series": "values", "search": "spans"}.get(query.shape, "series")
    return f"{query.dashboard} / {'$' * (query.kind == VARIABLE)}{query.panel}", unit


def test_every_traceql_and_logql_query_parses_with_a_selection() -> None:
    languages = {"tempo": "traceql", "loki": "logql"}
    asked = [each for group in QUERIES.values() for each in group if each[0].datasource in languages]
    found = grammars.problems([(languages[query.datasource], filled(query, values)) for query, values in asked])
    assert asked
    assert [problem for problem in found if problem] == []


SELECTIONS: dict[str, Sequence[Mapping[str, str]]] = {
    "flyte-task": [{"node": node, "attempt": "0"} for node in ("n0", "n1", "n2", "n3", "n6")]
    + [{"node": "n4", "attempt": "0", "index": "1"}],
    "flyte-executions": [{"task": task} for task in ("traced_usage.fail", "traced_usage.work")],
    "flyte-efficiency": [{"task": task} for task in ("traced_usage.train", "traced_usage.be_held_back")],
}
"""At least one of them has data for each panel."""

PANELS = by_parts(
    [
        query
        for board in DASHBOARDS
        if board["uid"] in SELECTIONS
        for query in dashboards.queries(board)
        if query.kind == PANEL
    ],
    needed,
)


@pytest.mark.parametrize("parts", PANELS, ids=parts_id)
def test_every_panel_finds_data_of_a_selection(parts: Parts, backends: Backends) -> None:
    stack.needs(*parts)
    one = {"project": feed.PROJECT, "domain": feed.DOMAIN, "workflow": feed.WORKFLOW}
    everything = {board["uid"]: selected(board) for board in DASHBOARDS}

    def first_rows(query: Query) -> list[Row]:
        names = everything[query.dashboard]
        base = names | {name: value for name, value in one.items() if name in names}
        answers = (backends.rows(query, {**base, **each}) for each in SELECTIONS[query.dashboard])
        return next(filter(None, answers), [])

    found = retried(first_rows, PANELS[parts])
    assert [
        f"{query.dashboard} / {query.panel}: {query.text}"
        for query, rows in zip(PANELS[parts], found, strict=True)
        if not rows
    ] == []


@dataclass(frozen=True)
class LinkOfPanel:
    """A link of a panel, with the queries whose rows it is on."""

    query: Query
    queries: tuple[Query, ...]
    selection: Mapping[str, str] = field(hash=False)


def _links() -> Iterator[LinkOfPanel]:
    for board in DASHBOARDS:
        asked = list(dashboards.queries(board))
        for link in (query for query in asked if query.kind == LINK):
            of_panel = tuple(query for query in asked if query.panel == link.panel and query.kind == PANEL)
            yield LinkOfPanel(link, of_panel, selected(board))


LINKS = by_parts(list(_links()), lambda link: needed(*link.queries))


@pytest.mark.parametrize("parts", LINKS, ids=parts_id)
def test_every_link_of_a_panel_leads_to_a_dashboard_with_the_values_of_its_row(
    parts: Parts, backends: Backends
) -> None:
    stack.needs(*parts)
    report = Report(f"links, {parts_id(parts)}")
    known = {board["uid"]: {*selected(board)} for board in DASHBOARDS}
    for each in LINKS[parts]:
        link, selection = each.query, each.selection
        rows = [row for query in each.queries for row in backends.rows(query, selection)]
        fields = set(_FIELD.findall(link.text))
        where = f"{link.dashboard} / {link.panel}: {link.text.partition('?')[0]}"
        report.line(where, sum(fields <= row.keys() | _OPTIONAL for row in rows), link.text, unit="rows")
        url = urlsplit(_followed(link.text, selection, rows[0]))
        assert url.path.removeprefix("/d/") in known, url
        given = {name.removeprefix("var-") for name in parse_qs(url.query, keep_blank_values=True)} - {"from", "to"}
        assert given <= known[url.path.removeprefix("/d/")], url
        assert "${" not in url.query, url
    assert report.missing == []


_FIELD = re.compile(r'\$\{__(?:data\.fields\["|field\.labels\.)([\w.]+)(?:"\])?\}')
_OPTIONAL = {"flyte_array_index", "flyte.array_index"}
"""Fields of some rows only."""


def _followed(url: str, values: Mapping[str, str], row: Row) -> str:
    """Return the URL that Grafana opens from a row of a table."""
    url = _FIELD.sub(lambda match: str(row.get(match[1], "")), url)
    url = re.sub(r"\$\{(\w+):queryparam\}", lambda match: f"var-{match[1]}={values[match[1]]}", url)
    return re.sub(r"\$\{__(?:from|to)\}", str(int(time.time() * 1000)), url)


# --- from one source to another --------------------------------------------------------------------------------------

TRACE_ID = f"{Execution(feed.PROJECT, feed.DOMAIN, feed.EXECUTION).trace_id():032x}"


def test_a_trace_leads_to_its_metrics(backends: Backends) -> None:
    report = Report("a trace to its metrics")
    attributes = {"flyte.run_name": feed.EXECUTION, "flyte.action_name": "n0"}
    to_metrics = SOURCES["tempo"]["tracesToMetrics"]
    tags = ",".join(f'{tag["value"]}="{attributes[tag["key"]]}"' for tag in to_metrics["tags"])
    for query in to_metrics["queries"]:
        text = query["query"].replace("$$__tags", tags)
        report.line(query["name"], len(backends.prometheus.over(text, seconds=RANGE)), text)
    assert report.missing == []


def logql_queries() -> list[str]:
    """Return all LogQL queries, for the execution that has all."""
    of_panels = [filled(*each) for group in QUERIES.values() for each in group if each[0].datasource == "loki"]
    return [*of_panels, SOURCES["tempo"]["tracesToLogsV2"]["query"].replace("$${__trace.traceId}", TRACE_ID)]


def test_log_records_match_the_label_filters_of_every_logql_query(backends: Backends) -> None:
    records = [labels(record) for record in backends.files.log_records()]
    report = Report("LogQL, label filters only")
    for query in logql_queries():
        filters = _LABEL_FILTER.findall(query)
        assert filters
        report.line(query, sum(matches(record, filters) for record in records), query, unit="log records")
    assert report.missing == []


_LABEL_FILTER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def labels(record: Record) -> dict[str, str]:
    """Return the labels and the structured metadata that Loki makes of a log record."""
    attributes = {**record.resource, **record.attributes}
    ids = {"trace_id": record.fields.get("traceId", ""), "event_name": record.fields.get("eventName", "")}
    return ids | {re.sub(r"\W", "_", name): str(value) for name, value in attributes.items()}


def matches(record: Mapping[str, str], filters: Sequence[tuple[str, str, str]]) -> bool:
    """Return whether a record passes all filters. A missing label is empty, as in Loki."""
    return all(
        bool(re.fullmatch(value if "~" in operator else re.escape(value), record.get(name, "")))
        != operator.startswith("!")
        for name, operator, value in filters
    )


def test_a_trace_leads_to_its_logs(backends: Backends) -> None:
    stack.needs("loki")
    report = Report("a trace to its logs")
    *_, query = logql_queries()
    report.line("logs", len(backends.log_streams(query)), query)
    assert report.missing == []


def test_exemplars_lead_to_a_stored_trace(backends: Backends) -> None:
    report = Report("an exemplar to its trace")
    names = {destination["name"] for destination in SOURCES["prometheus"]["exemplarTraceIdDestinations"]}
    stored = {span.fields["traceId"] for span in backends.files.spans()}
    for board in DASHBOARDS:
        for panel in dashboards.panels(board):
            for target in panel.get("targets", []):
                if target.get("exemplar"):
                    text = dashboards.filled(target["expr"], {**WITHIN, **selected(board)}, step=f"{STEP}s")
                    named = {each[name] for each in backends.exemplars(text) for name in names & each.keys()}
                    report.line(f"{board['uid']} / {panel['title']}", len(named & stored), text, unit="traces")
    assert report.missing == []


def test_log_records_lead_to_a_stored_trace(backends: Backends) -> None:
    stored = {span.fields["traceId"] for span in backends.files.spans()}
    records = [labels(record) for record in backends.files.log_records()]
    of_execution = {each["trace_id"] for each in records if each.get("flyte_run_name") == feed.EXECUTION}
    assert of_execution & stored == {TRACE_ID}


def test_log_streams_have_the_label_that_links_to_a_trace(backends: Backends) -> None:
    stack.needs("loki")
    report = Report("a log stream to its trace")
    streams = backends.log_streams(f'{{service_name=~".+"}} | flyte_run_name="{feed.EXECUTION}"')
    stored = {span.fields["traceId"] for span in backends.files.spans()}
    for derived in SOURCES["loki"]["derivedFields"]:
        pattern = derived["matcherRegex"].replace("$$", "$")
        named = {value for row in streams for label, value in row.items() if re.fullmatch(pattern, label)}
        report.line(derived["name"], len(named & stored), pattern, unit="traces")
    assert report.missing == []


def test_a_call_between_services_is_in_the_service_graph(backends: Backends) -> None:
    stack.needs("tempo")
    graph = 'traces_service_graph_request_total{client="training", server="features"}'
    assert retried(backends.prometheus.now, [graph]) != [[]]


# --- rules -----------------------------------------------------------------------------------------------------------


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("alert") or rule.get("record"))


def _selectors(expression: str) -> list[str]:
    """Return the series that an expression reads, without functions and offsets."""
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


SELECTORS = by_parts(
    [(_name(rule), selector) for rule in RULES for selector in _selectors(rule["expr"])],
    # Either of the two is enough for a selector of metrics of both.
    lambda each: needed(each[1])[:1],
)


@pytest.mark.parametrize("parts", SELECTORS, ids=parts_id)
def test_every_rule_reads_series_that_are_there(parts: Parts, backends: Backends) -> None:
    stack.needs(*parts)
    report = Report(f"rules, {parts_id(parts)}")
    asked = SELECTORS[parts]
    found = retried(lambda each: backends.prometheus.now(f"last_over_time({each[1]}[{RANGE}s])"), asked)
    for (name, selector), series in zip(asked, found, strict=True):
        report.line(f"{name} / {selector}", len(series), selector)
    assert report.missing == []


def test_every_rule_is_evaluated(backends: Backends) -> None:
    (evaluated,) = retried(lambda _: _all_evaluated(backends), [None])
    assert [rule["name"] for rule in evaluated] == [_name(rule) for rule in RULES]
    recorded = [rule["record"] for rule in RULES if "record" in rule]
    assert all(retried(backends.prometheus.now, recorded)), recorded


def _all_evaluated(backends: Backends) -> list[Row]:
    groups = requests.get(backends.prometheus.url + "/api/v1/rules", timeout=native.TIMEOUT).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule for rule in rules if rule["health"] == "err"] == []
    return rules if all(rule["health"] == "ok" for rule in rules) else []


# --- records sent and stored -----------------------------------------------------------------------------------------

PROCESSES = 2
OUTAGE = 1.5
"""Seconds for which each part is stopped."""
EXPORT_INTERVAL = "500"
"""Milliseconds, so that every signal is exported during each outage."""


@dataclass(frozen=True)
class Load:
    """A process under load. At its end it reports the recorded data."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]

    def finish(self) -> Row:
        (self.folder / "stop").touch()
        assert self.process.wait(native.TIMEOUT) == 0, (self.folder / "log").read_text()
        recorded: Row = json.loads((self.folder / "recorded.json").read_text())
        return recorded


@contextmanager
def loading(stack: Stack, folder: Path, name: str) -> Iterator[Load]:
    folder.mkdir()
    environ = {
        **{key: value for key, value in stack.environ.items() if not key.startswith("OTEL_")},
        **stack.sender(),
        "PYTHONPATH": str(native.ROOT / "tests"),
        "OTEL_RESOURCE_ATTRIBUTES": f"{semconv.RUN_NAME}={name}",
        semconv.METRIC_EXPORT_INTERVAL: EXPORT_INTERVAL,
        "OTEL_BSP_SCHEDULE_DELAY": EXPORT_INTERVAL,
        "OTEL_BLRP_SCHEDULE_DELAY": EXPORT_INTERVAL,
        semconv.OTEL_FLYTE_EXIT_TIMEOUT: "30",
        "FLYTE_SDK_LOGGING_LEVEL": "50",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, load.__file__, str(folder)], cwd=folder, env=environ, stdout=log, stderr=log
        )
    try:
        yield Load(name, folder, process)
    finally:
        process.kill()
        process.wait()


def test_everything_sent_is_stored_although_each_part_is_stopped_under_load(backends: Backends, tmp_path: Path) -> None:
    running = backends.stack
    parts = [part for part in ("collector", "tempo", "prometheus", "loki") if running.has(part)]
    with ExitStack() as opened:
        loads = [
            opened.enter_context(loading(running, tmp_path / f"load-{number}", f"load-{number}"))
            for number in range(PROCESSES)
        ]
        for part, by in [*((part, signal.SIGTERM) for part in parts), ("collector", signal.SIGKILL)]:
            _stop(running, part, by)
            time.sleep(OUTAGE)
            again = running.run("stack", "up", "--native")
            assert again.returncode == 0, again.stderr
        backends.files.process.stop()
        time.sleep(OUTAGE)
        backends.files.process.start()
        recorded = {each.name: each.finish() for each in loads}
    counts = _counts(backends, recorded)
    sent = {
        name: sum(len({*each["spans"]}) if "spans" in name else each["logs"] for each in recorded.values())
        for name in counts
    }
    deadline = time.monotonic() + TIMEOUT
    # A read may miss spans that Tempo is moving between its components; a later one finds them.
    while (stored := {name: count() for name, count in counts.items()}) != sent and time.monotonic() < deadline:
        time.sleep(2)
    print("\n| signal | sent | stored |\n|---|---|---|")  # noqa: T201
    for name, number in sent.items():
        print(f"| {name} | {number} | {stored[name]} |")  # noqa: T201
    assert stored == sent


def _counts(backends: Backends, recorded: Mapping[str, Row]) -> dict[str, Callable[[], int]]:
    """Return functions that count stored records, by signal and backend."""
    counts: dict[str, Callable[[], int]] = {
        "spans, in files": lambda: _spans_in_files(backends.files, recorded),
        "log records, in files": lambda: _log_records_in_files(backends.files, recorded),
        "counted by metrics, in Prometheus": lambda: sum(_counted(backends, name) for name in recorded),
    }
    if backends.stack.has("tempo"):
        counts["spans, in Tempo"] = lambda: sum(_spans_in_tempo(backends, each) for each in recorded.values())
    if backends.stack.has("loki"):
        counts["log records, in Loki"] = lambda: sum(_log_records_in_loki(backends, name) for name in recorded)
    return counts


def _stop(running: Stack, part: str, by: signal.Signals) -> None:
    process = processes.Process(**running.state["processes"][part])
    if by == signal.SIGKILL:
        os.kill(process.pid, by)
    processes.stop({process: BY_NAME[part].grace})
    assert not processes.is_running(process)


def _spans_in_files(files: FileBackend, recorded: Mapping[str, Row]) -> int:
    """Count the sent spans, each once: a span that was not acknowledged is sent again."""
    stored = {span.fields["spanId"] for span in files.spans()}
    return sum(len(stored & {*each["spans"]}) for each in recorded.values())


def _log_records_in_files(files: FileBackend, recorded: Mapping[str, Row]) -> int:
    """Count the sent log records, each once: every line of a process has another number."""
    return len(
        {
            (record.resource.get(semconv.RUN_NAME), record.body)
            for record in files.log_records()
            if record.resource.get(semconv.RUN_NAME) in recorded and record.body.startswith(load.LINE)
        }
    )


def _spans_in_tempo(backends: Backends, recorded: Row) -> int:
    answer = requests.get(backends.stack.url("tempo", f"/api/traces/{recorded['trace']}"), timeout=native.TIMEOUT)
    if not answer.ok:
        return 0
    found = {
        base64.b64decode(span["spanId"]).hex()
        for batch in answer.json()["batches"]
        for scope in batch["scopeSpans"]
        for span in scope["spans"]
    }
    return len(found & set(recorded["spans"]))


def _log_records_in_loki(backends: Backends, name: str) -> int:
    lines = f'{{service_name=~".+"}} | {semconv.RUN_NAME.replace(".", "_")}="{name}" |= "{load.LINE}"'
    count = f"sum(count_over_time({lines} [{RANGE}s]))"
    answer = requests.get(backends.stack.url("loki", "/loki/api/v1/query"), {"query": count}, timeout=native.TIMEOUT)
    return sum(int(series["value"][1]) for series in answer.json()["data"]["result"])


def _counted(backends: Backends, name: str) -> int:
    query = f'last_over_time(flyte_user_{load.STAT}_total{{flyte_run_name="{name}"}}[{RANGE}s])'
    return sum(int(float(series["value"][1])) for series in backends.prometheus.now(query))
