"""A recording as a whole: :class:`ExecutionTree`, the public face, and the usage of its attempts."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike

from otel_flyte.recording import otlp_file, table
from otel_flyte.recording.attempts import Attempt, attempts_of
from otel_flyte.recording.failures import Error
from otel_flyte.recording.model import LogRecord, Recording, Span
from otel_flyte.recording.span_tree import Execution, TreeSpan, executions, in_order


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionTree:
    """Executions, by start.

    Attributes:
        executions: executions and local runs.
        remarks: one line for each part of the files that can't be read.
    """

    executions: tuple[Execution, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, *paths: str | PathLike[str]) -> "ExecutionTree":
        """Read OTLP files, or folders of them.

        Raises:
            UnreadableError: a file is missing or not OTLP, or no file has a span.
        """
        return cls.from_recording(otlp_file.read(*paths))

    @classmethod
    def from_recording(cls, recording: Recording) -> "ExecutionTree":
        """Build the tree of a recording."""
        return cls(executions(recording.spans, recording.logs), recording.remarks)

    @classmethod
    def from_spans(cls, spans: Iterable[Span], logs: Iterable[LogRecord] = ()) -> "ExecutionTree":
        """Build the tree from spans of any source, in any order, and log records of attempts that have not ended."""
        return cls(executions(spans, logs))

    def walk(self) -> Iterator[TreeSpan]:
        """Return all spans of all executions, parents first."""
        for execution in self.executions:
            yield from execution.walk()

    def attempts(self) -> dict[str, tuple[TreeSpan, ...]]:
        """Return the attempts of each node, in order, by ``execution/node path``."""
        grouped: dict[str, list[TreeSpan]] = defaultdict(list)
        for span in self.walk():
            if span.node_key:
                grouped[span.node_key].append(span)
        return {key: in_order(attempts) for key, attempts in grouped.items()}

    def errors(self) -> list[tuple[TreeSpan, Error]]:
        """Return each error once, with the innermost span that has it."""
        return [(span, span.error) for span in self.walk() if span.error]

    def explain(self) -> str:
        """Return a table of operations with start, end, duration, share of the parent, entity, and result.

        It has the shape of ``FlyteExecutionSpan.explain()``. Times are UTC, durations seconds.
        """
        return table.render(self.executions, self.remarks)

    def dump(self) -> str:
        """Return everything as YAML, ``{id: {breakdown, nodes: {n0: {breakdown, task_attempts: {0: …}}}}}``.

        It has the shape of ``FlyteExecutionSpan.dump()``. Durations are seconds, times ISO 8601 in UTC.
        """
        # Importing the YAML library takes longer than importing the rest of this room.
        from otel_flyte.recording import document

        return document.as_yaml(self.executions)

    def _repr_html_(self) -> str | None:
        """Draw it in a notebook."""
        return None if _draw is None else _draw(self)


_draw: "Callable[[ExecutionTree], str] | None" = None


def draw_by(function: Callable[[ExecutionTree], str]) -> None:
    """Draw trees in a notebook by a function that returns HTML."""
    global _draw
    _draw = function


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A recording, analysed once for all that shows it: its tree, its attempts, and its log records with a body."""

    tree: ExecutionTree
    attempts: tuple[Attempt, ...]
    logs: tuple[LogRecord, ...]

    @classmethod
    def of(cls, recording: Recording) -> "Analysis":
        """Analyse a recording."""
        tree = ExecutionTree.from_recording(recording)
        logs = tuple(record for record in recording.logs if record.body is not None)
        return cls(tree, attempts_of(tree.walk(), recording.points), logs)

    @classmethod
    def outline_of(cls, recording: Recording) -> "Analysis":
        """Return the tree of a recording alone, which is quickly made."""
        return cls(ExecutionTree.from_recording(recording), (), ())
