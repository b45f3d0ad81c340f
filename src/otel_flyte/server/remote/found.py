"""Executions in a list, made from what searches tell of their traces."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.recording.roles import short_name
from otel_flyte.recording.span_tree import LOCAL
from otel_flyte.server.remote.tempo import FoundSpan, FoundTrace
from otel_flyte.server.store.reader import FAILED, RUNNING, SILENT_NS, SUCCEEDED, UNKNOWN, Listed
from otel_flyte.tasks.identity import Execution

_IDENTITY = (semconv.TASK_NAME, semconv.ACTION_NAME, semconv.ATTEMPT, semconv.ARRAY_INDEX, semconv.REPLICA)
_ENDED = (semconv.SPAN_ROLE_ATTEMPT, semconv.SPAN_ROLE_EXECUTION)
_PREFIXES = tuple(name.format(name="") for name in (semconv.SPAN_TASK, semconv.SPAN_WORKFLOW))
_AFTERWARDS_NS = 10**9
"""How long after the end of an attempt its last pending span may be."""


class Owner(NamedTuple):
    """What an execution is called; the key alone for a local run."""

    key: str
    project: str = ""
    domain: str = ""
    name: str = ""

    @property
    def trace_id(self) -> str:
        """The id of its own trace."""
        if not self.name:
            return self.key.removeprefix("trace:")
        return f"{Execution(self.project, self.domain, self.name).trace_id():032x}"


@dataclass
class Group:
    """The traces of an execution, and those of its spans that are attempts or stand for one.

    Attributes:
        shared: the ids of traces that have spans of other executions, too.
    """

    owner: Owner
    traces: dict[str, FoundTrace] = field(default_factory=dict)
    spans: list[FoundSpan] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)

    @property
    def lacks_own_trace(self) -> bool:
        """Whether only traces of map subtasks are here."""
        return self.owner.trace_id not in self.traces and all(
            semconv.ARRAY_INDEX in each.attributes for each in self.spans
        )


def owner_of(key: str) -> Owner | None:
    """Return what a key names, ``None`` for a text that is no key."""
    if key.startswith("trace:"):
        digits = key.removeprefix("trace:")
        is_id = len(digits) == 32 and all(each in "0123456789abcdef" for each in digits) and digits.strip("0")
        return Owner(key) if is_id else None
    parts = key.split(":", 2)
    return Owner(key, *parts) if len(parts) == 3 and parts[2] else None


def groups(traces: Iterable[FoundTrace]) -> list[Group]:
    """Return the executions that traces belong to."""
    found: dict[str, Group] = {}
    for trace in traces:
        of_owners: dict[Owner, list[FoundSpan]] = defaultdict(list)
        for span in trace.spans:
            if semconv.SPAN_ROLE in span.attributes:
                of_owners[_owner(span, trace.trace_id)].append(span)
        named = {owner: spans for owner, spans in of_owners.items() if owner.name} or of_owners
        for owner, spans in named.items():
            group = found.setdefault(owner.key, Group(owner))
            group.traces[trace.trace_id] = trace
            group.spans += spans
            if len(named) > 1:
                group.shared.add(trace.trace_id)
    return list(found.values())


def listed(group: Group) -> Listed:
    """Return an execution as far as searches tell."""
    owner = group.owner
    begin, end, count, errors = zip(*_extents(group), strict=True)
    return Listed(
        id=int.from_bytes(blake2b(owner.key.encode(), digest_size=8).digest(), "big") >> 1,
        key=owner.key,
        project=owner.project,
        domain=owner.domain,
        name=owner.name,
        workflow=_workflow(group.spans),
        state=_state(group.spans),
        start_ns=min(begin),
        end_ns=max(end),
        spans=sum(count),
        errors=sum(errors),
    )


def _owner(span: FoundSpan, trace_id: str) -> Owner:
    name = span.attributes.get(semconv.RUN_NAME, "")
    if not name or name == LOCAL:
        return Owner(f"trace:{trace_id}")
    project, domain = (span.attributes.get(each, "") for each in (semconv.PROJECT, semconv.DOMAIN))
    return Owner(f"{project}:{domain}:{name}", project, domain, name)


def _extents(group: Group) -> Iterator[tuple[int, int, int, int]]:
    """Return start, end, and the numbers of spans and of failed ones of each trace."""
    for trace in group.traces.values():
        if trace.trace_id not in group.shared:
            failed = sum(map(_is_error, trace.spans))
            yield trace.start_ns, trace.end_ns, trace.total or trace.matched, trace.errors if trace.total else failed
    if group.shared:
        # The trace tells of all its executions: only the spans tell of this one.
        failed = sum(map(_is_error, group.spans))
        begins, ends = [span.start_ns for span in group.spans], [span.end_ns for span in group.spans]
        yield min(begins), max(ends), len(group.spans), failed


def _workflow(spans: Iterable[FoundSpan]) -> str:
    by_start = sorted(spans, key=lambda span: span.start_ns)
    named = next((name for span in by_start if (name := span.attributes.get(semconv.WORKFLOW_NAME))), "")
    if named:
        return named
    tasks = (span.attributes.get(semconv.TASK_NAME) or _entity(span.name) for span in by_start)
    return next((short_name(task) for task in tasks if task), "")


def _entity(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), "")


def _state(spans: Iterable[FoundSpan]) -> str:
    """Return the state, by the rules of the embedded database."""
    ended = [span for span in spans if span.attributes[semconv.SPAN_ROLE] in _ENDED]
    pending = [span for span in spans if span.attributes[semconv.SPAN_ROLE] == semconv.SPAN_ROLE_PENDING]
    by_identity: dict[tuple[str | None, ...], list[FoundSpan]] = defaultdict(list)
    for span in ended:
        by_identity[_identity(span)].append(span)
    open_ones = [span for span in pending if not any(_has_ended(span, each) for each in by_identity[_identity(span)])]
    if any(span.end_ns > time.time_ns() - SILENT_NS for span in open_ones):
        return RUNNING
    if any(_has_failed(span) for span in ended):
        return FAILED
    return UNKNOWN if open_ones else SUCCEEDED


def _identity(span: FoundSpan) -> tuple[str | None, ...]:
    own = span.attributes
    task = short_name(own.get(semconv.TASK_NAME) or own.get(semconv.WORKFLOW_NAME) or _entity(span.name))
    return (task, *(own.get(name) for name in _IDENTITY[1:]))


def _has_ended(pending: FoundSpan, attempt: FoundSpan) -> bool:
    return attempt.start_ns <= pending.start_ns <= attempt.end_ns + _AFTERWARDS_NS


def _is_error(span: FoundSpan) -> bool:
    return span.attributes.get("status") == "error"


def _has_failed(span: FoundSpan) -> bool:
    result = span.attributes.get(semconv.RESULT)
    return result == semconv.RESULT_FAILURE or (result is None and _is_error(span))
