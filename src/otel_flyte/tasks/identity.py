"""The identity of an attempt: execution, node, attempt number, array index, replica; and the ids that follow from it.

Trace and span ids are derived, so that pods, retries and the control plane's export meet in one trace without talking
to one another: the identity of the execution is enough to compute its trace id.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.runtime.limits import bounded

ROLE_EXECUTION = "execution"
ROLE_ATTEMPT = "attempt"
ROLE_TASK = "task"

_UNIQUE_NODE_ID_LENGTH = 20
_PROPELLER_ALPHABET = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijklmnopqrstuvwxyz123456")
_SHARD_LENGTH = 2


class Execution(NamedTuple):
    """An execution of Flyte, from which a trace id is derived. Flyte 1 has no organisations: ``org`` is empty."""

    project: str
    domain: str
    name: str
    org: str = ""

    def trace_id(self) -> int:
        """Derive the trace id by the rule that ``flyteplugins-otel`` publishes for Flyte 2."""
        return _digest(b"flyte.otel.run.v", 16, *self._parts)

    @property
    def _parts(self) -> tuple[str, ...]:
        return self.org, self.project, self.domain, self.name


class Attempt(NamedTuple):
    """One attempt of one node.

    Attributes:
        execution: the execution it belongs to.
        node_path: ids of the nodes that lead to it, outermost first, joined by ``/``; empty where unknown.
        node_id: admin's unique node id, else any text that distinguishes this node from the execution's others.
        number: attempt number, from 0.
        array_index: index of a map subtask.
        replica: which of several pods or processes of the attempt.
        subtask: distinguishes map subtasks that share a node id, as those of older code do.
    """

    execution: Execution
    node_path: str
    node_id: str
    number: int
    array_index: int | None = None
    replica: str = ""
    subtask: str = ""

    def span_id(self, role: str) -> int:
        """Derive the span id of this attempt for a role: the control plane's attempt or the pod's task."""
        parts = *self.execution._parts, self._node, str(self.number), self.replica, role
        return _digest(b"flyte.otel.span.", 8, *parts)

    def trace_id(self, map_nested: int) -> int:
        """Derive the trace id: the execution's, but one of its own for a map subtask from ``map_nested`` on.

        A trace store keeps a trace up to a size and drops the spans that end last, the root among them.
        """
        if self.array_index is None or self.array_index < map_nested:
            return self.execution.trace_id()
        return _digest(b"flyte.otel.map.v", 16, *self.execution._parts, self._node)

    def attributes(self) -> dict[str, str | int]:
        """Return the attributes that identify this attempt; none for parts that it does not have."""
        execution = self.execution
        found: dict[str, str | int] = {
            semconv.RUN_NAME: bounded(execution.name),
            semconv.PROJECT: bounded(execution.project),
            semconv.DOMAIN: bounded(execution.domain),
            semconv.ATTEMPT: self.number,
        }
        if execution.org:
            found[semconv.ORG] = bounded(execution.org)
        if self.node_path:
            found[semconv.NODE_PATH] = bounded(self.node_path)
            found[semconv.ACTION_NAME] = bounded(self.node_id)
        if self.array_index is not None:
            found[semconv.ARRAY_INDEX] = self.array_index
        if self.replica:
            found[semconv.REPLICA] = bounded(self.replica)
        return found

    @property
    def _node(self) -> str:
        return f"{self.node_id}[{self.subtask}]" if self.subtask else self.node_id


def execution_span_id(execution: Execution) -> int:
    """Derive the id of an execution's own span, which the control plane's export creates."""
    return Attempt(execution, "", "", 0).span_id(ROLE_EXECUTION)


def execution_from_environment(environ: Mapping[str, str]) -> Execution | None:
    """Read the execution that this pod belongs to; ``None`` outside a pod."""
    name = first(environ, semconv.FLYTE_EXECUTION_NAME)
    if not name:
        return None
    project = first(environ, semconv.FLYTE_EXECUTION_PROJECT)
    return Execution(project, first(environ, semconv.FLYTE_EXECUTION_DOMAIN), name)


def attempt_from_environment(environ: Mapping[str, str], output_prefix: str) -> Attempt | None:
    """Read the attempt of this pod; ``None`` where it belongs to no execution.

    No variable holds the node. It is part of the output prefix, which ends in
    ``/{project}-{domain}-{execution}/{node}/data/{attempt}``, followed by ``/{child node or index}/{its attempt}`` for
    each dynamic task, sub-workflow or map that leads to it.
    """
    execution = execution_from_environment(environ)
    if execution is None:
        return None
    nodes, attempts = _nodes_and_attempts(execution, output_prefix)
    number = first(environ, semconv.FLYTE_ATTEMPT_NUMBER)
    array_index = _array_index(environ)
    has_node_of_its_own = array_index is None or (nodes and nodes[-1] == f"n{array_index}")
    return Attempt(
        execution=execution,
        node_path="/".join(nodes),
        node_id=unique_node_id(nodes, attempts) if nodes else output_prefix,
        number=int(number) if number.isdigit() else (attempts[-1] if attempts else 0),
        array_index=array_index,
        replica=first(environ, semconv.FLYTE_REPLICA),
        subtask="" if has_node_of_its_own else str(array_index),
    )


def output_prefix(arguments: Sequence[str]) -> str:
    """Return the output prefix in the arguments of an entrypoint, empty where there is none."""
    for option, value in pairwise(arguments):
        if option == "--output-prefix":
            return value
    return ""


def attempt_from_uri(execution: Execution, uri: str) -> Attempt | None:
    """Read the attempt of an execution that wrote an object, from the raw-output prefix in the object's URI.

    The prefix is ``{base}/{2-character shard}/{execution}-{unique node id}-{attempt}``. Where propeller had to shorten
    it to a hash, it can't be read.
    """
    for shard, segment in pairwise(uri.split("/")):
        if len(shard) != _SHARD_LENGTH or not segment.startswith(f"{execution.name}-"):
            continue
        node_id, _, number = segment[len(execution.name) + 1 :].rpartition("-")
        if node_id and number.isdigit():
            return Attempt(execution, "", node_id, int(number), _index_of(node_id))
    return None


def unique_node_id(nodes: list[str], attempts: list[int]) -> str:
    """Compute admin's unique node id: ``{parent's unique id}-{parent's attempt}-{node}``, hashed past 20 characters.

    The rule is propeller's ``GenerateUniqueID`` and its encoder: ``f`` and the 32-bit FNV-1a hash in base 32.
    """
    unique = _fixed_length(nodes[0])
    for node, parents_attempt in zip(nodes[1:], attempts, strict=False):
        unique = _fixed_length(f"{unique}-{parents_attempt}-{node}")
    return unique


def first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Return the first of several variables that is set, else an empty string."""
    return next((environ[name] for name in names if environ.get(name)), "")


def _nodes_and_attempts(execution: Execution, output_prefix: str) -> tuple[list[str], list[int]]:
    anchor = f"/{execution.project}-{execution.domain}-{execution.name}/"
    _, found, rest = output_prefix.rpartition(anchor)
    parts = rest.strip("/").split("/")
    if not found or len(parts) < 3 or parts[1] != "data" or not parts[2].isdigit():
        return [], []
    nodes, attempts = [parts[0]], [int(parts[2])]
    for child, number in zip(parts[3::2], parts[4::2], strict=False):
        if not number.isdigit():
            return [], []
        nodes.append(f"n{child}" if child.isdigit() else child)
        attempts.append(int(number))
    return nodes, attempts


def _array_index(environ: Mapping[str, str]) -> int | None:
    index = environ.get(environ.get(semconv.FLYTE_ARRAY_INDEX_VARIABLE, ""), "")
    if not index.isdigit():
        return None
    offset = environ.get(semconv.FLYTE_ARRAY_INDEX_OFFSET, "")
    return int(index) + (int(offset) if offset.isdigit() else 0)


def _index_of(node_id: str) -> int | None:
    """Read the array index from a map subtask's unique node id, ``{array node}-{attempt}-n{index}``."""
    parts = node_id.rsplit("-", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2][:1] == "n" and parts[2][1:].isdigit():
        return int(parts[2][1:])
    return None


def _fixed_length(name: str) -> str:
    if len(name) <= _UNIQUE_NODE_ID_LENGTH:
        return name
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    encoded = base64.b32encode(value.to_bytes(4, "big")).decode().rstrip("=")
    return "f" + encoded.translate(_PROPELLER_ALPHABET)


def _digest(person: bytes, size: int, *parts: str) -> int:
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=size, person=person).digest()
    return int.from_bytes(digest, "big") or 1
