"""A phase that ended before its task had a span. It imports nothing of OpenTelemetry, which is imported later."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue


class PastPhase(NamedTuple):
    """A phase that is over. Times are Unix times in ns; ``usage`` are attributes of its span."""

    name: str
    start_time: int
    end_time: int
    error: BaseException | None = None
    usage: "Mapping[str, AttributeValue] | None" = None
