"""Which task or workflow is open in the current context.

It imports nothing of OpenTelemetry: a hook that finds nothing open costs one look at a context variable.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_flyte.tracing.spans import Scope

current: ContextVar["Scope | None"] = ContextVar("otel_flyte_scope", default=None)
"""The innermost open task or workflow."""

next_ids: ContextVar[tuple[int, int] | None] = ContextVar("otel_flyte_next_ids", default=None)
"""Trace id and span id that the next span of our id generator takes."""

open_scopes: dict[int, "Scope"] = {}
"""Every open task and workflow of this process, by identity, the outermost first."""

signalled: str = ""
"""The signal that asked this process to end, if one has."""


def _nothing() -> None:
    pass


take_note: Callable[[], object] = _nothing
"""Has a signal that has come already told on what is open; whoever watches for signals puts theirs here."""
