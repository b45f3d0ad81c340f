"""flytekit 1 as an adapter. It imports flytekit only where a method needs it."""

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from otel_flyte import semconv
from otel_flyte.adapters import patching, switch
from otel_flyte.adapters.base import Finding, TaskDescription, Verdict
from otel_flyte.adapters.patching import Hook
from otel_flyte.runtime.limits import first_line
from otel_flyte.tasks import identity
from otel_flyte.tasks.failures import Failure, Rules


class FlytekitV1:
    """flytekit 1, whose pods run one attempt each."""

    def is_imported(self) -> bool:
        """Return whether flytekit is imported."""
        return "flytekit.core.base_task" in sys.modules

    def hooks(self) -> Sequence[Hook]:
        """Return the functions that are wrapped."""
        from otel_flyte.adapters.flytekit_v1.hooks import HOOKS

        return HOOKS

    def resource_attributes(self, environ: Mapping[str, str], arguments: Sequence[str]) -> Mapping[str, str | int]:
        """Return the identity of the attempt of this pod, empty outside a pod."""
        attempt = identity.attempt_from_environment(environ, identity.output_prefix(arguments))
        if attempt is None:
            return {}
        return attempt.attributes() | {
            semconv.WORKFLOW_NAME: identity.first(environ, semconv.FLYTE_EXECUTION_WORKFLOW),
            semconv.LAUNCH_PLAN_NAME: identity.first(environ, semconv.FLYTE_EXECUTION_LAUNCH_PLAN),
            semconv.TASK_NAME: identity.first(environ, semconv.FLYTE_TASK_NAME),
        }

    def describe(self, task: Any) -> TaskDescription:
        """Return the description of a task."""
        from otel_flyte.adapters.flytekit_v1 import task_attributes

        return task_attributes.describe(task)

    def failure_rules(self) -> Rules:
        """Return the meaning of flytekit's exceptions."""
        from flytekit.core.base_task import IgnoreOutputs
        from flytekit.exceptions.system import FlyteNonRecoverableSystemException
        from flytekit.exceptions.user import FlyteUserRuntimeException

        return Rules((FlyteUserRuntimeException, FlyteNonRecoverableSystemException), (IgnoreOutputs,))

    def failure(self, message: Any) -> Failure:
        """Return the failure that a ``ContainerError`` describes."""
        from otel_flyte.adapters.flytekit_v1 import task_spans

        return task_spans.failure_of_message(message)

    def check(self) -> Iterator[Finding]:
        """Check that flytekit can be imported and that its functions are wrapped."""
        try:
            flytekit_version = version("flytekit")
        except PackageNotFoundError:
            yield Finding(Verdict.FAIL, "flytekit is not installed here: pip install 'flytekit>=1.15,<2'")
            return
        try:
            importlib.import_module("flytekit")
        except Exception as error:
            yield Finding(Verdict.FAIL, f"flytekit {flytekit_version} can't be imported ({first_line(error)})")
            return
        if not switch.is_on():
            problem = f"flytekit {flytekit_version} did not load the instrumentation: reinstall otel-flyte"
            yield Finding(Verdict.FAIL, problem)
            return
        yield self._check_hooks(flytekit_version)

    def _check_hooks(self, flytekit_version: str) -> Finding:
        expected = [hook for hook in self.hooks() if not hook.optional]
        for module in {hook.module for hook in expected}:
            importlib.import_module(module)
        missing = patching.missing(expected)
        found = f"flytekit {flytekit_version}, {len(expected) - len(missing)} of {len(expected)} hooks found"
        if missing:
            lost = ", ".join(f"{hook.name} ({hook.purpose})" for hook in missing)
            return Finding(Verdict.NOTE, f"{found}; without {lost}")
        return Finding(Verdict.OK, f"the instrumentation is on: {found}")
