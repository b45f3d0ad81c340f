"""Providers of metrics and logs that are created with the first meter or logger.

The SDKs of both signals cost a task as much start-up time as the SDK of traces, and most tasks use neither.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk.arguments import usable_environment
from otel_flyte.sdk.once import Once

P = TypeVar("P")


class Lazy(Generic[P]):
    """A provider of the SDK that is created when it is first used."""

    def __init__(self, module: str, fallback: Callable[[], P]) -> None:
        self._provider: Once[P] = Once(lambda: _create(module) or fallback())

    @property
    def is_made(self) -> bool:
        """Return whether the provider has been used."""
        return self._provider.is_made

    def __getattr__(self, name: str) -> Any:
        # A look for a private attribute must not create the provider.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._provider(), name)


@guarded
def _create(module: str) -> Any:
    with usable_environment() as values:
        # The SDK of logs creates a resource when it is imported.
        with importing:
            create_provider = import_module(module).create_provider
        return create_provider(values)
