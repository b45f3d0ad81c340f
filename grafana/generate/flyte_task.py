"""Task-level monitoring: what one attempt, or one subtask of a map, was given and used, with its logs and its trace.

Limit, Allocated and Used mean what they mean on Union's page of that name:
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

# A subtask's node is `{node of the map}-{its attempt}-n{index}`: who picks the map's node sees its subtasks too.
_NODE = '"${node}(-[0-9]+-n[0-9]+)?"'
_MATCHERS = {name: f'{label(attribute)}=~"${name}"' for name, attribute in links.VARIABLES.items()} | {
    "node": f"{label(semconv.ACTION_NAME)}=~{_NODE}",
}
_PICKED = ",".join(_MATCHERS.values())
_COLUMNS = {
    label(semconv.RUN_NAME): "Execution",
    label(semconv.ACTION_NAME): "Node",
    # A local run has tasks where a pod has a node.
    label(semconv.TASK_NAME): "Task",
    label(semconv.ATTEMPT): "Attempt",
    label(semconv.ARRAY_INDEX): "Index",
    label(semconv.REPLICA): "Replica",
}
_IDENTITY = tuple(_COLUMNS)
_SUBTASK = (label(semconv.RUN_NAME), label(semconv.ARRAY_INDEX), label(semconv.ATTEMPT))
_NODE_OF = ("node", label(semconv.TASK_NAME), label(semconv.RUN_NAME))
"""What tells a node from all others, where a map is one node."""

_ITS_NODE = " ".join(f"{{{{{name}}}}}" for name in _NODE_OF)
_WHO = (
    f"{{{{{label(semconv.ACTION_NAME)}}}}} #{{{{{label(semconv.ATTEMPT)}}}}} {{{{{label(semconv.REPLICA)}}}}} "
    f"{{{{{label(semconv.TASK_NAME)}}}}} {{{{{label(semconv.RUN_NAME)}}}}}"
)
_DEVICE = (label(semconv.HW_ID), label(semconv.HW_NAME))
_WHICH = f"{{{{{label(semconv.HW_NAME)}}}}} {{{{{label(semconv.HW_ID)}}}}} · {_WHO}"

_TITLES = {
    "project": ("Project", "Flyte's project"),
    "domain": ("Domain", "Flyte's domain"),
    "workflow": ("Workflow", "What the execution executes"),
    "execution": ("Execution", "The execution's name"),
    "node": ("Node", "flyteadmin's unique node id; of a map task its own, which stands for its subtasks"),
    "attempt": ("Attempt", "From 0"),
    "index": ("Map index", "Of a map task's subtask, from 0"),
}

_MOST_LINES = 20
"""Lines of a chart: of a map of thousands, those that use most."""

_ATTEMPTS = "flyte_task_attempts_total"
_DURATION = "flyte_task_duration_seconds_sum"

_EXECUTION = spans.picked((name, links.VARIABLES[name]) for name in ("project", "domain", "workflow", "execution"))
_TASK_SPANS = " && ".join(
    (
        spans.TASKS,
        _EXECUTION,
        spans.matches(semconv.ACTION_NAME, _NODE),
    )
)


def _peak(metric: str, *more: str) -> str:
    """Select what is picked of an instrument, one series for each attempt: processes of one are as one."""
    return f"max by ({','.join((*_IDENTITY, *more))}) ({samples.largest(metric, _PICKED)})"


def _mean(metric: str, *more: str) -> str:
    """Select the same of what is a mean already."""
    return f"max by ({','.join((*_IDENTITY, *more))}) ({samples.mean(metric, _PICKED)})"


def _quota(resource: str, side: str, kind: str = "desired") -> str:
    return semconv.METRIC_K8S_QUOTA.format(resource=resource, side=side, kind=kind)


def _most(expression: str) -> str:
    return f"topk({_MOST_LINES}, {expression})"


def _by_node(metric: str) -> str:
    """Select what is the same for all attempts of a node, or the largest of them: one series for each node."""
    index = label(semconv.ARRAY_INDEX)
    plain, subtasks = (samples.largest(metric, f'{_PICKED},{index}{which}""') for which in ("=", "!="))
    return f"max by ({','.join(_NODE_OF)}) ({_with_node(plain)} or {_with_node_of_map(subtasks)})"


def _with_node(expression: str) -> str:
    return f'label_replace({expression}, "node", "$1", "{label(semconv.ACTION_NAME)}", "(.+)")'


def _with_node_of_map(subtasks: str) -> str:
    """Give subtasks the node of their map."""
    return f'label_replace({_with_node(subtasks)}, "node", "$1", "{label(semconv.ACTION_NAME)}", "(.+)-[0-9]+-n[0-9]+")'


def _declared(resource: str, side: str) -> str:
    return _by_node(_quota(resource, side))


def board() -> Dashboard:
    """Describe the dashboard."""
    return made(
        links.TASK_UID,
        "Flyte / Task",
        "What one attempt of a task, or one subtask of a map task, was given and what it used of it: memory, CPU, "
        "GPUs, NPUs, phases, logs and trace.",
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
    description = f"{description}, of pods that have sent metrics in this time."
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
    """Compute the nodes: of thousands of subtasks the map's alone."""
    index = label(semconv.ARRAY_INDEX)
    plain = f'last_over_time(target_info{{{narrow},{index}=""}}[$__range])'
    subtasks = f'last_over_time(target_info{{{narrow},{index}!=""}}[$__range])'
    return f"group by (node) ({_with_node(plain)}) or group by (node) ({_with_node_of_map(subtasks)})"


def _glance() -> list[panels.Panel]:
    def whole(function: str, metric: str) -> str:
        return f"{function}({observed(metric)}{{{_PICKED}}}[$__range])"

    ended = f"last_over_time({_ATTEMPTS}{{{_PICKED}}}[$__range])"
    duration = f"last_over_time({_DURATION}{{{_PICKED}}}[$__range])"
    energy = semconv.METRIC_HW_ENERGY
    result = label(semconv.RESULT)
    return [
        panels.number(
            "Attempts that ended",
            "Attempts of what is picked that ended in this time, by how.",
            units.Short,
            missing.ATTEMPTS,
            promql_each(f"sum by ({result}) ({ended})", f"{{{{{result}}}}}"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Longest attempt",
            "How long the longest attempt took, from the start of its span to the end.",
            units.Seconds,
            missing.ATTEMPTS,
            promql_each(f"max({duration})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Peak of memory limit",
            "The largest working set over the limit: the declared one, else the cgroup's, else the machine's.",
            units.PercentUnit,
            missing.USAGE,
            promql_each(f"max({whole('max_over_time', semconv.METRIC_TASK_MEMORY_OF_LIMIT)})"),
            width=panels.EIGHTH,
            steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
        ),
        panels.number(
            "Out of memory",
            "Processes that the kernel has killed for want of memory.",
            units.Short,
            missing.OOM,
            promql_each(f"sum({whole('max_over_time', semconv.METRIC_TASK_OOM_KILLS)})"),
            width=panels.EIGHTH,
            steps=((None, "green"), (1, "red")),
        ),
        panels.number(
            "Mean of CPU request",
            "Cores in use over the declared request, in the mean.",
            units.PercentUnit,
            missing.REQUEST,
            promql_each(f"avg({whole('avg_over_time', semconv.METRIC_TASK_CPU_OF_REQUEST)})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Held back",
            "Time in which the CPU quota held containers back, since they began.",
            units.Seconds,
            missing.CONTAINER,
            promql_each(f"sum({whole('max_over_time', semconv.METRIC_TASK_CPU_THROTTLED)})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Mean of GPUs requested",
            "The sum of the GPUs' utilisations over the GPUs that were requested, in the mean.",
            units.PercentUnit,
            missing.GPU,
            promql_each(f"avg({whole('avg_over_time', semconv.METRIC_TASK_GPU_OF_REQUEST)})"),
            width=panels.EIGHTH,
        ),
        panels.number(
            "Energy",
            "Energy that GPUs and NPUs drew, from the first sample to the last.",
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
            "Percentage of the memory requested. Limit of a node: limits.mem. Allocated of a node: the larger of "
            "requests.mem and the memory used, which may exceed 100 %. Used: the largest working set since the sample "
            "before.",
            units.PercentUnit,
            missing.REQUEST,
            samples.chart(
                _most(f"{_declared('memory', 'limit')} / {_declared('memory', 'request')}"), f"Limit {_ITS_NODE}"
            ),
            samples.chart(
                _most(f"clamp_min({_by_node(semconv.METRIC_TASK_MEMORY_OF_REQUEST)}, 1)"), f"Allocated {_ITS_NODE}"
            ),
            samples.chart(_most(_peak(semconv.METRIC_TASK_MEMORY_OF_REQUEST)), f"Used {_WHO}"),
            dashed=("Limit", "Allocated"),
        ),
        panels.time_series(
            "CPU cores quota",
            "Cores. Limit of a node: limits.cpu. Allocated of a node: requests.cpu. Used: cores in use, in the mean "
            "since the sample before.",
            units.Short,
            missing.USAGE,
            samples.chart(_most(_declared("cpu", "limit")), f"Limit {_ITS_NODE}"),
            samples.chart(_most(_declared("cpu", "request")), f"Allocated {_ITS_NODE}"),
            # Without exemplars: Prometheus keeps none of gauges that come by OTLP.
            samples.chart(_most(_mean(semconv.METRIC_TASK_CPU_USAGE)), f"Used {_WHO}"),
            dashed=("Limit", "Allocated"),
        ),
        panels.time_series(
            "Memory",
            "Peak: the largest working set since the sample before. Sample: the one when it was taken; a click on an "
            "exemplar opens the trace. Anonymous: what no file backs. With page cache: files that were read count too, "
            "so it reaches the limit in healthy tasks. Cgroup: what the kernel kills at.",
            units.BytesIEC,
            missing.USAGE,
            samples.chart(_most(_by_node(_quota("memory", "limit", "current"))), f"Cgroup {_ITS_NODE}"),
            samples.chart(_most(_declared("memory", "limit")), f"Limit {_ITS_NODE}"),
            samples.chart(_most(_declared("memory", "request")), f"Request {_ITS_NODE}"),
            samples.chart(_most(_peak(semconv.METRIC_TASK_MEMORY_PEAK)), f"Peak {_WHO}"),
            samples.chart(_most(_peak(semconv.METRIC_TASK_MEMORY_USAGE)), f"Sample {_WHO}", exemplars=True),
            samples.chart(_most(_peak(semconv.METRIC_CONTAINER_MEMORY_RSS)), f"Anonymous {_WHO}"),
            samples.chart(_most(_peak(semconv.METRIC_CONTAINER_MEMORY_USAGE)), f"With page cache {_WHO}"),
            dashed=("Cgroup", "Limit", "Request"),
        ),
        panels.time_series(
            "Throttling",
            "Share of time in which the CPU quota held the container back. A task that is held back and has a limit "
            "above its request is slower than it need be.",
            units.PercentUnit,
            missing.CONTAINER,
            samples.chart(
                _most(
                    f"max by ({','.join(_IDENTITY)}) "
                    f"(rate({observed(semconv.METRIC_TASK_CPU_THROTTLED)}{{{_PICKED}}}[$__rate_interval]))"
                ),
                _WHO,
            ),
            steps=((None, "green"), (0.25, "red")),
        ),
        panels.time_series(
            "Storage",
            "Bytes per second that the task and all that it has started moved from and to storage, not the page cache.",
            units.BytesPerSecondIEC,
            missing.USAGE,
            samples.chart(
                _most(
                    f"max by ({','.join((*_IDENTITY, label(semconv.DISK_IO_DIRECTION)))}) "
                    f"(rate({observed(semconv.METRIC_PROCESS_DISK_IO)}{{{_PICKED}}}[$__rate_interval]))"
                ),
                f"{{{{{label(semconv.DISK_IO_DIRECTION)}}}}} {_WHO}",
            ),
        ),
        panels.time_series(
            "In percent, as ModelArts counts",
            "The six series of ModelArts: of the CPU limit, the memory limit, the GPUs, their memory, the NPUs, "
            "theirs.",
            units.Percent,
            missing.USAGE,
            *(
                samples.chart(_most(_mean(semconv.METRIC_TASK_SERIES.format(name=name))), f"{name} {_WHO}")
                for name in semconv.SERIES[:6]
            ),
        ),
    ]


def _gpu() -> list[panels.Panel]:
    return [
        panels.time_series(
            "GPU memory utilisation",
            "Memory in use of each GPU, whoever uses it, and all of its memory.",
            units.BytesIEC,
            missing.GPU,
            samples.chart(f"max({samples.largest(semconv.METRIC_HW_GPU_MEMORY_LIMIT, _PICKED)})", "All of one GPU"),
            samples.chart(_most(_peak(semconv.METRIC_HW_GPU_MEMORY_USAGE, *_DEVICE)), _WHICH),
            dashed=("All of one GPU",),
        ),
        panels.time_series(
            "GPU utilisation",
            "Share of time in which each GPU computed. Of request: the sum of all GPUs over the GPUs that were "
            "requested (requests.gpu).",
            units.PercentUnit,
            missing.GPU,
            samples.chart(_most(_mean(semconv.METRIC_HW_GPU_UTILIZATION, *_DEVICE)), _WHICH),
            samples.chart(_most(_mean(semconv.METRIC_TASK_GPU_OF_REQUEST)), f"Of request {_WHO}"),
            maximum=1,
        ),
    ]


def _npu() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Accelerator memory",
            "Memory in use of each NPU or other accelerator that is no GPU, and all of its memory.",
            units.BytesIEC,
            missing.NPU,
            samples.chart(f"max({samples.largest(semconv.METRIC_ACCELERATOR_MEMORY_LIMIT, _PICKED)})", "All of one"),
            samples.chart(_most(_peak(semconv.METRIC_ACCELERATOR_MEMORY_USAGE, *_DEVICE)), _WHICH),
            dashed=("All of one",),
        ),
        panels.time_series(
            "Accelerator utilisation",
            "Share of time in which each NPU or other accelerator that is no GPU computed.",
            units.PercentUnit,
            missing.NPU,
            samples.chart(_most(_mean(semconv.METRIC_ACCELERATOR_UTILIZATION, *_DEVICE)), _WHICH),
            maximum=1,
        ),
    ]


def _devices() -> list[panels.Panel]:
    first = f"min_over_time({observed(semconv.METRIC_HW_ENERGY)}{{{_PICKED}}}[$__range])"
    return [
        panels.time_series(
            "Power",
            "Power drawn by each GPU and NPU.",
            units.Watt,
            missing.ENERGY,
            samples.chart(_most(_mean(semconv.METRIC_HW_POWER, *_DEVICE)), _WHICH),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Energy drawn",
            "Energy that each GPU and NPU has drawn; its counter begins when the driver is loaded, what is shown when "
            "the time range does.",
            units.Joule,
            missing.ENERGY,
            samples.chart(
                _most(
                    f"max by ({','.join((*_IDENTITY, *_DEVICE))}) "
                    f"({samples.largest(semconv.METRIC_HW_ENERGY, _PICKED)} - {first})"
                ),
                _WHICH,
            ),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Temperature",
            "Temperature of each GPU and NPU.",
            units.Celsius,
            missing.ENERGY,
            samples.chart(_most(_peak(semconv.METRIC_HW_TEMPERATURE, *_DEVICE)), _WHICH),
            minimum=None,
            width=panels.THIRD,
        ),
        panels.rows(
            "Errors and lost devices",
            "Errors that the driver counts, by device and kind; and whether the device has stopped to answer, by 1.",
            units.Short,
            missing.GPU,
            promql_now(
                f"max by ({','.join((*_IDENTITY, *_DEVICE, label(semconv.ERROR_TYPE)))}) "
                f"(last_over_time({observed(semconv.METRIC_HW_ERRORS)}{{{_PICKED}}}[$__range]))"
            ),
            promql_now(
                f"max by ({','.join((*_IDENTITY, *_DEVICE))}) "
                f'(last_over_time({observed(semconv.METRIC_HW_STATUS)}{{{_PICKED},{label(semconv.HW_STATE)}="failed"}}'
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
    of_map = f'{_PICKED},{label(semconv.ARRAY_INDEX)}!=""'
    ended = f"max by ({by},{result}) (last_over_time({_ATTEMPTS}{{{of_map}}}[$__range]))"
    # What has sent samples of late, and no end, is running. Samples come once a minute by default.
    heard = f"group by ({by}) (last_over_time({observed(semconv.METRIC_TASK_MEMORY_USAGE)}{{{of_map}}}[3m]))"
    running = f'label_replace({heard} unless on ({by}) {ended}, "{result}", "running", "", "")'

    def peak(metric: str) -> str:
        return f"max by ({by}) (max_over_time({observed(metric)}{{{of_map}}}[$__range]))"

    return [
        panels.rows(
            "Subtasks",
            "The subtasks of a map task: how each ended, how long it took, and the largest share of its limits and "
            "requests that it used. An index opens this dashboard for that subtask alone. Shares are those of "
            "subtasks of 5 s and longer.",
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
                        "This subtask alone",
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
            "The spans of attempts of this node, a hundred of a trace, with what each used; a span's id opens its "
            "trace. Short ones that sent no metrics are here too.",
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
            "How long each phase takes: the 95th percentile of all attempts of this node that ended then.",
            units.Seconds,
            missing.PHASES,
            traceql_metrics(
                f"{{ {_TASK_SPANS} }} > {{ {spans.PHASES} }} | quantile_over_time(duration, 0.95) by (name)"
            ),
        ),
        panels.rows(
            "Phases of each attempt",
            "What an attempt does one after the other, how long each phase takes and what it used. Phases of less "
            "than 0.1 s have no usage.",
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
            "The one trace of all pods of this execution, and those of map subtasks with an index of 500 and above.",
            units.Short,
            missing.SPANS,
            traceql_traces(f"{{ {spans.OURS} && {_EXECUTION} }}"),
            height=6,
        ),
    ]


def _logs() -> list[panels.Panel]:
    # Loki wants a selector that can't match nothing, and All may.
    streams = f'{{service_name=~".+", {label(semconv.PROJECT)}=~"$project", {label(semconv.DOMAIN)}=~"$domain"}}'
    fields = (
        f'{label(semconv.RUN_NAME)}=~"$execution"',
        f"{label(semconv.ACTION_NAME)}=~{_NODE}",
        f'{label(semconv.ATTEMPT)}=~"$attempt"',
        f'{label(semconv.ARRAY_INDEX)}=~"$index"',
        # What otel-flyte says of the task's life is no line of the task.
        f'{label(semconv.EVENT_NAME)}!~"{semconv.EVENT_PHASE}|{semconv.EVENT_HEARTBEAT}"',
    )
    picked = f"{streams} | {' | '.join(fields)}"
    return [
        panels.time_series(
            "Log records",
            "How many log records the task wrote in each interval, by severity: otel-flyte's own of its phases are "
            "left out.",
            units.Short,
            missing.LOGS,
            logql(f"sum by (detected_level) (count_over_time({picked} [$__interval]))", "{{detected_level}}"),
            width=panels.FULL,
            height=4,
            is_stacked=True,
        ),
        panels.log_lines(
            "Logs",
            "What the task writes to stdout and stderr and logs by logging, while it runs; a record's trace id opens "
            "the trace.",
            missing.LOGS,
            logql(picked),
        ),
    ]
