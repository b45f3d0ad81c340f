"""Flyte admin: the requests to its API, their latencies and errors, and the load of its database."""

from collections.abc import Iterator

from grafana.generate import panels, services
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.services import (
    ADMIN,
    DATACATALOG,
    NO_ADMIN,
    NO_DATACATALOG,
    NO_SCHEDULER,
    QUANTILE,
    SCHEDULER,
    durations,
    in_range,
    of_family,
    per_second,
    quantiles,
)
from grafana.generate.sources import promql, promql_now
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

OPERATIONS = {
    "Executions": ("create_execution", "create_execution_event", "get_execution", "list_execution"),
    "Node executions": ("create_node_execution_event", "get_node_execution", "list_node_execution"),
    "Task executions": ("create_task_execution_event", "get_task_execution", "list_task_execution"),
    "Launch plans": (
        "create_launch_plan",
        "get_launch_plan",
        "get_active_launch_plan",
        "list_launch_plan",
        "list_active_launch_plans",
    ),
    "Workflows": ("create_workflow", "get_workflow", "list_workflow"),
    "Tasks": ("create_task", "get_task", "list_task"),
}
"""The operations of the API; propeller sends the ``…_event``."""

CODES = ("OK", "InvalidArgument", "NotFound", "AlreadyExists", "FailedPrecondition", "Internal")
"""The gRPC codes of admin's answers."""

TABLES = ("executions", "node_executions", "task_executions", "launch_plans", "workflows", "project")
VERBS = ("create", "get", "update", "list", "list_identifiers", "delete", "exists")

NO_GRPC = "No latencies of gRPC: set `server.grpc.enableGrpcLatencyMetrics` of admin."
SLOWEST = 'quantile="0.99"'

ALARMING = ((None, "green"), (1, "red"))


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-admin",
        "Flyte / Admin",
        "Requests to Flyte's API, their latencies and errors, and the load of its database.",
        [services.quantile_variable(f"{ADMIN}create_execution:duration_ms")],
        [
            Row("Now", list(_now())),
            Row("All operations", list(_all_operations())),
            Row("gRPC", list(_grpc())),
            *(Row(f"API: {kind}", list(_operations(names)), is_closed=True) for kind, names in OPERATIONS.items()),
            Row("Database", list(_database())),
            Row("Scheduler", list(_scheduler()), is_closed=True),
            Row("Datacatalog: cached results", list(_datacatalog()), is_closed=True),
        ],
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def _now() -> Iterator[panels.Panel]:
    answered, failed = (
        f"(sum({_of_operations(outcome, 'rate({}[$__rate_interval:15s])')}))" for outcome in ("success", "errors")
    )
    yield _number("Requests", "Answers to all operations of the API.", units.OpsPerSecond, f"{answered} + {failed}")
    yield _number(
        "Errors",
        "Share of answers with an error. Some are usual: a requested entity is missing, a created one exists already.",
        units.PercentUnit,
        f"{failed} / ({answered} + {failed})",
    )
    yield _number(
        "Executions created",
        "In the time range.",
        units.Short,
        in_range(f"{ADMIN}create_execution:success"),
    )
    yield _number(
        "Executions rejected",
        "In the time range: FailedPrecondition, InvalidArgument or another error.",
        units.Short,
        in_range(f"{ADMIN}create_execution:errors"),
        ALARMING,
    )
    yield _number(
        "Internal errors",
        "Answers with code Internal in the time range. Admin's log has the reason.",
        units.Short,
        f"sum({_of_operations('codes:Internal', 'increase({}[$__range:1m])')})",
        ALARMING,
    )
    yield _number(
        "Slowest operation",
        "The largest 0.99 quantile of all operations.",
        units.Milliseconds,
        f"max({_of_operations('duration_ms', '{}', SLOWEST)})",
    )


def _all_operations() -> Iterator[panels.Panel]:
    for title, description, outcome in (
        ("Successes by operation", "Answers with code OK, by operation.", "success"),
        ("Errors by operation", "Answers with any other code, by operation.", "errors"),
    ):
        query = f"sum by (operation) ({_of_operations(outcome, 'rate({}[$__rate_interval:15s])')})"
        yield panels.time_series(
            title, description, units.OpsPerSecond, NO_ADMIN, promql(query, "{{operation}}"), is_stacked=True
        )
    query = f"max by (operation, quantile) ({_of_operations('duration_ms', '{}', QUANTILE)})"
    yield panels.time_series(
        "Duration by operation",
        "Time to answer.",
        units.Milliseconds,
        NO_ADMIN,
        promql(query, "{{operation}} {{quantile}}"),
        width=panels.FULL,
        height=10,
    )


def _grpc() -> Iterator[panels.Panel]:
    buckets = per_second("grpc_server_handling_seconds_bucket", by=("le", "grpc_method"))
    yield panels.time_series(
        "Latency of calls, 99 %",
        "Latency of calls in the gRPC server, by method.",
        units.Seconds,
        NO_GRPC,
        promql(f"histogram_quantile(0.99, {buckets})", "{{grpc_method}}"),
    )
    yield panels.time_series(
        "Calls by latency",
        "Calls per second up to each latency.",
        units.OpsPerSecond,
        NO_GRPC,
        promql(per_second("grpc_server_handling_seconds_bucket", by=("le",)), "≤ {{le}} s"),
    )


def _operations(names: tuple[str, ...]) -> Iterator[panels.Panel]:
    for name in names:
        metric = f"{ADMIN}{name}:"
        yield panels.time_series(
            f"{name}: codes",
            "Answers by gRPC's code.",
            units.OpsPerSecond,
            NO_ADMIN,
            *(promql(per_second(f"{metric}codes:{code}"), code) for code in CODES),
            width=panels.THIRD,
        )
        yield panels.time_series(
            f"{name}: success and errors",
            "Answers with code OK, and all others.",
            units.OpsPerSecond,
            NO_ADMIN,
            promql(per_second(f"{metric}success"), "success"),
            promql(per_second(f"{metric}errors"), "errors"),
            width=panels.THIRD,
        )
        yield panels.time_series(
            f"{name}: duration",
            "Time to answer.",
            units.Milliseconds,
            NO_ADMIN,
            *durations(f"{metric}duration_ms"),
            width=panels.THIRD,
        )


def _database() -> Iterator[panels.Panel]:
    for table in TABLES:
        metric = f"{ADMIN}database:{table}:"
        yield panels.time_series(
            f"{table}: duration",
            "Time of statements on this table, by kind. A kind without a recent statement has no line.",
            units.Milliseconds,
            NO_ADMIN,
            *(promql(quantiles(f"{metric}{verb}_ms"), f"{verb} {{{{quantile}}}}") for verb in VERBS),
        )
        yield panels.time_series(
            f"{table}: statements",
            "Statements per second, by kind.",
            units.OpsPerSecond,
            NO_ADMIN,
            *(promql(per_second(f"{metric}{verb}_ms_count"), verb) for verb in VERBS),
        )


def _scheduler() -> Iterator[panels.Panel]:
    yield panels.time_series(
        "Scheduled executions",
        "Executions launched by schedules, and those that admin has rejected.",
        units.OpsPerSecond,
        NO_SCHEDULER,
        promql(per_second(f"{SCHEDULER}successful_execution_counter"), "launched"),
        promql(per_second(f"{SCHEDULER}failed_execution_counter"), "rejected"),
    )
    yield panels.time_series(
        "Faults",
        "Errors of the scheduler: jobs that crashed or were not scheduled, missed times that were not caught up, state "
        "that was not saved.",
        units.OpsPerSecond,
        NO_SCHEDULER,
        *(
            promql(per_second(f"{SCHEDULER}{name}"), legend)
            for name, legend in (
                ("job_func_panic_counter", "crashed"),
                ("job_schedule_failed_counter", "not scheduled"),
                ("catchup_error_counter", "not caught up"),
                ("checkpoint_save_error_counter", "not saved"),
            )
        ),
    )


def _datacatalog() -> Iterator[panels.Panel]:
    artifact = f"{DATACATALOG}artifact:"
    yield panels.time_series(
        "Lookups and records of cached results",
        "`not found`: a cache miss, the task runs. `not returned`: misses and failed lookups.",
        units.OpsPerSecond,
        NO_DATACATALOG,
        *(
            promql(per_second(f"{artifact}{name}_unlabeled"), legend)
            for name, legend in (
                ("get_success_count", "found"),
                ("does_not_exists_count", "not found"),
                ("get_failure_count", "not returned"),
                ("create_success_count", "recorded"),
                ("create_failure_count", "not recorded"),
            )
        ),
    )
    yield panels.time_series(
        "Duration",
        "Time to answer.",
        units.Milliseconds,
        NO_DATACATALOG,
        *durations(f"{artifact}get_duration_unlabeled_ms", legend="get {{quantile}}"),
        *durations(f"{artifact}create_duration_unlabeled_ms", legend="create {{quantile}}"),
    )


def _of_operations(outcome: str, outer: str, labels: str = "") -> str:
    """Return a query for one metric of all operations, by the label ``operation``."""
    return of_family(f"{ADMIN}([a-z_]+):{outcome}", "operation", outer, labels)


def _number(title: str, description: str, unit: str, query: str, steps: panels.Steps = ()) -> panels.Panel:
    return panels.number(title, description, unit, NO_ADMIN, promql_now(query), steps=steps)
