"""Incidents of an attempt with their times, as far as its telemetry has them: OOM kills, CPU throttling, signals."""

from collections.abc import Iterator
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.recording.cells import duration
from otel_flyte.recording.roles import Role
from otel_flyte.recording.span_tree import TreeSpan
from otel_flyte.recording.usage import number

OOM_KILLED, THROTTLED, SIGNAL = "OOM-killed", "throttled", "signal"

MOST = 20
"""The number of markers of one attempt."""

_LONGEST = 200
"""Characters of the words: names of signals and phases may have any length."""

NOTED = 0.05
"""Less throttling than this fraction of a phase is of no consequence."""


class Marker(NamedTuple):
    """One incident, in nanoseconds since the epoch.

    Attributes:
        kind: ``OOM-killed``, ``throttled`` or ``signal``.
        end_ns: ``None`` for a moment. Of throttling, only the phase is known that it happened in.
        words: such as ``throttled for 12 s of 60 s in user code``.
    """

    kind: str
    begin_ns: int
    end_ns: int | None
    words: str


def markers_of(attempt: TreeSpan) -> tuple[Marker, ...]:
    """Return the markers of an attempt by time."""
    found = [*_signals(attempt), *_ending(attempt), *_of_usage(attempt)]
    if not found:
        return ()
    first = sorted(found, key=lambda marker: marker.begin_ns)[:MOST]
    return tuple(marker._replace(words=marker.words[:_LONGEST]) for marker in first)


def _signals(attempt: TreeSpan) -> Iterator[Marker]:
    for event in attempt.span.events:
        if event.name == semconv.EVENT_SIGNAL:
            name, phase = event.attributes.get(semconv.SIGNAL_NAME), event.attributes.get(semconv.PHASE)
            where = f" in {phase}" if phase else ""
            yield Marker(SIGNAL, event.time_ns, None, f"received {name or 'a signal'}{where}")


def _ending(attempt: TreeSpan) -> Iterator[Marker]:
    """Return how the process ended, as ``otel-flyte exec`` has recorded it."""
    own, end_ns = attempt.span.attributes, attempt.end_ns
    if end_ns is None:
        return
    if semconv.ERROR_OOM_KILLED in str(own.get(semconv.ERROR_TYPE)):
        yield Marker(OOM_KILLED, end_ns, None, "OOM-killed")
    elif own.get(semconv.SIGNAL_NAME):
        yield Marker(SIGNAL, end_ns, None, f"ended by {own[semconv.SIGNAL_NAME]!s}")


def _of_usage(attempt: TreeSpan) -> Iterator[Marker]:
    """Return the incidents that are only counted: a phase tells when, else the attempt as a whole."""
    for name, words in ((semconv.USAGE_CPU_THROTTLED, _throttled), (semconv.USAGE_OOM_KILLS, _oom_killed)):
        if not number(attempt.span.attributes.get(name)):
            continue
        phases = [child for child in attempt.children if child.role is Role.PHASE and child.end_ns is not None]
        marked = [marker for phase in phases for marker in words(phase, f" in {phase.span.name}")]
        yield from marked or words(attempt, "")


def _throttled(span: TreeSpan, where: str) -> Iterator[Marker]:
    throttled = number(span.span.attributes.get(semconv.USAGE_CPU_THROTTLED))
    if throttled and span.seconds and throttled >= NOTED * span.seconds:
        words = f"throttled for {duration(throttled)} of {duration(span.seconds)}{where}"
        yield Marker(THROTTLED, span.start_ns, span.end_ns, words)


def _oom_killed(span: TreeSpan, where: str) -> Iterator[Marker]:
    kills = number(span.span.attributes.get(semconv.USAGE_OOM_KILLS))
    if kills:
        words = f"{kills:.0f} process{'es' * (kills != 1)} OOM-killed{where}"
        yield Marker(OOM_KILLED, span.start_ns, span.seen_ns, words)
