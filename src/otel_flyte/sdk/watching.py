"""Processors that see the spans of this process whichever provider creates them: of a recording, and of decks."""

from typing import Any

from otel_flyte import providers
from otel_flyte.sdk.processors import Processor, Shared

_watching: list[Processor] = []
_replacing: list[Any] = []
"""The provider by which the program has replaced ours."""


def watch(processor: Processor) -> None:
    """Have a processor see the spans of the provider in use, and of the program's where that replaces ours."""
    provider: Any = providers.tracer_provider()
    if hasattr(provider, "add_span_processor"):
        provider.add_span_processor(processor)
    _watching.append(processor)
    for replacing in _replacing:
        replacing.add_span_processor(Shared(processor))


def follow(provider: Any) -> None:
    """Have them see the spans of a provider by which the program has replaced ours."""
    if hasattr(provider, "add_span_processor"):
        _replacing.append(provider)
        for processor in _watching:
            provider.add_span_processor(Shared(processor))
