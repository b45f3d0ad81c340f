"""Metrics of Flyte's own services as scraped: their prefixes, and functions for queries.

Durations are summaries of the last ten minutes. Quantiles of several series cannot be added, so the largest is shown.
https://github.com/flyteorg/flyte/blob/v1.16.8/flytestdlib/promutils/scope.go
"""

from collections.abc import Sequence

from grafana.generate import variables
from grafana.generate.sources import Query, promql
from grafana_foundation_sdk.builders.dashboard import QueryVariable

PROPELLER = "flyte:propeller:all:"
ADMIN = "flyte:admin:admin:"
SCHEDULER = "flyte:flytescheduler:"
DATACATALOG = "flyte:datacatalog:"

NO_PROPELLER = (
    "No metrics of flytepropeller: FLYTE_PROPELLER_TARGETS has no address that answers, or there was no such event "
    "since its start."
)
NO_ADMIN = "No metrics of flyteadmin: FLYTE_ADMIN_TARGETS has no address that answers."
NO_SCHEDULER = "No metrics of flytescheduler: FLYTE_SCHEDULER_TARGETS has no address that answers."
NO_DATACATALOG = "No metrics of datacatalog: FLYTE_DATACATALOG_TARGETS has no address that answers."
NO_PODS = (
    "No metrics of pods with Flyte's labels: KUBE_STATE_METRICS_TARGETS has no address that answers, or "
    "kube-state-metrics lacks --metric-labels-allowlist=pods=[*]."
)
NO_CONTAINERS = "No metrics of containers: the kubelets' cAdvisor is not scraped, or no selected pod is running."
NO_QUOTAS = "No resource quota in these namespaces, or KUBE_STATE_METRICS_TARGETS has no address that answers."

QUANTILE = 'quantile=~"$quantile"'


def quantile_variable(summary: str) -> QueryVariable:
    """Return a variable for the quantiles of a summary."""
    return variables.of_label("quantile", "Quantile", "The quantiles of durations in charts.", "quantile", summary)


def execution_variables(workflow: str) -> list[QueryVariable]:
    """Return variables for project, domain and workflow of executions, from propeller's metrics.

    Args:
        workflow: A selector of a metric with the label ``wf``; it may use the first two variables.
    """
    flyteworkflows = f"{PROPELLER}collector:flyteworkflow"
    in_project = f'{flyteworkflows}{{project=~"$project"}}'
    return [
        variables.of_label("project", "Project", "The project of executions.", "project", flyteworkflows),
        variables.of_label("domain", "Domain", "The domain of executions.", "domain", in_project),
        variables.of_label("workflow", "Workflow", "In propeller's form: project:domain:name.", "wf", workflow),
    ]


def per_second(name: str, labels: str = "", by: Sequence[str] = ()) -> str:
    """Return the rate of a counter, summed over replicas."""
    return f"sum{_by(by)} (rate({name}{_in_braces(labels)}[$__rate_interval]))"


def in_range(name: str, labels: str = "", by: Sequence[str] = ()) -> str:
    """Return the increase of a counter in the time range of the dashboard."""
    return f"sum{_by(by)} (increase({name}{_in_braces(labels)}[$__range]))"


def or_zero(query: str) -> str:
    """Return 0 if propeller has metrics and the query has no series: counters with labels appear with the first event.

    Args:
        query: A query that returns a single series without labels.
    """
    return f"({query} or 0 * sum({PROPELLER}free_workers_count))"


def quantiles(name: str, labels: str = "", by: Sequence[str] = ("quantile",)) -> str:
    """Return the selected quantiles of a summary, the largest ones of several series."""
    return f"max{_by(by)} ({name}{_in_braces(QUANTILE, labels)})"


def mean(name: str, labels: str = "", by: Sequence[str] = ()) -> str:
    """Return the mean of a summary over the last minutes."""
    return f"{per_second(name + '_sum', labels, by)} / {per_second(name + '_count', labels, by)}"


def of_family(pattern: str, part: str, outer: str, labels: str = "") -> str:
    """Return a query for all metrics whose names differ in one part, with this part as a label.

    A rate removes the name, so that they would be one series; it keeps a label. This needs a subquery with an explicit
    resolution, because a backend's default may be longer than the range.

    Args:
        pattern: The name, a regular expression with one group: the part.
        part: The name of the label.
        outer: The outer query, with ``{}`` for the series, such as ``rate({}[5m:15s])``.
        labels: Additional matchers.
    """
    selector = _in_braces(f'__name__=~"{pattern}"', labels)
    return outer.format(f'label_replace({selector}, "{part}", "$1", "__name__", "{pattern}")')


def durations(name: str, labels: str = "", legend: str = "{{quantile}}") -> tuple[Query, ...]:
    """Return the queries for the selected quantiles of a summary."""
    return (promql(quantiles(name, labels), legend),)


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _in_braces(*labels: str) -> str:
    given = ", ".join(label for label in labels if label)
    return f"{{{given}}}" if given else ""
