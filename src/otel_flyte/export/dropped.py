"""What was made and not delivered: counted by signal and reason, and said once, as a line and as metrics."""

import shlex
import sys
import threading
from collections import Counter
from typing import Any

from otel_flyte import semconv
from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded, say

QUEUE_FULL = "queue full"
LATE = "no answer in time"
TOO_LARGE = "too large"
REJECTED = "rejected"
REFUSED = "refused"
UNENCODABLE = "not encodable"
UNWRITTEN = "not written"

_METRICS = {
    "traces": (semconv.METRIC_SPANS_EXPORTED, "{span}"),
    "metrics": (semconv.METRIC_DATA_POINTS_EXPORTED, "{data_point}"),
    "logs": (semconv.METRIC_LOGS_EXPORTED, "{log_record}"),
}

_lock = threading.Lock()
_lost: Counter[tuple[str, str]] = Counter()
_published: Counter[tuple[str, str]] = Counter()
_kept: Counter[tuple[str, str]] = Counter()
_about: dict[tuple[str, str], str] = {}


def count(signal: str, reason: str, number: int = 1, about: str = "") -> None:
    """Count records that are given up.

    Args:
        signal: ``traces``, ``metrics`` or ``logs``.
        reason: the same few words for all of a kind.
        number: how many.
        about: where, and in whose words, for whoever reads it; of the first of a kind it is kept.
    """
    if number:
        with _lock:
            _lost[signal, reason] += number
            _about.setdefault((signal, reason), about)


def keep(signal: str, folder: str, number: int) -> None:
    """Count records that wait in a spool to be replayed."""
    if number:
        with _lock:
            _kept[signal, folder] += number


def moved(folder: str, url: str) -> None:
    """Note that what was kept in a folder lies at a URL now."""
    with _lock:
        for signal, place in [key for key in _kept if key[1] == folder]:
            _kept[signal, url] += _kept.pop((signal, place))


@guarded
def publish() -> None:
    """Count what is lost in metrics of the SDK's conventions, where this process exports any.

    Only the series with an ``error.type``, which is the reason:
    https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/.
    """
    if _lost == _published or "opentelemetry.sdk.metrics" not in sys.modules:
        return
    from opentelemetry import metrics

    with _lock:
        news = _lost - _published
        _published.update(news)
    meter = metrics.get_meter(semconv.SCOPE)
    for (signal, reason), number in news.items():
        name, unit = _METRICS[signal]
        counter: Any = meter.create_counter(name, unit=unit, description="Records given up.")
        counter.add(number, {semconv.ERROR_TYPE: reason.partition(",")[0].replace(" ", "_")})


def report() -> None:
    """Say what was lost and what waits in the spool, one line for each signal; what was said is forgotten."""
    with _lock:
        lost, kept, about = dict(_lost), dict(_kept), dict(_about)
        for memory in (_lost, _published, _kept, _about):
            memory.clear()
    for signal, shape in SHAPES.items():
        reasons = {reason: number for (of, reason), number in lost.items() if of == signal}
        if reasons:
            listed = ", ".join(
                f"{number} {reason} {about.get((signal, reason), '')}".rstrip() for reason, number in reasons.items()
            )
            say("otel-flyte: %d %s were not delivered (%s)", sum(reasons.values()), shape.noun, listed)
        for (of, folder), number in kept.items():
            if of == signal:
                command = f"otel-flyte replay {shlex.quote(folder)}"
                say("otel-flyte: %d %s are kept in %s: `%s` sends them", number, shape.noun, folder, command)


def _begin_child() -> None:
    """In a forked child: count its own, with a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.Lock()
    for memory in (_lost, _published, _kept, _about):
        memory.clear()


forks.register(after_in_child=_begin_child)
shutdown.report_with(report)
