"""A recording, read once for all that shows it."""

from dataclasses import dataclass

from otel_flyte.recording.attempts import Attempt, attempts_of
from otel_flyte.recording.model import LogRecord, Recording
from otel_flyte.recording.tree import ExecutionTree


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """The tree of a recording, the usage of its attempts, and its log records with a body."""

    tree: ExecutionTree
    attempts: tuple[Attempt, ...]
    logs: tuple[LogRecord, ...]

    @classmethod
    def of(cls, recording: Recording) -> "Analysis":
        """Analyse a recording."""
        tree = ExecutionTree.from_recording(recording)
        logs = tuple(record for record in recording.logs if record.body is not None)
        return cls(tree, attempts_of(tree.walk(), recording.points), logs)
