"""Data of a task: transfers, the lineage of inputs, the metadata of outputs."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from flytekit.core.array_node_map_task import ArrayNodeMapTask
from flytekit.core.base_task import DYNAMIC_PARTITIONS
from opentelemetry.trace import Span

from otel_flyte import semconv
from otel_flyte.runtime import limits
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import ENTRIES_LIMIT, bounded
from otel_flyte.tasks import identity
from otel_flyte.tasks.open_task import close_span, open_span
from otel_flyte.tracing.spans import OpenSpan, derived_context

_NESTING_LIMIT = 4
_CHILDREN_LIMIT = 1000

end_transfer = close_span


@guarded
def begin_transfer(name: str, uri: Any) -> OpenSpan:
    """Open the span of a transfer inside a phase; flytekit chooses the destination of some."""
    return open_span(name, semconv.SPAN_ROLE_TRANSFER, {} if uri is None else {semconv.DATA_URI: limits.uri(uri)})


@guarded
def set_destination(transfer: OpenSpan, uri: Any) -> None:
    """Set the destination of a transfer that flytekit has chosen."""
    if isinstance(uri, str):
        transfer.span.set_attribute(semconv.DATA_URI, limits.uri(uri))


@guarded
def add_lineage(span: Span, task: Any, literals: Any, execution: identity.Execution | None, map_nested: int) -> None:
    """Link a task to the attempts of its own execution that wrote its inputs; set the URIs of its other inputs."""
    for variable, uri in islice(_input_uris(task, literals), ENTRIES_LIMIT):
        writer = identity.attempt_from_uri(execution, uri) if execution is not None else None
        if writer is None:
            span.set_attribute(semconv.INPUT_URI.format(variable=bounded(variable)), limits.uri(uri))
            continue
        span.add_link(
            derived_context(writer.trace_id(map_nested), writer.span_id(identity.ROLE_TASK)),
            {
                semconv.LINK: semconv.LINK_INPUT,
                semconv.LINK_VARIABLE: bounded(variable),
                semconv.DATA_URI: limits.uri(uri),
            },
        )


@guarded
def add_output_metadata(span: Span, result: Any, tracker: Any) -> None:
    """Set the metadata that a user attached to outputs on the output translation.

    Additional items are read from the literals, where flytekit has put them: serialising one again would run user
    code twice.
    """
    literals, native_outputs = result
    for variable, output in list(native_outputs.items())[:ENTRIES_LIMIT]:
        metadata = tracker.get(output)
        if metadata is None:
            continue
        artifact = getattr(metadata.artifact, "name", None)
        if artifact:
            span.set_attribute(semconv.OUTPUT_ARTIFACT.format(variable=variable), bounded(artifact))
        if metadata.time_partition is not None:
            partition = metadata.time_partition.isoformat()
            span.set_attribute(semconv.OUTPUT_TIME_PARTITION.format(variable=variable), partition)
        for key, value in list((metadata.dynamic_partitions or {}).items())[:ENTRIES_LIMIT]:
            name = semconv.OUTPUT_PARTITION.format(variable=variable, key=bounded(key))
            span.set_attribute(name, bounded(value))
        for key, value in list((literals.literals[variable].metadata or {}).items())[:ENTRIES_LIMIT]:
            if key != DYNAMIC_PARTITIONS:
                span.set_attribute(semconv.OUTPUT_ITEM.format(variable=variable, key=bounded(key)), bounded(value))


def _input_uris(task: Any, literals: Any) -> Iterator[tuple[str, str]]:
    for variable, literal in literals.literals.items():
        for element in _own_elements(task, variable, literal):
            for uri in _uris(element, _NESTING_LIMIT):
                yield variable, uri


def _own_elements(task: Any, variable: str, literal: Any) -> list[Any]:
    """Return the element of an input that a map subtask gets, which may be missing; else the input itself."""
    if not isinstance(task, ArrayNodeMapTask) or literal.collection is None or variable in task.bound_inputs:
        return [literal]
    index = task._compute_array_job_index()
    return list(literal.collection.literals[index : index + 1])


def _uris(literal: Any, depth: int) -> Iterator[str]:
    scalar = literal.scalar
    if scalar is not None:
        stored = scalar.blob or scalar.structured_dataset or scalar.schema
        if stored is not None and stored.uri:
            yield stored.uri
    elif depth:
        children = literal.collection.literals if literal.collection else ()
        if literal.map is not None:
            children = list(literal.map.literals.values())
        for child in islice(children, _CHILDREN_LIMIT):
            yield from _uris(child, depth - 1)
