"""Data that goes in and out: transfers, the lineage of inputs, the metadata of outputs."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

from flytekit.core.array_node_map_task import ArrayNodeMapTask
from flytekit.core.base_task import DYNAMIC_PARTITIONS
from opentelemetry import context as context_api
from opentelemetry.trace import Span, SpanContext, TraceFlags

from otel_flyte import semconv
from otel_flyte.runtime import limits
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import ENTRIES_LIMIT, bounded
from otel_flyte.tasks import identity, state
from otel_flyte.tracing.spans import OpenSpan

_NESTING_LIMIT = 4
_CHILDREN_LIMIT = 1000


def transfer(name: str, uri: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Surround a transfer that happens inside a phase."""

    def call(*args: Any, **kwargs: Any) -> Any:
        span = _begin(name, uri)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _end(span, error)
            raise
        _end(span)
        return result

    return call


async def async_transfer(
    name: str, uri: Any, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
) -> Any:
    """Surround a transfer that happens inside a phase; its destination may be its result."""
    span = _begin(name, uri)
    try:
        result = await function(*args, **kwargs)
    except BaseException as error:
        _end(span, error)
        raise
    _end(span, uri=result if uri is None else None)
    return result


@guarded
def add_lineage(span: Span, task: Any, literals: Any, execution: identity.Execution | None, map_nested: int) -> None:
    """Link a task to the attempts of its own execution that wrote its inputs; other inputs give their URI."""
    for variable, uri in islice(_input_uris(task, literals), ENTRIES_LIMIT):
        writer = identity.attempt_from_uri(execution, uri) if execution is not None else None
        if writer is None:
            span.set_attribute(semconv.INPUT_URI.format(variable=bounded(variable)), limits.uri(uri))
            continue
        span.add_link(
            SpanContext(
                writer.trace_id(map_nested),
                writer.span_id(identity.ROLE_TASK),
                is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            ),
            {
                semconv.LINK: semconv.LINK_INPUT,
                semconv.LINK_VARIABLE: bounded(variable),
                semconv.DATA_URI: limits.uri(uri),
            },
        )


@guarded
def add_output_metadata(span: Span, result: Any, tracker: Any) -> None:
    """Put what a user said about outputs on the output translation.

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
    """Return what a map subtask takes of an input, which may have no such element; else the input itself."""
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


@guarded
def _begin(name: str, uri: Any) -> OpenSpan:
    attributes = {} if uri is None else {semconv.DATA_URI: limits.uri(uri)}
    return OpenSpan(name, context_api.get_current(), attributes=attributes)


@guarded
def _end(span: OpenSpan | None, error: BaseException | None = None, uri: Any = None) -> None:
    scope = state.current.get()
    if span is None:
        return
    try:
        if isinstance(uri, str):
            span.span.set_attribute(semconv.DATA_URI, limits.uri(uri))
        if error is not None and scope is not None:
            scope.fail(span.span, error)
    finally:
        span.close()
