"""Which spans TraceQL asks for. Users' spans may be called as ours are: the instrumentation scope tells them apart."""

from collections.abc import Iterable

from grafana.generate.names import label

from otel_flyte import semconv

_OF_SPAN = {semconv.TASK_NAME}
"""Identity that is asked of the task span: a local run has several tasks in one process."""

OURS = f'instrumentation:name = "{semconv.SCOPE}"'

TASKS = f'{OURS} && name =~ "{semconv.SPAN_TASK.format(name=".*")}"'
PHASES = f'{OURS} && name =~ "{"|".join(semconv.PHASES)}"'
MARKERS = f'{OURS} && name = "{semconv.SPAN_RUNNING}"'


def select(*attributes: str, of_resource: Iterable[str] = ()) -> str:
    """Return the stage that makes columns of attributes: of whether a span failed, of it, and of its resource."""
    columns = ["status", *(f"span.{name}" for name in attributes), *(f"resource.{name}" for name in of_resource)]
    return f"select({', '.join(columns)})"


def picked(attributes: Iterable[tuple[str, str]]) -> str:
    """Return the condition that the identity of a task span matches variables.

    Args:
        attributes: variables, and the attributes that they are values of.
    """
    return " && ".join(matches(attribute, f'"${name}"') for name, attribute in attributes)


def matches(attribute: str, pattern: str) -> str:
    """Return the condition that an attribute of a task's identity matches a pattern.

    Identity is asked of the resource: pods have all of it there, and local runs have it nowhere else. What is not said
    is as empty, as it is in PromQL: *All* has it too. Beside it must stand a condition that always holds, such as
    ``OURS``: of spans that match none Tempo reads nothing.

    Args:
        attribute: one of ``semconv.IDENTITY``.
        pattern: a regular expression with its quotes.
    """
    if attribute in _OF_SPAN:
        return f"span.{attribute} =~ {pattern}"
    return f'(resource.{attribute} =~ {pattern} || "" =~ {pattern})'


def picked_series(attributes: Iterable[tuple[str, str]]) -> str:
    """Return the same condition as matchers of Prometheus' series."""
    return ",".join(f'{label(attribute)}=~"${name}"' for name, attribute in attributes)
