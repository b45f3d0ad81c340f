"""The curves of an attempt's usage at the sampling interval, read from the attributes of its span."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.formulas import LONGEST_CURVE, MOST_CURVES, mean
from otel_flyte.recording.model import Attributes
from otel_flyte.recording.usage import number

Values = tuple[float | None, ...]


class Fine(NamedTuple):
    """The mean and the maximum of each step; ``None`` where they are unknown.

    Attributes:
        label: the index of a device, ``all``, or empty.
        step: seconds for which a value stands.
    """

    label: str
    step: float
    means: Values
    maxima: Values

    def thinned(self, longest: int) -> "Fine":
        """Return the curve with at most so many values: each step covers twice the time until it has."""
        label, step, means, maxima = self
        while len(means) > longest:
            means, maxima, step = tuple(map(mean, _pairs(means))), tuple(map(_largest, _pairs(maxima))), 2 * step
        return Fine(label, step, means, maxima)


def of(attributes: Attributes, name: str) -> list[Fine]:
    """Return the curves that an attribute has, none where it or the step is missing or broken."""
    written = attributes.get(name)
    if not written:
        return []
    step = number(attributes.get(semconv.USAGE_CURVE_STEP))
    texts = [written] if isinstance(written, str) else written
    if not step or step < 0 or not isinstance(texts, (list, tuple)):
        return []
    curves = (_fine(text, step) for text in texts[:MOST_CURVES] if isinstance(text, str))
    return [curve for curve in curves if any(value is not None for value in curve.means)]


def _fine(text: str, step: float) -> Fine:
    label, _, values = text.rpartition(": ")
    pairs = [each.partition("/") for each in values.split()[:LONGEST_CURVE]]
    means = tuple(_number(average) for average, _, _ in pairs)
    return Fine(label, step, means, _maxima(means, (peak for _, _, peak in pairs)))


def _maxima(means: Values, written: Iterable[str]) -> Values:
    """Return the maximum of each step, which is written only where it differs from the mean."""
    return tuple(_number(peak) if peak else average for average, peak in zip(means, written, strict=True))


def _pairs(values: Values) -> Iterator[list[float | None]]:
    return (list(values[index : index + 2]) for index in range(0, len(values), 2))


def _largest(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _number(text: str) -> float | None:
    """Return a number that is not negative, ``None`` for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None
