"""Requests of OTLP as rows of the database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from otel_flyte import semconv
from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.recording.roles import short_name
from otel_flyte.recording.span_tree import LOCAL

LONGEST_VALUE = 256
"""Characters of the longest value of an attribute that can be searched for."""

_ROLES = (semconv.SPAN_ROLE_ATTEMPT, semconv.SPAN_ROLE_EXECUTION)
_OUTLINE = (*_ROLES, semconv.SPAN_ROLE_NODE, semconv.SPAN_ROLE_ITEM, semconv.SPAN_ROLE_PENDING)
_PREFIXES = tuple(name.format(name="") for name in (semconv.SPAN_TASK, semconv.SPAN_WORKFLOW))
_WORKFLOW = semconv.SPAN_WORKFLOW.format(name="")
_ERROR = 2
"""``STATUS_CODE_ERROR`` of OTLP."""

LATEST_NS = 2**63 - 1
"""The largest integer of SQLite. OTLP has times of 64 bits without a sign."""


class Owner(NamedTuple):
    """The execution that a record belongs to.

    Attributes:
        key: ``project:domain:name``, else ``trace:`` and the trace id of a local run; empty where neither is known.
    """

    key: str
    project: str = ""
    domain: str = ""
    name: str = ""
    workflow: str = ""


class SpanRow(NamedTuple):
    """A span.

    Attributes:
        parent_id: empty for a root.
        root: the name of a root, empty for other spans.
        is_pending: whether it stands for a span that has not ended.
        is_outline: whether it is more than a part of an attempt, or failed.
        attempt: its id and, unless it has ended, no result, where it is or stands for a task or a local workflow.
    """

    owner: Owner
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    root: str
    start_ns: int
    end_ns: int
    is_error: bool
    is_pending: bool
    is_outline: bool
    attempt: "AttemptRow | None"
    message: bytes
    attributes: tuple[tuple[str, str], ...]


class AttemptRow(NamedTuple):
    """A task or a local workflow, from its own span or from a pending span.

    Attributes:
        node: identifies what a later attempt tries again; empty where that is unknown.
        is_execution: whether it is a local workflow.
        outer: the id of the span around it in the same process, empty where there is none.
    """

    span_id: bytes
    start_ns: int
    seen_ns: int
    result: str | None
    name: str
    node: str
    is_execution: bool
    outer: bytes


class OtherRow(NamedTuple):
    """A log record, or a metric with its points."""

    owner: Owner
    trace_id: bytes
    digest: bytes
    time_ns: int
    message: bytes


@dataclass
class Group:
    """The records of one scope of one resource.

    Attributes:
        attributes: those of the resource, as text.
    """

    resource: bytes
    scope: bytes
    attributes: Mapping[str, str]
    spans: list[SpanRow] = field(default_factory=list)
    logs: list[OtherRow] = field(default_factory=list)
    metrics: list[OtherRow] = field(default_factory=list)


def groups(signal: str, request: Any) -> tuple[list[Group], int]:
    """Return the rows of a request by scope, and the number of its spans that have no valid ids."""
    shape = SHAPES[signal]
    found, rejected = [], 0
    for in_resource in getattr(request, shape.resources):
        resource = in_resource.resource.SerializeToString(deterministic=True)
        of_resource = _texts(in_resource.resource.attributes)
        for in_scope in getattr(in_resource, shape.scopes):
            group = Group(resource, in_scope.scope.SerializeToString(deterministic=True), of_resource)
            rejected += _ADD[signal](group, getattr(in_scope, shape.records), in_scope.scope.name, of_resource)
            found.append(group)
    return found, rejected


def digest(*parts: bytes) -> bytes:
    """Return 16 bytes that identify a record without an id, or a resource."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()


def entity(span_name: str, own: Mapping[str, str]) -> str:
    """Return the name of the task or workflow of an attempt."""
    by_span = next((span_name.removeprefix(prefix) for prefix in _PREFIXES if span_name.startswith(prefix)), "")
    return short_name(own.get(semconv.TASK_NAME) or by_span)


def node(own: Mapping[str, str]) -> str:
    """Return what identifies the node of an attempt, empty where that is unknown."""
    path = own.get(semconv.NODE_PATH) or own.get(semconv.ACTION_NAME)
    return f"{path} {own.get(semconv.REPLICA, '')}" if path and semconv.ATTEMPT in own else ""


def _add_spans(group: Group, spans: Iterable[Any], scope: str, of_resource: Mapping[str, str]) -> int:
    rejected = 0
    for span in spans:
        if len(span.trace_id) != 16 or len(span.span_id) != 8 or not (any(span.trace_id) and any(span.span_id)):
            rejected += 1
            continue
        own = _texts(span.attributes)
        is_error = span.status.code == _ERROR
        start_ns = min(span.start_time_unix_nano, LATEST_NS)
        end_ns = min(span.end_time_unix_nano or start_ns, LATEST_NS)
        group.spans.append(
            SpanRow(
                _owner({**of_resource, **own}, span.trace_id),
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                "" if span.parent_span_id else span.name[:LONGEST_VALUE],
                start_ns,
                end_ns,
                is_error,
                scope == semconv.SCOPE and _is_pending(own),
                is_error or _is_outline(span, own, scope),
                _attempt(span, {**of_resource, **own}, start_ns, end_ns) if scope == semconv.SCOPE else None,
                span.SerializeToString(),
                tuple(pair for pair in own.items() if pair[0] != semconv.SPAN_ROLE),
            )
        )
    return rejected


def _is_outline(span: Any, own: Mapping[str, str], scope: str) -> bool:
    return scope == semconv.SCOPE and (own.get(semconv.SPAN_ROLE) in _OUTLINE or _is_attempt(span, own))


def _attempt(span: Any, own: Mapping[str, str], start_ns: int, end_ns: int) -> AttemptRow | None:
    if _is_attempt(span, own):
        by_status = semconv.RESULT_FAILURE if span.status.code == _ERROR else semconv.RESULT_SUCCESS
        outcome = own.get(semconv.RESULT, by_status), entity(span.name, own), node(own), _is_execution(span, own)
        # The parent of an attempt in a pod is in the control plane.
        outer = b"" if semconv.ATTEMPT in own else span.parent_span_id
        return AttemptRow(span.span_id, start_ns, end_ns, *outcome, outer)
    if _is_pending(own) and span.parent_span_id:
        seen_ns = max(start_ns, end_ns)
        return AttemptRow(span.parent_span_id, start_ns, seen_ns, None, entity(span.name, own), node(own), False, b"")
    return None


def _is_attempt(span: Any, own: Mapping[str, str]) -> bool:
    """Return whether a span is a task or a local workflow; in a recording from before roles its name tells."""
    role = own.get(semconv.SPAN_ROLE)
    return role in _ROLES or (role is None and span.name.startswith(_PREFIXES))


def _is_pending(own: Mapping[str, str]) -> bool:
    return own.get(semconv.SPAN_ROLE) == semconv.SPAN_ROLE_PENDING or own.get(semconv.MARKER) == "true"


def _is_execution(span: Any, own: Mapping[str, str]) -> bool:
    role = own.get(semconv.SPAN_ROLE)
    return role == semconv.SPAN_ROLE_EXECUTION or (role is None and span.name.startswith(_WORKFLOW))


def _add_logs(group: Group, records: Iterable[Any], _: str, of_resource: Mapping[str, str]) -> int:
    for record in records:
        message = record.SerializeToString(deterministic=True)
        time_ns = min(record.time_unix_nano or record.observed_time_unix_nano, LATEST_NS)
        owner = _owner(_identity(record.attributes, of_resource), record.trace_id)
        if record.time_unix_nano:
            # A record that is sent twice, as live and from a recording, was observed at two times.
            record.ClearField("observed_time_unix_nano")
        key = digest(group.resource, group.scope, record.SerializeToString(deterministic=True))
        group.logs.append(OtherRow(owner, record.trace_id, key, time_ns, message))
    return 0


def _add_metrics(group: Group, metrics: Iterable[Any], _: str, of_resource: Mapping[str, str]) -> int:
    for metric in metrics:
        message = metric.SerializeToString(deterministic=True)
        data = metric.WhichOneof("data")
        points = getattr(metric, data).data_points if data else ()
        time_ns = min(max((point.time_unix_nano for point in points), default=0), LATEST_NS)
        identity = _identity(points[0].attributes, of_resource) if points else of_resource
        key = digest(group.resource, group.scope, message)
        group.metrics.append(OtherRow(_owner(identity, b""), b"", key, time_ns, message))
    return 0


_ADD = {"traces": _add_spans, "logs": _add_logs, "metrics": _add_metrics}


def _identity(pairs: Iterable[Any], of_resource: Mapping[str, str]) -> Mapping[str, str]:
    """Return the identity of a record whose resource may lack it, as where attempts share a process."""
    return of_resource if semconv.RUN_NAME in of_resource else {**of_resource, **_texts(pairs)}


def _owner(identity: Mapping[str, str], trace_id: bytes) -> Owner:
    if trace_id and len(trace_id) != 16:
        trace_id = b""
    name = identity.get(semconv.RUN_NAME, "")
    if name and name != LOCAL:
        project, domain = identity.get(semconv.PROJECT, ""), identity.get(semconv.DOMAIN, "")
        workflow = identity.get(semconv.WORKFLOW_NAME, "")
        return Owner(f"{project}:{domain}:{name}", project, domain, name, workflow)
    return Owner(f"trace:{trace_id.hex()}" if trace_id else "")


def _texts(pairs: Iterable[Any]) -> dict[str, str]:
    """Return the attributes that have a short text, an integer or a truth value, as text."""
    found = {}
    for pair in pairs:
        value = pair.value
        kind = value.WhichOneof("value")
        if kind == "string_value":
            text = value.string_value
            if len(text) <= LONGEST_VALUE and len(pair.key) <= LONGEST_VALUE:
                found[pair.key] = text
        elif kind == "int_value":
            found[pair.key] = str(value.int_value)
        elif kind == "bool_value":
            found[pair.key] = "true" if value.bool_value else "false"
    return found
