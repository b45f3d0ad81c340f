"""What a local run is called: dashboards list runs by project, domain and name, and only a cluster gives it these."""

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
    """Return a name for a run that begins now, as Flyte's are: ``my-workflow-20261121t212132``."""
    return f"{re.sub(r'[^a-z0-9]+', '-', entity.lower()).strip('-')}-{datetime.now(timezone.utc):%Y%m%dt%H%M%S}"


@contextmanager
def named(entity: str) -> Iterator[None]:
    """Have what runs in this process, and what it starts, send under a name of its own as long as the context lasts."""
    before = os.environ.get(semconv.RESOURCE_ATTRIBUTES)
    value = resource_attributes(entity, os.environ)
    if value:
        os.environ[semconv.RESOURCE_ATTRIBUTES] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(semconv.RESOURCE_ATTRIBUTES, None)
        else:
            os.environ[semconv.RESOURCE_ATTRIBUTES] = before


def resource_attributes(entity: str, environ: Mapping[str, str]) -> str:
    """Return ``OTEL_RESOURCE_ATTRIBUTES`` with what names a run of an entity, where it is sent anywhere.

    What the variable says already stands, and a pod is that of its own execution.
    """
    said = environ.get(semconv.RESOURCE_ATTRIBUTES, "").strip()
    is_sent = any(endpoints.plan(signal, environ).exporters for signal in endpoints.SIGNALS)
    if not is_sent or identity.attempt_from_environment(environ, "") is not None:
        return said
    return with_identity({semconv.PROJECT: PROJECT, semconv.DOMAIN: DOMAIN, semconv.RUN_NAME: run_name(entity)}, said)


def with_identity(named: Mapping[str, str], said: str = "") -> str:
    """Return the value of ``OTEL_RESOURCE_ATTRIBUTES`` with attributes that it does not name yet."""
    keys = {entry.partition("=")[0].strip() for entry in said.split(",")}
    added = [f"{key}={quote(value)}" for key, value in named.items() if key not in keys]
    return ",".join([*filter(None, [said]), *added])
