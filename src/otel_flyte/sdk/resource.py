"""The resource of our providers: the service, the pod, and the attempt that owns this process."""

import os
from functools import cache

from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from otel_flyte import providers, semconv
from otel_flyte.runtime.limits import bounded
from otel_flyte.sdk.detectors import detected


@cache
def ours() -> Resource:
    """Return the resource of this process. Attributes in ``OTEL_RESOURCE_ATTRIBUTES`` have precedence.

    The pod is known where the downward API sets variables. The identity of an attempt is part of the resource only
    where the attempt owns the process: where attempts share a process, their records carry it.
    """
    created = detected()
    found: dict[str, str | int] = {}
    for name, variables in semconv.K8S_VARIABLES.items():
        found[name] = next(filter(None, map(os.environ.get, variables)), "")
    found |= providers.resource_attributes()
    missing = {
        name: bounded(value) if isinstance(value, str) else value
        for name, value in found.items()
        if value != "" and name not in created.attributes
    }
    if str(created.attributes[SERVICE_NAME]).startswith("unknown_service"):
        missing[SERVICE_NAME] = semconv.DEFAULT_SERVICE_NAME
    return created.merge(Resource(missing))
