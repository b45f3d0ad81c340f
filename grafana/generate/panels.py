"""Panels with one design. Each has a description, a unit, and a text for missing data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from grafana.generate.sources import Query
from grafana_foundation_sdk.builders import common, dashboard, logs, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

FULL = 24
HALF = 12
THIRD = 8
QUARTER = 6
SIXTH = 4
EIGHTH = 3

Panel = Any
"""A builder of a panel. The SDK's builders have no common type with ``height`` and ``span``."""

Steps = Sequence[tuple[float | None, str]]
"""Colours from a value on; the first value is ``None``, minus infinity."""

_Panel = TypeVar("_Panel", timeseries.Panel, stat.Panel, table.Panel, logs.Panel)


def time_series(
    title: str,
    description: str,
    unit: str,
    missing: str,
    *queries: Query,
    width: int = HALF,
    height: int = 8,
    is_stacked: bool = False,
    minimum: float | None = 0,
    maximum: float | None = None,
    steps: Steps = (),
    dashed: Iterable[str] = (),
    links: Sequence[dashboard.DashboardLink] = (),
) -> Panel:
    """Return a chart of lines.

    Args:
        title: A few words.
        description: The meaning of a line, and the total of a share.
        unit: A constant of ``grafana_foundation_sdk.models.units``.
        missing: The missing source if there is no data.
        queries: From :mod:`grafana.generate.sources`.
        width: In columns, of 24.
        height: In units of 30 pixels.
        is_stacked: Whether areas are stacked.
        minimum: The start of the axis; ``None`` for the data's minimum.
        maximum: The end of the axis.
        steps: Colours of thresholds, drawn as lines.
        dashed: Prefixes of the names of series that are not measured: limits, requests.
        links: Links on a point.
    """
    panel = _described(
        timeseries.Panel(), title, description, unit, missing, queries=queries, width=width, height=height
    )
    panel.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(
        common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING)
    )
    # A task of a few seconds has one sample, which a line without points would not show.
    panel.show_points(common_models.VisibilityMode.AUTO).line_width(1).fill_opacity(50 if is_stacked else 8)
    # Samples are one minute apart and may be late: that is not a gap.
    panel.span_nulls(5 * 60 * 1000)
    if is_stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if minimum is not None:
        panel.min(minimum)
    if maximum is not None:
        panel.max(maximum)
    if steps:
        panel.thresholds(_thresholds(steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    for name in dashed:
        panel.override_by_regexp(
            rf"/^{name}\b/",
            [
                models.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [10, 10]}),
                models.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
                models.DynamicConfigValue(id_val="custom.stacking", value={"group": "A", "mode": "none"}),
            ],
        )
    if links:
        panel.data_links(list(links))
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    missing: str,
    *queries: Query,
    width: int = SIXTH,
    height: int = 4,
    decimals: int | None = None,
    steps: Steps = (),
    is_text: bool = False,
    links: Sequence[dashboard.DashboardLink] = (),
) -> Panel:
    """Return a panel with the last known values.

    Args:
        title: A few words.
        description: The meaning of the value.
        unit: A constant of ``grafana_foundation_sdk.models.units``.
        missing: The missing source if there is no data, in a few words up to a colon.
        queries: From :mod:`grafana.generate.sources`.
        width: In columns, of 24.
        height: In units of 30 pixels.
        decimals: The number of decimals.
        steps: Colours of the value.
        is_text: Whether to show the name of the series instead of its value.
        links: Links on the value.
    """
    brief, _, why = missing.partition(": ")
    full = f"{description} If there is no value: {missing}" if why else description
    panel = _described(stat.Panel(), title, full, unit, brief, queries=queries, width=width, height=height)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.graph_mode(common_models.BigValueGraphMode.NONE)
    if is_text:
        panel.text_mode(common_models.BigValueTextMode.NAME)
    if decimals is not None:
        panel.decimals(decimals)
    panel.thresholds(_thresholds(steps or ((None, "text"),)))
    if links:
        panel.data_links(list(links))
    return panel


def rows(
    title: str,
    description: str,
    unit: str,
    missing: str,
    *queries: Query,
    width: int = FULL,
    height: int = 9,
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    hidden: Iterable[str] = (),
    links: Mapping[str, Sequence[dashboard.DashboardLink]] | None = None,
    sorted_by: str = "",
) -> Panel:
    """Return a table. Several queries to Prometheus are joined by their common labels.

    Args:
        title: A few words.
        description: The meaning of a row.
        unit: The unit of columns that are not in ``units``.
        missing: The missing source if there is no data.
        queries: From :mod:`grafana.generate.sources`: ``promql_now`` or ``traceql_spans``.
        width: In columns, of 24.
        height: In units of 30 pixels.
        names: Displayed names of columns by their names in the data (``Value #A`` for the first query to Prometheus),
            in the order of display. The other columns follow.
        units: Units by displayed name.
        hidden: Columns that are not shown, by their names in the data.
        links: Links by displayed name.
        sorted_by: The displayed name of the column to sort by, the largest first.
    """
    panel = _described(table.Panel(), title, description, unit, missing, queries=queries, width=width, height=height)
    names = names or {}
    if len(queries) > 1:
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": dict(names),
                "excludeByName": dict.fromkeys(("Time", *hidden), True),
            },
        )
    )
    for name, unit_of_column in (units or {}).items():
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=unit_of_column)])
    for name, targets in (links or {}).items():
        built = [{"title": link.build().title, "url": link.build().url} for link in targets]
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="links", value=built)])
    if sorted_by:
        panel.sort_by([common.TableSortByFieldState().display_name(sorted_by).desc(True)])
    return panel.filterable(True)


def log_lines(title: str, description: str, missing: str, *queries: Query, height: int = 12) -> Panel:
    """Return a panel of log lines, the newest last, as in a terminal."""
    panel = _described(logs.Panel(), title, description, "none", missing, queries=queries, width=FULL, height=height)
    panel.show_time(True).wrap_log_message(True).enable_log_details(True)
    return panel.sort_order(common_models.LogsSortOrder.ASCENDING).dedup_strategy(common_models.LogsDedupStrategy.NONE)


def link(title: str, url: str) -> dashboard.DashboardLink:
    """Return a link on a panel's values; Grafana fills in ``${__value.raw}`` and variables in the URL."""
    return dashboard.DashboardLink(title).url(url)


def _described(
    panel: _Panel,
    title: str,
    description: str,
    unit: str,
    missing: str,
    *,
    queries: Sequence[Query],
    width: int,
    height: int,
) -> _Panel:
    panel.title(title).description(description).unit(unit).no_value(missing).span(width).height(height)
    for letter, query in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", queries, strict=False):
        panel.with_target(query.ref_id(letter))
    panel.datasource(queries[0].build().datasource)
    return panel


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)
