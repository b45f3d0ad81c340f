"""The deck "Telemetry": the spans of a task until now and its usage, beside the user's decks.

It is added when a task with decks enabled is dispatched, and rendered only when flytekit reads its HTML: at the end of
the pod, of a failed and of a dynamic task too; by ``Deck.publish()`` while the task runs; and by
``FlyteContext.get_deck()`` after a local run. Until then this process keeps the spans that ended last.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flytekit.deck import Deck

from otel_flyte import providers, semconv
from otel_flyte.config import settings
from otel_flyte.recording.model import Event, Link, Recording, Scope, Span
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import static
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk.kept_spans import KeptSpans, ReadableSpan, span_id, trace_id
from otel_flyte.tasks import failures
from otel_flyte.tasks.open_task import OpenTask

NAME = "Telemetry"
RUNNING = "running"
NOTHING: Mapping[str, Any] = MappingProxyType({})

BEGIN, END = "<!-- otel-flyte -->", "<!-- /otel-flyte -->"
_EMPTY = "<p>No span was recorded.</p>"


class TelemetryDeck(Deck):  # type: ignore[misc]
    """A deck that is rendered when its HTML is read."""

    def __init__(self, kept: KeptSpans, trace_url: str, decks: list[Deck]) -> None:
        super().__init__(NAME, "", auto_add_to_deck=False)
        self._task: OpenTask | None = None
        self._kept = kept
        self._trace_url = trace_url
        self._decks = decks
        self._result: str = RUNNING

    @property
    def html(self) -> str:
        """The spans of the task as they are now; after its end, as they were then."""
        return f"{BEGIN}{self._rendered() or self._html or _EMPTY}{END}"

    @guarded
    def follow(self, task: OpenTask | None) -> None:
        """Show a task from now on; the deck is removed where the task is not recorded."""
        self._task = task
        if task is None:
            self._decks.remove(self)

    @guarded
    def end(self, error: BaseException | None) -> None:
        """Set the result of the dispatch, and move the deck behind the user's own.

        In a pod the task's span goes on until its outputs are uploaded.
        """
        self._result = semconv.RESULT_SUCCESS if error is None else failures.result(error)
        if self in self._decks:
            self._decks.remove(self)
            self._decks.append(self)

    @guarded
    def _rendered(self) -> str | None:
        open_task = self._task
        if open_task is None or not isinstance(open_task.span, ReadableSpan):
            return None
        task = open_task.span
        is_over = task.end_time is not None
        if is_over:
            # A notebook may keep the deck for days, and the spans are not needed any more.
            self._task = None
        usage = open_task.usage.until_now() if open_task.usage is not None and not is_over else {}
        phase = open_task.phase
        running = [task, phase] if self._result == RUNNING and isinstance(phase, ReadableSpan) else [task]
        spans = [_read(span, {semconv.RESULT: self._result} if span.end_time is None else {}) for span in running]
        spans[0] = _as_root(spans[0], usage)
        spans += map(_read, self._kept.below(running))
        self._html = _picture(Recording(tuple(spans)), self._trace_url)
        return self._html


_kept: dict[int, tuple[Any, KeptSpans]] = {}
"""The processor that keeps the spans of each provider, by the provider's identity."""


@guarded
def begin(params: Any) -> TelemetryDeck | None:
    """Add the deck to those of a task, before the task's span begins; ``None`` without a provider of the SDK."""
    provider = providers.tracer_provider()
    if params is None or not hasattr(provider, "add_span_processor"):
        return None
    if id(provider) not in _kept:
        kept = KeptSpans()
        provider.add_span_processor(kept)
        _kept[id(provider)] = provider, kept
    deck = TelemetryDeck(_kept[id(provider)][1], settings.current().trace_url, params.decks)
    params.decks.append(deck)
    return deck


def _picture(recording: Recording, trace_url: str) -> str:
    analysis = Analysis.of(recording)
    return f"<style>{static.style()}</style>{static.picture(analysis.tree, analysis.attempts, trace_url)}"


def _read(span: ReadableSpan, more: Mapping[str, Any] = NOTHING) -> Span:
    """Return a span of the SDK as one that was read from a file, to render both alike. An open span ends now."""
    scope = span.instrumentation_scope
    return Span(
        trace_id=f"{trace_id(span):032x}",
        span_id=f"{span_id(span):016x}",
        parent_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=span.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or time.time_ns(),
        status_code=span.status.status_code.name.lower(),
        status_message=span.status.description or "",
        attributes={**(span.attributes or {}), **more},
        events=tuple(Event(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events),
        links=tuple(
            Link(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", dict(link.attributes or {}))
            for link in span.links
        ),
        scope=Scope(scope.name, scope.version or "") if scope is not None else Scope(),
        resource=dict(span.resource.attributes),
    )


def _as_root(task: Span, used: Mapping[str, Any]) -> Span:
    """Return a task's span as a root: the deck does not show its execution and its parents."""
    attributes = {name: value for name, value in task.attributes.items() if name != semconv.RUN_NAME}
    resource = {name: value for name, value in task.resource.items() if name != semconv.RUN_NAME}
    return replace(task, parent_id=None, attributes={**attributes, **used}, resource=resource)
