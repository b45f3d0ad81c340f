"""The role of a span."""

import enum
import re

from otel_flyte import semconv
from otel_flyte.recording.model import Span

_MAP = "-arraynode"
_MAP_SUFFIX = re.compile(rf"_[0-9a-f]{{32}}{_MAP}$")


class Role(enum.Enum):
    """The role of a span; a local workflow is an execution."""

    EXECUTION = semconv.SPAN_ROLE_EXECUTION
    NODE = semconv.SPAN_ROLE_NODE
    ATTEMPT = semconv.SPAN_ROLE_ATTEMPT
    PHASE = semconv.SPAN_ROLE_PHASE
    TRANSFER = semconv.SPAN_ROLE_TRANSFER
    ITEM = semconv.SPAN_ROLE_ITEM
    SUBMISSION = semconv.SPAN_ROLE_SUBMISSION
    PENDING = semconv.SPAN_ROLE_PENDING
    USER = "user"


_ROLES = {role.value: role for role in Role}
_PREFIXES = {
    semconv.SPAN_WORKFLOW.format(name=""): Role.EXECUTION,
    semconv.SPAN_TASK.format(name=""): Role.ATTEMPT,
    semconv.SPAN_SUBMIT.format(name=""): Role.SUBMISSION,
}
_NAMES = {semconv.SPAN_MAP_ITEM: Role.ITEM, semconv.SPAN_GET_DATA: Role.TRANSFER, semconv.SPAN_PUT_DATA: Role.TRANSFER}


def role_of(span: Span) -> Role:
    """Return the role that a span states; for a recording from before roles, the role that its name implies."""
    stated = span.attributes.get(semconv.SPAN_ROLE)
    if stated is not None and isinstance(stated, str) and stated in _ROLES:
        return _ROLES[stated]
    if span.attributes.get(semconv.MARKER) is True:
        return Role.PENDING
    if span.scope.name != semconv.SCOPE:
        return Role.USER
    by_prefix = next((role for prefix, role in _PREFIXES.items() if span.name.startswith(prefix)), Role.PHASE)
    return _NAMES.get(span.name, by_prefix)


def entity_name(name: str, role: Role) -> str:
    """Return the name of the task or workflow that a span is of; for other roles the span's own name."""
    return next((name.removeprefix(prefix) for prefix, of in _PREFIXES.items() if of is role), name)


def short_name(name: str) -> str:
    """Return a name without the hash of function and settings that flytekit adds to the name of a map task."""
    return _MAP_SUFFIX.sub("", name) if _MAP in name else name
