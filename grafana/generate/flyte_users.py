"""Flyte for its users: how workflows of a project fare, what their pods take, and what tasks count themselves."""

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

# Kubernetes allows fewer characters in labels than Flyte in names: pods have a workflow of their own to pick.
OF_PODS = 'label_project=~"$project", label_domain=~"$domain", label_workflow_name=~"$pod_workflow"'
POD = "namespace, pod"
TASK_OF_POD = "label_project, label_domain, label_execution_id, label_node_id, label_task_name"
A_TASK = "{{label_task_name}} · {{label_execution_id}} {{label_node_id}}"
OF_TASK = f"* on ({POD}) group_left ({TASK_OF_POD}) max by ({POD}, {TASK_OF_POD}) (kube_pod_labels{{{OF_PODS}}})"
LABEL = "${{__field.labels.label_{}}}"
TO_TASK = panels.link(
    "The task's usage",
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
# `group_left` keeps the labels that OF_TASK has brought: the link to a task is made of them.
RUNNING = f'* on ({POD}) group_left () max by ({POD}) (kube_pod_status_phase{{phase="Running"}})'

OF_USERS = (
    f'{names.label(semconv.PROJECT)}=~"$project", {names.label(semconv.DOMAIN)}=~"$domain", '
    f'{semconv.USER_WORKFLOW}=~"$workflow"'
)
USER = names.label(semconv.METRIC_USER.format(name=""))
NO_STATS = "No metrics of users: no task counted anything by current_context().stats in this time."

FAILED = ((None, "green"), (1, "red"))


class Outcome(NamedTuple):
    """What becomes of workflows.

    Attributes:
        title: what people call it.
        metric: the counter of it.
        steps: its colours.
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
        "How the workflows of a project fare, where their time goes, what pods take, what tasks count themselves.",
        [
            *services.execution_variables(f"{accepted}{{{OF_PROJECT}}}"),
            of_label(
                "pod_workflow",
                "Workflow, on pods",
                "As the label of its pods has it: in lower case, with - for what Kubernetes does not allow.",
                "label_workflow_name",
                'kube_pod_labels{label_project=~"$project", label_domain=~"$domain"}',
            ),
            quantile_variable(f"{PROPELLER}round:round_total_ms"),
        ],
        [
            Row("Workflows", list(_workflows())),
            Row("Stages: where time goes outside of tasks", list(_stages())),
            Row("Nodes", list(_nodes())),
            Row("Quotas", list(_quotas())),
            Row("Pods", list(_pods())),
            Row("What tasks count: current_context().stats", list(_stats())),
        ],
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def _workflows() -> Iterator[panels.Panel]:
    running = f"sum({PROPELLER}collector:flyteworkflow{{{OF_PROJECT}}})"
    yield panels.number(
        "Running", "Executions that propeller holds now.", units.Short, NO_PROPELLER, promql_now(running)
    )
    for outcome in OUTCOMES:
        yield panels.number(
            outcome.title,
            "Executions, over the time range.",
            units.Short,
            NO_PROPELLER,
            promql_now(or_zero(in_range(outcome.metric, OF_WORKFLOW))),
            decimals=0,
            steps=outcome.steps,
        )
    succeeded, failed = (or_zero(in_range(outcome.metric, OF_WORKFLOW)) for outcome in OUTCOMES[1:3])
    yield panels.number(
        "Success",
        "Share of the executions that ended by themselves, over the time range.",
        units.PercentUnit,
        "Nothing ended: no execution of these did in this time.",
        promql_now(f"{succeeded} / ({succeeded} + {failed} > 0)"),
        steps=((None, "red"), (0.5, "orange"), (0.95, "green")),
    )
    for outcome in OUTCOMES:
        yield panels.time_series(
            f"Workflows: {outcome.title.lower()}",
            "How many, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(outcome.metric, OF_WORKFLOW, ("wf",)), "{{wf}}"),
            width=panels.QUARTER,
            is_stacked=True,
        )
    for kind, word in (("success", "succeeded"), ("failure", "failed")):
        yield _duration(
            f"Duration of workflows that {word}",
            "From acceptance to the end.",
            f"workflow:{kind}_duration_ms",
        )


def _stages() -> Iterator[panels.Panel]:
    for stage in STAGES:
        yield _duration(stage.title, stage.meaning, f"{stage.metric}_ms", panels.QUARTER)


def _nodes() -> Iterator[panels.Panel]:
    for kind, word in (("success", "succeeded"), ("failure", "failed")):
        metric = f"node:{kind}_duration_ms"
        yield _duration(f"Duration of nodes that {word}", "Execution time.", metric)
        yield panels.time_series(
            f"Nodes that {word}",
            "How many, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(f"{PROPELLER}{metric}_count", OF_WORKFLOW, ("wf",)), "{{wf}}"),
            is_stacked=True,
        )
    for kind, whose in (("user", "the task's own code, or what it was given"), ("system", "Flyte or Kubernetes")):
        yield panels.time_series(
            f"{kind.capitalize()} errors",
            f"Attempts that failed by {whose}, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(f"{PROPELLER}node:{kind}_error_duration_ms_count", OF_WORKFLOW, ("wf",)), "{{wf}}"),
        )


def _quotas() -> Iterator[panels.Panel]:
    for title, resource, unit in (("CPU", "limits.cpu", units.Short), ("Memory", "limits.memory", units.BytesIEC)):
        selector = f'resource="{resource}", namespace=~"$project-$domain"'
        yield panels.time_series(
            f"{title} of the quota",
            "Sum of the limits of a namespace's pods, and how much the quota allows. Pods beyond it are not made.",
            unit,
            NO_QUOTAS,
            promql(f'max by (namespace) (kube_resourcequota{{{selector}, type="used"}})', "{{namespace}} used"),
            promql(f'max by (namespace) (kube_resourcequota{{{selector}, type="hard"}})', "{{namespace}} quota"),
        )


def _pods() -> Iterator[panels.Panel]:
    pending = f'max by ({POD}) (kube_pod_status_phase{{phase="Pending"}})'
    yield panels.time_series(
        "Pending tasks",
        "Pods that are not scheduled, or whose images are being pulled.",
        units.Short,
        NO_PODS,
        promql(f"sum by ({TASK_OF_POD}) ({pending} {OF_TASK}) > 0", A_TASK),
        links=[TO_TASK],
    )
    phases = f"max by ({POD}, phase) (kube_pod_status_phase)"
    yield panels.time_series(
        "Pods by phase",
        "Of the chosen workflows; pods that Flyte has deleted are not among them.",
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
            f"{title} over the limit",
            "Used over the limit of the pod's containers, of pods that are running. The dashboard of a task has more.",
            units.PercentUnit,
            NO_CONTAINERS,
            promql(f"({share}) {OF_TASK} {RUNNING} > 0", A_TASK),
            steps=((None, "green"), (0.9, "red")),
            links=[TO_TASK],
        )


def _stats() -> Iterator[panels.Panel]:
    yield panels.rows(
        "Counted",
        "What processes that ended or ran in the time range have counted, by name, workflow and task.",
        units.Short,
        NO_STATS,
        promql_now(_of_users("_total", "sum by (stat, wf, task) (max_over_time({}[$__range:1m]))")),
        names={"stat": "Name", "wf": "Workflow", "task": "Task", "Value": "Counted"},
        width=panels.HALF,
        sorted_by="Counted",
    )
    yield panels.time_series(
        "Counted so far",
        "Counters of processes that run, in the sum over them, by name and workflow.",
        units.Short,
        NO_STATS,
        promql(_of_users("_total", "sum by (stat, wf) ({})"), "{{stat}} {{wf}}"),
    )
    gauges = of_family(
        f"{USER}(.+)", "stat", "max by (stat, wf, task) ({})", f'__name__!~".+_(total|bucket|sum|count)", {OF_USERS}'
    )
    yield panels.time_series(
        "Gauges",
        "The last value; of several processes the largest.",
        units.Short,
        "No gauges: no task set any by current_context().stats in this time.",
        promql(gauges, "{{stat}} {{task}}"),
    )
    total, number = (_of_users(f"_seconds_{part}", "sum by (stat, wf, task) ({})") for part in ("sum", "count"))
    yield panels.time_series(
        "Timers",
        "Mean of what was timed so far by processes that run.",
        units.Seconds,
        "No timers: no task timed anything by current_context().stats in this time.",
        promql(f"{total} / {number}", "{{stat}} {{task}}"),
    )


# --- what a panel is -------------------------------------------------------------------------------------------------


def _duration(title: str, description: str, name: str, width: int = panels.HALF) -> panels.Panel:
    asked = durations(f"{PROPELLER}{name}", OF_WORKFLOW)
    return panels.time_series(title, description, units.Milliseconds, NO_PROPELLER, *asked, width=width)


def _of_users(suffix: str, outer: str) -> str:
    return of_family(f"{USER}(.+){suffix}", "stat", outer, OF_USERS)
