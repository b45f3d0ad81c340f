"""A dashboard: its title, its variables, and its rows of panels."""

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
        title: The heading.
        panels: In reading order.
        is_closed: Whether the row is collapsed. A collapsed row sends no queries.
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
    """Return a dashboard.

    Args:
        uid: Its name in URLs: ``flyte-…``.
        title: Its displayed name.
        description: Its purpose.
        variables: From :mod:`grafana.generate.variables`, each after those that its query uses.
        rows: Its content.
        since: The start of its default time range.
        links: Links at its top, in addition to that to the other dashboards.
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
    """Add a row at a vertical position; return the position of the next row."""
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
    """Place panels side by side while they fit, then below; return the end of the last one."""
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
    """Number the panels. Links to a panel use its number, which stays the same if earlier panels do."""
    numbers = count(1)
    for panel in made.panels or []:
        panel.id_val = next(numbers)
        if isinstance(panel, models.RowPanel):
            for inner in panel.panels:
                inner.id_val = next(numbers)
    return made
