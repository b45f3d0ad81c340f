"""Which spans TraceQL asks for. Users' spans may be called as ours are: the instrumentation scope tells them apart."""

from collections.abc import Iterable

from grafana.generate.names import label

from otel_flyte import semconv

_OURS = f'instrumentation:name = "{semconv.SCOPE}"'

TASKS = f'{_OURS} && name =~ "{semconv.SPAN_TASK.format(name=".*")}"'
PHASES = f'{_OURS} && name =~ "{"|".join(semconv.PHASES)}"'
MARKERS = f'{_OURS} && name = "{semconv.SPAN_RUNNING}"'


def select(*attributes: str, of_resource: Iterable[str] = ()) -> str:
    """Return the stage that makes columns of attributes: of whether a span failed, of it, and of its resource."""
    columns = ["status", *(f"span.{name}" for name in attributes), *(f"resource.{name}" for name in of_resource)]
    return f"select({', '.join(columns)})"


def picked(attributes: Iterable[tuple[str, str]]) -> str:
    """Return the condition that attributes of a span match variables.

    Args:
        attributes: variables, and the attributes that they are values of.
    """
    return " && ".join(f'span.{attribute} =~ "${name}"' for name, attribute in attributes)


def picked_series(attributes: Iterable[tuple[str, str]]) -> str:
    """Return the same condition as matchers of Prometheus' series."""
    return ",".join(f'{label(attribute)}=~"${name}"' for name, attribute in attributes)
