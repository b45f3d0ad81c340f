"""Usage samples of pods, by default one per minute until the end of the pod.

Prometheus returns a sample for five minutes, which for most pods is after their end. So a point of a chart uses only
the samples since the previous point, at any zoom level.
"""

from grafana.generate.names import observed
from grafana.generate.sources import Query, promql

STEP = "1m"
"""The default of ``OTEL_METRIC_EXPORT_INTERVAL``: one point for each sample."""

_ATTEMPTS = "flyte_task_attempts_total"
_DURATIONS = "flyte_task_duration_seconds"


def largest(metric: str, selector: str) -> str:
    """Return the largest sample of each series since the previous point.

    Args:
        metric: A usage instrument, by its name in ``semconv``.
        selector: The matchers, without braces.
    """
    return f"max_over_time({observed(metric)}{{{selector}}}[$__interval])"


def mean(metric: str, selector: str) -> str:
    """Return the mean of the samples of each series since the previous point. Arguments as in :func:`largest`."""
    return f"avg_over_time({observed(metric)}{{{selector}}}[$__interval])"


def chart(expression: str, legend: str = "", *, exemplars: bool = False) -> Query:
    """Return the query for a chart of an expression of :func:`largest` or :func:`mean`."""
    return promql(expression, legend, exemplars=exemplars, least_step=STEP)


def ended(selector: str, by: str = "") -> str:
    """Return the exact number of attempts that ended in the time range.

    A pod counts its one attempt in a series of its own that begins at 1, and ``increase()`` sees no growth there.
    """
    now = f"max_over_time({_ATTEMPTS}{{{selector}}}[$__range])"
    before = f"max_over_time({_ATTEMPTS}{{{selector}}}[$__range] offset $__range)"
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} ({now} - ({before} or 0 * {now}))"


def durations(share: float, selector: str, by: str = "") -> str:
    """Return a quantile of the durations of the attempts that ended in the time range, in seconds.

    The one attempt of a pod is a series of its own, so the result is exact, not interpolated between buckets. A process
    that ran a task several times counts once, with the mean.

    Args:
        share: The share of the attempts, from 0 to 1.
        selector: The matchers, without braces.
        by: Labels, for a quantile for each of their values.
    """
    total, many = (f"last_over_time({_DURATIONS}_{part}{{{selector}}}[$__range])" for part in ("sum", "count"))
    return f"quantile{f' by ({by})' if by else ''} ({share}, {total} / {many})"
