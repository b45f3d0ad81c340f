"""Prometheus' names of our instruments, translated from OTLP.

The strategy is ``UnderscoreEscapingWithSuffixes``:
https://prometheus.io/docs/guides/opentelemetry/#utf-8, implemented in
https://github.com/prometheus/otlptranslator/blob/main/metric_namer.go.
"""

import re
from functools import cache

from otel_flyte.usage.instruments import COUNTER, GAUGE, INSTRUMENTS

HISTOGRAM = "create_histogram"

_UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "min": "minutes",
    "h": "hours",
    "By": "bytes",
    "J": "joules",
    "W": "watts",
    "Cel": "celsius",
    "%": "percent",
}
_IN_BRACES = re.compile(r"\{[^}]*\}")
_NO_PART_OF_A_NAME = re.compile(r"[^a-zA-Z0-9:]+")


def metric(name: str, unit: str, kind: str) -> str:
    """Return Prometheus' name of an instrument.

    Args:
        name: The instrument's name, such as ``flyte.task.duration``.
        unit: The instrument's unit by UCUM, such as ``s`` or ``{attempt}``.
        kind: The method of ``Meter`` that creates it, such as ``create_observable_gauge``. The name of a histogram is
            returned without ``_bucket``, ``_sum`` and ``_count``.
    """
    words = [word for word in _NO_PART_OF_A_NAME.split(name) if word]
    suffix = _UNITS.get(_IN_BRACES.sub("", unit), "")
    if suffix and suffix not in words:
        words.append(suffix)
    if kind.endswith(COUNTER.removeprefix("create_observable")) and "up_down" not in kind:
        words = [word for word in words if word != "total"] + ["total"]
    if kind.endswith(GAUGE.removeprefix("create_observable")) and unit == "1":
        words = [word for word in words if word != "ratio"] + ["ratio"]
    return "_".join(words)


def label(attribute: str) -> str:
    """Return the label of an attribute in Prometheus and Loki, such as ``flyte_run_name``."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", attribute)


def observed(name: str) -> str:
    """Return Prometheus' name of a usage instrument, by its name in ``semconv``.

    Raises:
        KeyError: There is no such instrument.
    """
    return _observed()[name]


@cache
def _observed() -> dict[str, str]:
    return {made.name: metric(made.name, made.unit, made.kind) for made in INSTRUMENTS}
