"""The deck "Telemetry": the spans of a task until now and its usage, beside the user's decks.

It begins when a task with decks enabled is dispatched, and is beside the user's decks only while flytekit renders them:
at the end of the pod, of a failed and of a dynamic task too; by ``Deck.publish()`` while the task runs; and by
``FlyteContext.get_deck()`` after a local run. User code may count the decks of its context, and never sees this one.
Until then this process keeps the spans that ended last.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flytekit.deck import Deck

from otel_flyte import providers, semconv
from otel_flyte.config import settings
from otel_flyte.export.otlp_json import spans_line
from otel_flyte.recording import otlp_json
from otel_flyte.recording.model import Recording, Span
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import static
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk.kept_spans import KeptSpans, ReadableSpan
from otel_flyte.sdk.watching import watch
from otel_flyte.tasks import failures
from otel_flyte.tasks.open_task import OpenTask

NAME = "Telemetry"
RUNNING = "running"

BEGIN, END = "<!-- otel-flyte -->", "<!-- /otel-flyte -->"
_ENDED = 8
"""Lists of decks of ended tasks that can still be rendered: a user's decks may be large."""

_EMPTY = "<p>No span was recorded.</p>"


class TelemetryDeck(Deck):  # type: ignore[misc]
    """A deck that is rendered when its HTML is read."""

    def __init__(self, kept: KeptSpans, trace_url: str, beside: "_Beside") -> None:
        super().__init__(NAME, "", auto_add_to_deck=False)
        self._task: OpenTask | None = None
        self._kept = kept
        self._trace_url = trace_url
        self._beside = beside
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
            self._beside.telemetry.remove(self)

    @guarded
    def end(self, error: BaseException | None) -> None:
        """Set the result of the dispatch, and show this task: one that ends later is the outer one.

        In a pod the task's span goes on until its outputs are uploaded.
        """
        self._result = semconv.RESULT_SUCCESS if error is None else failures.result(error)
        decks = self._beside.telemetry
        decks[:] = [*(deck for deck in decks if deck is not self and deck._result == RUNNING), self]

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
        spans = [_ended_now(span, self._result) for span in _read([*running, *self._kept.below(running)])]
        top = f"{open_task.span.get_span_context().span_id:016x}"
        spans = [_as_root(span, usage) if span.span_id == top else span for span in spans]
        self._html = _picture(Recording(tuple(spans)), self._trace_url)
        return self._html


@dataclass(eq=False)
class _Beside:
    """The user's list of decks, and the telemetry of its tasks; the last one is shown."""

    decks: list[Deck]
    telemetry: list[TelemetryDeck] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return any(deck._result == RUNNING for deck in self.telemetry)


_kept: dict[int, tuple[Any, KeptSpans]] = {}
"""The processor that keeps the spans of each provider, by the provider's identity."""

_lists: list[_Beside] = []
"""By the lists themselves: the parameters of a task and those of its context are several objects with one list."""


@guarded
def begin(params: Any) -> TelemetryDeck | None:
    """Begin the deck of a task, before the task's span begins; ``None`` without a provider of the SDK."""
    provider = providers.tracer_provider()
    if params is None or not hasattr(provider, "add_span_processor"):
        return None
    if id(provider) not in _kept:
        kept = KeptSpans()
        watch(kept)
        _kept[id(provider)] = provider, kept
    beside = _found(params.decks) or _add(params.decks)
    deck = TelemetryDeck(_kept[id(provider)][1], settings.current().trace_url, beside)
    beside.telemetry.append(deck)
    return deck


@guarded
def show(params: Any) -> Callable[[], None] | None:
    """Put the deck beside the user's own, where there is one; return a function that takes it away again."""
    beside = _found(params.decks)
    # Of two decks with one name flytekit renders the last.
    if beside is None or not beside.telemetry or any(deck.name == NAME for deck in beside.decks):
        return None
    deck = beside.telemetry[-1]
    beside.decks.append(deck)
    return guarded(lambda: beside.decks.remove(deck))


def _found(decks: list[Deck]) -> _Beside | None:
    return next((beside for beside in list(_lists) if beside.decks is decks), None)


def _add(decks: list[Deck]) -> _Beside:
    for old in [beside for beside in _lists if not beside.is_running][:-_ENDED]:
        _lists.remove(old)
    beside = _Beside(decks)
    _lists.append(beside)
    return beside


def _picture(recording: Recording, trace_url: str) -> str:
    analysis = Analysis.of(recording)
    return f"<style>{static.style()}</style>{static.picture(analysis.tree, analysis.attempts, trace_url)}"


def _read(spans: list[ReadableSpan]) -> Iterable[Span]:
    """Return spans of the SDK as they are read from a file."""
    return otlp_json.parse(json.loads(spans_line(spans)), []).spans


def _ended_now(span: Span, result: str) -> Span:
    """Return a span; an open one ends now, with the result of the dispatch."""
    if span.end_ns is not None:
        return span
    return replace(span, end_ns=time.time_ns(), attributes={**span.attributes, semconv.RESULT: result})


def _as_root(task: Span, used: Mapping[str, Any]) -> Span:
    """Return a task's span as a root: the deck does not show its execution and its parents."""
    attributes = {name: value for name, value in task.attributes.items() if name != semconv.RUN_NAME}
    resource = {name: value for name, value in task.resource.items() if name != semconv.RUN_NAME}
    return replace(task, parent_id=None, attributes={**attributes, **used}, resource=resource)
