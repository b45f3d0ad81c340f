"""Metrics of a local run as often as somebody who watches it wants them.

The standard interval of 60 s suits a fleet whose collector is far away. Next to a local run is a page that follows it,
where the usage of a task would be a minute late.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from otel_flyte import semconv
from otel_flyte.config import endpoints

INTERVAL_MS = "2000"


@contextmanager
def often() -> Iterator[None]:
    """Export metrics every two seconds while the context lasts, also from child processes.

    This holds where they go to this machine, and nobody has set ``OTEL_METRIC_EXPORT_INTERVAL``.
    """
    if os.environ.get(semconv.METRIC_EXPORT_INTERVAL, "").strip() or not _go_to_this_machine():
        yield
        return
    before = os.environ.get(semconv.METRIC_EXPORT_INTERVAL)
    os.environ[semconv.METRIC_EXPORT_INTERVAL] = INTERVAL_MS
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(semconv.METRIC_EXPORT_INTERVAL, None)
        else:
            os.environ[semconv.METRIC_EXPORT_INTERVAL] = before


def _go_to_this_machine() -> bool:
    plan = endpoints.plan("metrics", os.environ)
    host = urlsplit(plan.endpoint).hostname or ""
    return any(name in endpoints.OTLP_PROTOCOLS for name in plan.exporters) and _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
