"""Flyte propeller: whether the engine keeps up, and where the time of executions goes outside of users' code.

Stages are those of https://github.com/flyteorg/flyte/blob/v1.16.8/docs/deployment/configuration/monitoring.rst.
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

NO_GRPC = "No latencies of gRPC: propeller has them where its `enable-grpc-latency-metrics` is on."

ALARMING = ((None, "green"), (1, "red"))

OF_PROJECT = 'project=~"$project", domain=~"$domain"'
OF_WORKFLOW = f'{OF_PROJECT}, wf=~"$workflow"'


class Stage(NamedTuple):
    """A stage of an execution that is the engine's, not the user's.

    Attributes:
        title: what people call it.
        metric: its summary, without the unit.
        meaning: from when to when it lasts.
    """

    title: str
    metric: str
    meaning: str


STAGES = (
    Stage(
        "Acceptance",
        "workflow:acceptance_latency",
        "From the creation of an execution to when propeller moves it to running. Below 5 s is well.",
    ),
    Stage(
        "Queueing",
        "node:queueing_latency",
        "From when a node is queued to when its handler reports it as running: a pod is scheduled, pulled, started.",
    ),
    Stage(
        "Transition",
        "node:transition_latency",
        "From the end of the last node that a node waits for to when it is queued: time in the engine.",
    ),
    Stage(
        "Completion",
        "workflow:completion_latency",
        "From when a workflow is succeeding or failing to its terminal state.",
    ),
)

QUEUES = {"main": "main_", "sub": "sub_", "admin launcher": "admin_launcher:_"}
"""The engine's queues, and what their metrics begin with."""

ERRORS = ("user", "system", "unknown")
EVENTS = ("workflow", "node", "task")


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-propeller",
        "Flyte / Propeller",
        "Whether Flyte's engine keeps up, and where the time of executions goes outside of users' code.",
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


# --- what a panel is -------------------------------------------------------------------------------------------------


def _number(title: str, description: str, unit: str, query: str, steps: panels.Steps = ()) -> panels.Panel:
    return panels.number(title, description, unit, NO_PROPELLER, promql_now(query), steps=steps)


def _rates(title: str, description: str, queries: Mapping[str, str], width: int = panels.HALF) -> panels.Panel:
    """Make a chart of several rates, by what they are called."""
    asked = [promql(query, name) for name, query in queries.items()]
    return panels.time_series(title, description, units.OpsPerSecond, NO_PROPELLER, *asked, width=width)


def _duration(title: str, description: str, name: str, labels: str = "", width: int = panels.THIRD) -> panels.Panel:
    """Make a chart of a summary's quantiles."""
    asked = durations(_metric(name), labels)
    return panels.time_series(title, description, units.Milliseconds, NO_PROPELLER, *asked, width=width)


def _duration_by_workflow(title: str, description: str, name: str, unit: str = units.Milliseconds) -> panels.Panel:
    query = quantiles(_metric(name), OF_WORKFLOW, ("wf", "quantile"))
    return panels.time_series(title, description, unit, NO_PROPELLER, promql(query, "{{wf}} {{quantile}}"))


# --- rows ------------------------------------------------------------------------------------------------------------


def _now() -> Iterator[panels.Panel]:
    yield _number(
        "Workflows running",
        "Executions that propeller holds now.",
        units.Short,
        f"sum({_metric('collector:flyteworkflow')}{{{OF_PROJECT}}})",
    )
    yield _number(
        "Free workers",
        "Workers that wait for work. None for long: the engine doesn't keep up, and `workers` should be raised.",
        units.Short,
        f"sum({_metric('free_workers_count')})",
        ((None, "red"), (1, "green")),
    )
    yield _number(
        "Rounds that fail",
        "Share of rounds that ended with an error.",
        units.PercentUnit,
        f"{per_second(_metric('round:error_count'))} / {per_second(_metric('round:round_total_ms_count'))}",
        ((None, "green"), (0.05, "orange"), (0.2, "red")),
    )
    yield _number(
        "Queue depth",
        "Workflows that wait for a worker.",
        units.Short,
        f"sum({_metric('main_depth')})",
    )
    yield _number(
        "System errors",
        "Nodes that failed for a reason that is not the user's, over the time range.",
        units.Short,
        or_zero(in_range(_metric("node:system_error_duration_ms_count"), OF_WORKFLOW)),
        ALARMING,
    )
    yield _number(
        "Panics",
        "Rounds in which propeller's own code failed, over the time range. Its log has the reason.",
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
        "Executions that propeller holds.",
        units.Short,
        NO_PROPELLER,
        promql(running, "{{project}}"),
        is_stacked=True,
    )
    yield _rates(
        "Accepted and ended",
        "Executions that propeller took on, and how they ended.",
        {
            "accepted": per_second(_metric("workflow:accepted"), OF_WORKFLOW),
            "succeeded": per_second(_metric("workflow:success_duration_ms_count"), OF_WORKFLOW),
            "failed": per_second(_metric("workflow:failure_duration_ms_count"), OF_WORKFLOW),
            "aborted": per_second(_metric("workflow:workflow_aborted"), OF_WORKFLOW),
        },
    )
    for outcome, word in (("success", "succeeded"), ("failure", "failed")):
        yield _duration_by_workflow(
            f"Duration of workflows that {word}",
            "Execution time, from acceptance to the end.",
            f"workflow:{outcome}_duration_ms",
        )
    yield panels.time_series(
        "Enqueued",
        "How often workflows are enqueued, by what asked for it: `wf` the workflow itself, `task` one of its pods.",
        units.OpsPerSecond,
        NO_PROPELLER,
        promql(per_second(_metric("wf_enqueue"), by=("type",)), "{{type}}"),
    )


def _nodes() -> Iterator[panels.Panel]:
    for outcome, word in (("success", "succeeded"), ("failure", "failed"), ("recovery", "were recovered")):
        name = f"node:{outcome}_duration_ms"
        yield _duration(
            f"Duration of nodes that {word}", "Execution time of nodes, of the chosen workflows.", name, OF_WORKFLOW
        )
        yield panels.time_series(
            f"Nodes that {word}",
            "How many, by workflow.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(per_second(f"{PROPELLER}{name}_count", OF_WORKFLOW, ("wf",)), "{{wf}}"),
            width=panels.THIRD,
        )
        yield _duration(
            f"All nodes that {word}",
            "Execution time of nodes of all workflows.",
            f"node:{outcome}_duration_unlabeled_ms",
        )
    yield _rates(
        "Errors of attempts",
        "Attempts of nodes that failed, by whose fault it was; most are retried.",
        {kind: per_second(_metric(f"node:{kind}_error_duration_ms_count"), OF_WORKFLOW) for kind in ("user", "system")},
    )
    yield _rates(
        "Errors that ended nodes",
        "Nodes that failed for good, by whose fault it was.",
        {kind: per_second(_metric(f"node:perma_{kind}_error_duration_unlabeled_ms_count")) for kind in ERRORS},
    )
    for kind in ERRORS:
        yield _duration(
            f"Time until a {kind} error",
            "How long a node ran until it failed for good.",
            f"node:perma_{kind}_error_duration_unlabeled_ms",
        )
    yield _duration_by_workflow(
        "Evaluation of a node",
        "Time that one evaluation of a node takes in the engine, sub-nodes included.",
        "node:node_exec_latency_us",
        units.Microseconds,
    )
    yield _duration_by_workflow(
        "Inputs of a node", "Time to gather a node's inputs and see whether it is ready.", "node:node_input_latency_ms"
    )


def _rounds() -> Iterator[panels.Panel]:
    yield _rates(
        "Rounds",
        "A round looks at one workflow once: what it came to, and how many there were.",
        {
            "succeeded": per_second(_metric("round:success_count")),
            "failed": per_second(_metric("round:error_count")),
            "all": per_second(_metric("round:round_total_ms_count")),
            "timed": per_second(_metric("round:round_time_unlabeled_ms_count")),
        },
    )
    yield _rates(
        "Why rounds failed or did nothing",
        "`skipped`: the workflow in the cache was stale; `not found`: it was gone.",
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
        "Time to walk through a workflow once; the mean includes rounds that follow at once.",
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
    yield _duration("Latency of a round", "Time that a worker is busy with a round.", "round:round_total_ms")
    yield _duration_by_workflow("Traversal by workflow", "Time to walk through a workflow once.", "round:raw_ms")
    yield panels.time_series(
        "Free workers by propeller",
        "Workers that wait for work.",
        units.Short,
        NO_PROPELLER,
        promql(f"sum by (instance) ({_metric('free_workers_count')})", "{{instance}}"),
        width=panels.QUARTER,
    )
    yield _rates(
        "Streaks",
        "Rounds that followed at once upon the round before, because there was more to do.",
        {"streaks": per_second(_metric("round:streak_length_unlabeled"))},
        panels.QUARTER,
    )


def _queues() -> Iterator[panels.Panel]:
    for title, description, name in (
        ("Added", "Items that were put into the queues.", "adds"),
        ("Asked for", "Items before the rate limit, and before the same ones were made one.", "retries"),
    ):
        asked = {queue: per_second(_metric(prefix + name)) for queue, prefix in QUEUES.items()}
        yield _rates(title, description, asked)
    for title, description, unit, name in (
        ("Depth", "Items that wait.", units.Short, "depth"),
        (
            "Unfinished work",
            "How long items have been worked at that are not done. It grows where a worker is stuck.",
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
            f"Tasks that {word}, by plugin",
            "By task type and the plugin that ran it, such as `pythontask_container`.",
            units.OpsPerSecond,
            NO_PROPELLER,
            promql(query, "{{plugin}}"),
        )
    yield _duration_by_workflow(
        "Building a dynamic workflow",
        "Time to compile what a dynamic task returned.",
        "build_dynamic_workflow_us",
        units.Microseconds,
    )
    yield panels.time_series(
        "Dynamic workflows built",
        "How many, by workflow.",
        units.OpsPerSecond,
        NO_PROPELLER,
        promql(per_second(_metric("build_dynamic_workflow_us_count"), OF_WORKFLOW, ("wf",)), "{{wf}}"),
    )


def _events() -> Iterator[panels.Panel]:
    for kind in EVENTS:
        scope = f"{kind}:event_recording:"
        yield _duration_by_workflow(
            f"Recording events of {kind}s", "Time until admin has accepted an event.", f"{scope}success_duration_ms"
        )
        yield _duration_by_workflow(
            f"Failing to record events of {kind}s",
            "Time until admin has refused an event. Refused as existing or late is usual.",
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
            f"Events of {kind}s", "How many, by workflow and outcome.", units.OpsPerSecond, NO_PROPELLER, *counted
        )
    yield _rates(
        "Admin launcher's cache",
        "Looking up child executions: a miss asks admin.",
        {
            "hit": per_second(_metric("admin_launcher:cache_hit")),
            "miss": per_second(_metric("admin_launcher:cache_miss")),
        },
    )


def _metastore() -> Iterator[panels.Panel]:
    hits, misses = (per_second(_metric(f"metastore:cache_{outcome}")) for outcome in ("hit", "miss"))
    yield panels.time_series(
        "Cache hits",
        "Share of reads that the cache of metadata answered.",
        units.PercentUnit,
        NO_PROPELLER,
        promql(f"{hits} / ({hits} + {misses})", "hits"),
        maximum=1,
    )
    yield _rates(
        "Failures",
        "Requests to the object store that failed, by what was wrong.",
        {
            name.replace("_", " "): per_second(_metric(f"metastore:{name}_unlabeled"))
            for name in ("head_failure", "bad_container", "bad_key", "read_failure", "write_failure")
        },
    )
    yield _duration("Copying", "Time to copy an object.", "metastore:copy:overall_unlabeled_ms", width=panels.HALF)
    for title, description, name in (
        ("Writing", "Time to write an object, of whichever size.", "write_ms"),
        ("Opening to read", "Time to the first byte of an object.", "read_open_ms"),
        ("Asking for metadata", "Time of a HEAD request.", "head_ms"),
    ):
        yield _duration_by_workflow(title, description, f"metastore:{name}")
    yield panels.time_series(
        "Fetching",
        "Time to read an object before it is decoded, and to fetch one that the cache lacks.",
        units.Milliseconds,
        NO_PROPELLER,
        *durations(_metric("metastore:proto_fetch_ms"), legend="decoded {{quantile}}"),
        *durations(_metric("metastore:remote_fetch_ms"), legend="not in the cache {{quantile}}"),
    )


def _etcd() -> Iterator[panels.Panel]:
    yield _duration("Updating a workflow", "Time of a write to etcd.", "wf_update_latency_ms", width=panels.HALF)
    yield _rates(
        "Writes",
        "How many. `conflict`: somebody else wrote meanwhile. `too large`: the workflow has more state than etcd takes "
        "(1.5 MiB); see `useOffloadedWorkflowClosure`, or split the workflow.",
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
        "`stale`: the cache held an older version, the round is skipped; `evicted`: a workflow left the cache; "
        "`redundant`: an update changed nothing.",
        {
            "stale": per_second(_metric("wf_stale_unlabeled")),
            "evicted": per_second(_metric("wf_evict_unlabeled")),
            "redundant": per_second(_metric("wf_redundant_unlabeled")),
        },
    )
    yield _rates(
        "Updates of pods",
        "What the informer tells of pods; `dropped` said nothing new.",
        {
            "updates": per_second(_metric("node:container:container:informer_update")),
            "dropped": per_second(_metric("node:container:container:informer_update_dropped")),
        },
    )
    yield panels.time_series(
        "Clean-up",
        "Namespaces whose old workflows were deleted, or could not be, since propeller started; and rounds of it.",
        units.Short,
        NO_PROPELLER,
        promql(f"sum({_metric('gc_success')})", "succeeded"),
        promql(f"sum({_metric('gc_failure')})", "failed"),
        promql(f"sum({_metric('gc_latency_ms_count')})", "rounds"),
    )
    yield panels.time_series(
        "Round of clean-up",
        "How long a round takes, in the mean since propeller started.",
        units.Milliseconds,
        NO_PROPELLER,
        promql(f"sum({_metric('gc_latency_ms_sum')}) / sum({_metric('gc_latency_ms_count')})", "mean"),
    )


def _grpc() -> Iterator[panels.Panel]:
    buckets = per_second("grpc_client_handling_seconds_bucket", by=("le", "grpc_method"))
    for share in (0.5, 0.99):
        yield panels.time_series(
            f"Calls, {share:.0%} are faster than",
            "Calls to admin and datacatalog, by method, where `enable-grpc-latency-metrics` is on.",
            units.Seconds,
            NO_GRPC,
            promql(f"histogram_quantile({share}, {buckets})", "{{grpc_method}}"),
        )
    yield panels.time_series(
        "Calls by latency",
        "How many calls took at most so long.",
        units.OpsPerSecond,
        NO_GRPC,
        promql(per_second("grpc_client_handling_seconds_bucket", by=("le",)), "≤ {{le}} s"),
        width=panels.FULL,
    )
