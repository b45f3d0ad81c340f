"""What this process is: the service, the pod, the attempt."""

import os
import sys
from functools import cache

from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from otel_flyte import semconv
from otel_flyte.runtime.limits import bounded
from otel_flyte.tasks import identity
from otel_flyte.tasks.identity import Attempt


@cache
def ours() -> Resource:
    """Return what this process is: the service, the pod where the downward API says so, the attempt in a pod.

    What ``OTEL_RESOURCE_ATTRIBUTES`` says stands.
    """
    created = Resource.create()
    found: dict[str, str | int] = {}
    for name, variables in semconv.K8S_VARIABLES.items():
        found[name] = identity.first(os.environ, variables)
    attempt = identity.attempt_from_environment(os.environ, identity.output_prefix(sys.argv))
    if attempt is not None:
        found |= _of_attempt(attempt)
    missing = {
        name: bounded(value) if isinstance(value, str) else value
        for name, value in found.items()
        if value != "" and name not in created.attributes
    }
    if str(created.attributes[SERVICE_NAME]).startswith("unknown_service"):
        missing[SERVICE_NAME] = semconv.DEFAULT_SERVICE_NAME
    return created.merge(Resource(missing))


def _of_attempt(attempt: Attempt) -> dict[str, str | int]:
    """Tell one attempt from all others: a pod's metrics have nothing else to tell them by."""
    return {
        semconv.PROJECT: attempt.execution.project,
        semconv.DOMAIN: attempt.execution.domain,
        semconv.RUN_NAME: attempt.execution.name,
        semconv.WORKFLOW_NAME: identity.first(os.environ, semconv.FLYTE_EXECUTION_WORKFLOW),
        semconv.LAUNCH_PLAN_NAME: identity.first(os.environ, semconv.FLYTE_EXECUTION_LAUNCH_PLAN),
        semconv.TASK_NAME: identity.first(os.environ, semconv.FLYTE_TASK_NAME),
        semconv.NODE_PATH: attempt.node_path,
        semconv.ACTION_NAME: attempt.node_id if attempt.node_path else "",
        semconv.ATTEMPT: attempt.number,
        semconv.ARRAY_INDEX: "" if attempt.array_index is None else attempt.array_index,
        semconv.REPLICA: attempt.replica,
    }
