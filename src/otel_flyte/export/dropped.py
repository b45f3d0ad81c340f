"""Counts of records that are dropped or kept in a spool, reported in one line for each cause and as metrics."""

import shlex
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from otel_flyte import providers, semconv
from otel_flyte.export.otlp_requests import SHAPES, were
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
_QUEUE_SIZES = " or ".join(semconv.BATCH_QUEUE.format(batch=batch) for batch in semconv.BATCHES)
_ADVICE = {
    QUEUE_FULL: f"raise {_QUEUE_SIZES}",
    TOO_LARGE: "raise the receiver's limit or record smaller values",
    REJECTED: "check why the receiver rejects them",
    REFUSED: "check the endpoint and its headers",
    UNENCODABLE: "check their names and values",
    UNWRITTEN: "free space in the temporary folder",
    # Reasons of `stdio_capture.lines`.
    "too many lines": "print less",
    "too many lines a second": "print less",
}
_NO_CONNECTION = f"check the endpoint, or set {semconv.OTEL_FLYTE_SPOOL} to keep such records for a replay"

_lock = threading.RLock()
_dropped: Counter[tuple[str, str]] = Counter()
"""Number of dropped records by signal and reason."""

_published: Counter[tuple[str, str]] = Counter()
_kept: Counter[tuple[str, str]] = Counter()
"""Number of kept records by signal and folder or URL."""

_details: dict[tuple[str, str], str] = {}


def count(signal: str, reason: str, number: int = 1, details: str = "") -> None:
    """Count records that are dropped.

    Args:
        signal: ``traces``, ``metrics`` or ``logs``.
        reason: one of the constants above, or a few words without numbers.
        number: how many.
        details: where, and the receiver's answer. The first details of a reason are reported.
    """
    if number:
        with _lock:
            _dropped[signal, reason] += number
            _details.setdefault((signal, reason), details)


def keep(signal: str, folder: str, number: int) -> None:
    """Count records that are kept in a spool for a replay."""
    if number:
        with _lock:
            _kept[signal, folder] += number


def moved(folder: str, url: str) -> None:
    """Note that the records kept in a folder are at a URL now."""
    with _lock:
        for signal, place in [key for key in _kept if key[1] == folder]:
            _kept[signal, url] += _kept.pop((signal, place))


@guarded
def publish() -> None:
    """Count dropped records in the SDK's own metrics, if this process exports any.

    Only the series with an ``error.type``, which is the reason:
    https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/.
    """
    if _dropped != _published and "opentelemetry.sdk.metrics" in sys.modules:
        # The end of the process shuts the meter provider down.
        shutdown.unless_at_the_end(_publish)


def report() -> None:
    """Log the dropped and the kept records in one line for each cause, and reset all counts."""
    with _lock:
        dropped, kept, details = dict(_dropped), dict(_kept), dict(_details)
        _reset()
    for numbers, causes, advice in _by_cause(dropped, details):
        say("otel-flyte: %s dropped (%s): %s", were(numbers), causes, advice)
    for folder in dict.fromkeys(folder for _, folder in kept):
        numbers = {signal: kept[signal, folder] for signal in SHAPES if (signal, folder) in kept}
        command = f"otel-flyte replay {shlex.quote(folder)}"
        say("otel-flyte: %s kept in %s: run `%s` to send them", were(numbers), folder, command)


def _publish() -> None:
    provider = providers.meter_provider()
    if provider is None:
        return
    # A provider that fails loses none: they are counted by the next one.
    meter = provider.get_meter(semconv.SCOPE)
    with _lock:
        news = _dropped - _published
        _published.update(news)
    for (signal, reason), number in news.items():
        name, unit = _METRICS[signal]
        counter: Any = meter.create_counter(name, unit=unit, description="Dropped records.")
        counter.add(number, {semconv.ERROR_TYPE: reason.partition(",")[0].replace(" ", "_")})


def _by_cause(
    dropped: Mapping[tuple[str, str], int], details: Mapping[tuple[str, str], str]
) -> Iterator[tuple[dict[str, int], str, str]]:
    """Return the numbers by signal, the causes and the advice: once for signals with the same single cause."""
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for signal in SHAPES:
        reasons = Counter({reason: number for (of, reason), number in dropped.items() if of == signal})
        if len(reasons) == 1:
            [(reason, number)] = reasons.items()
            # The URLs of the signals differ in their paths.
            groups.setdefault((reason, details[signal, reason].replace(f"/v1/{signal}", "")), {})[signal] = number
        elif reasons:
            listed = (f"{number} {reason} {details[signal, reason]}".rstrip() for reason, number in reasons.items())
            yield {signal: reasons.total()}, ", ".join(listed), _advice(reasons.most_common(1)[0][0])
    for (reason, detail), numbers in groups.items():
        if len(numbers) == 1:
            [(signal, number)] = numbers.items()
            yield numbers, f"{number} {reason} {details[signal, reason]}".rstrip(), _advice(reason)
        else:
            yield numbers, f"{reason} {detail}".rstrip(), _advice(reason)


def _advice(reason: str) -> str:
    return _ADVICE.get(reason, _NO_CONNECTION)


def _reset() -> None:
    for counts in (_dropped, _published, _kept, _details):
        counts.clear()


def _begin_child() -> None:
    """In a forked child: begin new counts, with a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.RLock()
    _reset()


forks.register(after_in_child=_begin_child)
shutdown.report_with(report)
