"""A dashboard: what it is called, what can be picked, and its rows of panels."""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from grafana.generate.panels import Panel
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

TAG = "flyte"
COLUMNS = 24


class Row(NamedTuple):
    """Panels below a heading.

    Attributes:
        title: the heading.
        panels: from left to right, top down.
        is_closed: whether it must be opened first; what is closed asks nothing.
    """

    title: str
    panels: Sequence[Panel]
    is_closed: bool = False


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[dashboard.QueryVariable],
    rows: Sequence[Row],
    *,
    since: str = "now-1h",
    links: Sequence[dashboard.DashboardLink] = (),
) -> models.Dashboard:
    """Make a dashboard.

    Args:
        uid: what URLs call it: ``flyte-…``.
        title: what people call it.
        description: what it is for.
        variables: of :mod:`grafana.generate.variables`, each after those that its query uses.
        rows: what it shows.
        since: how far it looks back where nobody says otherwise.
        links: more links at its top than that to the other dashboards.
    """
    made = dashboard.Dashboard(title).uid(uid).description(description).tags([TAG]).time(since, "now")
    made.timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR).refresh("").editable()
    for variable in variables:
        made.with_variable(variable)
    others = dashboard.DashboardLink("Flyte").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    for link in (others.as_dropdown(True).include_vars(True).keep_time(True), *links):
        made.link(link)
    top = 0
    for row in rows:
        top = _add(made, row, top)
    return _numbered(made.build())


def _add(made: dashboard.Dashboard, row: Row, top: int) -> int:
    """Add a row that begins at a height; return where the next one begins."""
    heading = dashboard.Row(row.title).grid_pos(models.GridPos(x=0, y=top, w=COLUMNS, h=1)).collapsed(row.is_closed)
    below = _place(row.panels, top + 1)
    if not row.is_closed:
        made.with_row(heading)
        for panel in row.panels:
            made.with_panel(panel)
        return below
    for panel in row.panels:
        heading.with_panel(panel)
    made.with_row(heading)
    return top + 1


def _place(panels: Sequence[Panel], top: int) -> int:
    """Put panels side by side while they fit, then below; return where the last one ends."""
    left, lowest = 0, top
    for panel in panels:
        position = panel.build().grid_pos
        if left + position.w > COLUMNS:
            left, top = 0, lowest
        panel.grid_pos(models.GridPos(x=left, y=top, w=position.w, h=position.h))
        left += position.w
        lowest = max(lowest, top + position.h)
    return lowest


def _numbered(made: models.Dashboard) -> models.Dashboard:
    """Give panels numbers that stay as long as the panels before them do: links to one panel use them."""
    numbers = count(1)
    for panel in made.panels or []:
        panel.id_val = next(numbers)
        if isinstance(panel, models.RowPanel):
            for inner in panel.panels:
                inner.id_val = next(numbers)
    return made
