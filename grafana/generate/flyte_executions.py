"""Executions: the number, results and durations of attempts, and the failed and slowest ones."""

from grafana.generate import links, missing, panels, samples, span_metrics, spans
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.names import label
from grafana.generate.sources import promql, promql_each, promql_now, traceql_metrics, traceql_spans
from grafana.generate.variables import of_label
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_flyte import semconv

_TASK = label(semconv.TASK_NAME)
_WORKFLOW = label(semconv.WORKFLOW_NAME)

_VARIABLES = {
    "project": semconv.PROJECT,
    "domain": semconv.DOMAIN,
    "workflow": semconv.WORKFLOW_NAME,
    "task": semconv.TASK_NAME,
}
_TASKS = f"{span_metrics.OF_TASKS},{spans.selected_series(_VARIABLES.items())}"
_PHASES = f"{span_metrics.OF_PHASES},{spans.selected_series(_VARIABLES.items())}"
_FAILED = f"{_TASKS},{span_metrics.FAILED}"

_SERIES = spans.selected_series(_VARIABLES.items())
_FAILED_SERIES = f'{_SERIES},{label(semconv.RESULT)}="{semconv.RESULT_FAILURE}"'
_RETRIED_SERIES = f'{_SERIES},{label(semconv.ATTEMPT)}!~"|0"'
_SPANS = f"{spans.TASKS} && {spans.selected(_VARIABLES.items())}"
_FAILURE = spans.select(
    semconv.TASK_NAME,
    semconv.ERROR_CODE,
    semconv.ERROR_KIND,
    semconv.ERROR_TYPE,
    of_resource=links.VARIABLES.values(),
)
_COLUMNS = {
    semconv.RUN_NAME: "Execution",
    semconv.TASK_NAME: "Task",
    semconv.ACTION_NAME: "Node",
    semconv.ATTEMPT: "Attempt",
    semconv.ARRAY_INDEX: "Index",
}
_NUMBERS = {"Attempt": units.NoUnit, "Index": units.NoUnit}
_QUANTILES = (("median", 0.5), ("95 %", 0.95), ("99 %", 0.99))


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-executions",
        "Flyte / Executions",
        "Number, results and durations of attempts, their waiting times, and the failed and slowest ones.",
        _variables(),
        [
            Row("Rate, errors, duration", _golden()),
            Row("By workflow and task", _by_task()),
            Row("Failed and slowest", _worst()),
            Row("Waiting and set-up", _waiting()),
            Row("Retries and cache", _retries()),
        ],
        since="now-6h",
    )


def _variables() -> list[dashboard.QueryVariable]:
    found = []
    chosen = span_metrics.OF_TASKS
    for name, attribute in _VARIABLES.items():
        title = name.capitalize()
        description = f"{title}s of attempts that the collector has counted in the time range."
        selector = f"{span_metrics.CALLS}{{{chosen}}}"
        found.append(of_label(name, title, description, label(attribute), selector))
        chosen += f',{label(attribute)}=~"${name}"'
    return found


def _rate(selector: str, by: str) -> str:
    return f"sum by ({by}) (rate({span_metrics.CALLS}{{{selector}}}[$__rate_interval]))"


def _quantile(share: float, selector: str, window: str, by: str = "") -> str:
    buckets = f"rate({span_metrics.BUCKET}{{{selector}}}[{window}])"
    labels = f"le,{by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"


def _golden() -> list[panels.Panel]:
    return [
        panels.number(
            "Attempts",
            "Attempts of tasks that ended in the time range.",
            units.Short,
            missing.ATTEMPTS,
            promql_each(samples.ended(_SERIES)),
            decimals=0,
        ),
        panels.number(
            "Share that failed",
            "Share of the attempts that failed.",
            units.PercentUnit,
            missing.ATTEMPTS,
            promql_each(
                f"({samples.ended(_FAILED_SERIES)} or 0 * {samples.ended(_SERIES)}) / {samples.ended(_SERIES)}"
            ),
            steps=((None, "green"), (0.01, "orange"), (0.1, "red")),
        ),
        panels.number(
            "Median duration",
            "The median of the durations of attempts.",
            units.Seconds,
            missing.ATTEMPTS,
            promql_each(samples.durations(0.5, _SERIES)),
        ),
        panels.number(
            "95th percentile of durations",
            "The 95th percentile of the durations of attempts.",
            units.Seconds,
            missing.ATTEMPTS,
            promql_each(samples.durations(0.95, _SERIES)),
        ),
        panels.number(
            "Retries",
            "Attempts that were not the first of their node, in the time range.",
            units.Short,
            missing.ATTEMPTS,
            promql_each(f"{samples.ended(_RETRIED_SERIES)} or 0 * {samples.ended(_SERIES)}"),
        ),
        panels.number(
            "Executions",
            "Executions with an attempt that ended in the time range.",
            units.Short,
            missing.ATTEMPTS,
            promql_each(
                f"count(group by ({label(semconv.PROJECT)},{label(semconv.DOMAIN)},{label(semconv.RUN_NAME)}) "
                f"(last_over_time(flyte_task_attempts_total{{{_SERIES}}}[$__range])))"
            ),
        ),
        panels.time_series(
            "Attempts by task",
            "Attempts that ended per second, of the ten tasks with most.",
            units.OpsPerSecond,
            missing.SPAN_METRICS,
            promql(f"topk(10, {_rate(_TASKS, _TASK)})", f"{{{{{_TASK}}}}}", exemplars=True),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Errors by task",
            "Attempts that failed per second, of the ten tasks with most.",
            units.OpsPerSecond,
            "No attempt failed, or the collector has counted none in the time range.",
            promql(f"topk(10, {_rate(_FAILED, _TASK)})", f"{{{{{_TASK}}}}}", exemplars=True),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Duration",
            "Durations of attempts, interpolated between the bounds of buckets, such as 0.5 s and 1 s. A click on an "
            "exemplar opens its trace.",
            units.Milliseconds,
            missing.SPAN_METRICS,
            *(promql(_quantile(share, _TASKS, "$__rate_interval"), name, exemplars=True) for name, share in _QUANTILES),
            width=panels.THIRD,
        ),
    ]


def _by_task() -> list[panels.Panel]:
    by = f"{_WORKFLOW},{_TASK}"
    return [
        panels.rows(
            "Tasks",
            "Ended and failed attempts in the time range and their durations, by workflow and task.",
            units.Short,
            missing.ATTEMPTS,
            promql_now(samples.ended(_SERIES, by)),
            promql_now(samples.ended(_FAILED_SERIES, by)),
            promql_now(samples.durations(0.5, _SERIES, by)),
            promql_now(samples.durations(0.95, _SERIES, by)),
            names={
                _WORKFLOW: "Workflow",
                _TASK: "Task",
                "Value #A": "Attempts",
                "Value #B": "Failed",
                "Value #C": "Median",
                "Value #D": "95 %",
            },
            units={"Median": units.Seconds, "95 %": units.Seconds},
            links={"Task": [panels.link("Its efficiency", links.efficiency_of_task())]},
            sorted_by="Attempts",
        ),
        panels.time_series(
            "Duration by workflow and task",
            "The 95th percentile of the ten slowest tasks, interpolated between the bounds of buckets.",
            units.Milliseconds,
            missing.SPAN_METRICS,
            promql(
                f"topk(10, {_quantile(0.95, _TASKS, '$__rate_interval', by)})",
                f"{{{{{_WORKFLOW}}}}} {{{{{_TASK}}}}}",
            ),
        ),
        panels.time_series(
            "Errors by code",
            "Failed attempts by Flyte's error code. USER and SYSTEM is the kind of error.",
            units.Short,
            "No attempt failed, or spans do not arrive in Tempo.",
            traceql_metrics(f"{{ {_SPANS} && status = error }} | count_over_time() by (span.{semconv.ERROR_CODE})"),
            is_stacked=True,
        ),
    ]


def _worst() -> list[panels.Panel]:
    slowest = [label(attribute) for attribute in (*links.VARIABLES.values(), semconv.TASK_NAME, semconv.RESULT)]
    return [
        panels.rows(
            "Failed attempts",
            "The last failed attempts with the error's code. A click on an execution opens the dashboard of the "
            "attempt, a click on a span id its trace.",
            units.Short,
            "No attempt failed, or spans do not arrive in Tempo.",
            traceql_spans(
                f"{{ {_SPANS} && status = error }} | {_FAILURE} with (most_recent = true)",
                traces=50,
            ),
            names={
                "Start time": "Start",
                **_COLUMNS,
                semconv.ERROR_CODE: "Error",
                semconv.ERROR_TYPE: "Exception",
                semconv.ERROR_KIND: "Kind",
                "Duration": "Duration",
            },
            units=_NUMBERS,
            links={"Execution": [panels.link("This attempt", links.of_span())]},
        ),
        panels.rows(
            "Slowest attempts",
            "The 20 slowest attempts of pods. A click on an execution opens the dashboard of the attempt.",
            units.Seconds,
            missing.ATTEMPTS,
            promql_now(
                f"topk(20, max by ({','.join(slowest)}) "
                f'(last_over_time(flyte_task_duration_seconds_sum{{{_SERIES},{label(semconv.RUN_NAME)}!=""}}[$__range])))'
            ),
            names={
                **{label(attribute): title for attribute, title in _COLUMNS.items()},
                label(semconv.RESULT): "Result",
                "Value": "Duration",
            },
            units=_NUMBERS,
            links={"Execution": [panels.link("This attempt", links.of_series())]},
            sorted_by="Duration",
        ),
    ]


def _waiting() -> list[panels.Panel]:
    total = f"sum by ({span_metrics.SPAN_NAME}) (rate({span_metrics.SUM}{{{_PHASES}}}[$__rate_interval]))"
    many = f"sum by ({span_metrics.SPAN_NAME}) (rate({span_metrics.COUNT}{{{_PHASES}}}[$__rate_interval]))"
    return [
        panels.time_series(
            "Time in each phase",
            "Mean time of an attempt in each phase. All phases except user code are set-up and data.",
            units.Milliseconds,
            missing.SPAN_METRICS,
            promql(f"{total} / {many}", f"{{{{{span_metrics.SPAN_NAME}}}}}"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Queueing",
            "Time from queueing a node until its handler reports it as running: scheduling, pulling, starting. The "
            "quantiles are propeller's, of the slowest workflow.",
            units.Milliseconds,
            missing.PROPELLER,
            promql(
                'max by (quantile) ({__name__="flyte:propeller:all:node:queueing_latency_ms"})', "quantile {{quantile}}"
            ),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Between nodes",
            "Time in the engine from the end of a node to the start of the next. The quantiles are propeller's, of the "
            "slowest workflow.",
            units.Milliseconds,
            missing.PROPELLER,
            promql(
                'max by (quantile) ({__name__="flyte:propeller:all:node:transition_latency_ms"})',
                "quantile {{quantile}}",
            ),
            width=panels.THIRD,
        ),
    ]


def _retries() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Retries by task",
            "Ended attempts that were not the first of their node.",
            units.Short,
            "No retries, or spans do not arrive in Tempo.",
            traceql_metrics(
                f"{{ {_SPANS} && span.{semconv.ATTEMPT} > 0 }} | count_over_time() by (span.{semconv.TASK_NAME})"
            ),
            is_stacked=True,
        ),
        panels.time_series(
            "Cache",
            "Cache hits and misses of local runs. In a cluster propeller looks results up, and a hit has no pod.",
            units.Short,
            "No local run of a cached task, or spans do not arrive in Tempo.",
            traceql_metrics(
                f"{{ {spans.TASKS} && span.{semconv.CACHE_STATUS} != nil }} "
                f"| count_over_time() by (span.{semconv.CACHE_STATUS})"
            ),
            is_stacked=True,
        ),
    ]
