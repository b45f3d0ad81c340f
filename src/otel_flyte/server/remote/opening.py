"""Makes a source of the backends that the command line names."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from otel_flyte.server.remote.backends import LOKI, PROMETHEUS, TEMPO, Backend
from otel_flyte.server.remote.client import Client
from otel_flyte.server.remote.fetcher import Backends
from otel_flyte.server.remote.loki import Loki
from otel_flyte.server.remote.prometheus import Prometheus
from otel_flyte.server.remote.source import Remote
from otel_flyte.server.remote.tempo import Tempo
from otel_flyte.server.source import Database, UnavailableError
from otel_flyte.server.store.writer import Writer

KEPT_BYTES = 2**30
"""Bytes of the database that holds what was fetched."""


def opened(given: Sequence[Backend], database: Database, writer: Writer, warn: Callable[[str], object]) -> Remote:
    """Return the source, and say meanwhile which of its backends do not answer.

    Args:
        given: the backends; Tempo is one of them.
        database: keeps what was fetched.
        writer: writes to it.
        warn: prints a line.
    """
    clients = {backend.name: Client(backend) for backend in given}
    threading.Thread(target=_check, args=(clients, warn), name="otel-flyte-check", daemon=True).start()
    backends = Backends(
        Tempo(clients[TEMPO]),
        Prometheus(clients[PROMETHEUS]) if PROMETHEUS in clients else None,
        Loki(clients[LOKI]) if LOKI in clients else None,
    )
    return Remote(backends, database, writer)


def _check(clients: Mapping[str, Client], warn: Callable[[str], object]) -> None:
    now = int(time.time())
    questions: Mapping[str, tuple[str, Mapping[str, str | int]]] = {
        TEMPO: ("/api/search", {"q": "{}", "start": now - 60, "end": now, "limit": 1}),
        PROMETHEUS: ("/api/v1/query", {"query": "1"}),
        LOKI: ("/loki/api/v1/labels", {"start": (now - 60) * 10**9, "end": now * 10**9}),
    }
    for name, client in clients.items():
        try:
            client.json(*questions[name])
        except UnavailableError as error:
            warn(str(error))
