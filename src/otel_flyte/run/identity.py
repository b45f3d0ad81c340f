"""The identity of a local run: dashboards list runs by project, domain and name, which only a cluster assigns."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from urllib.parse import quote

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.tasks import identity

PROJECT = "local"
DOMAIN = "local"


def run_name(entity: str) -> str:
    """Return a name for a run that begins now, in the form of Flyte's: ``my-workflow-20261121t212132``."""
    return f"{re.sub(r'[^a-z0-9]+', '-', entity.lower()).strip('-')}-{datetime.now(timezone.utc):%Y%m%dt%H%M%S}"


@contextmanager
def named(entity: str) -> Iterator[None]:
    """Identify this process and its children as a run of an entity while the context lasts."""
    before = os.environ.get(semconv.RESOURCE_ATTRIBUTES)
    value = resource_attributes(entity, os.environ)
    if value:
        os.environ[semconv.RESOURCE_ATTRIBUTES] = value
    try:
        yield
    finally:
        os.environ.pop(semconv.RESOURCE_ATTRIBUTES, None)
        if before is not None:
            os.environ[semconv.RESOURCE_ATTRIBUTES] = before


def resource_attributes(entity: str, environ: Mapping[str, str]) -> str:
    """Return ``OTEL_RESOURCE_ATTRIBUTES`` with the identity of a run that is exported.

    A pod has the identity of its own execution.
    """
    present = environ.get(semconv.RESOURCE_ATTRIBUTES, "").strip()
    is_exported = any(endpoints.plan(signal, environ).exporters for signal in endpoints.SIGNALS)
    if not is_exported or identity.attempt_from_environment(environ, "") is not None:
        return present
    own = {semconv.PROJECT: PROJECT, semconv.DOMAIN: DOMAIN, semconv.RUN_NAME: run_name(entity)}
    return with_identity(own, present)


def with_identity(own: Mapping[str, str], present: str = "") -> str:
    """Return the value of ``OTEL_RESOURCE_ATTRIBUTES`` with the attributes that it does not have yet."""
    keys = {entry.partition("=")[0].strip() for entry in present.split(",")}
    added = [f"{key}={quote(value)}" for key, value in own.items() if key not in keys]
    return ",".join([*filter(None, [present]), *added])
