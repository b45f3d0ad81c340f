"""Whether the instrumentation is on, and whether a task that begins now is recorded.

``activation`` switches it on and passes the function that creates providers. They are created when the first dispatch
or local workflow begins: a program that imports flytekit and sets its own provider later keeps it.
"""

from collections.abc import Callable

from otel_flyte import providers

_create_providers: Callable[[], object] | None = None
_ready: bool | None = None
"""Whether this process exports telemetry by itself; ``None`` until the first dispatch asks."""


def turn_on(create_providers: Callable[[], object]) -> None:
    """Record tasks from now on.

    Args:
        create_providers: sets the providers that are missing; returns whether this process exports telemetry.
    """
    global _create_providers, _ready
    _create_providers = create_providers
    if _ready is False:
        _ready = None


def turn_off() -> None:
    """Stop recording tasks."""
    global _create_providers, _ready
    _create_providers = _ready = None


def is_on() -> bool:
    """Return whether the hooks are installed."""
    return _create_providers is not None


def records() -> bool:
    """Return whether a task that begins now is recorded; create the providers that are missing."""
    global _ready
    if _create_providers is None:
        return False
    if _ready is None:
        _ready = bool(_create_providers())
    return _ready or providers.tracer_provider_is_set()
