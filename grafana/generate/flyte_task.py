"""Task-level monitoring: the resources, logs and trace of one attempt, or of one subtask of a map task.

Limit, Allocated and Used are defined as on Union's page of that name:
https://www.union.ai/docs/v1/byoc/user-guide/core-concepts/tasks/task-hardware-environment/task-level-monitoring/.
"""

from grafana.generate import links, missing, panels, samples, spans
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.names import label, observed
from grafana.generate.sources import (
    logql,
    promql_each,
    promql_now,
    traceql_metrics,
    traceql_spans,
    traceql_traces,
)
from grafana.generate.variables import of_expression, of_label
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard, VariableSort

from otel_flyte import semconv

# A subtask's node is `{node of the map}-{its attempt}-n{index}`: the node of the map task selects its subtasks too.
_NODE = '"${node}(-[0-9]+-n[0-9]+)?"'
_MATCHERS = {name: f'{label(attribute)}=~"${name}"' for name, attribute in links.VARIABLES.items()} | {
    "node": f"{label(semconv.ACTION_NAME)}=~{_NODE}",
}
_SELECTED = ",".join(_MATCHERS.values())
_COLUMNS = {
    label(semconv.RUN_NAME): "Execution",
    label(semconv.ACTION_NAME): "Node",
    # A local run has no nodes, only tasks.
    label(semconv.TASK_NAME): "Task",
    label(semconv.ATTEMPT): "Attempt",
    label(semconv.ARRAY_INDEX): "Index",
    label(semconv.REPLICA): "Replica",
}
_IDENTITY = tuple(_COLUMNS)
_SUBTASK = (label(semconv.RUN_NAME), label(semconv.ARRAY_INDEX), label(semconv.ATTEMPT))
_NODE_OF = ("node", label(semconv.TASK_NAME), label(semconv.RUN_NAME))
"""The labels that identify a node. A map task is one node."""

_NODE_LEGEND = " ".join(f"{{{{{name}}}}}" for name in _NODE_OF)
_ATTEMPT_LEGEND = (
    f"{{{{{label(semconv.ACTION_NAME)}}}}} #{{{{{label(semconv.ATTEMPT)}}}}} {{{{{label(semconv.REPLICA)}}}}} "
    f"{{{{{label(semconv.TASK_NAME)}}}}} {{{{{label(semconv.RUN_NAME)}}}}}"
)
_DEVICE = (label(semconv.HW_ID), label(semconv.HW_NAME))
_DEVICE_LEGEND = f"{{{{{label(semconv.HW_NAME)}}}}} {{{{{label(semconv.HW_ID)}}}}} · {_ATTEMPT_LEGEND}"

_TITLES = {
    "project": ("Project", "Flyte's project"),
    "domain": ("Domain", "Flyte's domain"),
    "workflow": ("Workflow", "The workflow of the execution"),
    "execution": ("Execution", "The name of the execution"),
    "node": ("Node", "flyteadmin's unique node id; that of a map task includes its subtasks"),
    "attempt": ("Attempt", "From 0"),
    "index": ("Map index", "The index of a map task's subtask, from 0"),
}

_MOST_LINES = 20
"""Lines of a chart: of the thousands of a map task, those with the largest usage."""

_ATTEMPTS = "flyte_task_attempts_total"
_DURATION = "flyte_task_duration_seconds_sum"

_EXECUTION = spans.selected((name, links.VARIABLES[name]) for name in ("project", "domain", "workflow", "execution"))
_TASK_SPANS = " && ".join(
    (
        spans.TASKS,
        _EXECUTION,
        spans.matches(semconv.ACTION_NAME, _NODE),
    )
)


def _peak(metric: str, *more: str) -> str:
    """Return the largest samples of an instrument for the selection, one series for each attempt with its processes."""
    return f"max by ({','.join((*_IDENTITY, *more))}) ({samples.largest(metric, _SELECTED)})"


def _mean(metric: str, *more: str) -> str:
    """Return the mean samples of an instrument for the selection, one series for each attempt."""
    return f"max by ({','.join((*_IDENTITY, *more))}) ({samples.mean(metric, _SELECTED)})"


def _quota(resource: str, side: str, kind: str = "desired") -> str:
    return semconv.METRIC_K8S_QUOTA.format(resource=resource, side=side, kind=kind)


def _most(expression: str) -> str:
    return f"topk({_MOST_LINES}, {expression})"


def _by_node(metric: str) -> str:
    """Return the largest value of all attempts of a node, one series for each node."""
    index = label(semconv.ARRAY_INDEX)
    plain, subtasks = (samples.largest(metric, f'{_SELECTED},{index}{which}""') for which in ("=", "!="))
    return f"max by ({','.join(_NODE_OF)}) ({_with_node(plain)} or {_with_node_of_map(subtasks)})"


def _with_node(expression: str) -> str:
    return f'label_replace({expression}, "node", "$1", "{label(semconv.ACTION_NAME)}", "(.+)")'


def _with_node_of_map(subtasks: str) -> str:
    """Label subtasks with the node of their map task."""
    return f'label_replace({_with_node(subtasks)}, "node", "$1", "{label(semconv.ACTION_NAME)}", "(.+)-[0-9]+-n[0-9]+")'


def _declared(resource: str, side: str) -> str:
    return _by_node(_quota(resource, side))


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        links.TASK_UID,
        "Flyte / Task",
        "Requested and used memory, CPU, GPUs and NPUs of one attempt, or of one subtask of a map task, with its "
        "phases, logs and trace.",
        _variables(),
        [
            Row("At a glance", _glance()),
            Row("Memory and CPU", _memory_and_cpu()),
            Row("GPU", _gpu()),
            Row("NPU and other accelerators", _npu(), is_closed=True),
            Row("Energy, temperature, errors", _devices(), is_closed=True),
            Row("Subtasks of a map task", _subtasks()),
            Row("Phases and trace", _traces()),
            Row("Logs", _logs()),
        ],
        since="now-6h",
    )


def _variables() -> list[dashboard.QueryVariable]:
    narrow, found = "", []
    for name, attribute in links.VARIABLES.items():
        found.append(_variable(name, label(attribute), narrow))
        narrow += f"{',' if narrow else ''}{_MATCHERS[name]}"
    return found


def _variable(name: str, of: str, narrow: str) -> dashboard.QueryVariable:
    title, description = _TITLES[name]
    description = f"{description}, of pods that have sent metrics in the time range."
    if name == "node":
        return of_expression(name, title, description, name, _nodes(narrow), sort=VariableSort.NATURAL_ASC)
    return of_label(
        name,
        title,
        description,
        of,
        f"target_info{{{narrow}}}",
        is_multiple=False,
        sort=VariableSort.NUMERICAL_ASC if name in ("attempt", "index") else VariableSort.ALPHABETICAL_ASC,
    )


def _nodes(narrow: str) -> str:
    """Return the query for nodes. The subtasks of a map task are one node."""
    index = label(semconv.ARRAY_INDEX)
    plain = f'last_over_time(target_info{{{narrow},{index}=""}}[$__range])'
    subtasks = f'last_over_time(target_info{{{narrow},{index}!=""}}[$__range])'
    return f"group by (node) ({_with_node(plain)}) or group by (node) ({_with_node_of_map(subtasks)})"


def _glance() -> list[panels.Panel]:
    def whole(function: str, metric: str) -> str:
        return f"{function}({observed(metric)}{{{_SELECTED}}}[$__range])"

    ended = f"last_over_time({_ATTEMPTS}{{{_SELECTED}}}[$__range])"
    duration = f"last_over_time({_DURATION}{{{_SELECTED}}}[$__range])"
    energy = semconv.METRIC_HW_ENERGY
    result = label(semconv.RESULT)
    return [
        panels.number(
            "Attempts that ended",
            "Attempts in the selection that ended in the time range, by result.",
            units.Short,
            missing.ATTEMPTS,
            promql_each(f"sum by ({result}) ({ended})", f"{{{{{result}}}}}"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Longest attempt",
            "Duration of the longest attempt, from the start of its span to the end.",
            units.Seconds,
            missing.ATTEMPTS,
            promql_each(f"max({duration})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Peak of memory limit",
            "The largest working set as a share of the limit: the declared one, else the cgroup's, else the machine's.",
            units.PercentUnit,
            missing.USAGE,
            promql_each(f"max({whole('max_over_time', semconv.METRIC_TASK_MEMORY_OF_LIMIT)})"),
            width=panels.EIGHTH,
            steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
        ),
        panels.number(
            "Out of memory",
            "OOM-killed processes.",
            units.Short,
            missing.OOM,
            promql_each(f"sum({whole('max_over_time', semconv.METRIC_TASK_OOM_KILLS)})"),
            width=panels.EIGHTH,
            steps=((None, "green"), (1, "red")),
        ),
        panels.number(
            "Mean of CPU request",
            "Used cores as a share of the declared request, in the mean.",
            units.PercentUnit,
            missing.REQUEST,
            promql_each(f"avg({whole('avg_over_time', semconv.METRIC_TASK_CPU_OF_REQUEST)})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Throttled",
            "Time in which the CPU quota throttled containers, since their start.",
            units.Seconds,
            missing.CONTAINER,
            promql_each(f"sum({whole('max_over_time', semconv.METRIC_TASK_CPU_THROTTLED)})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Mean of GPUs requested",
            "The sum of the utilisations of all GPUs, divided by the requested GPUs, in the mean.",
            units.PercentUnit,
            missing.GPU,
            promql_each(f"avg({whole('avg_over_time', semconv.METRIC_TASK_GPU_OF_REQUEST)})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Energy",
            "Energy used by GPUs and NPUs, from the first sample to the last.",
            units.Joule,
            missing.ENERGY,
            promql_each(f"sum({whole('max_over_time', energy)} - {whole('min_over_time', energy)})"),
            width=panels.EIGHTH,
        ),
    ]


def _memory_and_cpu() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Memory quota",
            "Percentage of the requested memory. Limit of a node: limits.mem. Allocated of a node: the larger of "
            "requests.mem and the used memory, which may exceed 100 %. Used: the largest working set since the "
            "previous sample.",
            units.PercentUnit,
            missing.REQUEST,
            samples.chart(
                _most(f"{_declared('memory', 'limit')} / {_declared('memory', 'request')}"), f"Limit {_NODE_LEGEND}"
            ),
            samples.chart(
                _most(f"clamp_min({_by_node(semconv.METRIC_TASK_MEMORY_OF_REQUEST)}, 1)"), f"Allocated {_NODE_LEGEND}"
            ),
            samples.chart(_most(_peak(semconv.METRIC_TASK_MEMORY_OF_REQUEST)), f"Used {_ATTEMPT_LEGEND}"),
            dashed=("Limit", "Allocated"),
        ),
        panels.time_series(
            "CPU cores quota",
            "Cores. Limit of a node: limits.cpu. Allocated of a node: requests.cpu. Used: the mean of the used cores "
            "since the previous sample.",
            units.Short,
            missing.USAGE,
            samples.chart(_most(_declared("cpu", "limit")), f"Limit {_NODE_LEGEND}"),
            samples.chart(_most(_declared("cpu", "request")), f"Allocated {_NODE_LEGEND}"),
            # Without exemplars: Prometheus stores none of OTLP gauges.
            samples.chart(_most(_mean(semconv.METRIC_TASK_CPU_USAGE)), f"Used {_ATTEMPT_LEGEND}"),
            dashed=("Limit", "Allocated"),
        ),
        panels.time_series(
            "Memory",
            "Peak: the largest working set since the previous sample. Sample: the working set at the time of the "
            "sample; a click on an exemplar opens the trace. Anonymous: memory without a file. With page cache: "
            "includes files that were read, so it reaches the limit in healthy tasks. Cgroup: the limit at which the "
            "kernel kills.",
            units.BytesIEC,
            missing.USAGE,
            samples.chart(_most(_by_node(_quota("memory", "limit", "current"))), f"Cgroup {_NODE_LEGEND}"),
            samples.chart(_most(_declared("memory", "limit")), f"Limit {_NODE_LEGEND}"),
            samples.chart(_most(_declared("memory", "request")), f"Request {_NODE_LEGEND}"),
            samples.chart(_most(_peak(semconv.METRIC_TASK_MEMORY_PEAK)), f"Peak {_ATTEMPT_LEGEND}"),
            samples.chart(_most(_peak(semconv.METRIC_TASK_MEMORY_USAGE)), f"Sample {_ATTEMPT_LEGEND}", exemplars=True),
            samples.chart(_most(_peak(semconv.METRIC_CONTAINER_MEMORY_RSS)), f"Anonymous {_ATTEMPT_LEGEND}"),
            samples.chart(_most(_peak(semconv.METRIC_CONTAINER_MEMORY_USAGE)), f"With page cache {_ATTEMPT_LEGEND}"),
            dashed=("Cgroup", "Limit", "Request"),
        ),
        panels.time_series(
            "Throttling",
            "Share of time in which the CPU quota throttled the container. A throttled task whose limit is above its "
            "request is slower than necessary.",
            units.PercentUnit,
            missing.CONTAINER,
            samples.chart(
                _most(
                    f"max by ({','.join(_IDENTITY)}) "
                    f"(rate({observed(semconv.METRIC_TASK_CPU_THROTTLED)}{{{_SELECTED}}}[$__rate_interval]))"
                ),
                _ATTEMPT_LEGEND,
            ),
            steps=((None, "green"), (0.25, "red")),
        ),
        panels.time_series(
            "Storage",
            "Bytes per second read from and written to storage by the task and its child processes, without the page "
            "cache.",
            units.BytesPerSecondIEC,
            missing.USAGE,
            samples.chart(
                _most(
                    f"max by ({','.join((*_IDENTITY, label(semconv.DISK_IO_DIRECTION)))}) "
                    f"(rate({observed(semconv.METRIC_PROCESS_DISK_IO)}{{{_SELECTED}}}[$__rate_interval]))"
                ),
                f"{{{{{label(semconv.DISK_IO_DIRECTION)}}}}} {_ATTEMPT_LEGEND}",
            ),
        ),
        panels.time_series(
            "In percent, as in ModelArts",
            "The six series of ModelArts: percentages of the CPU limit, the memory limit, the GPUs, the GPU memory, "
            "the NPUs and the NPU memory.",
            units.Percent,
            missing.USAGE,
            *(
                samples.chart(_most(_mean(semconv.METRIC_TASK_SERIES.format(name=name))), f"{name} {_ATTEMPT_LEGEND}")
                for name in semconv.SERIES[:6]
            ),
        ),
    ]


def _gpu() -> list[panels.Panel]:
    return [
        panels.time_series(
            "GPU memory utilisation",
            "Used memory of each GPU by all processes, and the total memory of one GPU.",
            units.BytesIEC,
            missing.GPU,
            samples.chart(f"max({samples.largest(semconv.METRIC_HW_GPU_MEMORY_LIMIT, _SELECTED)})", "Total of one GPU"),
            samples.chart(_most(_peak(semconv.METRIC_HW_GPU_MEMORY_USAGE, *_DEVICE)), _DEVICE_LEGEND),
            dashed=("Total of one GPU",),
        ),
        panels.time_series(
            "GPU utilisation",
            "Share of time in which each GPU computed. Of request: the sum of all GPUs, divided by the requested GPUs "
            "(requests.gpu).",
            units.PercentUnit,
            missing.GPU,
            samples.chart(_most(_mean(semconv.METRIC_HW_GPU_UTILIZATION, *_DEVICE)), _DEVICE_LEGEND),
            samples.chart(_most(_mean(semconv.METRIC_TASK_GPU_OF_REQUEST)), f"Of request {_ATTEMPT_LEGEND}"),
            maximum=1,
        ),
    ]


def _npu() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Accelerator memory",
            "Used memory of each accelerator other than GPUs, and the total memory of one.",
            units.BytesIEC,
            missing.NPU,
            samples.chart(f"max({samples.largest(semconv.METRIC_ACCELERATOR_MEMORY_LIMIT, _SELECTED)})", "Total"),
            samples.chart(_most(_peak(semconv.METRIC_ACCELERATOR_MEMORY_USAGE, *_DEVICE)), _DEVICE_LEGEND),
            dashed=("Total",),
        ),
        panels.time_series(
            "Accelerator utilisation",
            "Share of time in which each accelerator other than GPUs computed.",
            units.PercentUnit,
            missing.NPU,
            samples.chart(_most(_mean(semconv.METRIC_ACCELERATOR_UTILIZATION, *_DEVICE)), _DEVICE_LEGEND),
            maximum=1,
        ),
    ]


def _devices() -> list[panels.Panel]:
    first = f"min_over_time({observed(semconv.METRIC_HW_ENERGY)}{{{_SELECTED}}}[$__range])"
    return [
        panels.time_series(
            "Power",
            "Power of each GPU and NPU.",
            units.Watt,
            missing.ENERGY,
            samples.chart(_most(_mean(semconv.METRIC_HW_POWER, *_DEVICE)), _DEVICE_LEGEND),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Energy by device",
            "Energy used by each GPU and NPU since the start of the time range. The device's own counter starts when "
            "the driver is loaded.",
            units.Joule,
            missing.ENERGY,
            samples.chart(
                _most(
                    f"max by ({','.join((*_IDENTITY, *_DEVICE))}) "
                    f"({samples.largest(semconv.METRIC_HW_ENERGY, _SELECTED)} - {first})"
                ),
                _DEVICE_LEGEND,
            ),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Temperature",
            "Temperature of each GPU and NPU.",
            units.Celsius,
            missing.ENERGY,
            samples.chart(_most(_peak(semconv.METRIC_HW_TEMPERATURE, *_DEVICE)), _DEVICE_LEGEND),
            minimum=None,
            width=panels.THIRD,
        ),
        panels.rows(
            "Errors and lost devices",
            "Errors counted by the driver, by device and kind. Lost is 1 for a device that does not answer any more.",
            units.Short,
            missing.GPU,
            promql_now(
                f"max by ({','.join((*_IDENTITY, *_DEVICE, label(semconv.ERROR_TYPE)))}) "
                f"(last_over_time({observed(semconv.METRIC_HW_ERRORS)}{{{_SELECTED}}}[$__range]))"
            ),
            promql_now(
                f"max by ({','.join((*_IDENTITY, *_DEVICE))}) "
                f'(last_over_time({observed(semconv.METRIC_HW_STATUS)}{{{_SELECTED},{label(semconv.HW_STATE)}="failed"}}'
                "[$__range]))"
            ),
            names={
                **_COLUMNS,
                label(semconv.HW_NAME): "Device",
                label(semconv.HW_ID): "Id",
                label(semconv.ERROR_TYPE): "Error",
                "Value #A": "Errors",
                "Value #B": "Lost",
            },
            units={"Attempt": units.NoUnit, "Index": units.NoUnit},
        ),
    ]


def _subtasks() -> list[panels.Panel]:
    by = ",".join(_SUBTASK)
    result = label(semconv.RESULT)
    of_map = f'{_SELECTED},{label(semconv.ARRAY_INDEX)}!=""'
    ended = f"max by ({by},{result}) (last_over_time({_ATTEMPTS}{{{of_map}}}[$__range]))"
    # A subtask with recent samples and no end is running. Samples come once a minute by default.
    heard = f"group by ({by}) (last_over_time({observed(semconv.METRIC_TASK_MEMORY_USAGE)}{{{of_map}}}[3m]))"
    running = f'label_replace({heard} unless on ({by}) {ended}, "{result}", "running", "", "")'

    def peak(metric: str) -> str:
        return f"max by ({by}) (max_over_time({observed(metric)}{{{of_map}}}[$__range]))"

    return [
        panels.rows(
            "Subtasks",
            "State, duration, and largest used shares of limits and requests of each subtask of a map task. A click "
            "on an index opens this dashboard for that subtask. Subtasks below 5 s have no shares.",
            units.PercentUnit,
            missing.SUBTASKS,
            promql_now(f"{ended} or {running}"),
            promql_now(f"max by ({by}) (last_over_time({_DURATION}{{{of_map}}}[$__range]))"),
            promql_now(peak(semconv.METRIC_TASK_MEMORY_OF_LIMIT)),
            promql_now(peak(semconv.METRIC_TASK_CPU_OF_LIMIT)),
            promql_now(peak(semconv.METRIC_TASK_GPU_OF_REQUEST)),
            names={
                **{name: _COLUMNS[name] for name in _SUBTASK},
                result: "State",
                "Value #B": "Duration",
                "Value #C": "Peak of memory limit",
                "Value #D": "Peak of CPU limit",
                "Value #E": "Peak of GPUs requested",
            },
            units={"Duration": units.Seconds, "Index": units.NoUnit, "Attempt": units.NoUnit},
            hidden=("Value #A",),
            links={
                "Index": [
                    panels.link(
                        "This subtask",
                        links.task(
                            {
                                name: f'${{__data.fields["{label(links.VARIABLES[name])}"]}}'
                                for name in ("execution", "index", "attempt")
                            }
                        ),
                    )
                ]
            },
            sorted_by="Duration",
        ),
    ]


def _traces() -> list[panels.Panel]:
    selected = spans.select(
        semconv.RESULT,
        semconv.ERROR_CODE,
        semconv.USAGE_CPU_MEAN,
        semconv.USAGE_MEMORY_PEAK,
        semconv.USAGE_MEMORY_OF_LIMIT,
        semconv.USAGE_ENERGY,
        of_resource=(semconv.RUN_NAME, semconv.ACTION_NAME, semconv.ATTEMPT, semconv.ARRAY_INDEX),
    )
    used = spans.select(
        semconv.USAGE_CPU_MEAN, semconv.USAGE_MEMORY_PEAK, of_resource=(semconv.ATTEMPT, semconv.ARRAY_INDEX)
    )
    return [
        panels.rows(
            "Attempts",
            "Spans of attempts of this node with their usage, up to a hundred per trace, including short ones without "
            "metrics. A click on a span id opens its trace.",
            units.Short,
            missing.SPANS,
            traceql_spans(f"{{ {_TASK_SPANS} }} | {selected}"),
            names={
                "Name": "Task",
                semconv.RUN_NAME: "Execution",
                semconv.ACTION_NAME: "Node",
                semconv.ATTEMPT: "Attempt",
                semconv.ARRAY_INDEX: "Index",
                "Duration": "Duration",
                "status": "Status",
                semconv.RESULT: "Result",
                semconv.ERROR_CODE: "Error",
                semconv.USAGE_CPU_MEAN: "Mean cores",
                semconv.USAGE_MEMORY_PEAK: "Peak memory",
                semconv.USAGE_MEMORY_OF_LIMIT: "Peak of memory limit",
                semconv.USAGE_ENERGY: "Energy",
            },
            units={
                "Peak memory": units.BytesIEC,
                "Peak of memory limit": units.PercentUnit,
                "Energy": units.Joule,
                "Attempt": units.NoUnit,
                "Index": units.NoUnit,
            },
        ),
        panels.time_series(
            "Phases",
            "Duration of each phase: the 95th percentile of all attempts of this node that ended at the time.",
            units.Seconds,
            missing.PHASES,
            traceql_metrics(
                f"{{ {_TASK_SPANS} }} > {{ {spans.PHASES} }} | quantile_over_time(duration, 0.95) by (name)"
            ),
        ),
        panels.rows(
            "Phases of each attempt",
            "Phases of each attempt in their order, with durations and usage. Phases below 0.1 s have no usage.",
            units.Short,
            missing.PHASES,
            traceql_spans(f"{{ {_TASK_SPANS} }} > {{ {spans.PHASES} }} | {used}"),
            width=panels.HALF,
            height=8,
            names={
                "Start time": "Start",
                "Name": "Phase",
                semconv.ATTEMPT: "Attempt",
                semconv.ARRAY_INDEX: "Index",
                "Duration": "Duration",
                semconv.USAGE_CPU_MEAN: "Mean cores",
                semconv.USAGE_MEMORY_PEAK: "Peak memory",
            },
            units={"Peak memory": units.BytesIEC, "Attempt": units.NoUnit, "Index": units.NoUnit},
        ),
        panels.rows(
            "Trace of the execution",
            "The trace of all pods of this execution, and the traces of map subtasks from index 500 on.",
            units.Short,
            missing.SPANS,
            traceql_traces(f"{{ {spans.OURS} && {_EXECUTION} }}"),
            height=6,
        ),
    ]


def _logs() -> list[panels.Panel]:
    # Loki needs a selector that does not match empty labels; All matches them.
    streams = f'{{service_name=~".+", {label(semconv.PROJECT)}=~"$project", {label(semconv.DOMAIN)}=~"$domain"}}'
    fields = (
        f'{label(semconv.RUN_NAME)}=~"$execution"',
        f"{label(semconv.ACTION_NAME)}=~{_NODE}",
        f'{label(semconv.ATTEMPT)}=~"$attempt"',
        f'{label(semconv.ARRAY_INDEX)}=~"$index"',
        # Events of otel-flyte itself are not lines of the task.
        f'{label(semconv.EVENT_NAME)}!~"{semconv.EVENT_PHASE}|{semconv.EVENT_HEARTBEAT}"',
    )
    selection = f"{streams} | {' | '.join(fields)}"
    return [
        panels.time_series(
            "Log records",
            "Number of log records of the task in each interval, by severity, without otel-flyte's own events.",
            units.Short,
            missing.LOGS,
            logql(f"sum by (detected_level) (count_over_time({selection} [$__interval]))", "{{detected_level}}"),
            width=panels.FULL,
            height=4,
            is_stacked=True,
        ),
        panels.log_lines(
            "Logs",
            "Output of the task to stdout and stderr, and records of logging. A click on a trace id opens the trace.",
            missing.LOGS,
            logql(selection),
        ),
    ]
