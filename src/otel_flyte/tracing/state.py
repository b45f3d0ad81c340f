"""Which task or workflow is open in the current context.

It imports nothing of OpenTelemetry: a hook that finds nothing open costs one look at a context variable.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_flyte.tracing.spans import Scope

current: ContextVar["Scope | None"] = ContextVar("otel_flyte_scope", default=None)
"""The innermost open task or workflow."""

next_ids: ContextVar[tuple[int, int] | None] = ContextVar("otel_flyte_next_ids", default=None)
"""Trace id and span id that the next span of our id generator takes."""
