"""Ids of spans: random ones, except those of an attempt, which are derived."""

from otel_flyte.tasks import state
from otel_flyte.tracing import random_ids

OUR_IDS = ("flyte", "random")
"""Values of ``OTEL_PYTHON_ID_GENERATOR`` that select it."""


class FlyteIds:
    """Generates ids, as an id generator of the SDK.

    The derived ids of an attempt are in a context variable while its span is started.
    """

    takes_derived_ids = True

    def generate_span_id(self) -> int:
        """Return the derived span id, else 64 random bits."""
        ids = state.next_ids.get()
        return ids[1] if ids is not None else random_ids.span_id()

    def generate_trace_id(self) -> int:
        """Return the derived trace id, else 128 random bits."""
        ids = state.next_ids.get()
        return ids[0] if ids is not None else random_ids.trace_id()

    def is_trace_id_random(self) -> bool:
        """Return whether the lower 56 bits are uniformly random, as those of a derived id are: it is a digest."""
        return True
