"""TraceQL conditions for spans. The instrumentation scope tells our spans from users' spans of the same name."""

from collections.abc import Iterable

from grafana.generate.names import label

from otel_flyte import semconv

_OF_SPAN = {semconv.TASK_NAME}
"""Identity on the task span instead of the resource: a local run has several tasks in one process."""

OURS = f'instrumentation:name = "{semconv.SCOPE}"'

TASKS = f'{OURS} && name =~ "{semconv.SPAN_TASK.format(name=".*")}"'
PHASES = f'{OURS} && name =~ "{"|".join(semconv.PHASES)}"'
PENDING = f'{OURS} && name = "{semconv.SPAN_RUNNING}"'


def select(*attributes: str, of_resource: Iterable[str] = ()) -> str:
    """Return the stage that adds columns: the status, attributes of the span, and attributes of its resource."""
    columns = ["status", *(f"span.{name}" for name in attributes), *(f"resource.{name}" for name in of_resource)]
    return f"select({', '.join(columns)})"


def selected(attributes: Iterable[tuple[str, str]]) -> str:
    """Return the condition that the identity of a task span matches variables.

    Args:
        attributes: Pairs of a variable and an attribute.
    """
    return " && ".join(matches(attribute, f'"${name}"') for name, attribute in attributes)


def matches(attribute: str, pattern: str) -> str:
    """Return the condition that an attribute of a task's identity matches a pattern.

    The identity is on the resource: pods have all of it there, and local runs have it nowhere else. A missing attribute
    is empty, as in PromQL, so that *All* includes it. Combine this with a condition on an existing attribute, such as
    ``OURS``: Tempo does not read spans that match no such condition.

    Args:
        attribute: One of ``semconv.IDENTITY``.
        pattern: A regular expression with its quotes.
    """
    if attribute in _OF_SPAN:
        return f"span.{attribute} =~ {pattern}"
    return f'(resource.{attribute} =~ {pattern} || "" =~ {pattern})'


def selected_series(attributes: Iterable[tuple[str, str]]) -> str:
    """Return the same condition as matchers for Prometheus."""
    return ",".join(f'{label(attribute)}=~"${name}"' for name, attribute in attributes)
