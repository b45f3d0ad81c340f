"""Flyte admin: what its API is asked, how fast and how well it answers, and what its database takes for it."""

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
"""What is asked of each kind of thing; the ``…_event`` are what propeller tells of it."""

CODES = ("OK", "InvalidArgument", "NotFound", "AlreadyExists", "FailedPrecondition", "Internal")
"""Of gRPC's codes those that admin answers with."""

TABLES = ("executions", "node_executions", "task_executions", "launch_plans", "workflows", "project")
VERBS = ("create", "get", "update", "list", "list_identifiers", "delete", "exists")

NO_GRPC = "No latencies of gRPC: admin has them where `server.grpc.enableGrpcLatencyMetrics` is on."
SLOWEST = 'quantile="0.99"'

ALARMING = ((None, "green"), (1, "red"))


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-admin",
        "Flyte / Admin",
        "What Flyte's API is asked, how fast and how well it answers, and what its database takes for it.",
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
        "Share of answers that were no success. Some are usual: what is asked for is not there, what is created is.",
        units.PercentUnit,
        f"{failed} / ({answered} + {failed})",
    )
    yield _number(
        "Executions created",
        "Over the time range.",
        units.Short,
        in_range(f"{ADMIN}create_execution:success"),
    )
    yield _number(
        "Executions refused",
        "Over the time range: with FailedPrecondition, InvalidArgument or any other error.",
        units.Short,
        in_range(f"{ADMIN}create_execution:errors"),
        ALARMING,
    )
    yield _number(
        "Internal errors",
        "Answers with code Internal, over the time range: admin's log has the reason.",
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
        "Calls, 99% are faster than",
        "Calls as the server of gRPC sees them, by method.",
        units.Seconds,
        NO_GRPC,
        promql(f"histogram_quantile(0.99, {buckets})", "{{grpc_method}}"),
    )
    yield panels.time_series(
        "Calls by latency",
        "How many calls took at most so long.",
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
            "Time of statements on this table, by what they do; those that nobody asked for lately have none.",
            units.Milliseconds,
            NO_ADMIN,
            *(promql(quantiles(f"{metric}{verb}_ms"), f"{verb} {{{{quantile}}}}") for verb in VERBS),
        )
        yield panels.time_series(
            f"{table}: statements",
            "How many, by what they do.",
            units.OpsPerSecond,
            NO_ADMIN,
            *(promql(per_second(f"{metric}{verb}_ms_count"), verb) for verb in VERBS),
        )


def _scheduler() -> Iterator[panels.Panel]:
    yield panels.time_series(
        "Scheduled executions",
        "Launches of schedules, and how many admin refused.",
        units.OpsPerSecond,
        NO_SCHEDULER,
        promql(per_second(f"{SCHEDULER}successful_execution_counter"), "launched"),
        promql(per_second(f"{SCHEDULER}failed_execution_counter"), "refused"),
    )
    yield panels.time_series(
        "Faults",
        "What keeps schedules from being kept: jobs that crashed or could not be planned, missed times that could not "
        "be caught up, state that could not be saved.",
        units.OpsPerSecond,
        NO_SCHEDULER,
        *(
            promql(per_second(f"{SCHEDULER}{name}"), legend)
            for name, legend in (
                ("job_func_panic_counter", "crashed"),
                ("job_schedule_failed_counter", "not planned"),
                ("catchup_error_counter", "not caught up"),
                ("checkpoint_save_error_counter", "not saved"),
            )
        ),
    )


def _datacatalog() -> Iterator[panels.Panel]:
    artifact = f"{DATACATALOG}artifact:"
    yield panels.time_series(
        "Lookups and records of cached results",
        "`not found` is a miss of the cache: the task runs. `nothing given` is misses, and lookups that failed.",
        units.OpsPerSecond,
        NO_DATACATALOG,
        *(
            promql(per_second(f"{artifact}{name}_unlabeled"), legend)
            for name, legend in (
                ("get_success_count", "found"),
                ("does_not_exists_count", "not found"),
                ("get_failure_count", "nothing given"),
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
    """Ask one metric of all operations, by the label ``operation``."""
    return of_family(f"{ADMIN}([a-z_]+):{outcome}", "operation", outer, labels)


def _number(title: str, description: str, unit: str, query: str, steps: panels.Steps = ()) -> panels.Panel:
    return panels.number(title, description, unit, NO_ADMIN, promql_now(query), steps=steps)
