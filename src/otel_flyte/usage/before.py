"""The memory that was in use when a task began, which is not the task's.

The first task of a process finds the interpreter and its imports, which a pod has, too. What a later task finds beyond
that, earlier tasks have left: values in globals, caches, idle worker processes. In an interactive session, such as a
notebook, the first task finds the values of the user as well.
"""

import sys
from typing import NamedTuple

from otel_flyte import semconv


class Before(NamedTuple):
    """Bytes in use when a task began.

    Attributes:
        level: all of them, ``None`` where they are unknown.
        usual: those that every task of this process has; ``None`` where that is all of them.
    """

    level: int | None = None
    usual: int | None = None


def usual_at_first() -> int | None:
    """Return the bytes that the first task of this process may count as its own: 0 in an interactive session."""
    return 0 if hasattr(sys, "ps1") else None


def described(before: Before, peak: float | None) -> dict[str, int]:
    """Return the level when the task began, its growth, and the part of the level that others have left."""
    level = before.level
    if level is None:
        return {}
    found = {semconv.USAGE_MEMORY_BEFORE: level}
    if peak is not None:
        found[semconv.USAGE_MEMORY_GROWTH] = max(0, round(peak) - level)
    if before.usual is not None and level > before.usual:
        found[semconv.USAGE_MEMORY_LEFT] = level - before.usual
    return found
