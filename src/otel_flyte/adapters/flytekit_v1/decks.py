"""The deck "Telemetry": what a task has done until now and what it used, beside the decks of its user.

It is added when a task with decks enabled is dispatched, and drawn only when flytekit asks for its HTML: at the end of
the pod, of a failed and of a dynamic task too, by ``Deck.publish()`` while it runs, and by ``FlyteContext.get_deck()``
once it has run on one's machine. Until then the spans that have ended are kept, the last of them, in this process.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flytekit.deck import Deck

from otel_flyte import providers, semconv
from otel_flyte.config import settings
from otel_flyte.recording import attempts
from otel_flyte.recording.otlp_file import Event, Link, Recording, Scope, Span
from otel_flyte.recording.tree import ExecutionTree
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
    """A deck that is drawn when it is asked for."""

    def __init__(self, kept: KeptSpans, trace_url: str) -> None:
        super().__init__(NAME, "", auto_add_to_deck=False)
        self._kept = kept
        self._trace_url = trace_url
        self._scope: OpenTask | None = None
        self._result: str = RUNNING

    @property
    def html(self) -> str:
        """The picture of the task as it is now; once it has ended, as it was then."""
        return f"{BEGIN}{self._drawn() or self._html or _EMPTY}{END}"

    def follow(self, scope: OpenTask) -> None:
        """Draw this task from now on."""
        self._scope = scope

    def end(self, error: BaseException | None) -> None:
        """Note how the dispatch has ended; in a pod the task's span goes on until its outputs are uploaded."""
        self._result = semconv.RESULT_SUCCESS if error is None else failures.result(error)

    @guarded
    def _drawn(self) -> str | None:
        scope = self._scope
        if scope is None or not isinstance(scope.span, ReadableSpan):
            return None
        task = scope.span
        is_over = task.end_time is not None
        if is_over:
            # A notebook may keep the deck for days: what it was drawn from is not needed any more.
            self._scope = None
        used = scope.usage.until_now() if scope.usage is not None and not is_over else {}
        unended = [task, scope.phase] if self._result == RUNNING and isinstance(scope.phase, ReadableSpan) else [task]
        spans = [_read(span, {semconv.RESULT: self._result} if span.end_time is None else {}) for span in unended]
        spans[0] = _alone(spans[0], used)
        spans += map(_read, self._kept.below(unended))
        self._html = _picture(Recording(tuple(spans)), self._trace_url)
        return self._html


_kept: dict[int, tuple[Any, KeptSpans]] = {}
"""What keeps the spans of each provider, by its identity."""


@guarded
def begin(params: Any) -> TelemetryDeck | None:
    """Add the deck to those of a task, before its span is begun; ``None`` where no spans can be had."""
    provider = providers.tracer_provider()
    if params is None or not hasattr(provider, "add_span_processor"):
        return None
    if id(provider) not in _kept:
        kept = KeptSpans()
        provider.add_span_processor(kept)
        _kept[id(provider)] = provider, kept
    deck = TelemetryDeck(_kept[id(provider)][1], settings.current().trace_url)
    params.decks.append(deck)
    return deck


@guarded
def end(deck: TelemetryDeck, params: Any, error: BaseException | None = None) -> None:
    """Note how a dispatch has ended, and put the deck after the user's own, which come first."""
    deck.end(error)
    if deck in params.decks:
        params.decks.remove(deck)
        params.decks.append(deck)


@guarded
def drop(deck: TelemetryDeck, params: Any) -> None:
    """Take the deck of a task away that is not recorded."""
    params.decks.remove(deck)


def _picture(recording: Recording, trace_url: str) -> str:
    tree = ExecutionTree.from_spans(recording.spans)
    return f"<style>{static.style()}</style>{static.picture(tree, attempts.found(recording), trace_url)}"


def _read(span: ReadableSpan, more: Mapping[str, Any] = NOTHING) -> Span:
    """Give a span of the SDK as one that was read from a file: one picture serves both. What is open ends now."""
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
        links=tuple(_links(span.links)),
        scope=Scope(scope.name, scope.version or "") if scope is not None else Scope(),
        resource=dict(span.resource.attributes),
    )


def _alone(task: Span, used: Mapping[str, Any]) -> Span:
    """Give a task's span as that of all there is: its execution and whatever it is below are not in the picture."""
    attributes = {name: value for name, value in task.attributes.items() if name != semconv.RUN_NAME}
    resource = {name: value for name, value in task.resource.items() if name != semconv.RUN_NAME}
    return replace(task, parent_id=None, attributes={**attributes, **used}, resource=resource)


def _links(links: Iterable[Any]) -> Iterator[Link]:
    for link in links:
        yield Link(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", dict(link.attributes or {}))
