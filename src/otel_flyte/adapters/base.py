"""The adapter protocol: all that this package must know of an engine that runs tasks."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from otel_flyte.adapters.patching import Hook
from otel_flyte.tasks.failures import Failure, Rules
from otel_flyte.tasks.resources import NOT_DECLARED, DeclaredResources


class Verdict(enum.Enum):
    """The outcome of a check; only a failure means that telemetry is not recorded, or does not arrive."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """The result of one check, in one line."""

    verdict: Verdict
    text: str


class TaskDescription(NamedTuple):
    """The properties of a task that do not change from run to run.

    Attributes:
        span_name: name of its span.
        attributes: attributes of its span: name, kind, type, metadata, declared resources, place in the code, types.
        resources: the resources that it declares.
        sets_up: whether it prepares its surroundings before its inputs are translated, as Spark and Ray do.
    """

    span_name: str
    attributes: Mapping[str, Any]
    resources: DeclaredResources = NOT_DECLARED
    sets_up: bool = False


class Adapter(Protocol):
    """One engine, such as flytekit 1.

    The wrappers of its hooks open and close tasks with :mod:`otel_flyte.adapters.task_spans`. Where several attempts
    share a process, they pass the identity of each when it begins.
    """

    def is_imported(self) -> bool:
        """Return whether the engine is imported, so that its functions can be wrapped."""

    def hooks(self) -> Sequence[Hook]:
        """Return the functions that are wrapped."""

    def resource_attributes(self, environ: Mapping[str, str], arguments: Sequence[str]) -> Mapping[str, str | int]:
        """Return the identity of the attempt that owns the whole process, as in a pod of a task; empty without one."""

    def describe(self, task: Any) -> TaskDescription:
        """Return the description of a task of the engine."""

    def failure_rules(self) -> Rules:
        """Return the meaning of the engine's exceptions."""

    def failure(self, message: Any) -> Failure:
        """Return the failure that an error message of the engine describes."""

    def check(self) -> Iterator[Finding]:
        """Check that the engine is installed and that its functions can be wrapped, for ``otel-flyte doctor``."""
