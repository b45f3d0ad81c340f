"""Samples that pods send about themselves, once a minute unless they are told otherwise, and for as long as they live.

Prometheus takes a sample for the present for five minutes more: of pods that is mostly after their end. So a point of
a chart is made of the samples between it and the point before, and no others, however far a chart is zoomed out.
"""

from grafana.generate.names import observed
from grafana.generate.sources import Query, promql

STEP = "1m"
"""The default of ``OTEL_METRIC_EXPORT_INTERVAL``: a point for each sample."""

_ATTEMPTS = "flyte_task_attempts_total"
_DURATIONS = "flyte_task_duration_seconds"


def largest(metric: str, selector: str) -> str:
    """Return the largest sample of each series since the point before.

    Args:
        metric: one of the instruments of what tasks use, by its name in ``semconv``.
        selector: the matchers, without braces.
    """
    return f"max_over_time({observed(metric)}{{{selector}}}[$__interval])"


def mean(metric: str, selector: str) -> str:
    """Return the mean of the samples of each series since the point before. Arguments as those of :func:`largest`."""
    return f"avg_over_time({observed(metric)}{{{selector}}}[$__interval])"


def chart(expression: str, legend: str = "", *, exemplars: bool = False) -> Query:
    """Ask for a chart of what :func:`largest` and :func:`mean` give."""
    return promql(expression, legend, exemplars=exemplars, least_step=STEP)


def ended(selector: str, by: str = "") -> str:
    """Return how many attempts ended in the time range, exactly.

    A pod counts its one attempt once, as a series of its own that begins with 1: ``increase()`` sees no growth there.
    """
    now = f"max_over_time({_ATTEMPTS}{{{selector}}}[$__range])"
    before = f"max_over_time({_ATTEMPTS}{{{selector}}}[$__range] offset $__range)"
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} ({now} - ({before} or 0 * {now}))"


def durations(share: float, selector: str, by: str = "") -> str:
    """Return a quantile of the durations of the attempts that ended in the time range, in seconds.

    A pod's one attempt is a series of its own, so that it is exact, where buckets tell no more than their bounds. Of a
    process that ran a task several times it is the mean that counts, once.

    Args:
        share: of the attempts, from 0 to 1.
        selector: the matchers, without braces.
        by: labels, to have a quantile for each of their values.
    """
    total, many = (f"last_over_time({_DURATIONS}_{part}{{{selector}}}[$__range])" for part in ("sum", "count"))
    return f"quantile{f' by ({by})' if by else ''} ({share}, {total} / {many})"
