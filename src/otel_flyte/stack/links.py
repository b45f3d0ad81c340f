"""Links to the telemetry in the stack: in Grafana where it is ready, else in the APIs of the backends."""

import json
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote, urlencode

from otel_flyte.stack.settings import Settings

_ALL = "$__all"
"""Grafana's value for all values of a dashboard variable."""

_VARIABLES = ("project", "domain", "workflow", "execution", "node", "attempt", "index")
"""The variables of the dashboard ``flyte-task``."""


def of_run(
    settings: Settings, ready: Collection[str], trace_ids: Sequence[str], variables: Mapping[str, str], began: int
) -> list[tuple[str, str]]:
    """Return pairs of a label and a URL.

    Args:
        settings: The addresses of the stack.
        ready: The names of the parts that are ready.
        trace_ids: The traces of the run, the most important first.
        variables: Variables of the dashboard ``flyte-task``, `execution` among them; the others select all values.
        began: The start of the run, in milliseconds since the epoch.
    """
    has_grafana = "grafana" in ready
    found: list[tuple[str, str]] = []
    if "tempo" in ready:
        api = settings.url("tempo", "/api/v2/traces/")
        found += [("trace", _explore(settings, each) if has_grafana else f"{api}{each}") for each in trace_ids]
    if has_grafana:
        selection = {f"var-{name}": variables.get(name, _ALL) for name in _VARIABLES}
        query = urlencode({**selection, "from": str(began), "to": "now"})
        return [*found, ("dashboard", settings.url("grafana", f"/d/flyte-task?{query}"))]
    selector = f'flyte_run_name="{variables["execution"]}"'
    if "prometheus" in ready:
        query = urlencode({"query": f"{{{selector}}}"})
        found.append(("metrics", settings.url("prometheus", f"/api/v1/query?{query}")))
    if "loki" in ready:
        query = urlencode({"query": f'{{service_name=~".+"}} | {selector}', "since": "1h"})
        found.append(("logs", settings.url("loki", f"/loki/api/v1/query_range?{query}")))
    return found


def _explore(settings: Settings, trace_id: str) -> str:
    """Return the URL of a trace in Grafana: https://grafana.com/docs/grafana/latest/explore/get-started-with-explore/."""
    source = {"type": "tempo", "uid": "tempo"}
    query = {"refId": "A", "datasource": source, "queryType": "traceql", "query": trace_id}
    panes = {"a": {"datasource": "tempo", "queries": [query], "range": {"from": "now-1h", "to": "now"}}}
    return settings.url("grafana", f"/explore?schemaVersion=1&panes={quote(json.dumps(panes, separators=(',', ':')))}")
