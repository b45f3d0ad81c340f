"""Telemetry health: received, rejected, dropped and queued records, and the number of series."""

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
"""The collector's names of signals, and the displayed ones."""

_DROPPED = {
    "spans": metric(semconv.METRIC_SPANS_EXPORTED, "{span}", COUNTER),
    "metric points": metric(semconv.METRIC_DATA_POINTS_EXPORTED, "{data_point}", COUNTER),
    "log records": metric(semconv.METRIC_LOGS_EXPORTED, "{log_record}", COUNTER),
}
_REASON = label(semconv.ERROR_TYPE)
_RED_FROM_ONE = ((None, "green"), (1, "red"))
_COLLECTOR = '{__name__=~"otelcol_process_uptime.*"}'
_PODS = f'last_over_time(target_info{{{label(semconv.PROJECT)}!=""}}[$__range])'
_TEMPO = "tempo_build_info"
_LOKI = "loki_build_info"


def board() -> Dashboard:
    """Return the dashboard."""
    return made(
        "flyte-telemetry",
        "Flyte / Telemetry health",
        "Received, rejected, dropped and queued telemetry of tasks, and the number of series.",
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
    """Select a counter of the collector itself. Its suffix ``_total`` depends on the reader's configuration."""
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
    """Return queries for the number of records of each signal."""
    return [
        promql_each(" + ".join(_sum(f"{event}_{name}") for event in events), noun) for name, noun in _SIGNALS.items()
    ]


def _sum(counter: str) -> str:
    return f"({_none(f'sum(increase({own(counter)}[$__range]))')})"


def _none(expression: str, by: str = "", source: str = _COLLECTOR) -> str:
    """Return 0 if nothing was counted although the source exports other metrics, and no data if it exports none."""
    nothing = f"0 * max({source})"
    return f"{expression} or " + (f'label_replace({nothing}, "{by}", "none", "", "")' if by else nothing)


def _dropped() -> str:
    """Return the query for records that pods have dropped. Each pod reports them once, so a rate would be 0."""
    names = "|".join(_DROPPED.values())
    return _none(f'sum(last_over_time({{__name__=~"{names}",{_REASON}!=""}}[$__range]))', source=_PODS)


def _glance() -> list[panels.Panel]:
    return [
        panels.number(
            "Received",
            "Spans, metric points and log records that the collector accepted in the time range.",
            units.Short,
            missing.COLLECTOR,
            *_sums("receiver_accepted"),
        ),
        panels.number(
            "Rejected",
            "Records that the collector rejected, mostly because its memory was full. Senders retry.",
            units.Short,
            missing.COLLECTOR,
            *_sums("receiver_refused"),
            steps=_RED_FROM_ONE,
        ),
        panels.number(
            "Dropped by the collector",
            "Records that it could not queue, or that a backend rejected permanently.",
            units.Short,
            missing.COLLECTOR,
            *_sums("exporter_send_failed", "exporter_enqueue_failed"),
            steps=_RED_FROM_ONE,
        ),
        panels.number(
            "Dropped by pods",
            "Records that pods could neither send nor keep. Only pods that send metrics report them.",
            units.Short,
            missing.DROPPED,
            promql_each(_dropped()),
            steps=_RED_FROM_ONE,
        ),
        panels.number(
            "Queued on disk",
            "Records on the collector's disk that wait for a backend. Records that pods have spooled "
            "(OTEL_FLYTE_SPOOL) are counted when `otel-flyte replay` sends them.",
            units.BytesIEC,
            missing.COLLECTOR,
            promql_each(f"sum({own('exporter_queue_size')})"),
        ),
        panels.number(
            "Discarded by Tempo",
            "Spans that Tempo discarded. The reason is below.",
            units.Short,
            missing.TEMPO,
            promql_each(_none("sum(increase(tempo_discarded_spans_total[$__range]))", source=_TEMPO)),
            steps=_RED_FROM_ONE,
        ),
    ]


def _pods() -> list[panels.Panel]:
    return [
        panels.rows(
            "Dropped by pods, by reason",
            "Records that pods dropped in the time range, by signal and reason: the queue was full, no answer in time, "
            "too large, rejected.",
            units.Short,
            missing.DROPPED,
            *(
                promql_now(
                    _none(f'sum by ({_REASON}) (last_over_time({name}{{{_REASON}!=""}}[$__range]))', _REASON, _PODS)
                )
                for name in _DROPPED.values()
            ),
            names={
                _REASON: "Reason",
                **{f"Value #{letter}": noun.capitalize() for letter, noun in zip("ABC", _DROPPED, strict=True)},
            },
            width=panels.HALF,
            height=8,
        ),
        panels.time_series(
            "Started and ended",
            "Attempts whose pending span `running` arrived, and whose task span arrived. A lasting difference between "
            "the curves means killed attempts, or lost spans.",
            units.Short,
            missing.SPANS,
            traceql_metrics(f"{{ {spans.PENDING} }} | count_over_time()"),
            traceql_metrics(f"{{ {spans.TASKS} }} | count_over_time()"),
        ),
    ]


def _collector() -> list[panels.Panel]:
    return [
        panels.time_series(
            "Received per second",
            "Records per second that the collector accepted, by receiver.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("receiver_accepted", "receiver"),
        ),
        panels.time_series(
            "Sent per second",
            "Records per second that a backend accepted, by exporter.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("exporter_sent", "exporter"),
        ),
        panels.time_series(
            "Rejected per second",
            "Records per second that the collector rejected, by receiver: its memory was full, or they were malformed.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("receiver_refused", "receiver"),
        ),
        panels.time_series(
            "Dropped per second",
            "Records per second that were lost: a backend rejected them permanently, or the queue was full.",
            units.OpsPerSecond,
            missing.COLLECTOR,
            *_rates("exporter_send_failed", "exporter"),
            *_rates("exporter_enqueue_failed", "exporter"),
        ),
        panels.time_series(
            "Queue",
            "Records on the collector's disk that wait for a backend, and the capacity.",
            units.BytesIEC,
            missing.COLLECTOR,
            promql(f"max by (exporter) ({own('exporter_queue_capacity')})", "Capacity {{exporter}}"),
            promql(f"sum by (exporter,data_type) ({own('exporter_queue_size')})", "{{exporter}} {{data_type}}"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Memory of the collector",
            "Resident memory. At its limit the collector rejects records.",
            units.BytesIEC,
            missing.COLLECTOR,
            promql(f"max by (job,instance) ({own('process_memory_rss(_bytes)?')})", "{{job}} {{instance}}"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "CPU of the collector",
            "Used cores.",
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
            "Spans per second that Tempo accepted.",
            units.OpsPerSecond,
            missing.TEMPO,
            promql("sum(rate(tempo_distributor_spans_received_total[$__rate_interval]))", "received"),
            width=panels.THIRD,
        ),
        panels.time_series(
            "Tempo: spans discarded",
            "Spans per second that Tempo discarded, by reason. Of a trace that is too large, the spans that end last "
            "are discarded, including the root.",
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
            "Log lines per second that Loki accepted, and that it discarded, by reason.",
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
            "Samples per second that Prometheus stored, and that it rejected: out of order, too old.",
            units.OpsPerSecond,
            missing.PROMETHEUS,
            promql("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "stored"),
            promql("sum(rate(prometheus_tsdb_out_of_order_samples_total[$__rate_interval]))", "out of order"),
            promql("sum(rate(prometheus_tsdb_too_old_samples_total[$__rate_interval]))", "too old"),
        ),
        panels.time_series(
            "Scraped targets",
            "1 while a target answers, else 0, by job.",
            units.NoUnit,
            "No targets: no variable that ends in _TARGETS has an address.",
            promql("min by (job,instance) (up)", "{{job}} {{instance}}"),
            maximum=1,
        ),
    ]


def _cardinality() -> list[panels.Panel]:
    folded = f'{{{label(semconv.METRIC_OVERFLOW)}="true"}}'
    return [
        panels.time_series(
            "Series, streams, traces",
            "Series in Prometheus' memory, streams in Loki, open traces in Tempo.",
            units.Short,
            missing.PROMETHEUS,
            promql("max(prometheus_tsdb_head_series)", "series of Prometheus"),
            promql("sum(loki_ingester_memory_streams)", "streams of Loki"),
            promql('sum({__name__=~"tempo_.*live_traces"})', "traces of Tempo"),
        ),
        panels.time_series(
            "New series",
            "Series per second that Prometheus created: each pod has new ones.",
            units.OpsPerSecond,
            missing.PROMETHEUS,
            promql("sum(rate(prometheus_tsdb_head_series_created_total[$__rate_interval]))", "created"),
            promql("sum(rate(prometheus_tsdb_head_series_removed_total[$__rate_interval]))", "removed"),
        ),
        panels.rows(
            "Series of pods, by metric",
            "The metrics of pods with most series now.",
            units.Short,
            missing.USAGE,
            promql_now(f'topk(20, count by (__name__) ({{{label(semconv.PROJECT)}!=""}}))'),
            names={"__name__": "Metric", "Value": "Series"},
            width=panels.HALF,
            sorted_by="Series",
        ),
        panels.rows(
            "Series over the limit",
            "Metrics with more attribute sets in a process than the SDK's limit (2,000): the rest is one series.",
            units.Short,
            "No metrics of pods.",
            promql_now(_none(f"count by (__name__,job) (last_over_time({folded}[$__range]))", "job", _PODS)),
            names={"__name__": "Metric", "job": "Service", "Value": "Series"},
            width=panels.HALF,
            sorted_by="Series",
        ),
    ]
