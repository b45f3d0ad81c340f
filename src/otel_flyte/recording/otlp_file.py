"""Read the OTLP file format into small values, with nothing but the standard library.

The format is https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/: JSON lines, each an object with
``resourceSpans``, ``resourceLogs`` or ``resourceMetrics`` in the JSON mapping of OTLP (camelCase, hexadecimal ids,
64-bit integers as strings, enums as numbers). One whole document, as people pretty-print it, is read as well.
"""

import base64
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from otel_flyte import semconv

AttributeValue: TypeAlias = (
    "str | bool | int | float | bytes | Sequence[AttributeValue] | Mapping[str, AttributeValue] | None"
)
Attributes: TypeAlias = Mapping[str, AttributeValue]

SPANS = "resourceSpans"
LOGS = "resourceLogs"
METRICS = "resourceMetrics"
_SIGNALS = {SPANS: "spans", LOGS: "logs", METRICS: "metrics"}
_SET_ASIDE = ".rejected.jsonl"
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_CODES = ("unset", "ok", "error")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_LATEST_NS = 2**64
_TRACE_ID_SIZE = 16
_SPAN_ID_SIZE = 8
_USAGE_METRIC = semconv.METRIC_TASK_SERIES.format(name="")


class UnreadableError(Exception):
    """A file from which no span can be had. Its message is one line: what is wrong, and what to do."""


class EmptyError(UnreadableError):
    """Files that hold nothing of what was asked for, and are none the worse for that.

    Attributes:
        recording: what else they hold.
    """

    def __init__(self, message: str, recording: "Recording | None" = None) -> None:
        super().__init__(message)
        self.recording = recording or Recording(())


@dataclass(frozen=True, slots=True)
class Scope:
    """Who made a span: the name and version of the instrumentation."""

    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a span, at a time in nanoseconds since the epoch."""

    name: str
    time_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that a span points to. Ids are lower-case hexadecimal."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One span as it was exported.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: span id of the parent, ``None`` for a root.
        name: the span's name.
        start_ns: nanoseconds since the epoch.
        end_ns: nanoseconds since the epoch, ``None`` where the span was never ended.
        kind: ``internal``, ``server``, ``client``, ``producer``, ``consumer`` or ``unspecified``.
        status_code: ``unset``, ``ok`` or ``error``.
        status_message: what the status says in words.
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


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What happened to a span, told by a log record while the span had not ended. Ids are as those of a span.

    Attributes:
        name: the event's name.
        time_ns: nanoseconds since the epoch.
    """

    trace_id: str
    span_id: str
    name: str
    time_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogLine:
    """What was logged. Ids are empty where no span was open.

    Attributes:
        time_ns: nanoseconds since the epoch.
        severity: as the writer says it, such as ``INFO`` or ``WARN``; empty where it says none.
        text: the body, as text.
    """

    trace_id: str
    span_id: str
    time_ns: int
    severity: str
    text: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """What a gauge of a task's usage said.

    Attributes:
        name: one of :data:`otel_flyte.semconv.SERIES`.
        time_ns: nanoseconds since the epoch.
        attributes: those of the data point.
        resource: attributes of the process.
    """

    name: str
    time_ns: int
    value: float
    attributes: Attributes = field(default_factory=dict)
    resource: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """All that could be read.

    Attributes:
        spans: in the order of the file, each span id once.
        records: log records that are events of a span.
        remarks: one line for each thing that was left out, such as a last line that was cut off.
        points: what gauges of tasks' usage said; other metrics are not kept.
        logs: log records with a body, in the order of the file.
    """

    spans: tuple[Span, ...]
    records: tuple[LogRecord, ...] = ()
    remarks: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    logs: tuple[LogLine, ...] = ()


def read(*paths: str | os.PathLike[str], needs_spans: bool = True) -> Recording:
    """Read files, and of each folder its ``*.jsonl`` files but those that keep what a receiver did not take.

    Raises:
        UnreadableError: a file is missing or not OTLP.
        EmptyError: one is empty, or none has a span; where none is needed, nor a usage gauge.
    """
    found: list[_Content] = []
    for path in map(Path, paths):
        found += _read_folder(path) if _is_folder(path) else [_read_file(path)]
    spans = _each_once(span for content in found for span in content.spans)
    points = tuple(point for content in found for point in content.points)
    recording = Recording(
        spans,
        records=tuple(record for content in found for record in content.records),
        remarks=tuple(remark for content in found for remark in content.remarks),
        points=points,
        logs=tuple(line for content in found for line in content.logs),
    )
    if not spans and (needs_spans or not points):
        raise EmptyError(next(content.without_spans for content in found), recording)
    return recording


def check_beginning(path: Path, *, is_broken_allowed: bool = False) -> None:
    """See to it that a file can be read, and that it begins with a line of OTLP where it begins with anything.

    Raises:
        UnreadableError: it does not.
    """
    try:
        with path.open("rb") as file:
            line = next((line for line in file if line.strip()), b"")
    except OSError as error:
        raise _unreadable(path, error) from None
    if line and not is_broken_allowed:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = _whole_document(line, path)
        _check_shape(document, path, 1)


def spans_of(document: Mapping[str, Any]) -> Iterator[Span]:
    """Give the spans of one parsed OTLP JSON object.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the object does not follow the OTLP JSON mapping.
    """
    for resource_spans in document.get(SPANS) or ():
        resource = _attributes((resource_spans.get("resource") or {}).get("attributes"))
        for scope_spans in resource_spans.get("scopeSpans") or ():
            scope = scope_spans.get("scope") or {}
            made_by = Scope(scope.get("name", ""), scope.get("version", ""))
            for span in scope_spans.get("spans") or ():
                yield _span(span, made_by, resource)


def records_of(document: Mapping[str, Any]) -> Iterator[LogRecord]:
    """Give the log records of one parsed OTLP JSON object that are events of a span.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the object does not follow the OTLP JSON mapping.
    """
    for resource_logs in document.get(LOGS) or ():
        for scope_logs in resource_logs.get("scopeLogs") or ():
            for record in scope_logs.get("logRecords") or ():
                if record.get("spanId") and record.get("traceId"):
                    attributes = _attributes(record.get("attributes"))
                    name = record.get("eventName") or attributes.get(semconv.EVENT_NAME)
                    if name:
                        yield _record(record, str(name), attributes)


def logs_of(document: Mapping[str, Any]) -> Iterator[LogLine]:
    """Give the log records of one parsed OTLP JSON object that have a body.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the object does not follow the OTLP JSON mapping.
    """
    for resource_logs in document.get(LOGS) or ():
        for scope_logs in resource_logs.get("scopeLogs") or ():
            for record in scope_logs.get("logRecords") or ():
                if record.get("body"):
                    yield _log_line(record)


def points_of(document: Mapping[str, Any]) -> Iterator[Point]:
    """Give what gauges of tasks' usage say in one parsed OTLP JSON object.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the object does not follow the OTLP JSON mapping.
    """
    for resource_metrics in document.get(METRICS) or ():
        resource = _attributes((resource_metrics.get("resource") or {}).get("attributes"))
        for scope_metrics in resource_metrics.get("scopeMetrics") or ():
            for metric in scope_metrics.get("metrics") or ():
                name = str(metric.get("name", ""))
                if name.startswith(_USAGE_METRIC):
                    for point in (metric.get("gauge") or {}).get("dataPoints") or ():
                        value = float(point.get("asDouble", point.get("asInt", "nan")))
                        time_ns = _time(point.get("timeUnixNano"))
                        if time_ns and math.isfinite(value):
                            series = name.removeprefix(_USAGE_METRIC)
                            yield Point(series, time_ns, value, _attributes(point.get("attributes")), resource)


@dataclass(frozen=True, slots=True)
class _Content:
    """What one file holds; ``without_spans`` says why it is of no use alone where it holds no span."""

    spans: tuple[Span, ...]
    records: tuple[LogRecord, ...] = ()
    remarks: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    logs: tuple[LogLine, ...] = ()
    without_spans: str = ""


def _read_folder(folder: Path) -> list[_Content]:
    """Read what can be read: a run that ended early must not hide the others in its folder."""
    try:
        # `Path.glob` finds nothing in a folder that can't be read, and says nothing.
        files = sorted(path for path in folder.iterdir() if path.name.endswith(".jsonl") and not path.is_fifo())
    except OSError as error:
        raise _unreadable(folder, error) from None
    files = [path for path in files if not path.name.endswith(_SET_ASIDE)]
    if not files:
        raise UnreadableError(
            f"{folder} is a folder without a *.jsonl file: name the file that a trace was written to."
        )
    found: list[_Content] = []
    for file in files:
        try:
            found.append(_read_file(file))
        except UnreadableError as error:
            found.append(_Content((), remarks=(str(error),), without_spans=str(error)))
    return found


def _read_file(path: Path) -> _Content:
    """Read the lines that are whole; those that are not become remarks, where there are others.

    Raises:
        UnreadableError: no line is OTLP.
    """
    documents, remarks = _documents(_content(path), path)
    spans: list[Span] = []
    records: list[LogRecord] = []
    points: list[Point] = []
    logs: list[LogLine] = []
    read_well: list[Mapping[str, Any]] = []
    for number, document in documents:
        try:
            _check_shape(document, path, number)
            found = _told(document, path, number)
        except UnreadableError as error:
            remarks[number] = str(error)
        else:
            spans += found[0]
            records += found[1]
            points += found[2]
            logs += found[3]
            read_well.append(document)
    in_order = tuple(remarks[number] for number in sorted(remarks))
    if not read_well:
        raise UnreadableError(in_order[0])
    without_spans = "" if spans else next(iter(in_order), _without_spans(path, read_well))
    return _Content(tuple(spans), tuple(records), in_order, tuple(points), tuple(logs), without_spans)


def _told(document: Any, path: Path, number: int) -> tuple[list[Span], list[LogRecord], list[Point], list[LogLine]]:
    try:
        return list(spans_of(document)), list(records_of(document)), list(points_of(document)), list(logs_of(document))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UnreadableError(
            f"{path}, line {number} is not the JSON of OTLP ({problem}): give a file that an OTLP file exporter wrote."
        ) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UnreadableError:
    return UnreadableError(f"{path} can't be read: {error.strerror or error}.")


def _documents(content: bytes, path: Path) -> tuple[list[tuple[int, Any]], dict[int, str]]:
    """Parse the lines, each with its number; for one that is broken, or that its writer did not finish, give a remark.

    Where the first line is broken, the content may be one document of several lines.
    """
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise EmptyError(f"{path} is empty: no span had ended when its writer did. Record the run again.")
    documents: list[tuple[int, Any]] = []
    remarks: dict[int, str] = {}
    for number, line in lines:
        try:
            documents.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if number == lines[-1][0]:
                remarks[number] = (
                    f"{path}, line {number} is cut off and left out: its writer ended in the middle of it."
                )
            else:
                remarks[number] = f"{path}, line {number} is broken JSON ({error}) and left out."
    if lines[0][0] in remarks:
        try:
            return [(1, _whole_document(content, path))], {}
        except UnreadableError:
            if not any(_is_otlp(document) for _, document in documents):
                raise
    return documents, remarks


def _whole_document(content: bytes, path: Path) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        problem = f"{path}, line {error.lineno} is no JSON ({error.msg})"
    except UnicodeDecodeError:
        problem = f"{path} is not text; it may be compressed, or protobuf"
    except RecursionError:
        problem = f"{path} is JSON nested too deep for OTLP"
    raise UnreadableError(f"{problem}: give a file that an OTLP file exporter wrote as JSON lines.")


def _is_otlp(document: Any) -> bool:
    return isinstance(document, dict) and (not document or not _SIGNALS.keys().isdisjoint(document))


def _check_shape(document: Any, path: Path, number: int) -> None:
    if _is_otlp(document):
        return
    if isinstance(document, dict):
        keys = ", ".join(list(document)[:3])
        found = f"an object with {keys[:60]}"
    else:
        found = f"a {type(document).__name__}"
    raise UnreadableError(
        f"{path}, line {number} is JSON but not OTLP ({found}, no {SPANS}): "
        "give a file that an OTLP file exporter wrote."
    )


def _without_spans(path: Path, documents: Iterable[Mapping[str, Any]]) -> str:
    others = {name for document in documents for key, name in _SIGNALS.items() if key in document and key != SPANS}
    held = f", only {' and '.join(sorted(others))}" if others else ""
    return f"{path} holds no span{held}: give the file that the traces were written to."


def _each_once(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Keep each span once: an exporter that retries writes it again. A record with an end beats one without."""
    kept: dict[tuple[str, str], Span] = {}
    for span in spans:
        key = (span.trace_id, span.span_id)
        if key not in kept or (kept[key].end_ns is None and span.end_ns is not None):
            kept[key] = span
    return tuple(kept.values())


def _span(span: Mapping[str, Any], scope: Scope, resource: Attributes) -> Span:
    status = span.get("status") or {}
    return Span(
        trace_id=_id(span["traceId"], _TRACE_ID_SIZE),
        span_id=_id(span["spanId"], _SPAN_ID_SIZE),
        parent_id=_id(span["parentSpanId"], _SPAN_ID_SIZE) if span.get("parentSpanId") else None,
        name=str(span.get("name", "")),
        start_ns=_time(span.get("startTimeUnixNano")) or 0,
        end_ns=_time(span.get("endTimeUnixNano")),
        kind=_enum(span.get("kind") or 0, _KINDS, "SPAN_KIND_"),
        status_code=_enum(status.get("code") or 0, _STATUS_CODES, "STATUS_CODE_"),
        status_message=str(status.get("message", "")),
        attributes=_attributes(span.get("attributes")),
        events=tuple(_event(event) for event in span.get("events") or ()),
        links=tuple(_link(link) for link in span.get("links") or ()),
        scope=scope,
        resource=resource,
    )


def _record(record: Mapping[str, Any], name: str, attributes: Attributes) -> LogRecord:
    return LogRecord(
        _id(record["traceId"], _TRACE_ID_SIZE),
        _id(record["spanId"], _SPAN_ID_SIZE),
        name,
        _time(record.get("timeUnixNano")) or _time(record.get("observedTimeUnixNano")) or 0,
        attributes,
    )


def _log_line(record: Mapping[str, Any]) -> LogLine:
    body = _value(record["body"])
    severity = record.get("severityText") or _severity(int(record.get("severityNumber") or 0))
    return LogLine(
        _id(record["traceId"], _TRACE_ID_SIZE) if record.get("traceId") else "",
        _id(record["spanId"], _SPAN_ID_SIZE) if record.get("spanId") else "",
        _time(record.get("timeUnixNano")) or _time(record.get("observedTimeUnixNano")) or 0,
        str(severity),
        body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=repr),
        _attributes(record.get("attributes")),
    )


def _severity(number: int) -> str:
    """Name a severity: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber."""
    return _SEVERITIES[(number - 1) // 4] if 1 <= number <= 24 else ""


def _event(event: Mapping[str, Any]) -> Event:
    return Event(
        str(event.get("name", "")), _time(event.get("timeUnixNano")) or 0, _attributes(event.get("attributes"))
    )


def _link(link: Mapping[str, Any]) -> Link:
    return Link(
        _id(link["traceId"], _TRACE_ID_SIZE), _id(link["spanId"], _SPAN_ID_SIZE), _attributes(link.get("attributes"))
    )


def _id(value: str, size: int) -> str:
    """Normalise an id: OTLP has it in hexadecimal, while Tempo's API and protobuf's own JSON have it in base 64."""
    try:
        identifier = bytes.fromhex(value) if len(value) == 2 * size else base64.b64decode(value, validate=True)
    except ValueError:
        identifier = b""
    if len(identifier) != size:
        raise ValueError(f"{value!r} is no id of {size} bytes")
    return identifier.hex()


def _time(value: str | int | None) -> int | None:
    """Read nanoseconds since the epoch; 0, as proto3 writes what is not set, is no time."""
    nanoseconds = int(value or 0)
    if not 0 <= nanoseconds < _LATEST_NS:
        raise ValueError(f"{value!r} is no time")
    return nanoseconds or None


def _enum(value: int | str, names: tuple[str, ...], prefix: str) -> str:
    """Read an enum, which writers give as a number or by name; one that is newer than this code reads as unset."""
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else names[0]
    name = value.removeprefix(prefix).lower()
    return name if name in names else names[0]


def _attributes(pairs: Iterable[Mapping[str, Any]] | None) -> Attributes:
    return {str(pair["key"]): _value(pair.get("value") or {}) for pair in pairs or ()}


def _value(value: Mapping[str, Any]) -> AttributeValue:
    for kind, content in value.items():
        match kind:
            case "stringValue":
                return str(content)
            case "boolValue":
                return bool(content)
            case "intValue":
                return int(content)
            case "doubleValue":
                return float(content)
            case "bytesValue":
                return base64.b64decode(content)
            case "arrayValue":
                return [_value(item) for item in content.get("values") or ()]
            case "kvlistValue":
                return _attributes(content.get("values"))
    return None
