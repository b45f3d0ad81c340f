"""Flyte propeller: the load of the engine, and the time of executions outside of users' code.

The stages are from https://github.com/flyteorg/flyte/blob/v1.16.8/docs/deployment/configuration/monitoring.rst.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from grafana.generate import panels, services
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.services import (
    NO_PROPELLER,
    PROPELLER,
    durations,
    in_range,
    mean,
    of_family,
    or_zero,
    per_second,
    quantiles,
)
from grafana.generate.sources import promql, promql_now
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

NO_GRPC = "No latencies of gRPC: set `enable-grpc-latency-metrics` of propeller."

ALARMING = ((None, "green"), (1, "red"))

OF_PROJECT = 'project=~"$project", domain=~"$domain"'
OF_WORKFLOW = f'{OF_PROJECT}, wf=~"$workflow"'


class Stage(NamedTuple):
    """A stage of an execution in the engine, outside of users' code.

    Attributes:
        title: Its displayed name.
        metric: Its summary, without the unit.
        meaning: Its start and end.
    """

    title: str
    metric: str
    meaning: str


STAGES = (
    Stage(
        "Acceptance",
        "workflow:acceptance_latency",
        "From the creation of an execution until propeller moves it to running. Below 5 s is good.",
    ),
    Stage(
        "Queueing",
        "node:queueing_latency",
        "From queueing a node until its handler reports it as running: a pod is scheduled, pulled, started.",
    ),
    Stage(
        "Transition",
        "node:transition_latency",
        "From the end of the last upstream node until a node is queued: time in the engine.",
    ),
    Stage(
        "Completion",
        "workflow:completion_latency",
        "From succeeding or failing until the terminal state of a workflow.",
    ),
)

QUEUES = {"main": "main_", "sub": "sub_", "admin launcher": "admin_launcher:_"}
"""The engine's queues, and the prefixes of their metrics."""

ERRORS = ("user", "system", "unknown")
EVENTS = ("workflow", "node", "task")


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-propeller",
        "Flyte / Propeller",
        "The load of Flyte's engine, and the time of executions outside of users' code.",
        [
            *services.execution_variables(f"{PROPELLER}workflow:accepted{{{OF_PROJECT}}}"),
            services.quantile_variable(f"{PROPELLER}round:round_total_ms"),
        ],
        [
            Row("Now", list(_now())),
            Row("Stages of an execution", list(_stages())),
            Row("Workflows", list(_workflows())),
            Row("Nodes", list(_nodes())),
            Row("Rounds of the engine", list(_rounds())),
            Row("Queues", list(_queues())),
            Row("Plugins and dynamic workflows", list(_plugins()), is_closed=True),
            Row("Events sent to admin", list(_events()), is_closed=True),
            Row("Metastore: the object store", list(_metastore()), is_closed=True),
            Row("etcd", list(_etcd()), is_closed=True),
            Row("Store of workflows, clean-up, pods", list(_store()), is_closed=True),
            Row("gRPC", list(_grpc()), is_closed=True),
        ],
    )


def _metric(name: str) -> str:
    return f"{PROPELLER}{name}"


# --- panels ----------------------------------------------------------------------------------------------------------


def _number(title: str, description: str, unit: str, query: str, steps: panels.Steps = ()) -> panels.Panel:
    return panels.number(title, description, unit, NO_PROPELLER, promql_now(query), steps=steps)


def _rates(title: str, description: str, queries: Mapping[str, str], width: int = panels.HALF) -> panels.Panel:
    """Return a chart of several rates by name."""
    asked = [promql(query, name) for name, query in queries.items()]
    return panels.time_series(title, description, units.OpsPerSecond, NO_PROPELLER, *asked, width=width)


def _duration(title: str, description: str, name: str, labels: str = "", width: int = panels.THIRD) -> panels.Panel:
    """Return a chart of a summary's quantiles."""
    asked = durations(_metric(name), labels)
    return panels.time_series(title, description, units.Milliseconds, NO_PROPELLER, *asked, width=width)


def _duration_by_workflow(title: str, description: str, name: str, unit: str = units.Milliseconds) -> panels.Panel:
    query = quantiles(_metric(name), OF_WORKFLOW, ("wf", "quantile"))
    return panels.time_series(title, description, unit, NO_PROPELLER, promql(query, "{{wf}} {{quantile}}"))


# --- rows ------------------------------------------------------------------------------------------------------------


def _now() -> Iterator[panels.Panel]:
    yield _number(
        "Workflows running",
        "Executions in propeller now.",
        units.Short,
        f"sum({_metric('collector:flyteworkflow')}{{{OF_PROJECT}}})",
    )
    yield _number(
        "Free workers",
        "Idle workers. If there are none for long, the engine is overloaded: raise `workers`.",
        units.Short,
        f"sum({_metric('free_workers_count')})",
        ((None, "red"), (1, "green")),
    )
    yield _number(
        "Failed rounds",
        "Share of rounds that ended with an error.",
        units.PercentUnit,
        f"{per_second(_metric('round:error_count'))} / {per_second(_metric('round:round_total_ms_count'))}",
        ((None, "green"), (0.05, "orange"), (0.2, "red")),
    )
    yield _number(
        "Queue depth",
        "Workflows waiting for a worker.",
        units.Short,
        f"sum({_metric('main_depth')})",
    )
    yield _number(
        "System errors",
        "Nodes that failed with a system error, in the time range.",
        units.Short,
        or_zero(in_range(_metric("node:system_error_duration_ms_count"), OF_WORKFLOW)),
        ALARMING,
    )
    yield _number(
        "Panics",
        "Rounds in which propeller's own code failed, in the time range. Its log has the reason.",
        units.Short,
        in_range(_metric("round:panic_unlabeled")),
        ALARMING,
    )


def _stages() -> Iterator[panels.Panel]:
    for stage in STAGES:
        yield _duration(stage.title, f"{stage.meaning} All workflows.", f"{stage.metric}_unlabeled_ms", width=12)
        yield _duration_by_workflow(f"{stage.title} by workflow", stage.meaning, f"{stage.metric}_ms")


def _workflows() -> Iterator[panels.Panel]:
    running = f"sum by (project) ({_metric('collector:flyteworkflow')}{{{OF_PROJECT}}})"
    yield panels.time_series(
        "Running by project",
        "Executions in propeller.",
        units.Short,
        NO_PROPELLER,
        promql(running, "{{project}}"),
        is_stacked=True,
    )
    yield _rates(
        "Accepted and ended",
        "Accepted executions, and their results.",
        {
            "accepted": per_second(_metric("workflow:accepted"), OF_WORKFLOW),
            "succeeded": per_second(_metric("workflow:success_duration_ms_count"), OF_WORKFLOW),
            "failed": per_second(_metric("workflow:failure_duration_ms_count"), OF_WORKFLOW),
            "aborted": per_second(_metric("workflow:workflow_aborted"), OF_WORKFLOW),
        },
    )
    for outcome, word in (("success", "succeeded"), ("failure", "failed")):
        yield _duration_by_workflow(
            f"Duration of {word} workflows",
            "Execution time, from acceptance to the end.",
            f"workflow:{outcome}_duration_ms",
        )
    yield panels.time_series(
        "Enqueued",
        "Workflows enqueued per second, by origin: `wf` is the workflow itself, `task` one of its pods.",
        units.OpsPerSecond,
        NO_PROPELLER,
        promql(per_second(_metric("wf_enqueue"), by=("type",)), "{{type}}"),
    )


def _nodes() -> Iterator[panels.Panel]:
    for outcome, word in (("success", "succeeded"), ("failure", "failed"), ("recovery", "recovered")):
        name = f"node:{outcome}_duration_ms"
        yield _duration(
            f"Duration of {word} nodes", "Execution time of nodes of the selected workflows.", name, OF_WORKFLOW
        )
        yield panels.time_series(
            f"{word.capitalize()} nodes",
            "Number per second, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(f"{PROPELLER}{name}_count", OF_WORKFLOW, ("wf",)), "{{wf}}"),
            width=panels.THIRD,
        )
        yield _duration(
            f"{word.capitalize()} nodes of all workflows",
            "Execution time.",
            f"node:{outcome}_duration_unlabeled_ms",
        )
    yield _rates(
        "Errors of attempts",
        "Failed attempts of nodes, by kind of error; most are retried.",
        {kind: per_second(_metric(f"node:{kind}_error_duration_ms_count"), OF_WORKFLOW) for kind in ("user", "system")},
    )
    yield _rates(
        "Errors that ended nodes",
        "Nodes that failed after all retries, by kind of error.",
        {kind: per_second(_metric(f"node:perma_{kind}_error_duration_unlabeled_ms_count")) for kind in ERRORS},
    )
    for kind in ERRORS:
        yield _duration(
            f"Time until a {kind} error",
            "Time of a node until its last failure.",
            f"node:perma_{kind}_error_duration_unlabeled_ms",
        )
    yield _duration_by_workflow(
        "Evaluation of a node",
        "Time of one evaluation of a node in the engine, including sub-nodes.",
        "node:node_exec_latency_us",
        units.Microseconds,
    )
    yield _duration_by_workflow(
        "Inputs of a node", "Time to collect a node's inputs and check its readiness.", "node:node_input_latency_ms"
    )


def _rounds() -> Iterator[panels.Panel]:
    yield _rates(
        "Rounds",
        "Rounds per second by result. A round evaluates one workflow once.",
        {
            "succeeded": per_second(_metric("round:success_count")),
            "failed": per_second(_metric("round:error_count")),
            "all": per_second(_metric("round:round_total_ms_count")),
            "timed": per_second(_metric("round:round_time_unlabeled_ms_count")),
        },
    )
    yield _rates(
        "Reasons of failed and empty rounds",
        "`skipped`: the workflow in the cache was stale; `not found`: the workflow was deleted.",
        {
            "system error": per_second(_metric("round:system_error_unlabeled")),
            "abort error": per_second(_metric("round:abort_error_unlabeled")),
            "panic": per_second(_metric("round:panic_unlabeled")),
            "not found": per_second(_metric("round:not_found")),
            "skipped": per_second(_metric("round:skipped")),
        },
    )
    yield panels.time_series(
        "Traversal",
        "Time to traverse a workflow once; the mean includes immediate repetitions.",
        units.Milliseconds,
        NO_PROPELLER,
        *durations(_metric("round:raw_unlabeled_ms")),
        promql(mean(_metric("round:raw_unlabeled_ms")), "mean"),
        width=panels.THIRD,
    )
    yield panels.time_series(
        "Whole round",
        "Time to traverse, copy and store a workflow once.",
        units.Milliseconds,
        NO_PROPELLER,
        *durations(_metric("round:round_time_ms"), OF_WORKFLOW),
        promql(mean(_metric("round:round_time_unlabeled_ms")), "mean of all workflows"),
        width=panels.THIRD,
    )
    yield _duration("Latency of a round", "Time of a worker in a round.", "round:round_total_ms")
    yield _duration_by_workflow("Traversal by workflow", "Time to traverse a workflow once.", "round:raw_ms")
    yield panels.time_series(
        "Free workers by propeller",
        "Idle workers.",
        units.Short,
        NO_PROPELLER,
        promql(f"sum by (instance) ({_metric('free_workers_count')})", "{{instance}}"),
        width=panels.QUARTER,
    )
    yield _rates(
        "Streaks",
        "Rounds that immediately followed another one, because there was more to do.",
        {"streaks": per_second(_metric("round:streak_length_unlabeled"))},
        panels.QUARTER,
    )


def _queues() -> Iterator[panels.Panel]:
    for title, description, name in (
        ("Added", "Items added to the queues.", "adds"),
        ("Requested", "Items before the rate limit and before deduplication.", "retries"),
    ):
        asked = {queue: per_second(_metric(prefix + name)) for queue, prefix in QUEUES.items()}
        yield _rates(title, description, asked)
    for title, description, unit, name in (
        ("Depth", "Waiting items.", units.Short, "depth"),
        (
            "Unfinished work",
            "Time spent on unfinished items. It grows if a worker is stuck.",
            units.Seconds,
            "unfinished_work_s",
        ),
    ):
        asked_now = [promql(f"sum({_metric(prefix + name)})", queue) for queue, prefix in QUEUES.items()]
        yield panels.time_series(title, description, unit, NO_PROPELLER, *asked_now)


def _plugins() -> Iterator[panels.Panel]:
    for outcome, word in (("success", "succeeded"), ("failure", "failed")):
        query = of_family(
            f"{PROPELLER}plugin:(.+)_{outcome}_unlabeled", "plugin", "sum by (plugin) (rate({}[$__rate_interval:15s]))"
        )
        yield panels.time_series(
            f"{word.capitalize()} tasks by plugin",
            "By task type and plugin, such as `pythontask_container`.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(query, "{{plugin}}"),
        )
    yield _duration_by_workflow(
        "Building a dynamic workflow",
        "Time to compile the workflow that a dynamic task returned.",
        "build_dynamic_workflow_us",
        units.Microseconds,
    )
    yield panels.time_series(
        "Dynamic workflows built",
        "Number per second, by workflow.",
        units.OpsPerSecond,
        NO_PROPELLER,
        promql(per_second(_metric("build_dynamic_workflow_us_count"), OF_WORKFLOW, ("wf",)), "{{wf}}"),
    )


def _events() -> Iterator[panels.Panel]:
    for kind in EVENTS:
        scope = f"{kind}:event_recording:"
        yield _duration_by_workflow(
            f"Recording events of {kind}s", "Time until admin accepts an event.", f"{scope}success_duration_ms"
        )
        yield _duration_by_workflow(
            f"Rejected events of {kind}s",
            "Time until admin rejects an event. Rejections of existing and late events are usual.",
            f"{scope}failure_duration_ms",
        )
        counted = [
            promql(
                per_second(_metric(f"{scope}{outcome}_duration_ms_count"), OF_WORKFLOW, ("wf",)),
                f"{{{{wf}}}} {outcome}",
            )
            for outcome in ("success", "failure")
        ]
        yield panels.time_series(
            f"Events of {kind}s", "Per second, by workflow and result.", units.OpsPerSecond, NO_PROPELLER, *counted
        )
    yield _rates(
        "Admin launcher's cache",
        "Lookups of child executions. A miss is a request to admin.",
        {
            "hit": per_second(_metric("admin_launcher:cache_hit")),
            "miss": per_second(_metric("admin_launcher:cache_miss")),
        },
    )


def _metastore() -> Iterator[panels.Panel]:
    hits, misses = (per_second(_metric(f"metastore:cache_{outcome}")) for outcome in ("hit", "miss"))
    yield panels.time_series(
        "Cache hits",
        "Share of reads that are in the cache of metadata.",
        units.PercentUnit,
        NO_PROPELLER,
        promql(f"{hits} / ({hits} + {misses})", "hits"),
        maximum=1,
    )
    yield _rates(
        "Failures",
        "Failed requests to the object store, by reason.",
        {
            name.replace("_", " "): per_second(_metric(f"metastore:{name}_unlabeled"))
            for name in ("head_failure", "bad_container", "bad_key", "read_failure", "write_failure")
        },
    )
    yield _duration("Copying", "Time to copy an object.", "metastore:copy:overall_unlabeled_ms", width=panels.HALF)
    for title, description, name in (
        ("Writing", "Time to write an object of any size.", "write_ms"),
        ("Opening to read", "Time to the first byte of an object.", "read_open_ms"),
        ("Reading metadata", "Time of a HEAD request.", "head_ms"),
    ):
        yield _duration_by_workflow(title, description, f"metastore:{name}")
    yield panels.time_series(
        "Fetching",
        "Time to read an object before decoding, and to fetch one that is not in the cache.",
        units.Milliseconds,
        NO_PROPELLER,
        *durations(_metric("metastore:proto_fetch_ms"), legend="decoded {{quantile}}"),
        *durations(_metric("metastore:remote_fetch_ms"), legend="not in the cache {{quantile}}"),
    )


def _etcd() -> Iterator[panels.Panel]:
    yield _duration("Updating a workflow", "Time of a write to etcd.", "wf_update_latency_ms", width=panels.HALF)
    yield _rates(
        "Writes",
        "Writes per second. `conflict`: there was another write meanwhile. `too large`: the workflow's state exceeds "
        "etcd's limit (1.5 MiB); set `useOffloadedWorkflowClosure`, or split the workflow.",
        {
            "writes": per_second(_metric("wf_update_latency_ms_count")),
            "conflict": per_second(_metric("wf_update_conflict")),
            "failed": per_second(_metric("wf_update_failed")),
            "too large": per_second(_metric("wf_too_large")),
        },
    )


def _store() -> Iterator[panels.Panel]:
    yield _rates(
        "Stale, evicted, redundant",
        "`stale`: the cache has an older version, and the round is skipped; `evicted`: a workflow left the cache; "
        "`redundant`: an update changed nothing.",
        {
            "stale": per_second(_metric("wf_stale_unlabeled")),
            "evicted": per_second(_metric("wf_evict_unlabeled")),
            "redundant": per_second(_metric("wf_redundant_unlabeled")),
        },
    )
    yield _rates(
        "Updates of pods",
        "Updates from the informer; `dropped` are those without a change.",
        {
            "updates": per_second(_metric("node:container:container:informer_update")),
            "dropped": per_second(_metric("node:container:container:informer_update_dropped")),
        },
    )
    yield panels.time_series(
        "Clean-up",
        "Namespaces whose old workflows were deleted, or failed to be, and clean-up rounds, since propeller started.",
        units.Short,
        NO_PROPELLER,
        promql(f"sum({_metric('gc_success')})", "succeeded"),
        promql(f"sum({_metric('gc_failure')})", "failed"),
        promql(f"sum({_metric('gc_latency_ms_count')})", "rounds"),
    )
    yield panels.time_series(
        "Round of clean-up",
        "Mean time of a round since propeller started.",
        units.Milliseconds,
        NO_PROPELLER,
        promql(f"sum({_metric('gc_latency_ms_sum')}) / sum({_metric('gc_latency_ms_count')})", "mean"),
    )


def _grpc() -> Iterator[panels.Panel]:
    buckets = per_second("grpc_client_handling_seconds_bucket", by=("le", "grpc_method"))
    for share in (0.5, 0.99):
        yield panels.time_series(
            f"Latency of calls, {100 * share:.0f} %",
            "Calls to admin and datacatalog, by method, with `enable-grpc-latency-metrics`.",
            units.Seconds,
            NO_GRPC,
            promql(f"histogram_quantile({share}, {buckets})", "{{grpc_method}}"),
        )
    yield panels.time_series(
        "Calls by latency",
        "Calls per second up to each latency.",
        units.OpsPerSecond,
        NO_GRPC,
        promql(per_second("grpc_client_handling_seconds_bucket", by=("le",)), "≤ {{le}} s"),
        width=panels.FULL,
    )
