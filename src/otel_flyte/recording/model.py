"""Recorded telemetry as small values.

Times are nanoseconds since the epoch, ids lower-case hexadecimal. No code changes a value once it is made. Those that a
recording has by the hundred thousand are not frozen all the same: making them would take six times as long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

AttributeValue: TypeAlias = (
    "str | bool | int | float | bytes | Sequence[AttributeValue] | Mapping[str, AttributeValue] | None"
)
Attributes: TypeAlias = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Scope:
    """Name and version of the instrumentation that made a span."""

    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span."""

    name: str
    time_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A link from one span to another."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Span:
    """An exported span.

    Attributes:
        parent_id: ``None`` for a root.
        end_ns: ``None`` for a span that did not end.
        kind: ``internal``, ``server``, ``client``, ``producer``, ``consumer`` or ``unspecified``.
        status_code: ``unset``, ``ok`` or ``error``.
        resource: attributes of the resource, shared by all spans of a process.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int | None
    kind: str = "internal"
    status_code: str = "unset"
    status_message: str = ""
    attributes: Attributes = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    scope: Scope = Scope()
    resource: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class LogRecord:
    """A log record.

    Attributes:
        trace_id: empty where no span was current.
        span_id: empty where no span was current.
        event: the event's name, empty for a record that is not an event.
        body: as text, ``None`` for a record without a body.
        severity: the severity text, else the short name of the severity number; empty for a record without severity.
    """

    trace_id: str
    span_id: str
    time_ns: int
    event: str = ""
    body: str | None = None
    severity: str = ""
    attributes: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Point:
    """A data point of a metric of usage.

    Attributes:
        series: one of :data:`otel_flyte.semconv.SERIES`, or another of :mod:`otel_flyte.recording.point_series`.
        resource: attributes of the process.
    """

    series: str
    time_ns: int
    value: float
    attributes: Attributes = field(default_factory=dict)
    resource: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """The records of one or more files, in their order.

    Attributes:
        spans: each span once.
        logs: log records that are events of a span or have a body.
        points: data points of usage; other metrics are not kept.
        remarks: one line for each part that can't be read.
    """

    spans: tuple[Span, ...] = ()
    logs: tuple[LogRecord, ...] = ()
    points: tuple[Point, ...] = ()
    remarks: tuple[str, ...] = ()
