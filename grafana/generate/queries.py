"""Every query of a dashboard, of panels and of variables, and its links to other pages."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PANEL = "panel"
VARIABLE = "variable"
LINK = "link"

_VARIABLE_QUERY = re.compile(r"label_values\((?P<selector>.*),\s*(?P<label>\w+)\)")
_RESULT_QUERY = re.compile(r"query_result\((?P<expression>.*)\)")
_REFERENCES = re.compile(r"\$\{([A-Za-z_]\w*)(?:[.:\[][^}]*)?\}|\$([A-Za-z_]\w*)|\[\[([A-Za-z_]\w*)\]\]")


class Query(NamedTuple):
    """A query, or a link.

    Attributes:
        dashboard: The uid.
        panel: The title of the panel, the name of the variable, or the position of a link of the dashboard itself.
        datasource: The uid; empty for links.
        text: PromQL, LogQL or TraceQL with its variables; the URL of a link.
        kind: ``panel``, ``variable`` or ``link``.
        shape: ``range`` or ``instant``; ``search`` or ``metrics`` for Tempo; ``series`` for variables.
        label: The label with the values of a variable; else empty.
    """

    dashboard: str
    panel: str
    datasource: str
    text: str
    kind: str
    shape: str
    label: str = ""


def queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """Yield the queries and links of a dashboard in JSON, in the order of display."""
    uid = dashboard["uid"]
    for variable in dashboard.get("templating", {}).get("list", []):
        yield from _of_variable(uid, variable)
    for link in dashboard.get("links", []):
        if link.get("url"):
            yield Query(uid, "the dashboard's links", "", link["url"], LINK, "")
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            source = (target.get("datasource") or panel["datasource"])["uid"]
            text = target.get("expr") or target.get("query") or ""
            yield Query(uid, panel["title"], source, text, PANEL, _shape(source, target))
        for link in _links(panel):
            yield Query(uid, panel["title"], "", link["url"], LINK, "")


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all panels except rows, including those of collapsed rows."""
    for panel in dashboard.get("panels", []):
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def references(text: str) -> set[str]:
    """Return the names of the variables in a query or a link, without Grafana's own (``__…``)."""
    found = {next(filter(None, groups)) for groups in _REFERENCES.findall(text)}
    return {name for name in found if not name.startswith("__")}


def filled(text: str, values: Mapping[str, str], *, step: str = "60s", time_range: str = "3600s") -> str:
    """Replace variables as Grafana does.

    Args:
        text: A query.
        values: The values of the dashboard's variables; ``.*`` for *All*.
        step: The value of ``$__interval``.
        time_range: The value of ``$__range``, and of ``$__rate_interval`` unless ``values`` has one.

    Raises:
        KeyError: A variable has no value.
    """
    own = {"__interval": step, "__rate_interval": time_range, "__range": time_range}

    def value(match: re.Match[str]) -> str:
        name = next(filter(None, match.groups()))
        return {**own, **values}[name]

    return _REFERENCES.sub(value, text)


def _of_variable(uid: str, variable: Mapping[str, Any]) -> Iterator[Query]:
    query = variable.get("query")
    if not isinstance(query, dict):
        return
    uid_of_source = variable["datasource"]["uid"]
    if match := _VARIABLE_QUERY.fullmatch(query["query"]):
        yield Query(uid, variable["name"], uid_of_source, match["selector"], VARIABLE, "series", match["label"])
    elif match := _RESULT_QUERY.fullmatch(query["query"]):
        yield Query(uid, variable["name"], uid_of_source, match["expression"], VARIABLE, "instant")


def _shape(source: str, target: Mapping[str, Any]) -> str:
    if source == "tempo":
        return "metrics" if target.get("metricsQueryType") else "search"
    return "instant" if target.get("instant") else "range"


def _links(panel: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    config = panel.get("fieldConfig", {})
    yield from panel.get("links", [])
    yield from config.get("defaults", {}).get("links", [])
    for override in config.get("overrides", []):
        for item in override["properties"]:
            if item["id"] == "links":
                yield from item["value"]
