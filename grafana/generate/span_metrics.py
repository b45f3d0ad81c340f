"""Span metrics of the collector: ``traces.span.metrics.*`` of its ``span_metrics`` connector.

A pod counts its attempt once, so a rate needs a process that stays. ``collector/config.yaml`` has the attributes of the
series.
"""

from otel_flyte import semconv

CALLS = "traces_span_metrics_calls_total"
BUCKET = "traces_span_metrics_duration_milliseconds_bucket"
SUM = "traces_span_metrics_duration_milliseconds_sum"
COUNT = "traces_span_metrics_duration_milliseconds_count"

SPAN_NAME = "span_name"
FAILED = 'status_code="STATUS_CODE_ERROR"'

OF_TASKS = f'{SPAN_NAME}=~"{semconv.SPAN_TASK.format(name=".*")}"'
OF_PHASES = f'{SPAN_NAME}=~"{"|".join(semconv.PHASES)}"'
