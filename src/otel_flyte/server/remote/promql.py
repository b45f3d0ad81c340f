"""Queries of Prometheus: https://prometheus.io/docs/prometheus/latest/querying/basics/."""

from collections.abc import Iterable, Mapping

from otel_flyte import semconv
from otel_flyte.server.remote.go_text import literal, pattern
from otel_flyte.server.remote.names import METRIC, label
from otel_flyte.tasks.identity import Execution


def of_execution(execution: Execution, seconds: int) -> str:
    """Return the query for the points of an execution in the seconds before the time of the query."""
    identity = {
        semconv.RUN_NAME: execution.name,
        semconv.PROJECT: execution.project,
        semconv.DOMAIN: execution.domain,
    }
    return _range({name: f"={literal(value)}" for name, value in identity.items()}, seconds)


def of_processes(instances: Iterable[str], seconds: int) -> str:
    """Return the same for processes, by the ids of their services' instances."""
    return _range({semconv.SERVICE_INSTANCE_ID: _any(instances)}, seconds)


def of_shared_processes(instances: Iterable[str], seconds: int) -> str:
    """Return the same for the points that name no execution, which are those of devices."""
    return _range({semconv.SERVICE_INSTANCE_ID: _any(instances), semconv.RUN_NAME: '=""'}, seconds)


def _any(texts: Iterable[str]) -> str:
    return f"=~{literal('|'.join(map(pattern, texts)))}"


def _range(matchers: Mapping[str, str], seconds: int) -> str:
    parts = [f"__name__=~{literal(METRIC)}", *(f"{label(name)}{matcher}" for name, matcher in matchers.items())]
    return f"{{{','.join(parts)}}}[{seconds}s]"
