"""Metrics of Flyte's own services, as a scrape finds them: their prefixes, and the few ways in which they are asked.

Durations are summaries of the last ten minutes. Quantiles of several series can't be added up: the largest is shown.
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
    "No metrics of flytepropeller: FLYTE_PROPELLER_TARGETS names no address that answers, or nothing of the kind has "
    "happened since it began."
)
NO_ADMIN = "No metrics of flyteadmin: FLYTE_ADMIN_TARGETS names no address that answers."
NO_SCHEDULER = "No metrics of flytescheduler: FLYTE_SCHEDULER_TARGETS names no address that answers."
NO_DATACATALOG = "No metrics of datacatalog: FLYTE_DATACATALOG_TARGETS names no address that answers."
NO_PODS = (
    "No metrics of pods with Flyte's labels: KUBE_STATE_METRICS_TARGETS names no address that answers, or "
    "kube-state-metrics lacks --metric-labels-allowlist=pods=[*]."
)
NO_CONTAINERS = "No metrics of containers: nobody scrapes the kubelets' cAdvisor, or no pod of these is running."
NO_QUOTAS = "No resource quota in these namespaces, or KUBE_STATE_METRICS_TARGETS names no address that answers."

QUANTILE = 'quantile=~"$quantile"'


def quantile_variable(summary: str) -> QueryVariable:
    """Offer the quantiles that a summary has."""
    return variables.of_label("quantile", "Quantile", "Which quantiles of durations are drawn.", "quantile", summary)


def execution_variables(workflow: str) -> list[QueryVariable]:
    """Offer project, domain and workflow of executions, as propeller knows them.

    Args:
        workflow: a selector of a metric that has the label ``wf``; it may use the first two.
    """
    flyteworkflows = f"{PROPELLER}collector:flyteworkflow"
    in_project = f'{flyteworkflows}{{project=~"$project"}}'
    return [
        variables.of_label("project", "Project", "Of executions.", "project", flyteworkflows),
        variables.of_label("domain", "Domain", "Of executions.", "domain", in_project),
        variables.of_label("workflow", "Workflow", "As propeller calls it: project:domain:name.", "wf", workflow),
    ]


def per_second(name: str, labels: str = "", by: Sequence[str] = ()) -> str:
    """Return how often a counter grows, in the sum over replicas."""
    return f"sum{_by(by)} (rate({name}{_in_braces(labels)}[$__rate_interval]))"


def in_range(name: str, labels: str = "", by: Sequence[str] = ()) -> str:
    """Return by how much a counter grew over the time range of the dashboard."""
    return f"sum{_by(by)} (increase({name}{_in_braces(labels)}[$__range]))"


def or_zero(query: str) -> str:
    """Give 0 where propeller is there and a query of its has no series: counters with labels begin when they count.

    Args:
        query: one that returns a single series without labels.
    """
    return f"({query} or 0 * sum({PROPELLER}free_workers_count))"


def quantiles(name: str, labels: str = "", by: Sequence[str] = ("quantile",)) -> str:
    """Return the chosen quantiles of a summary, of several series the largest."""
    return f"max{_by(by)} ({name}{_in_braces(QUANTILE, labels)})"


def mean(name: str, labels: str = "", by: Sequence[str] = ()) -> str:
    """Return the mean of a summary over the last minutes."""
    return f"{per_second(name + '_sum', labels, by)} / {per_second(name + '_count', labels, by)}"


def of_family(pattern: str, part: str, outer: str, labels: str = "") -> str:
    """Ask all metrics that differ in a part of their names alone, and give this part as a label.

    A rate forgets the name, and would take them for one series; a label stays. It needs a subquery, whose resolution is
    said: a backend's own default may be longer than the range.

    Args:
        pattern: the name, a regular expression with one group: the part.
        part: the label's name.
        outer: what is asked of them, ``{}`` where a range of them goes, such as ``rate({}[5m:15s])``.
        labels: more that is asked of their labels.
    """
    selector = _in_braces(f'__name__=~"{pattern}"', labels)
    return outer.format(f'label_replace({selector}, "{part}", "$1", "__name__", "{pattern}")')


def durations(name: str, labels: str = "", legend: str = "{{quantile}}") -> tuple[Query, ...]:
    """Ask for the chosen quantiles of a summary."""
    return (promql(quantiles(name, labels), legend),)


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _in_braces(*labels: str) -> str:
    given = ", ".join(label for label in labels if label)
    return f"{{{given}}}" if given else ""
