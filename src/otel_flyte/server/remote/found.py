"""The executions that the traces in the answers to searches belong to."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.recording.span_tree import LOCAL
from otel_flyte.server.remote.tempo import FoundSpan, FoundTrace
from otel_flyte.tasks.identity import Execution


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


def _owner(span: FoundSpan, trace_id: str) -> Owner:
    name = span.attributes.get(semconv.RUN_NAME, "")
    if not name or name == LOCAL:
        return Owner(f"trace:{trace_id}")
    project, domain = (span.attributes.get(each, "") for each in (semconv.PROJECT, semconv.DOMAIN))
    return Owner(f"{project}:{domain}:{name}", project, domain, name)
