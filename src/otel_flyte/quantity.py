"""Kubernetes quantities: ``500m`` cores, ``2Gi`` bytes, as tasks declare them.

The grammar and the meaning are those of ``resource.Quantity``
(https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).
"""

import math
import re
from fractions import Fraction

_DIGITS = r"[0-9]{1,99}"
_QUANTITY = re.compile(
    rf"([+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS}))(?:[eE]([+-]?{_DIGITS})|([numkMGTPE]?|[KMGTPE]i))"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {f"{prefix}i": 2 ** (10 * power) for power, prefix in enumerate("KMGTPE", start=1)}
_LARGEST = 2**63 - 1
"""Kubernetes caps larger quantities."""

_LARGEST_EXPONENT = 200
"""With at most 99 digits before and behind the point, a larger one makes as much, or as little, as this one."""

_MEBIBYTE = 2**20


def cores(text: object) -> float | None:
    """Return the cores of a quantity, 0.5 for ``500m``; ``None`` where the value is no quantity.

    Takes numbers as they are, as flytekit does. Never raises. Counts of devices are read by it too.
    """
    value = _parsed(text)
    return None if value is None else float(value)


def size(text: object) -> int | None:
    """Return the bytes of a quantity, rounded up as Kubernetes does; ``None`` where the value is no quantity.

    Takes numbers as they are, as flytekit does. Never raises.
    """
    value = _parsed(text)
    return None if value is None else math.ceil(value)


def as_cores(value: float) -> str:
    """Write cores as Kubernetes does, rounded up to a thousandth: ``2``, ``1500m``."""
    # 1.1 cores are 1100.0000000000002 thousandths.
    thousandths = math.ceil(round(value * 1000, 6))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def as_size(value: float) -> str:
    """Write bytes as Kubernetes does, rounded up to a mebibyte: ``1536Mi``, ``2Gi``."""
    number, units = math.ceil(value / _MEBIBYTE), iter(("Mi", "Gi", "Ti", "Pi"))
    unit = next(units)
    while number and number % 1024 == 0 and unit != "Pi":
        number, unit = number // 1024, next(units)
    return f"{number}{unit}" if number else "0"


def _parsed(value: object) -> Fraction | None:
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, (int, float)):
        return _capped(Fraction(value))
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    number, exponent, suffix = found.groups()
    if suffix in _BINARY:
        return _capped(Fraction(number) * _BINARY[suffix])
    power = int(exponent) if exponent else _DECIMAL[suffix]
    return _capped(Fraction(number) * Fraction(10) ** max(-_LARGEST_EXPONENT, min(power, _LARGEST_EXPONENT)))


def _capped(value: Fraction) -> Fraction:
    return max(Fraction(-_LARGEST), min(value, Fraction(_LARGEST)))
