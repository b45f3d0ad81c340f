"""Queries of Tempo: https://grafana.com/docs/tempo/latest/traceql/."""

import re
from collections.abc import Iterator

from otel_flyte import semconv
from otel_flyte.server.remote.go_text import literal, pattern
from otel_flyte.server.store.reader import Filter
from otel_flyte.tasks.identity import Execution

_ROLES = (semconv.SPAN_ROLE_ATTEMPT, semconv.SPAN_ROLE_EXECUTION, semconv.SPAN_ROLE_PENDING)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_PLAIN = re.compile("[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)
_UNSEARCHABLE = re.compile("[\x00-\x1f\ud800-\udfff\ufeff]")

SELECTED = (
    semconv.SPAN_ROLE,
    semconv.RUN_NAME,
    semconv.PROJECT,
    semconv.DOMAIN,
    semconv.WORKFLOW_NAME,
    semconv.TASK_NAME,
    semconv.NODE_PATH,
    semconv.ACTION_NAME,
    semconv.ATTEMPT,
    semconv.ARRAY_INDEX,
    semconv.REPLICA,
    semconv.RESULT,
    semconv.PENDING_START,
)
"""The attributes that a list is made from."""


def attribute(name: str) -> str:
    """Return an attribute of a span, else of its resource; its name is one that can be searched for."""
    if _PLAIN.fullmatch(name):
        return f".{name}"
    return '."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def can_be_searched(name: str) -> bool:
    """Return whether TraceQL has a way to write the name of an attribute."""
    return bool(name) and not _UNSEARCHABLE.search(name)


def executions(wanted: Filter) -> str:
    """Return the query for the attempts of executions, the newest first; its result may have more than is wanted."""
    conditions = [_attempts(), *_conditions(wanted)]
    spans = [f"{{ {' && '.join(conditions)} }}"]
    # A span of its own, so that the result has all attempts, and not only those that have the text or the attribute.
    spans += [f"{{ {_equals(name, value)} }}" for name, value in wanted.attributes.items()]
    spans += [f"{{ {_attempts()} && ({_begins(wanted.workflow)}) }}"] * bool(wanted.workflow)
    spans += [f"{{ {_attempts()} && ({_contains(wanted.text)}) }}"] * bool(wanted.text and ":" not in wanted.text)
    selected = ", ".join(["name", "status", *map(attribute, SELECTED)])
    return f"{' && '.join(spans)} | select({selected}) with (most_recent=true)"


def of_execution(execution: Execution) -> str:
    """Return the query for all traces of an execution."""
    return f"{{ {_attempts()} && {_identity(execution)} }} with (most_recent=true)"


def of_trace(trace_id: str) -> str:
    """Return the query for the attempts of a trace."""
    selected = ", ".join(["name", "status", *map(attribute, SELECTED)])
    return f"{{ trace:id = {literal(trace_id)} && {_attempts()} }} | select({selected})"


def _attempts() -> str:
    return f"{attribute(semconv.SPAN_ROLE)} =~ {literal('|'.join(_ROLES))}"


def _identity(execution: Execution) -> str:
    named = {
        semconv.RUN_NAME: execution.name,
        semconv.PROJECT: execution.project,
        semconv.DOMAIN: execution.domain,
    }
    return " && ".join(
        f"{attribute(name)} = {literal(value)}" for name, value in named.items() if value or name == semconv.RUN_NAME
    )


def _conditions(wanted: Filter) -> Iterator[str]:
    for name, value in ((semconv.PROJECT, wanted.project), (semconv.DOMAIN, wanted.domain)):
        if value:
            yield f"{attribute(name)} = {literal(value)}"


def _begins(workflow: str) -> str:
    """Return the condition for a workflow, or for the task by whose name an execution without one is shown.

    The name of a map task is shown without its end.
    """
    name = pattern(workflow)
    of_span = "|".join(pattern(each.format(name="")) for each in (semconv.SPAN_TASK, semconv.SPAN_WORKFLOW))
    return " || ".join(
        (
            f"{attribute(semconv.WORKFLOW_NAME)} = {literal(workflow)}",
            f"{attribute(semconv.TASK_NAME)} =~ {literal(f'(?s){name}.*')}",
            f"name =~ {literal(f'(?s)({of_span}){name}.*')}",
        )
    )


def _contains(text: str) -> str:
    part = literal(f"(?is).*{pattern(text)}.*")
    named = (semconv.RUN_NAME, semconv.WORKFLOW_NAME, semconv.TASK_NAME, semconv.PROJECT, semconv.DOMAIN)
    return " || ".join(f"{each} =~ {part}" for each in (*map(attribute, named), "name"))


def _equals(name: str, value: str) -> str:
    """Return the condition for an attribute whose value is a text, or a number or a truth value with this text."""
    values = [literal(value)]
    if _INTEGER.fullmatch(value):
        values.append(value)
    if value in ("true", "false"):
        values.append(value)
    return " || ".join(f"{attribute(name)} = {each}" for each in values)
