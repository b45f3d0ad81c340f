"""The names by which a user selects one of several executions of a recording."""

from collections import Counter
from collections.abc import Iterator, Sequence

from otel_flyte.recording.cells import moment
from otel_flyte.recording.roles import entity_name, short_name
from otel_flyte.recording.span_tree import Execution

_LISTED = 20
_SHORT = 8
"""Digits of a trace id that tell the traces of a recording apart, nearly always."""


class UnknownExecutionError(Exception):
    """No execution, or more than one, has the name. The message is one line with the names that there are."""


def choose_execution(executions: Sequence[Execution], source: str, name: str = "") -> Execution:
    """Return the execution with a name; without a name, the only one.

    Args:
        executions: those of the source.
        source: the file or folder, for the message.
        name: of the execution, of its workflow or task, or the first digits of a trace id.

    Raises:
        UnknownExecutionError: there is none of that name, or more than one.
    """
    if not executions:
        raise UnknownExecutionError(f"{source} holds no execution: name a file with the spans of a task")
    chosen = _named(executions, name) if name else list(executions)
    if len(chosen) == 1:
        return chosen[0]
    problem = f"{source} holds {len(executions)} executions"
    if name:
        several, none = (
            f"{name} is the name of several executions of {source}",
            f"{name} is not an execution of {source}",
        )
        problem = several if chosen else none
    choices = [f"{source}#{selector}" for selector in _selectors(executions, chosen or executions)]
    more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
    raise UnknownExecutionError(f"{problem}: choose one of {', '.join(choices[:_LISTED])}{more}")


def _named(executions: Sequence[Execution], name: str) -> list[Execution]:
    """Return the executions of a name, else those of a workflow or task, else those whose trace id begins so."""
    return (
        [execution for execution in executions if name in _names(execution)]
        or [execution for execution in executions if name == _entity(execution)]
        or [execution for execution in executions if any(each.startswith(name) for each in execution.trace_ids)]
    )


def _names(execution: Execution) -> Iterator[str]:
    if execution.name:
        yield from (execution.name, f"{execution.scope}/{execution.name}")
    else:
        yield _entity(execution)
    yield from execution.trace_ids


def _entity(execution: Execution) -> str:
    root = execution.roots[0]
    return short_name(entity_name(root.span.name, root.role))


def _selectors(executions: Sequence[Execution], chosen: Sequence[Execution]) -> Iterator[str]:
    """Return a name that selects each of the chosen, with what tells a user which one it is."""
    uses = Counter(name for execution in executions for name in set(_names(execution)))
    shortened = Counter(trace_id[:_SHORT] for execution in executions for trace_id in execution.trace_ids)
    for execution in chosen:
        name, trace_id = next(_names(execution)), execution.trace_ids[0]
        if uses[name] == 1:
            yield name
        else:
            short = trace_id[:_SHORT] if shortened[trace_id[:_SHORT]] == 1 else trace_id
            yield f"{short} ({name}, {moment(execution.roots[0].start_ns):%Y-%m-%d %H:%M:%S} UTC)"
