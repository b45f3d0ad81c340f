"""The resource that the SDK's detectors find, whichever detectors the user has chosen.

Older versions of the SDK create no resource with a detector that fails, and newer ones print a traceback.
"""

import os
from importlib.metadata import entry_points

from opentelemetry.sdk.resources import Resource

from otel_flyte import semconv
from otel_flyte.config import standard
from otel_flyte.runtime.guard import say_once
from otel_flyte.runtime.limits import first_line, in_brief
from otel_flyte.sdk.arguments import usable_environment


def detected() -> Resource:
    """Return the SDK's resource. Detectors that fail are reported in one line, and left out."""
    chosen = standard.usable(os.environ).get(semconv.RESOURCE_DETECTORS, "")
    used = [name for name in chosen.split(",") if name and _can_be_made(name)]
    try:
        return _created(used)
    except Exception as error:
        if not used:
            raise
        problem = f"{semconv.RESOURCE_DETECTORS}={','.join(used)} can't be used ({in_brief(first_line(error))})"
        say_once(f"{problem}: the SDK's default is used")
    return _created([])


def _created(names: list[str]) -> Resource:
    with usable_environment({semconv.RESOURCE_DETECTORS: ",".join(names)}):
        return Resource.create()


def _can_be_made(name: str) -> bool:
    try:
        next(iter(entry_points(group=standard.DETECTOR_GROUP, name=name))).load()()
    except Exception as error:
        problem = f"{name} of {semconv.RESOURCE_DETECTORS} can't be loaded ({in_brief(first_line(error))})"
        say_once(f"{problem}: the other resource detectors are used")
        return False
    return True
