"""Complete traces as text, for comparison with a snapshot.

The text has everything that is the same in each run, including derived ids, but no times and no random ids. The
derived ids are computed from the attempt in the attributes of a span, so that a wrong id is visible.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from otel_flyte import semconv
from otel_flyte.tasks import identity
from support.receiver import Attributes, Link, Span

RANDOM = "(random)"
WORKFLOWS = str(Path(__file__).parent.parent / "workflows")
IDENTITY = frozenset(
    (
        semconv.RUN_NAME,
        semconv.ACTION_NAME,
        semconv.NODE_PATH,
        semconv.PROJECT,
        semconv.DOMAIN,
        semconv.TASK_NAME,
        semconv.TASK_VERSION,
        semconv.WORKFLOW_NAME,
        semconv.LAUNCH_PLAN_NAME,
        semconv.ATTEMPT,
        semconv.CODE_FUNCTION_NAME,
        semconv.CODE_FILE_PATH,
        semconv.CODE_LINE_NUMBER,
    )
)
"""Attributes with the same value on nearly every attempt; hidden by default."""

CHANGING = frozenset((semconv.ERROR_CODE, semconv.EXCEPTION_STACKTRACE))
"""Attributes that differ between versions of flytekit and Python."""

MEASURED = ("flyte.usage.", "flyte.quota.", "flyte.pending.")
"""Attributes that differ between runs and machines."""

FACTS = re.compile(r"flyte\.(?:input|output)\.[^.]+\.(?:type|size|length)")
"""Attributes of inputs and outputs on nearly every phase; hidden by default."""

_RANDOM = re.compile(
    r"\b[0-9a-f]{32}\b"  # folders of raw output
    r"|(?<=/)(?:flyte-?|tmp)[a-z0-9_]{8}(?=/|$)"  # temporary folders
    r"|(?<=127\.0\.0\.1:)\d+"  # ports
)


class Forest:
    """Spans of one or more traces; those of several processes are in the order of the arguments.

    Attributes:
        given: ids that the test has chosen, which are also shown.
        root: the folder of the run.
        whole: whether to show identity, code location and the attributes of inputs.
    """

    def __init__(
        self, *processes: Iterable[Span], given: Collection[str] = (), root: Path | None = None, full: bool = False
    ) -> None:
        self._spans = [span for spans in processes for span in sorted(spans, key=lambda span: span.start_ns)]
        self._names = {span.span_id: span.name for span in self._spans}
        self._shown = {*given, *(id_ for span in self._spans for id_ in derived_ids(span))}
        self._root = root
        self._full = full
        self._hidden = CHANGING if full else CHANGING | IDENTITY

    def __str__(self) -> str:
        lines = []
        for trace_id in dict.fromkeys(span.trace_id for span in self._spans):
            lines.append(f"trace {trace_id if trace_id in self._shown else RANDOM}")
            tree = [span for span in self._spans if span.trace_id == trace_id]
            ids = {span.span_id for span in tree}
            for root in (span for span in tree if span.parent_span_id not in ids):
                lines += self._span(root, tree, 1)
        return "\n".join(lines) + "\n"

    def _span(self, span: Span, tree: list[Span], depth: int) -> Iterator[str]:
        indent = "  " * depth
        yield indent + self._head(span)
        for detail in self._details(span):
            yield f"{indent}    {detail}"
        for child in tree:
            if child.parent_span_id == span.span_id:
                yield from self._span(child, tree, depth + 1)

    def _head(self, span: Span) -> str:
        parts = [self._text(span.name)]
        if span.kind != "INTERNAL":
            parts.append(span.kind)
        if span.span_id in self._shown:
            parts.append(f"[{span.span_id}]")
        if span.parent_span_id and span.parent_span_id not in self._names:
            parts.append(f"below [{span.parent_span_id}]")
        return "  ".join(parts)

    def _details(self, span: Span) -> Iterator[str]:
        if span.status != "UNSET":
            yield f"{span.status}: {self._text(span.status_message)}"
        yield from self._attributes(span.attributes, self._hidden)
        for event in span.events:
            yield f"! {event.name}"
            yield from self._attributes(event.attributes, CHANGING, "    ")
        # Protobuf orders inputs differently in each process.
        for link in sorted(span.links, key=lambda link: str(sorted(link.attributes.items()))):
            yield f"-> {link.attributes[semconv.LINK]}: {self._target(link)}"
            yield from self._attributes(link.attributes, {semconv.LINK}, "    ")

    def _attributes(self, attributes: Attributes, hidden: Collection[str], indent: str = "") -> Iterator[str]:
        for name, value in sorted(attributes.items()):
            if not (name in hidden or name.startswith(MEASURED) or (FACTS.fullmatch(name) and not self._full)):
                yield f"{indent}{name} = {self._text(value)}"

    def _target(self, link: Link) -> str:
        if link.span_id in self._names:
            return self._names[link.span_id]
        return f"[{link.span_id}] in trace {link.trace_id}"

    def _text(self, value: object) -> str:
        text = str(value).replace(WORKFLOWS, "(workflows)")
        if self._root is not None:
            text = text.replace(str(self._root), "(root)")
        text = _RANDOM.sub(RANDOM, text)
        if len(text) > 80:
            text = f"{text[:38]}…{text[-38:]}"
        return text.replace("\n", " / ")


def derived_ids(span: Span) -> Iterator[str]:
    """Return the ids that are derived from the attempt in a span's attributes."""
    about = span.attributes
    if semconv.ATTEMPT not in about:
        return
    execution = identity.Execution(about[semconv.PROJECT], about[semconv.DOMAIN], about[semconv.RUN_NAME])
    attempt = identity.Attempt(
        execution,
        node_path=about.get(semconv.NODE_PATH, ""),
        node_id=about.get(semconv.ACTION_NAME, ""),
        number=about[semconv.ATTEMPT],
        array_index=about.get(semconv.ARRAY_INDEX),
        replica=about.get(semconv.REPLICA, ""),
    )
    yield f"{execution.trace_id():032x}"
    yield f"{attempt.trace_id(0):032x}"
    yield f"{attempt.span_id(identity.ROLE_TASK):016x}"
