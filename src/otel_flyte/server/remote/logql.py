"""Queries of Loki: https://grafana.com/docs/loki/latest/query/."""

from otel_flyte import semconv
from otel_flyte.server.remote.go_text import literal, pattern
from otel_flyte.server.remote.names import label
from otel_flyte.tasks.identity import Execution

_ANY = f'{label("service.name")}=~".+"'


def of_execution(execution: Execution, trace_id: str) -> str:
    """Return the query for the log records of an execution, and those of its trace that do not name it.

    The labels of the streams are those of the bundled stack; the streams of processes without an execution have none.
    """
    places = {semconv.PROJECT: execution.project, semconv.DOMAIN: execution.domain}
    streams = [_ANY, *(f"{label(name)}=~{literal(f'|{pattern(value)}')}" for name, value in places.items())]
    identity = {**places, semconv.RUN_NAME: execution.name}
    named = " and ".join(f"{label(name)}={literal(value)}" for name, value in identity.items())
    return f"{{{', '.join(streams)}}} | ({named}) or {_of_trace(trace_id)}"


def of_trace(trace_id: str) -> str:
    """Return the query for the log records of a trace."""
    return f"{{{_ANY}}} | {_of_trace(trace_id)}"


def _of_trace(trace_id: str) -> str:
    return f"trace_id={literal(trace_id)}"
