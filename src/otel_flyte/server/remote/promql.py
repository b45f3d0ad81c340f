"""Queries of Prometheus: https://prometheus.io/docs/prometheus/latest/querying/basics/."""

from collections.abc import Iterable, Mapping

from otel_flyte import semconv
from otel_flyte.server.remote.go_text import literal, pattern
from otel_flyte.server.remote.names import label
from otel_flyte.tasks.identity import Execution

_METRICS = f"{label(semconv.METRIC_TASK_SERIES.format(name=''))}({'|'.join(semconv.SERIES)})(_percent|_ratio|_bytes)?"


def of_execution(execution: Execution, seconds: int) -> str:
    """Return the query for the points of an execution in the seconds before the time of the query."""
    identity = {
        semconv.RUN_NAME: execution.name,
        semconv.PROJECT: execution.project,
        semconv.DOMAIN: execution.domain,
    }
    return _range({label(name): f"={literal(value)}" for name, value in identity.items()}, seconds)


def of_processes(instances: Iterable[str], seconds: int) -> str:
    """Return the same for processes, by the ids of their services' instances."""
    wanted = literal("|".join(map(pattern, instances)))
    return _range({label(semconv.SERVICE_INSTANCE_ID): f"=~{wanted}"}, seconds)


def _range(matchers: Mapping[str, str], seconds: int) -> str:
    parts = [f"__name__=~{literal(_METRICS)}", *(f"{name}{matcher}" for name, matcher in matchers.items())]
    return f"{{{','.join(parts)}}}[{seconds}s]"
