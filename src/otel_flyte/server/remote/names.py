"""Names of attributes and metrics as Loki and Prometheus have them: with underscores, and only texts as values."""

import re
from collections.abc import Mapping

from otel_flyte import semconv
from otel_flyte.recording import point_series


def label(attribute: str) -> str:
    """Return the label of an attribute."""
    return re.sub(r"[^0-9A-Za-z_]", "_", attribute)


KNOWN: Mapping[str, str] = {
    label(name): name
    for name in vars(semconv).values()
    if isinstance(name, str) and re.fullmatch(r"[a-z_0-9]+(\.[a-z_0-9]+)+", name)
}
"""Attributes by their labels; others keep their label as a name."""

METRICS: Mapping[str, str] = {label(name): name for name in point_series.METRICS}
"""The metrics of usage by their names in Prometheus, which ends them with their unit."""
METRIC = f"({'|'.join(METRICS)})(_percent|_ratio|_bytes)?"
"""The regular expression for their names in Prometheus; its first group is one of ``METRICS``."""

NUMBERS = frozenset({semconv.ATTEMPT, semconv.ARRAY_INDEX, semconv.CODE_LINE_NUMBER, semconv.PHASE_ELAPSED})
"""Attributes that are numbers."""
