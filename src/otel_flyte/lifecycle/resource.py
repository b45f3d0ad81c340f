"""What this process is: the service, the pod, the execution."""

import os
from functools import cache

from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from otel_flyte import identity, semconv


@cache
def ours() -> Resource:
    """Return what this process is: the service, the pod where the downward API says so, the execution in a pod.

    What ``OTEL_RESOURCE_ATTRIBUTES`` says stands.
    """
    created = Resource.create()
    found: dict[str, str] = {}
    for name, variables in semconv.K8S_VARIABLES.items():
        found[name] = identity.first(os.environ, variables)
    execution = identity.execution_from_environment(os.environ)
    if execution is not None:
        found[semconv.PROJECT] = execution.project
        found[semconv.DOMAIN] = execution.domain
        found[semconv.RUN_NAME] = execution.name
    missing = {name: value for name, value in found.items() if value and name not in created.attributes}
    if str(created.attributes[SERVICE_NAME]).startswith("unknown_service"):
        missing[SERVICE_NAME] = semconv.DEFAULT_SERVICE_NAME
    return created.merge(Resource(missing))
