"""The dashboards of Flyte's own services: every query finds data on the recorded pages of these services."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana.generate.queries import PANEL, VARIABLE, Query, filled, queries
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_flyte import semconv
from otel_flyte.metrics.user_metrics import UserMetrics
from support import flyte_pages, native, prometheus
from support.prometheus import Prometheus

DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
BOARDS = ("flyte-users", "flyte-propeller", "flyte-admin")
INTERVAL = "500ms"
ALL = ".*"
WORKFLOW = "flytesnacks:development:training.pipeline"
EVERYTHING = dict.fromkeys(("project", "domain", "workflow", "pod_workflow", "quantile"), ALL)
ONE_WORKFLOW = {
    "project": "flytesnacks",
    "domain": "development",
    "workflow": WORKFLOW,
    "pod_workflow": "training-pipeline",
    "quantile": "0.99",
}
SELECTIONS = {"everything": EVERYTHING, "one workflow": ONE_WORKFLOW}

WITHOUT_PODS_OF_IT = {"Pending tasks"}
"""Panels without data for that workflow: it has no such pods."""

_NAME = re.compile(
    r"\b(?:flyte:[a-zA-Z_:]+|kube_[a-z_]+|container_(?:cpu|memory)_[a-z_]+|grpc_(?:server|client)_[a-z_]+)"
)
_PATTERN = re.compile(r'__name__=~"([^"]+)"')
_PART_OF_A_NAME = re.compile(r'"__name__", "[^"]+"')

EQUIVALENTS = {
    "cluster:namespace:pod_memory:active:kube_pod_container_resource_limits": "kube_pod_container_resource_limits",
    "cluster:namespace:pod_cpu:active:kube_pod_container_resource_limits": "kube_pod_container_resource_limits",
}
"""Recording rules of kube-prometheus in the published dashboards, and the metrics that they read."""


def all_queries() -> list[Query]:
    boards = (json.loads((DASHBOARDS / f"{uid}.json").read_text(encoding="utf-8")) for uid in BOARDS)
    return [query for board in boards for query in queries(board)]


QUERIES = [query for query in all_queries() if query.kind in (PANEL, VARIABLE)]
PANELS = sorted({(query.dashboard, query.panel, query.kind) for query in QUERIES})


def names_in(text: str) -> set[str]:
    return set(_NAME.findall(_PART_OF_A_NAME.sub("", _PATTERN.sub("", text))))


def patterns_in(text: str) -> set[str]:
    return {pattern for pattern in _PATTERN.findall(text) if pattern.startswith("flyte:")}


def names_on(*pages: str) -> set[str]:
    return set().union(*(flyte_pages.names(flyte_pages.recorded(page)) for page in pages))


SERVED = names_on(*flyte_pages.PAGES)
NAMES = set().union(*(names_in(query.text) for query in QUERIES))
PATTERNS = set().union(*(patterns_in(query.text) for query in QUERIES))


def test_every_queried_metric_is_on_a_recorded_page() -> None:
    assert sorted(NAMES - SERVED) == []
    assert [pattern for pattern in PATTERNS if not any(re.fullmatch(pattern, name) for name in SERVED)] == []


def test_every_metric_of_the_published_dashboards_is_queried() -> None:
    published = (flyte_pages.RECORDED / "published.txt").read_text(encoding="utf-8").split()
    ours = NAMES | {name for name in SERVED if any(re.fullmatch(pattern, name) for pattern in PATTERNS)}
    missing = [
        name for name in published if not any(re.fullmatch(EQUIVALENTS.get(name, name), found) for found in ours)
    ]
    assert missing == []


def test_the_page_of_flyte_binary_has_the_names_of_the_services() -> None:
    assert names_on("flyte-binary") <= names_on("admin", "propeller", "scheduler", "datacatalog")


def test_counters_grow_with_each_scrape_and_gauges_do_not() -> None:
    page = flyte_pages.recorded("propeller")
    counter, gauge = "flyte:propeller:all:round:success_count", "flyte:propeller:all:free_workers_count"
    for scrapes in (1, 3):
        text = flyte_pages.after(page, scrapes)
        assert f"\n{counter} {590 * scrapes}\n" in text
        assert f"\n{gauge} 6\n" in text


# --- on a real Prometheus --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped all pages several times, and has received a task's metrics."""
    with flyte_pages.serving() as addresses:
        # The page of flyte-binary repeats those of the services.
        pages = {page: address for page, address in addresses.items() if page != "flyte-binary"}
        configuration: dict[str, Any] = {
            "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
            "scrape_configs": prometheus.scrape(pages, interval=INTERVAL),
            "otlp": {"promote_resource_attributes": [semconv.PROJECT, semconv.DOMAIN]},
        }
        with prometheus.running(tmp_path_factory.mktemp("prometheus"), configuration) as server:
            _send_user_metrics(server)
            native.wait_until(lambda: _is_scraped(server, len(pages)), "not all pages are scraped")
            yield server


def _is_scraped(server: Prometheus, pages: int) -> bool:
    scraped = server.now("count_over_time(up[5m])")
    return len(scraped) == pages and all(float(series["value"][1]) >= 6 for series in scraped)


def _send_user_metrics(server: Prometheus) -> None:
    resource = Resource({semconv.PROJECT: "flytesnacks", semconv.DOMAIN: "development"})
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(server.otlp_endpoint), export_interval_millis=500)
    provider = MeterProvider([reader], resource)
    identity = {semconv.USER_WORKFLOW: WORKFLOW, semconv.USER_TASK: "training.train"}
    metrics = UserMetrics(provider)
    metrics.count("rows", 5, identity)
    metrics.count("batches", 2, identity)
    metrics.gauge("loss", 0.25, identity)
    metrics.duration("epoch", 1.5, identity)
    provider.force_flush()
    provider.shutdown()


def scaled(text: str, values: dict[str, str]) -> str:
    """Fill in a query for pages that are scraped twice a second instead of once a minute."""
    per_second = re.sub(r":\d+[sm]\]", ":1s]", text)
    # `$1` is a group of label_replace, not a variable.
    return filled(per_second, {**values, "1": "$1"}, step="1s", time_range="5s")


def answer(server: Prometheus, query: Query, values: dict[str, str]) -> list[str]:
    text = scaled(query.text, values)
    if query.kind == VARIABLE:
        return server.values_of_label(query.label, text)
    if query.shape == "instant":
        return [series["value"][1] for series in server.now(text)]
    return [value for series in server.over(text, seconds=3) for _, value in series["values"]]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(("board", "panel", "kind"), PANELS, ids=[" / ".join(panel) for panel in PANELS])
def test_a_query_of_a_panel_returns_data(fed: Prometheus, board: str, panel: str, kind: str, selection: str) -> None:
    if selection != "everything" and panel in WITHOUT_PODS_OF_IT:
        pytest.skip(f"{WORKFLOW} has no such pods")
    of_panel = [query for query in QUERIES if (query.dashboard, query.panel, query.kind) == (board, panel, kind)]
    answers = [answer(fed, query, SELECTIONS[selection]) for query in of_panel]
    assert all(answers), [query.text for query, found in zip(of_panel, answers, strict=True) if not found]
    # A summary without an event for ten minutes is `NaN`.
    assert any(value != "NaN" for found in answers for value in found)
