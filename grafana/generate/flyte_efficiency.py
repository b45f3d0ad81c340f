"""Efficiency: what was requested against what was used; idle GPUs, memory that ran out, and what to request."""

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
_PICKED = spans.picked_series(_VARIABLES.items())
_SPANS = f"{spans.TASKS} && {spans.picked(_VARIABLES.items())}"
_KILLED = f"{_SPANS} && span.{semconv.USAGE_OOM_KILLS} > 0"
_TO_EXECUTIONS = {"Task": [panels.link("Its executions", links.executions_of_task())]}
_LEGEND = f"{{{{{_TASK}}}}}"
_NO_OOM = "Nothing was killed for want of memory, or spans do not arrive in Tempo."

MEMORY_MARGIN = 1.2
CPU_MARGIN = 1.15
"""What ``otel-flyte rightsize`` adds to a peak: ``docs/usage.md``."""

_SAMPLES_PER_HOUR = 60
"""A sample stands for a minute: the default of ``OTEL_METRIC_EXPORT_INTERVAL``."""


def board() -> Dashboard:
    """Describe the dashboard."""
    return made(
        "flyte-efficiency",
        "Flyte / Efficiency",
        "What tasks request against what they use: what stands idle, what runs out, and what to request instead.",
        _variables(),
        [
            Row("Requested against used", [*_numbers(), *_requested()]),
            Row("By task", _by_task()),
            Row("Idle GPUs", _gpus()),
            Row("Ran out: memory and CPU", _shortage()),
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
    return f"{observed(metric)}{{{_PICKED}}}"


def _requested_of(resource: str) -> str:
    metric = semconv.METRIC_K8S_QUOTA.format(resource=resource, side="request", kind="desired")
    return samples.largest(metric, _PICKED)


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
            "The mean over all tasks of their peak working sets over what they request.",
            units.PercentUnit,
            missing.REQUEST,
            promql_each(f"avg({_over_time('max_over_time', semconv.METRIC_TASK_MEMORY_OF_REQUEST)})"),
            width=panels.QUARTER,
        ),
        panels.number(
            "CPU used of request",
            "The mean over all tasks of the cores in use over what they request.",
            units.PercentUnit,
            missing.REQUEST,
            promql_each(f"avg({_over_time('avg_over_time', semconv.METRIC_TASK_CPU_OF_REQUEST)})"),
            width=panels.QUARTER,
        ),
        panels.number(
            "Idle GPU-hours",
            "GPUs of tasks times the hours in which they did not compute. A sample stands for a minute.",
            units.Short,
            missing.GPU,
            promql_each(_idle_hours()),
            width=panels.QUARTER,
        ),
        panels.number(
            "Energy",
            "Energy that the accelerators of tasks drew in this time.",
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
            "What all running tasks request, and what they use: the largest working sets since the sample before.",
            units.BytesIEC,
            missing.REQUEST,
            samples.chart(f"sum({_requested_of('memory')})", "Requested"),
            samples.chart(f"sum({samples.largest(semconv.METRIC_TASK_MEMORY_PEAK, _PICKED)})", "Used"),
            dashed=("Requested",),
        ),
        panels.time_series(
            "CPU requested and used",
            "Cores that all running tasks request, and that they use.",
            units.Short,
            missing.REQUEST,
            samples.chart(f"sum({_requested_of('cpu')})", "Requested"),
            samples.chart(f"sum({samples.mean(semconv.METRIC_TASK_CPU_USAGE, _PICKED)})", "Used"),
            dashed=("Requested",),
        ),
    ]


def _by_task() -> list[panels.Panel]:
    return [
        panels.rows(
            "Tasks",
            "Peaks and means of all attempts of a task in this time, over what it requests and over its limits.",
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
            "GPUs that compute, of those of tasks",
            "How many GPUs tasks have, and how many of them computed, in the mean.",
            units.Short,
            missing.GPU,
            samples.chart(f"count({samples.mean(semconv.METRIC_HW_GPU_UTILIZATION, _PICKED)})", "Of tasks"),
            samples.chart(f"sum({samples.mean(semconv.METRIC_HW_GPU_UTILIZATION, _PICKED)})", "Computing"),
            dashed=("Of tasks",),
        ),
        panels.rows(
            "Idle GPU-hours by task",
            "GPUs of a task times the hours in which they did not compute, and the mean of their utilisation. A "
            "sample stands for a minute.",
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
            "Killed for want of memory, by task",
            "Processes that the kernel has killed in containers that run: of the ten tasks with most.",
            units.Short,
            missing.OOM,
            samples.chart(
                f"topk(10, {_by_name('sum', samples.largest(semconv.METRIC_TASK_OOM_KILLS, _PICKED))})", _LEGEND
            ),
        ),
        panels.time_series(
            "Pods that Kubernetes says ran out of memory",
            "Containers whose last end was OOMKilled, those that could not tell it themselves too.",
            units.Short,
            missing.KUBE_STATE,
            promql(
                'sum by (namespace) (kube_pod_container_status_last_terminated_reason{reason="OOMKilled"} or '
                'kube_pod_container_status_terminated_reason{reason="OOMKilled"})',
                "{{namespace}}",
            ),
        ),
        panels.rows(
            "Attempts that ran out of memory",
            "An execution opens the attempt's own dashboard.",
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
            "Share of time in which the CPU quota held containers back: the worst attempt of each of the ten worst "
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
            "Tasks whose largest working set was less than half of what they request, or more than nine tenths; "
            "enough would be the peak and 20 %. `otel-flyte rightsize` looks closer.",
            units.BytesIEC,
            "No task uses less than half of the memory that it requests, nor more than nine tenths; or none was seen.",
            promql_now(f"{memory} < 0.5 or {memory} > 0.9"),
            promql_now(f"{peak} * {MEMORY_MARGIN} and ({memory} < 0.5 or {memory} > 0.9)"),
            promql_now(f"{attempts} and ({memory} < 0.5 or {memory} > 0.9)"),
            names={_TASK: "Task", "Value #A": "Peak of request", "Value #B": "Enough would be", "Value #C": "Attempts"},
            units={"Peak of request": units.PercentUnit, "Attempts": units.Short},
            links=_TO_EXECUTIONS,
            sorted_by="Enough would be",
            width=panels.HALF,
        ),
        panels.rows(
            "CPU requests to change",
            "Tasks that never used half of the cores that they request; enough would be the peak and 15 %. "
            "`otel-flyte rightsize` looks closer.",
            units.Short,
            "No task uses less than half of the cores that it requests; or none was seen.",
            promql_now(f"{cpu} < 0.5"),
            promql_now(f"{cores} * {CPU_MARGIN} and {cpu} < 0.5"),
            names={_TASK: "Task", "Value #A": "Peak of request", "Value #B": "Enough would be"},
            units={"Peak of request": units.PercentUnit},
            links=_TO_EXECUTIONS,
            sorted_by="Enough would be",
            width=panels.HALF,
        ),
    ]
