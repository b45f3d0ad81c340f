"""The interval at which a local run exports its metrics.

The standard interval of 60 s suits a fleet whose collector is far away. The page that follows a local run would show
the usage of a task a minute late.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.run.destination import is_on_this_machine

INTERVAL_MS = "2000"


@contextmanager
def often() -> Iterator[None]:
    """Export metrics every two seconds while the context lasts, also from child processes.

    The interval stays as it is if ``OTEL_METRIC_EXPORT_INTERVAL`` is set, or if metrics go to another machine.
    """
    before = os.environ.get(semconv.METRIC_EXPORT_INTERVAL)
    if (before or "").strip() or not is_on_this_machine(endpoints.plan("metrics", os.environ)):
        yield
        return
    os.environ[semconv.METRIC_EXPORT_INTERVAL] = INTERVAL_MS
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(semconv.METRIC_EXPORT_INTERVAL, None)
        else:
            os.environ[semconv.METRIC_EXPORT_INTERVAL] = before
