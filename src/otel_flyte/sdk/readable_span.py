"""A span of ours as one of the SDK, for processors of other packages."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_flyte.tracing.flyte_span import FlyteSpan


class ReadableFlyteSpan(ReadableSpan):
    """A span of ours as one of the SDK, which has no argument for the numbers of dropped parts."""

    def __init__(self, span: FlyteSpan, **fields: Any) -> None:
        super().__init__(**fields)
        self._of = span

    @property
    def dropped_attributes(self) -> int:
        """Number of attributes that a limit has dropped."""
        return self._of.dropped_attributes

    @property
    def dropped_events(self) -> int:
        """Number of events that a limit has dropped."""
        return self._of.dropped_events

    @property
    def dropped_links(self) -> int:
        """Number of links that a limit has dropped."""
        return self._of.dropped_links
