"""Our providers as the global ones, until the program sets its own.

OpenTelemetry lets each global provider be set once. Ours leave that to the program: its records go to its provider
from then on, and ours go where they went.
"""

from collections.abc import Callable
from importlib import import_module

from opentelemetry.util._once import Once

from otel_flyte.runtime.guard import guarded

_ONCE = {
    "traces": ("opentelemetry.trace", "_TRACER_PROVIDER_SET_ONCE"),
    "metrics": ("opentelemetry.metrics._internal", "_METER_PROVIDER_SET_ONCE"),
    "logs": ("opentelemetry._logs._internal", "_LOGGER_PROVIDER_SET_ONCE"),
}
"""Where the API keeps whether a provider was set."""


def let_replace(signal: str, replaced: Callable[[], object]) -> None:
    """Let the program replace the global provider, which we have just set, once.

    Args:
        signal: ``"traces"``, ``"metrics"`` or ``"logs"``.
        replaced: called after the program has set its own.
    """
    module, name = _ONCE[signal]
    api = import_module(module)
    if isinstance(getattr(api, name, None), Once):
        setattr(api, name, _UntilReplaced(replaced))


class _UntilReplaced(Once):
    """Stands in for the API's record that a provider was set."""

    def __init__(self, replaced: Callable[[], object]) -> None:
        super().__init__()
        self._replaced = guarded(replaced)

    def do_once(self, func: Callable[[], None]) -> bool:
        """Set the provider of the program."""
        is_first = super().do_once(func)
        if is_first:
            self._replaced()
        return is_first
