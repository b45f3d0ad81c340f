"""The span of this project where the tracer provider is ours.

It has the contract of the SDK's span, at a fraction of the cost: no lock, and no object per span besides its own
attributes. The sending thread encodes it. Processors of other packages get the SDK's ``ReadableSpan``, made on demand.
"""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_flyte.tracing import open_spans

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes, AttributeValue

_logger = logging.getLogger(__name__)

_UNSET = Status()
DEFAULT_LIMIT = 128
"""Attributes of a span: https://opentelemetry.io/docs/specs/otel/common/#configurable-parameters"""

_TEXT = frozenset({str})
_PLAIN = frozenset({bool, int, float})
_PLAIN_OR_TEXT = _PLAIN | _TEXT
"""Types of values that are kept as they are; texts are where their length has no limit."""


class SpanLimits(NamedTuple):
    """Limits of a span, ``None`` for no limit.

    https://opentelemetry.io/docs/specs/otel/common/#attribute-limits

    Attributes:
        attributes: number of attributes of a span.
        events: number of events.
        links: number of links.
        event_attributes: number of attributes of an event.
        link_attributes: number of attributes of a link.
        value_length: characters of a text of a span's attributes.
        other_value_length: characters of a text of an event's or a link's attributes.
    """

    attributes: int | None
    events: int | None
    links: int | None
    event_attributes: int | None
    link_attributes: int | None
    value_length: int | None
    other_value_length: int | None


class PlainAttributes(dict[str, "AttributeValue"]):
    """Attributes within the default limits, whose names and values are plain: a span does not look at each again."""


def plain(attributes: "Mapping[str, AttributeValue]") -> "Mapping[str, AttributeValue]":
    """Return attributes of many spans as :class:`PlainAttributes` where they are plain."""
    is_plain = _PLAIN_OR_TEXT.issuperset(map(type, attributes.values())) and all(attributes)
    return PlainAttributes(attributes) if is_plain and len(attributes) <= DEFAULT_LIMIT else attributes


class Origin(Protocol):
    """The origin of spans: the common properties of all spans of a tracer.

    Attributes:
        limits: their limits.
        has_default_limits: whether these are the SDK's own.
        on_end: called with each span that ends.
        resource: their resource, as the SDK's ``Resource``.
        scope: their scope, as the SDK's ``InstrumentationScope``.
        readable: returns a span as the SDK's ``ReadableSpan``.
    """

    limits: SpanLimits
    has_default_limits: bool
    on_end: "list[Callable[[FlyteSpan], object]]"
    resource: Any
    scope: Any
    readable: "Callable[[FlyteSpan], Any]"


class FlyteEvent(NamedTuple):
    """An event of a span, as the SDK's ``Event``.

    Attributes:
        name: its name.
        timestamp: Unix time in ns.
        attributes: its attributes, within their limits.
    """

    name: str
    timestamp: int
    attributes: BoundedAttributes

    @property
    def dropped_attributes(self) -> int:
        """Number of attributes that a limit has dropped."""
        return self.attributes.dropped


class FlyteSpan(Span):
    """A recording span. It is sampled, and its context is created when it is asked for.

    Attributes:
        name: its name.
        trace_id: the id of its trace.
        span_id: its id.
        trace_flags: the flags of its context.
        trace_state: that of its context; ``None`` stands for the empty one.
        above: its parent or the context of its parent, ``None`` for a root.
        kind: its kind.
        start_time: Unix time in ns.
        end_time: Unix time in ns, ``None`` as long as it is open.
        status: its status.
        dropped_attributes: number of attributes that a limit has dropped.
        dropped_events: number of events that a limit has dropped.
        dropped_links: number of links that a limit has dropped.
    """

    __slots__ = (
        *("_attributes", "_context", "_events", "_links", "_origin", "_records_exception", "_sets_status"),
        *("above", "dropped_attributes", "dropped_events", "dropped_links", "end_time", "kind", "name", "span_id"),
        *("start_time", "status", "trace_flags", "trace_id", "trace_state"),
    )

    is_remote = False
    """As of a context: it is a span of this process."""

    def __init__(
        self,
        origin: Origin,
        name: str,
        above: "FlyteSpan | SpanContext | None",
        *,
        trace_id: int,
        span_id: int,
        trace_flags: TraceFlags,
        trace_state: TraceState | None,
        kind: SpanKind,
        attributes: "Attributes",
        links: Sequence[Link],
        start_time: int | None,
        records_exception: bool,
        sets_status: bool,
    ) -> None:
        self._origin = origin
        self.name = name
        self.trace_id = trace_id
        self.span_id = span_id
        self.trace_flags = trace_flags
        self.trace_state = trace_state
        self.above = above
        self.kind = kind
        self._context: SpanContext | None = None
        self.end_time: int | None = None
        self.status = _UNSET
        self.dropped_attributes = self.dropped_events = self.dropped_links = 0
        if type(attributes) is PlainAttributes and origin.has_default_limits:
            self._attributes: dict[str, AttributeValue] = attributes.copy()
        else:
            self._attributes = {}
            if attributes:
                self._set_items(attributes)
        self._events: list[FlyteEvent] | None = None
        self._links: list[Link] | None = None
        self._records_exception = records_exception
        self._sets_status = sets_status
        for link in links:
            if link and _is_valid_link(link.context, link.attributes):
                self._append_link(self._bounded_link(link.context, link.attributes))
        self.start_time = time.time_ns() if start_time is None else start_time

    def __repr__(self) -> str:
        return f'{type(self).__name__}(name="{self.name}", context={self.context})'

    @property  # type: ignore[misc]  # of `object` it can be set as well
    def __class__(self) -> Any:
        # Users ask with `isinstance` whether a span is one of the SDK; who asks has imported it.
        sdk = sys.modules.get("opentelemetry.sdk.trace")
        return getattr(sdk, "Span", FlyteSpan)

    @property
    def context(self) -> SpanContext:
        """The context."""
        if self._context is None:
            self._context = SpanContext(self.trace_id, self.span_id, False, self.trace_flags, self.trace_state)
        return self._context

    @property
    def parent(self) -> SpanContext | None:
        """The context of the parent, ``None`` for a root."""
        return self.above.context if isinstance(self.above, FlyteSpan) else self.above

    @property
    def attributes(self) -> "Mapping[str, AttributeValue]":
        """The attributes; the view changes with the span."""
        return MappingProxyType(self._attributes)

    @property
    def events(self) -> Sequence[FlyteEvent]:
        """The events, the oldest first."""
        return tuple(self._events or ())

    @property
    def links(self) -> Sequence[Link]:
        """The links."""
        return tuple(self._links or ())

    @property
    def resource(self) -> Any:
        """The resource of this process, as the SDK's ``Resource``."""
        return self._origin.resource

    @property
    def instrumentation_scope(self) -> Any:
        """This project's scope, as the SDK's ``InstrumentationScope``."""
        return self._origin.scope

    @property
    def instrumentation_info(self) -> Any:
        """The scope by its former type."""
        return self._readable_span().instrumentation_info

    def get_span_context(self) -> SpanContext:
        """Return the context."""
        return self.context

    def is_recording(self) -> bool:
        """Return whether the span is open."""
        return self.end_time is None

    def set_attribute(self, key: str, value: "AttributeValue") -> None:
        """Set an attribute of an open span."""
        if self._is_open("Setting attribute on ended span."):
            self._set_items({key: value}, is_one=True)

    def set_attributes(self, attributes: "Mapping[str, AttributeValue]") -> None:
        """Set attributes of an open span."""
        if self._is_open("Setting attribute on ended span."):
            self._set_items(attributes)

    def add_event(self, name: str, attributes: "Attributes" = None, timestamp: int | None = None) -> None:
        """Add an event to an open span; ``timestamp`` is Unix time in ns, by default now."""
        limits = self._origin.limits
        bounded = _bounded(attributes, limits.event_attributes, limits.other_value_length)
        if self._is_open("Tried calling _add_event on an ended span."):
            event = FlyteEvent(name, time.time_ns() if timestamp is None else timestamp, bounded)
            self._events = self._events or []
            self.dropped_events += _append(self._events, event, limits.events)

    def add_link(self, context: SpanContext, attributes: "Attributes" = None) -> None:
        """Add a link to an open span. One without a valid context needs attributes or a trace state."""
        if _is_valid_link(context, attributes):
            link = self._bounded_link(context, attributes)
            if self._is_open("Tried calling _add_link on an ended span."):
                self._append_link(link)

    def update_name(self, name: str) -> None:
        """Rename an open span."""
        if self._is_open("Tried calling update_name on an ended span."):
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status of an open span, unless that is OK already."""
        if not self._is_open("Tried calling set_status on an ended span."):
            return
        code = status.status_code if isinstance(status, Status) else status
        if self.status.status_code is StatusCode.OK or code is StatusCode.UNSET:
            return
        if not isinstance(status, Status):
            self.status = Status(status, description)
            return
        if description is not None:
            _logger.warning(
                "Description %s ignored. Use either `Status` or `(StatusCode, Description)`",
                description,
            )
        self.status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: "Attributes" = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an exception as an event, as https://opentelemetry.io/docs/specs/semconv/exceptions/ describes it."""
        kind = type(exception)
        is_builtin = kind.__module__ in ("", "builtins")
        recorded: dict[str, AttributeValue] = {
            "exception.type": kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}",
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**recorded, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End the span; ``end_time`` is Unix time in ns, by default now."""
        if self.end_time is not None:
            _logger.warning("Calling end() on an ended span.")
            return
        self.end_time = time.time_ns() if end_time is None else end_time
        open_spans.registry.pop(self.span_id, None)
        # The parent of a forked child ends the spans that were open at the fork.
        if self.span_id not in open_spans.inherited:
            for on_end in self._origin.on_end:
                on_end(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the span, with the exception of a ``with`` block."""
        if error is not None and self.is_recording():
            if self._records_exception:
                self.record_exception(error, escaped=True)
            if self._sets_status:
                self.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        self.end()

    def to_json(self, indent: int | None = 4) -> str:
        """Return the span as the SDK's own JSON."""
        return str(self._readable_span().to_json(indent))

    def _readable_span(self) -> Any:
        return self._origin.readable(self)

    def _is_open(self, warning: str) -> bool:
        if self.end_time is not None:
            _logger.warning(warning)
        return self.end_time is None

    def _set_items(self, attributes: "Mapping[str, AttributeValue]", *, is_one: bool = False) -> None:
        limits, own = self._origin.limits, self._attributes
        has_room = limits.attributes is None or len(own) + len(attributes) <= limits.attributes
        plain = _PLAIN if limits.value_length is not None else _PLAIN_OR_TEXT
        has_plain_values = plain.issuperset(map(type, attributes.values()))
        if has_room and has_plain_values and _TEXT.issuperset(map(type, attributes)) and "" not in attributes:
            if own and not own.keys().isdisjoint(attributes):
                # As in the SDK, the last attribute that is set comes last.
                for key in attributes:
                    own.pop(key, None)
            own.update(attributes)
            return
        bounded = BoundedAttributes(limits.attributes, own, immutable=False, max_value_len=limits.value_length)
        if is_one:
            for key, value in attributes.items():
                bounded[key] = value
        else:
            # Before 1.40 the API set one after the other.
            getattr(bounded, "_set_items", bounded.update)(attributes)
        self.dropped_attributes += bounded.dropped
        own.clear()
        own.update(bounded)

    def _bounded_link(self, context: SpanContext, attributes: "Attributes") -> Link:
        limits = self._origin.limits
        return Link(context, _bounded(attributes, limits.link_attributes, limits.other_value_length))

    def _append_link(self, link: Link) -> None:
        self._links = self._links or []
        self.dropped_links += _append(self._links, link, self._origin.limits.links)


def _is_valid_link(context: SpanContext, attributes: "Attributes") -> bool:
    return bool(context and (context.is_valid or attributes or context.trace_state))


def _bounded(attributes: "Attributes", limit: int | None, length: int | None) -> BoundedAttributes:
    return BoundedAttributes(limit, attributes, immutable=True, max_value_len=length)


def _append(items: list[Any], item: object, limit: int | None) -> int:
    """Append an item and drop the oldest one beyond a limit; return how many were dropped."""
    items.append(item)
    if limit is None or len(items) <= limit:
        return 0
    del items[0]
    return 1
