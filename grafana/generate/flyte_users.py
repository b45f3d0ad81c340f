"""Flyte for its users: results and durations of workflows, usage of their pods, and user metrics."""

from collections.abc import Iterator
from typing import NamedTuple

from grafana.generate import links, names, panels, services
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.flyte_propeller import STAGES
from grafana.generate.services import (
    NO_CONTAINERS,
    NO_PODS,
    NO_PROPELLER,
    NO_QUOTAS,
    PROPELLER,
    durations,
    in_range,
    of_family,
    or_zero,
    per_second,
    quantile_variable,
)
from grafana.generate.sources import promql, promql_now
from grafana.generate.variables import of_label
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_flyte import semconv

OF_PROJECT = 'project=~"$project", domain=~"$domain"'
OF_WORKFLOW = f'{OF_PROJECT}, wf=~"$workflow"'

# Labels of Kubernetes allow fewer characters than names of Flyte: pods have a variable of their own for workflows.
OF_PODS = 'label_project=~"$project", label_domain=~"$domain", label_workflow_name=~"$pod_workflow"'
POD = "namespace, pod"
TASK_OF_POD = "label_project, label_domain, label_execution_id, label_node_id, label_task_name"
A_TASK = "{{label_task_name}} · {{label_execution_id}} {{label_node_id}}"
OF_TASK = f"* on ({POD}) group_left ({TASK_OF_POD}) max by ({POD}, {TASK_OF_POD}) (kube_pod_labels{{{OF_PODS}}})"
LABEL = "${{__field.labels.label_{}}}"
TO_TASK = panels.link(
    "Usage of the task",
    links.task(
        {
            **dict.fromkeys(links.VARIABLES, links.ANY),
            "project": LABEL.format("project"),
            "domain": LABEL.format("domain"),
            "execution": LABEL.format("execution_id"),
            "node": LABEL.format("node_id"),
        }
    ),
)
# `group_left` keeps the labels of OF_TASK, which the link to a task needs.
RUNNING = f'* on ({POD}) group_left () max by ({POD}) (kube_pod_status_phase{{phase="Running"}})'

OF_USERS = (
    f'{names.label(semconv.PROJECT)}=~"$project", {names.label(semconv.DOMAIN)}=~"$domain", '
    f'{semconv.USER_WORKFLOW}=~"$workflow"'
)
USER = names.label(semconv.METRIC_USER.format(name=""))
NO_STATS = "No user metrics: no task used current_context().stats in the time range."

FAILED = ((None, "green"), (1, "red"))


class Outcome(NamedTuple):
    """A result of workflows.

    Attributes:
        title: Its displayed name.
        metric: Its counter.
        steps: Its colours.
    """

    title: str
    metric: str
    steps: panels.Steps


OUTCOMES = (
    Outcome("Accepted", f"{PROPELLER}workflow:accepted", ()),
    Outcome("Succeeded", f"{PROPELLER}workflow:success_duration_ms_count", ()),
    Outcome("Failed", f"{PROPELLER}workflow:failure_duration_ms_count", FAILED),
    Outcome("Aborted", f"{PROPELLER}workflow:workflow_aborted", ()),
)


def board() -> Dashboard:
    """Return the dashboard."""
    accepted = f"{PROPELLER}workflow:accepted"
    return made(
        "flyte-users",
        "Flyte / Users",
        "Results and durations of the workflows of a project, usage of their pods, and user metrics.",
        [
            *services.execution_variables(f"{accepted}{{{OF_PROJECT}}}"),
            of_label(
                "pod_workflow",
                "Workflow, on pods",
                "The label of its pods: in lower case, with - for characters that Kubernetes does not allow.",
                "label_workflow_name",
                'kube_pod_labels{label_project=~"$project", label_domain=~"$domain"}',
            ),
            quantile_variable(f"{PROPELLER}round:round_total_ms"),
        ],
        [
            Row("Workflows", list(_workflows())),
            Row("Stages: time outside of tasks", list(_stages())),
            Row("Nodes", list(_nodes())),
            Row("Quotas", list(_quotas())),
            Row("Pods", list(_pods())),
            Row("User metrics: current_context().stats", list(_stats())),
        ],
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def _workflows() -> Iterator[panels.Panel]:
    running = f"sum({PROPELLER}collector:flyteworkflow{{{OF_PROJECT}}})"
    yield panels.number("Running", "Executions in propeller now.", units.Short, NO_PROPELLER, promql_now(running))
    for outcome in OUTCOMES:
        yield panels.number(
            outcome.title,
            "Executions in the time range.",
            units.Short,
            NO_PROPELLER,
            promql_now(or_zero(in_range(outcome.metric, OF_WORKFLOW))),
            decimals=0,
            steps=outcome.steps,
        )
    succeeded, failed = (or_zero(in_range(outcome.metric, OF_WORKFLOW)) for outcome in OUTCOMES[1:3])
    yield panels.number(
        "Success",
        "Share of succeeded executions, without aborted ones, in the time range.",
        units.PercentUnit,
        "No execution of the selection ended in the time range.",
        promql_now(f"{succeeded} / ({succeeded} + {failed} > 0)"),
        steps=((None, "red"), (0.5, "orange"), (0.95, "green")),
    )
    for outcome in OUTCOMES:
        yield panels.time_series(
            f"Workflows: {outcome.title.lower()}",
            "Number per second, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(outcome.metric, OF_WORKFLOW, ("wf",)), "{{wf}}"),
            width=panels.QUARTER,
            is_stacked=True,
        )
    for kind, word in (("success", "succeeded"), ("failure", "failed")):
        yield _duration(
            f"Duration of {word} workflows",
            "From acceptance to the end.",
            f"workflow:{kind}_duration_ms",
        )


def _stages() -> Iterator[panels.Panel]:
    for stage in STAGES:
        yield _duration(stage.title, stage.meaning, f"{stage.metric}_ms", panels.QUARTER)


def _nodes() -> Iterator[panels.Panel]:
    for kind, word in (("success", "succeeded"), ("failure", "failed")):
        metric = f"node:{kind}_duration_ms"
        yield _duration(f"Duration of {word} nodes", "Execution time.", metric)
        yield panels.time_series(
            f"{word.capitalize()} nodes",
            "Number per second, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(f"{PROPELLER}{metric}_count", OF_WORKFLOW, ("wf",)), "{{wf}}"),
            is_stacked=True,
        )
    for kind, cause in (("user", "the task's own code or inputs"), ("system", "Flyte or Kubernetes")):
        yield panels.time_series(
            f"{kind.capitalize()} errors",
            f"Failed attempts, caused by {cause}, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(f"{PROPELLER}node:{kind}_error_duration_ms_count", OF_WORKFLOW, ("wf",)), "{{wf}}"),
        )


def _quotas() -> Iterator[panels.Panel]:
    for title, resource, unit in (("CPU", "limits.cpu", units.Short), ("Memory", "limits.memory", units.BytesIEC)):
        selector = f'resource="{resource}", namespace=~"$project-$domain"'
        yield panels.time_series(
            f"{title} of the quota",
            "Sum of the limits of a namespace's pods, and the quota. Pods beyond it are not created.",
            unit,
            NO_QUOTAS,
            promql(f'max by (namespace) (kube_resourcequota{{{selector}, type="used"}})', "{{namespace}} used"),
            promql(f'max by (namespace) (kube_resourcequota{{{selector}, type="hard"}})', "{{namespace}} quota"),
        )


def _pods() -> Iterator[panels.Panel]:
    pending = f'max by ({POD}) (kube_pod_status_phase{{phase="Pending"}})'
    yield panels.time_series(
        "Pending tasks",
        "Pods that are not scheduled yet, or whose images are being pulled.",
        units.Short,
        NO_PODS,
        promql(f"sum by ({TASK_OF_POD}) ({pending} {OF_TASK}) > 0", A_TASK),
        links=[TO_TASK],
    )
    phases = f"max by ({POD}, phase) (kube_pod_status_phase)"
    yield panels.time_series(
        "Pods by phase",
        "Pods of the selected workflows, without those that Flyte has deleted.",
        units.Short,
        NO_PODS,
        promql(f"sum by (phase) ({phases} {OF_TASK}) > 0", "{{phase}}"),
        is_stacked=True,
    )
    working_set = 'container_memory_working_set_bytes{container!=""}'
    cores = 'rate(container_cpu_usage_seconds_total{container!=""}[$__rate_interval])'
    for title, used, resource in (("Memory", working_set, "memory"), ("CPU", cores, "cpu")):
        limits = f'kube_pod_container_resource_limits{{resource="{resource}"}}'
        share = f"sum by ({POD}) ({used}) / sum by ({POD}) ({limits})"
        yield panels.time_series(
            f"{title} of the limit",
            "Usage of running pods as a share of the limits of their containers. The dashboard of a task has more.",
            units.PercentUnit,
            NO_CONTAINERS,
            promql(f"({share}) {OF_TASK} {RUNNING} > 0", A_TASK),
            steps=((None, "green"), (0.9, "red")),
            links=[TO_TASK],
        )


def _stats() -> Iterator[panels.Panel]:
    yield panels.rows(
        "Counted",
        "Counters of all processes in the time range, by name, workflow and task.",
        units.Short,
        NO_STATS,
        promql_now(_of_users("_total", "sum by (stat, wf, task) (max_over_time({}[$__range:1m]))")),
        names={"stat": "Name", "wf": "Workflow", "task": "Task", "Value": "Counted"},
        width=panels.HALF,
        sorted_by="Counted",
    )
    yield panels.time_series(
        "Counted so far",
        "Sum of the counters of running processes, by name and workflow.",
        units.Short,
        NO_STATS,
        promql(_of_users("_total", "sum by (stat, wf) ({})"), "{{stat}} {{wf}}"),
    )
    gauges = of_family(
        f"{USER}(.+)", "stat", "max by (stat, wf, task) ({})", f'__name__!~".+_(total|bucket|sum|count)", {OF_USERS}'
    )
    yield panels.time_series(
        "Gauges",
        "The last value, the largest one of several processes.",
        units.Short,
        "No gauges: no task set one by current_context().stats in the time range.",
        promql(gauges, "{{stat}} {{task}}"),
    )
    total, number = (_of_users(f"_seconds_{part}", "sum by (stat, wf, task) ({})") for part in ("sum", "count"))
    yield panels.time_series(
        "Timers",
        "Mean of the durations timed by running processes.",
        units.Seconds,
        "No timers: no task used one of current_context().stats in the time range.",
        promql(f"{total} / {number}", "{{stat}} {{task}}"),
    )


# --- panels ----------------------------------------------------------------------------------------------------------


def _duration(title: str, description: str, name: str, width: int = panels.HALF) -> panels.Panel:
    asked = durations(f"{PROPELLER}{name}", OF_WORKFLOW)
    return panels.time_series(title, description, units.Milliseconds, NO_PROPELLER, *asked, width=width)


def _of_users(suffix: str, outer: str) -> str:
    return of_family(f"{USER}(.+){suffix}", "stat", outer, OF_USERS)
