"""The page of a run on an `otel-flyte serve` of this machine, where the run is exported to one."""

import json
import threading
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.run.destination import is_on_this_machine

if TYPE_CHECKING:
    from otel_flyte.recording.span_tree import Execution

_SECONDS = 1.0
"""For the whole question: a user waits for the answer."""

_LONGEST_ANSWER = 1000


def address(environ: Mapping[str, str], execution: "Execution") -> str:
    """Return the address of an execution's page, empty where its spans do not go to a server of this machine."""
    plan = endpoints.plan("traces", environ)
    if plan.protocol != endpoints.HTTP or not is_on_this_machine(plan):
        return ""
    receiver = urlsplit(plan.endpoint)
    port = _within_seconds(receiver)
    host = f"[{receiver.hostname}]" if ":" in (receiver.hostname or "") else receiver.hostname
    return f"{receiver.scheme}://{host}:{port}/executions/{quote(_key(execution), safe='')}" if port else ""


def _key(execution: "Execution") -> str:
    """Return the server's key of an execution."""
    if not execution.name:
        return f"trace:{execution.trace_ids[0]}"
    first = execution.roots[0]
    return ":".join((*(str(first.attribute(name) or "") for name in (semconv.PROJECT, semconv.DOMAIN)), execution.name))


def _within_seconds(receiver: SplitResult) -> int:
    """Return the port of the page, 0 where the receiver is no `otel-flyte serve` or does not answer in time."""
    found: list[int] = []
    # The timeout of a connection is one for each packet.
    asking = threading.Thread(target=lambda: found.append(_page_port(receiver)), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return found[0] if found else 0


def _page_port(receiver: SplitResult) -> int:
    try:
        kind = HTTPSConnection if receiver.scheme == "https" else HTTPConnection
        with closing(kind(receiver.hostname or "", receiver.port, timeout=_SECONDS)) as connection:
            connection.request("GET", endpoints.WELL_KNOWN)
            answer = connection.getresponse()
            port = json.loads(answer.read(_LONGEST_ANSWER))["page_port"] if answer.status == 200 else 0
    except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return 0
    return port if type(port) is int and 0 < port < 2**16 else 0
