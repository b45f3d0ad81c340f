"""Telemetry health: what was received, refused, dropped and kept, what waits, and how many series there are."""

from grafana.generate import missing, panels, spans
from grafana.generate.boards import Row
from grafana.generate.boards import board as made
from grafana.generate.names import label, metric
from grafana.generate.sources import Query, promql, promql_each, promql_now, traceql_metrics
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from otel_flyte import semconv
from otel_flyte.usage.instruments import COUNTER

_SIGNALS = {"spans": "spans", "metric_points": "metric points", "log_records": "log records"}
"""What the collector calls what it counts, and what people do."""

_LOST = {
    "spans": metric(semconv.METRIC_SPANS_EXPORTED, "{span}", COUNTER),
    "metric points": metric(semconv.METRIC_DATA_POINTS_EXPORTED, "{data_point}", COUNTER),
    "log records": metric(semconv.METRIC_LOGS_EXPORTED, "{log_record}", COUNTER),
}
_REASON = label(semconv.ERROR_TYPE)
_NONE_LOST = ((None, "green"), (1, "red"))
_COLLECTOR = '{__name__=~"otelcol_process_uptime.*"}'
_PODS = f'last_over_time(target_info{{{label(semconv.PROJECT)}!=""}}[$__range])'
_TEMPO = "tempo_build_info"
_LOKI = "loki_build_info"


def board() -> Dashboard:
    """Describe the dashboard."""
    return made(
        "flyte-telemetry",
        "Flyte / Telemetry health",
        "Whether what tasks tell arrives: received, refused, dropped and kept, what waits on disk, and how many "
        "series there are.",
        [],
        [
            Row("At a glance", _glance()),
            Row("Pods", _pods()),
            Row("Collector", _collector()),
            Row("Tempo, Loki, Prometheus", _backends()),
            Row("Cardinality", _cardinality()),
        ],
        since="now-6h",
    )


def own(name: str, more: str = "") -> str:
    """Select a counter of the collector about itself, which ends in ``_total`` or not, as its reader is configured."""
    return f'{{__name__=~"otelcol_{name}(_total)?"{more}}}'


def _rates(event: str, by: str) -> list[Query]:
    return [
        promql(
            _none(f"sum by ({by}) (rate({own(f'{event}_{name}')}[$__rate_interval]))", by),
            f"{{{{{by}}}}}: {noun}",
        )
        for name, noun in _SIGNALS.items()
    ]


def _sums(*events: str) -> list[Query]:
    """How many records of each signal."""
    return [
        promql_each(" + ".join(_sum(f"{event}_{name}") for event in events), noun) for name, noun in _SIGNALS.items()
    ]


def _sum(counter: str) -> str:
    return f"({_none(f'sum(increase({own(counter)}[$__range]))')})"


def _none(expression: str, by: str = "", witness: str = _COLLECTOR) -> str:
    """Have 0 where nothing was counted by somebody who tells other things: not where nobody tells anything."""
    nothing = f"0 * max({witness})"
    return f"{expression} or " + (f'label_replace({nothing}, "{by}", "none", "", "")' if by else nothing)


def _given_up() -> str:
    """How many records pods gave up: each pod tells once, so a rate would see nothing."""
    names = "|".join(_LOST.values())
    return _none(f'sum(last_over_time({{__name__=~"{names}",{_REASON}!=""}}[$__range]))', witness=_PODS)


def _glance() -> list[panels.Panel]:
    return [
        panels.number(
            "Received",
            "Spans, metric points and log records that the collector took, in this time.",
            units.Short,
            missing.COLLECTOR,
            *_sums("receiver_accepted"),
        ),
        panels.number(
            "Refused",
            "What the collector did not take, mostly because its memory was full. Senders try again.",
            units.Short,
            missing.COLLECTOR,
            *_sums("receiver_refused"),
            steps=_NONE_LOST,
        ),
        panels.number(
            "Dropped by the collector",
            "What it could not queue, or a backend refused for good.",
            units.Short,
            missing.COLLECTOR,
            *_sums("exporter_send_failed", "exporter_enqueue_failed"),
            steps=_NONE_LOST,
        ),
        panels.number(
            "Given up by pods",
            "What pods could neither send nor keep. A pod tells if it sends metrics at all.",
            units.Short,
            missing.LOSSES,
            promql_each(_given_up()),
            steps=_NONE_LOST,
        ),
        panels.number(
            "Kept on disk",
            "What waits on the collector's disk for a backend: spooled, and sent when it answers. What a pod keeps by "
            "OTEL_FLYTE_SPOOL is told by nobody before `otel-flyte replay` sends it.",
            units.BytesIEC,
            missing.COLLECTOR,
            promql_each(f"sum({own('exporter_queue_size')})"),
        ),
        panels.number(
            "Discarded by Tempo",
            "Spans that Tempo did not keep: see the reason below.",
            units.Short,
            missing.TEMPO,
            promql_each(_none("sum(increase(tempo_discarded_spans_total[$__range]))", witness=_TEMPO)),
            steps=_NONE_LOST,
        ),
    ]


def _pods() -> list[panels.Panel]:
    return [
        panels.rows(
            "Given up, by reason",
            "Records that pods neither delivered nor kept, by signal and reason, in this time: a queue that was full, "
            "no answer in time, too large, rejected.",
            units.Short,
            missing.LOSSES,
            *(
                promql_now(
                    _none(f'sum by ({_REASON}) (last_over_time({name}{{{_REASON}!=""}}[$__range]))', _REASON, _PODS)
                )
                for name in _LOST.values()
            ),
            names={
                _REASON: "Reason",
                **{f"Value #{letter}": noun.capitalize() for letter, noun in zip("ABC", _LOST, strict=True)},
            },
            width=panels.HALF,
            height=8,
        ),
        panels.time_series(
            "Began and ended",
            "Attempts whose early span `running` arrived, and whose task span did. What stays between the two curves "
            "for long was killed, or its last words were lost.",
            units.Short,
            missing.SPANS,
            traceql_metrics(f"{{ {spans.MARKERS} }} | count_over_time()"),
            traceql_metrics(f"{{ {spans.TASKS} }} | count_over_time()"),
        ),
    ]


def _collector() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Received per second",
            "Records per second that the collector took, by receiver.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("receiver_accepted", "receiver"),
        ),
        panels.time_series(
            "Sent per second",
            "Records per second that a backend took, by exporter.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("exporter_sent", "exporter"),
        ),
        panels.time_series(
            "Refused per second",
            "Records per second that the collector did not take, by receiver: its memory was full, or they were "
            "malformed.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("receiver_refused", "receiver"),
        ),
        panels.time_series(
            "Dropped per second",
            "Records per second that were lost: a backend refused them for good, or the queue was full.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("exporter_send_failed", "exporter"),
            *_rates("exporter_enqueue_failed", "exporter"),
        ),
        panels.time_series(
            "Queue",
            "What waits for a backend, on the collector's disk, and how much may.",
            units.BytesIEC,
            missing.COLLECTOR,
            promql(f"max by (exporter) ({own('exporter_queue_capacity')})", "Capacity {{exporter}}"),
            promql(f"sum by (exporter,data_type) ({own('exporter_queue_size')})", "{{exporter}} {{data_type}}"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Memory of the collector",
            "Resident memory. At its limit it refuses what comes in.",
            units.BytesIEC,
            missing.COLLECTOR,
            promql(f"max by (job,instance) ({own('process_memory_rss(_bytes)?')})", "{{job}} {{instance}}"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "CPU of the collector",
            "Cores in use.",
            units.Short,
            missing.COLLECTOR,
            promql(
                f"sum by (job,instance) (rate({own('process_cpu_seconds')}[$__rate_interval]))", "{{job}} {{instance}}"
            ),
            width=panels.THIRD,
        ),
    ]


def _backends() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Tempo: spans received",
            "Spans per second that Tempo took.",
            units.OpsPerSecond,
            missing.TEMPO,
            promql("sum(rate(tempo_distributor_spans_received_total[$__rate_interval]))", "received"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Tempo: spans discarded",
            "Spans per second that Tempo did not keep, by reason: of a trace that is too large those that end last, "
            "the root among them.",
            units.OpsPerSecond,
            missing.TEMPO,
            promql(
                _none("sum by (reason) (rate(tempo_discarded_spans_total[$__rate_interval]))", "reason", _TEMPO),
                "{{reason}}",
            ),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Loki: lines received and discarded",
            "Log lines per second that Loki took, and that it did not keep, by reason.",
            units.OpsPerSecond,
            missing.LOKI,
            promql("sum(rate(loki_distributor_lines_received_total[$__rate_interval]))", "received"),
            promql(
                _none("sum by (reason) (rate(loki_discarded_samples_total[$__rate_interval]))", "reason", _LOKI),
                "discarded: {{reason}}",
            ),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Prometheus: samples",
            "Samples per second that Prometheus stored, and that it did not: out of order, too old, duplicates.",
            units.OpsPerSecond,
            missing.PROMETHEUS,
            promql("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "stored"),
            promql("sum(rate(prometheus_tsdb_out_of_order_samples_total[$__rate_interval]))", "out of order"),
            promql("sum(rate(prometheus_tsdb_too_old_samples_total[$__rate_interval]))", "too old"),
        ),
        panels.time_series(
            "What is scraped",
            "1 while a target answers, 0 while it does not, by job.",
            units.NoUnit,
            "Nothing is scraped: no address is given by a variable that ends in _TARGETS.",
            promql("min by (job,instance) (up)", "{{job}} {{instance}}"),
            maximum=1,
        ),
    ]


def _cardinality() -> list[panels.Panel]:
    folded = f'{{{label(semconv.METRIC_OVERFLOW)}="true"}}'
    return [
        panels.time_series(
            "Series, streams, traces",
            "Series that Prometheus has in memory, streams that Loki has, traces that Tempo has open.",
            units.Short,
            missing.PROMETHEUS,
            promql("max(prometheus_tsdb_head_series)", "series of Prometheus"),
            promql("sum(loki_ingester_memory_streams)", "streams of Loki"),
            promql('sum({__name__=~"tempo_.*live_traces"})', "traces of Tempo"),
        ),
        panels.time_series(
            "New series",
            "Series per second that Prometheus made: each pod makes some.",
            units.OpsPerSecond,
            missing.PROMETHEUS,
            promql("sum(rate(prometheus_tsdb_head_series_created_total[$__rate_interval]))", "made"),
            promql("sum(rate(prometheus_tsdb_head_series_removed_total[$__rate_interval]))", "removed"),
        ),
        panels.rows(
            "Series of pods, by metric",
            "The metrics of pods that have most series now.",
            units.Short,
            missing.USAGE,
            promql_now(f'topk(20, count by (__name__) ({{{label(semconv.PROJECT)}!=""}}))'),
            names={"__name__": "Metric", "Value": "Series"},
            width=panels.HALF,
            sorted_by="Series",
        ),
        panels.rows(
            "Series that were folded",
            "Metrics of which a process had more attributes than the SDK keeps apart (2,000): the rest is one series.",
            units.Short,
            "No metrics of pods.",
            promql_now(_none(f"count by (__name__,job) (last_over_time({folded}[$__range]))", "job", _PODS)),
            names={"__name__": "Metric", "job": "Service", "Value": "Series"},
            width=panels.HALF,
            sorted_by="Series",
        ),
    ]
