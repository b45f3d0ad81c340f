"""Efficiency: requested and used resources, idle GPUs, OOM kills, and better requests."""

from grafana.generate import links, missing, panels, samples, spans
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.names import label, observed
from grafana.generate.sources import promql, promql_each, promql_now, traceql_spans
from grafana.generate.variables import of_label
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_flyte import semconv

_TASK = label(semconv.TASK_NAME)
_VARIABLES = {"project": semconv.PROJECT, "domain": semconv.DOMAIN, "task": semconv.TASK_NAME}
_SELECTED = spans.selected_series(_VARIABLES.items())
_SPANS = f"{spans.TASKS} && {spans.selected(_VARIABLES.items())}"
_KILLED = f"{_SPANS} && span.{semconv.USAGE_OOM_KILLS} > 0"
_TO_EXECUTIONS = {"Task": [panels.link("Its executions", links.executions_of_task())]}
_LEGEND = f"{{{{{_TASK}}}}}"
_NO_OOM = "No task was OOM-killed, or spans do not arrive in Tempo."

MEMORY_MARGIN = 1.2
CPU_MARGIN = 1.15
"""The margins that ``otel-flyte rightsize`` adds to a peak: ``docs/usage.md``."""

_SAMPLES_PER_HOUR = 60
"""One sample per minute: the default of ``OTEL_METRIC_EXPORT_INTERVAL``."""


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-efficiency",
        "Flyte / Efficiency",
        "Requested and used resources of tasks, idle GPUs, OOM kills and throttling, and better requests.",
        _variables(),
        [
            Row("Requested against used", [*_numbers(), *_requested()]),
            Row("By task", _by_task()),
            Row("Idle GPUs", _gpus()),
            Row("Out of memory, out of CPU", _shortage()),
            Row("Right-sizing candidates", _candidates()),
        ],
        since="now-24h",
    )


def _variables() -> list[dashboard.QueryVariable]:
    found, chosen = [], ""
    for name, attribute in _VARIABLES.items():
        title = name.capitalize()
        selector = f"{observed(semconv.METRIC_TASK_MEMORY_USAGE)}{{{chosen}}}"
        description = f"{title}s of tasks that ran for 5 s or longer in this time."
        found.append(of_label(name, title, description, label(attribute), selector))
        chosen += f'{"," if chosen else ""}{label(attribute)}=~"${name}"'
    return found


def _of(metric: str) -> str:
    return f"{observed(metric)}{{{_SELECTED}}}"


def _requested_of(resource: str) -> str:
    metric = semconv.METRIC_K8S_QUOTA.format(resource=resource, side="request", kind="desired")
    return samples.largest(metric, _SELECTED)


def _over_time(function: str, metric: str) -> str:
    return f"{function}({_of(metric)}[$__range])"


def _by_name(aggregation: str, expression: str) -> str:
    return f"{aggregation} by ({_TASK}) ({expression})"


def _idle_hours(by: str = "") -> str:
    samples, busy = (
        _over_time("count_over_time", semconv.METRIC_HW_GPU_UTILIZATION),
        _over_time("sum_over_time", semconv.METRIC_HW_GPU_UTILIZATION),
    )
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} ({samples} - {busy}) / {_SAMPLES_PER_HOUR}"


def _numbers() -> list[panels.Panel]:
    return [
        panels.number(
            "Memory used of request",
            "Peak working set as a share of the request, in the mean of all tasks.",
            units.PercentUnit,
            missing.REQUEST,
            promql_each(f"avg({_over_time('max_over_time', semconv.METRIC_TASK_MEMORY_OF_REQUEST)})"),
            width=panels.QUARTER,
        ),
        panels.number(
            "CPU used of request",
            "Used cores as a share of the request, in the mean of all tasks.",
            units.PercentUnit,
            missing.REQUEST,
            promql_each(f"avg({_over_time('avg_over_time', semconv.METRIC_TASK_CPU_OF_REQUEST)})"),
            width=panels.QUARTER,
        ),
        panels.number(
            "Idle GPU-hours",
            "Hours in which GPUs of tasks did not compute. Each sample counts as one minute.",
            units.Short,
            missing.GPU,
            promql_each(_idle_hours()),
            width=panels.QUARTER,
        ),
        panels.number(
            "Energy",
            "Energy used by the accelerators of tasks in the time range.",
            units.Joule,
            missing.ENERGY,
            promql_each(
                f"sum({_over_time('max_over_time', semconv.METRIC_HW_ENERGY)} - "
                f"{_over_time('min_over_time', semconv.METRIC_HW_ENERGY)})"
            ),
            width=panels.QUARTER,
        ),
    ]


def _requested() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Memory requested and used",
            "Requests of all running tasks, and their largest working sets since the previous sample.",
            units.BytesIEC,
            missing.REQUEST,
            samples.chart(f"sum({_requested_of('memory')})", "Requested"),
            samples.chart(f"sum({samples.largest(semconv.METRIC_TASK_MEMORY_PEAK, _SELECTED)})", "Used"),
            dashed=("Requested",),
        ),
        panels.time_series(
            "CPU requested and used",
            "Requested and used cores of all running tasks.",
            units.Short,
            missing.REQUEST,
            samples.chart(f"sum({_requested_of('cpu')})", "Requested"),
            samples.chart(f"sum({samples.mean(semconv.METRIC_TASK_CPU_USAGE, _SELECTED)})", "Used"),
            dashed=("Requested",),
        ),
    ]


def _by_task() -> list[panels.Panel]:
    return [
        panels.rows(
            "Tasks",
            "Peaks and means of all attempts of a task in the time range, as shares of its requests and limits.",
            units.PercentUnit,
            missing.USAGE,
            promql_now(_by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_MEMORY_PEAK))),
            promql_now(_by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_MEMORY_OF_REQUEST))),
            promql_now(_by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_MEMORY_OF_LIMIT))),
            promql_now(_by_name("avg", _over_time("avg_over_time", semconv.METRIC_TASK_CPU_USAGE))),
            promql_now(_by_name("avg", _over_time("avg_over_time", semconv.METRIC_TASK_CPU_OF_REQUEST))),
            promql_now(_by_name("avg", _over_time("avg_over_time", semconv.METRIC_TASK_CPU_OF_LIMIT))),
            promql_now(_by_name("avg", _over_time("avg_over_time", semconv.METRIC_TASK_GPU_OF_REQUEST))),
            names={
                _TASK: "Task",
                "Value #A": "Peak memory",
                "Value #B": "Memory of request, peak",
                "Value #C": "Memory of limit, peak",
                "Value #D": "Cores, mean",
                "Value #E": "CPU of request, mean",
                "Value #F": "CPU of limit, mean",
                "Value #G": "GPUs of request, mean",
            },
            units={"Peak memory": units.BytesIEC, "Cores, mean": units.Short},
            links=_TO_EXECUTIONS,
            sorted_by="Peak memory",
        ),
    ]


def _gpus() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Computing GPUs of all GPUs of tasks",
            "Number of GPUs of tasks, and of those that computed, in the mean.",
            units.Short,
            missing.GPU,
            samples.chart(f"count({samples.mean(semconv.METRIC_HW_GPU_UTILIZATION, _SELECTED)})", "Of tasks"),
            samples.chart(f"sum({samples.mean(semconv.METRIC_HW_GPU_UTILIZATION, _SELECTED)})", "Computing"),
            dashed=("Of tasks",),
        ),
        panels.rows(
            "Idle GPU-hours by task",
            "Hours in which GPUs of a task did not compute, and the mean of their utilisation. Each sample counts as "
            "one minute.",
            units.Short,
            missing.GPU,
            promql_now(_idle_hours(_TASK)),
            promql_now(_by_name("avg", _over_time("avg_over_time", semconv.METRIC_HW_GPU_UTILIZATION))),
            names={_TASK: "Task", "Value #A": "Idle GPU-hours", "Value #B": "Utilisation"},
            units={"Utilisation": units.PercentUnit},
            links=_TO_EXECUTIONS,
            sorted_by="Idle GPU-hours",
            width=panels.HALF,
            height=8,
        ),
    ]


def _shortage() -> list[panels.Panel]:
    selected = spans.select(
        semconv.TASK_NAME,
        semconv.USAGE_OOM_KILLS,
        semconv.USAGE_MEMORY_PEAK,
        semconv.QUOTA_MEMORY_LIMIT,
        of_resource=links.VARIABLES.values(),
    )
    return [
        panels.time_series(
            "OOM kills by task",
            "OOM-killed processes in running containers, of the ten tasks with most.",
            units.Short,
            missing.OOM,
            samples.chart(
                f"topk(10, {_by_name('sum', samples.largest(semconv.METRIC_TASK_OOM_KILLS, _SELECTED))})", _LEGEND
            ),
        ),
        panels.time_series(
            "OOM-killed pods, as reported by Kubernetes",
            "Containers whose last state is OOMKilled, including those that could not report it themselves.",
            units.Short,
            missing.KUBE_STATE,
            promql(
                'sum by (namespace) (kube_pod_container_status_last_terminated_reason{reason="OOMKilled"} or '
                'kube_pod_container_status_terminated_reason{reason="OOMKilled"})',
                "{{namespace}}",
            ),
        ),
        panels.rows(
            "OOM-killed attempts",
            "A click on an execution opens the dashboard of the attempt.",
            units.Short,
            _NO_OOM,
            traceql_spans(
                f"{{ {_KILLED} }} | {selected} with (most_recent = true)",
                traces=50,
            ),
            names={
                "Start time": "Start",
                semconv.RUN_NAME: "Execution",
                semconv.TASK_NAME: "Task",
                semconv.ACTION_NAME: "Node",
                semconv.ATTEMPT: "Attempt",
                semconv.ARRAY_INDEX: "Index",
                semconv.USAGE_OOM_KILLS: "Killed",
                semconv.USAGE_MEMORY_PEAK: "Peak memory",
                semconv.QUOTA_MEMORY_LIMIT: "Memory limit",
            },
            units={"Peak memory": units.BytesIEC, "Memory limit": units.BytesIEC},
            links={"Execution": [panels.link("This attempt", links.of_span())]},
            width=panels.HALF,
            height=8,
        ),
        panels.time_series(
            "Throttled, by task",
            "Share of time in which the CPU quota throttled containers: the worst attempt of each of the ten worst "
            "tasks.",
            units.PercentUnit,
            missing.CONTAINER,
            promql(
                f"topk(10, {_by_name('max', f'rate({_of(semconv.METRIC_TASK_CPU_THROTTLED)}[$__rate_interval])')})",
                _LEGEND,
            ),
        ),
    ]


def _candidates() -> list[panels.Panel]:
    memory = _by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_MEMORY_OF_REQUEST))
    cpu = _by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_CPU_OF_REQUEST))
    peak = _by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_MEMORY_PEAK))
    cores = _by_name("max", _over_time("max_over_time", semconv.METRIC_TASK_CPU_USAGE))
    attempts = _by_name("count", _over_time("last_over_time", semconv.METRIC_TASK_MEMORY_OF_REQUEST))
    return [
        panels.rows(
            "Memory requests to change",
            "Tasks whose largest working set was below 50 % or above 90 % of the request. The suggestion is the peak "
            "plus 20 %. `otel-flyte rightsize` is more precise.",
            units.BytesIEC,
            "No task used below 50 % or above 90 % of its memory request, or no task ran.",
            promql_now(f"{memory} < 0.5 or {memory} > 0.9"),
            promql_now(f"{peak} * {MEMORY_MARGIN} and ({memory} < 0.5 or {memory} > 0.9)"),
            promql_now(f"{attempts} and ({memory} < 0.5 or {memory} > 0.9)"),
            names={_TASK: "Task", "Value #A": "Peak of request", "Value #B": "Suggestion", "Value #C": "Attempts"},
            units={"Peak of request": units.PercentUnit, "Attempts": units.Short},
            links=_TO_EXECUTIONS,
            sorted_by="Suggestion",
            width=panels.HALF,
        ),
        panels.rows(
            "CPU requests to change",
            "Tasks that never used half of the requested cores. The suggestion is the peak plus 15 %. "
            "`otel-flyte rightsize` is more precise.",
            units.Short,
            "No task used less than half of its CPU request, or no task ran.",
            promql_now(f"{cpu} < 0.5"),
            promql_now(f"{cores} * {CPU_MARGIN} and {cpu} < 0.5"),
            names={_TASK: "Task", "Value #A": "Peak of request", "Value #B": "Suggestion"},
            units={"Peak of request": units.PercentUnit},
            links=_TO_EXECUTIONS,
            sorted_by="Suggestion",
            width=panels.HALF,
        ),
    ]
