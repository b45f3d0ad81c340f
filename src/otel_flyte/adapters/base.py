"""What an adapter is: everything that this package must know of an engine that runs tasks."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from otel_flyte.adapters.patching import Hook
from otel_flyte.tasks.identity import Attempt


class Verdict(enum.Enum):
    """The outcome of a check; only a failure means that telemetry is not recorded, or does not arrive."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """The result of one check, in one line."""

    verdict: Verdict
    text: str


class Adapter(Protocol):
    """One engine, such as flytekit 1."""

    def is_imported(self) -> bool:
        """Return whether the engine is imported, so that its functions can be wrapped."""

    def hooks(self) -> Sequence[Hook]:
        """Return the functions that are wrapped."""

    def attempt_of_process(self, environ: Mapping[str, str], arguments: Sequence[str]) -> Attempt | None:
        """Return the attempt that owns the whole process, as the pod of a task does; ``None`` where none does.

        Where several attempts share a process, each names itself when it begins.
        """

    def check(self) -> Iterator[Finding]:
        """Check that the engine is installed and that its functions can be wrapped, for ``otel-flyte doctor``."""
