"""The data sources of panels, and queries to them.

The uids are those of ``grafana/provisioning/datasources/``. For a dashboard in another Grafana, give its data sources
these uids, or select them in Grafana's import.
"""

from typing import Any

from grafana_foundation_sdk.builders import loki, prometheus, tempo
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import MetricsQueryType, SearchTableType

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO = DataSourceRef(type_val="tempo", uid="tempo")
LOKI = DataSourceRef(type_val="loki", uid="loki")

Query = Any
"""A builder of one query. The SDK's builders have no common type."""


def promql(expression: str, legend: str = "", *, exemplars: bool = False, least_step: str = "") -> Query:
    """Return a query to Prometheus for series over the time range.

    Args:
        expression: PromQL.
        legend: The displayed name of a series, such as ``{{flyte_task_name}}``.
        exemplars: Whether to show exemplars, which link to traces. Prometheus finds them by the expression's selectors.
        least_step: The minimum interval between two points, such as ``1m``, and of ``$__interval`` in the expression.
    """
    query = prometheus.Dataquery().datasource(PROMETHEUS).expr(expression).range().legend_format(legend or "__auto")
    if least_step:
        query.interval(least_step)
    return query.exemplar(True) if exemplars else query


def promql_now(expression: str, legend: str = "") -> Query:
    """Return a query to Prometheus for one value of each series at the end of the time range: for tables."""
    query = prometheus.Dataquery().datasource(PROMETHEUS).expr(expression).instant()
    return query.format(PromQueryFormat.TABLE).legend_format(legend or "__auto")


def promql_each(expression: str, legend: str = "") -> Query:
    """Return a query to Prometheus for one value of each series, with a legend: for several numbers in one panel."""
    return prometheus.Dataquery().datasource(PROMETHEUS).expr(expression).instant().legend_format(legend or "__auto")


def logql(expression: str, legend: str = "", *, lines: int = 1000) -> Query:
    """Return a query to Loki for log lines, or for series if the expression counts them."""
    query = loki.Dataquery().datasource(LOKI).expr(expression).query_type("range").max_lines(lines)
    return query.legend_format(legend) if legend else query


def traceql_spans(query: str, *, traces: int = 100, spans: int = 100) -> Query:
    """Return a query to Tempo for a table of spans; ``select()`` in the query adds columns.

    Args:
        query: TraceQL.
        traces: The maximum number of traces.
        spans: The maximum number of spans per trace. More than Tempo's limit is an error.
    """
    found = tempo.TempoQuery().datasource(TEMPO).query_type("traceql").query(query)
    return found.table_type(SearchTableType.SPANS).limit(traces).spss(spans)


def traceql_traces(query: str, *, traces: int = 100) -> Query:
    """Return a query to Tempo for a table of traces."""
    return (
        tempo.TempoQuery()
        .datasource(TEMPO)
        .query_type("traceql")
        .query(query)
        .table_type(SearchTableType.TRACES)
        .limit(traces)
    )


def traceql_metrics(query: str) -> Query:
    """Return a query to Tempo for series: TraceQL that ends in ``rate()``, ``quantile_over_time()`` and the like."""
    found = tempo.TempoQuery().datasource(TEMPO).query_type("traceql").query(query)
    return found.metrics_query_type(MetricsQueryType.RANGE)
