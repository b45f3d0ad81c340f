"""Where to look at what was sent to the stack: in Grafana where it is there, else in the APIs behind it."""

import json
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote, urlencode

from otel_flyte.stack.settings import Settings

ALL = "$__all"
"""What Grafana calls it where a variable of a dashboard takes every value."""


def of_run(
    settings: Settings, parts: Collection[str], trace_ids: Sequence[str], variables: Mapping[str, str], began: int
) -> list[tuple[str, str]]:
    """Return what can be looked at, and where.

    Args:
        settings: Where the stack is.
        parts: Those of it that are ready.
        trace_ids: The traces of the run, the most important first.
        variables: Of the dashboard ``flyte-task``: `execution` and the like; those that are left out take every value.
        began: When the run did, in milliseconds since the epoch.
    """
    found: list[tuple[str, str]] = []
    has_grafana = "grafana" in parts
    if "tempo" in parts:
        url = _explore if has_grafana else _trace
        found += [("trace", url(settings, trace_id)) for trace_id in trace_ids]
    if has_grafana:
        found.append(("dashboard", dashboard(settings, variables, began)))
    if "prometheus" in parts and not has_grafana:
        query = urlencode({"query": f'{{flyte_run_name="{variables["execution"]}"}}'})
        found.append(("metrics", settings.url("prometheus", f"/api/v1/query?{query}")))
    if "loki" in parts and not has_grafana:
        query = urlencode(
            {"query": f'{{service_name=~".+"}} | flyte_run_name="{variables["execution"]}"', "since": "1h"}
        )
        found.append(("logs", settings.url("loki", f"/loki/api/v1/query_range?{query}")))
    return found


def dashboard(settings: Settings, variables: Mapping[str, str], began: int) -> str:
    """Return the URL of the dashboard of one task, with every variable that it has."""
    names = ("project", "domain", "workflow", "execution", "node", "attempt", "index")
    query = {f"var-{name}": variables.get(name, ALL) for name in names} | {"from": str(began), "to": "now"}
    return settings.url("grafana", f"/d/flyte-task?{urlencode(query)}")


def _trace(settings: Settings, trace_id: str) -> str:
    return settings.url("tempo", f"/api/v2/traces/{trace_id}")


def _explore(settings: Settings, trace_id: str) -> str:
    """Return the URL of a trace in Grafana: https://grafana.com/docs/grafana/latest/explore/get-started-with-explore/."""
    source = {"type": "tempo", "uid": "tempo"}
    query = {"refId": "A", "datasource": source, "queryType": "traceql", "query": trace_id}
    panes = {"a": {"datasource": "tempo", "queries": [query], "range": {"from": "now-1h", "to": "now"}}}
    return settings.url("grafana", f"/explore?schemaVersion=1&panes={quote(json.dumps(panes, separators=(',', ':')))}")
