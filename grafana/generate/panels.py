"""Panels of one look. Each says what it shows, in which unit, and, where it has nothing to show, what is missing."""

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
"""A builder of a panel, of whichever kind: the SDK's have no common type with ``height`` and ``span``."""

Steps = Sequence[tuple[float | None, str]]
"""Colours from a value on; the first begins at ``None``, which is minus infinity."""

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
    """Make a chart of lines.

    Args:
        title: a few words.
        description: what a line means, and of what it is a share.
        unit: a constant of ``grafana_foundation_sdk.models.units``.
        missing: which source is missing where there is no data.
        queries: of :mod:`grafana.generate.sources`.
        width: of 24 columns.
        height: of 30 pixels each.
        is_stacked: whether the areas stand upon one another.
        minimum: where the axis begins; ``None`` leaves it to the data.
        maximum: where the axis ends.
        steps: colours of thresholds, drawn as lines.
        dashed: what the names of series begin with that are no measurement: limits, requests.
        links: where a click on a point leads.
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
    # A task of a few seconds has one sample: a line alone would show nothing.
    panel.show_points(common_models.VisibilityMode.AUTO).line_width(1).fill_opacity(50 if is_stacked else 8)
    # A sample a minute may come a moment late: that is no gap.
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
    """Make a panel of single values, the last that are known. Arguments as those of :func:`time_series`.

    Args:
        title: a few words.
        description: what the value means.
        unit: a constant of ``grafana_foundation_sdk.models.units``.
        missing: which source is missing where there is no data; a few words, as there is little room.
        queries: of :mod:`grafana.generate.sources`.
        width: of 24 columns.
        height: of 30 pixels each.
        decimals: digits behind the point.
        steps: colours of the value.
        is_text: whether the series' name is what there is to read.
        links: where a click leads.
    """
    briefly, _, why = missing.partition(": ")
    said = f"{description} Where there is nothing: {missing}" if why else description
    panel = _described(stat.Panel(), title, said, unit, briefly, queries=queries, width=width, height=height)
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
    """Make a table. Several queries to Prometheus are joined by the labels that they share.

    Args:
        title: a few words.
        description: what a row is.
        unit: of all numbers that ``units`` does not name.
        missing: which source is missing where there is no data.
        queries: of :mod:`grafana.generate.sources`: ``promql_now`` or ``traceql_spans``.
        width: of 24 columns.
        height: of 30 pixels each.
        names: columns by their names in the data (of the n-th query to Prometheus: ``Value #A``), and what they are
            called, in the order in which they stand. Columns that are not named here follow.
        units: units by what columns are called.
        hidden: columns, by their names in the data, that are not shown.
        links: where a click leads, by what columns are called.
        sorted_by: what the column is called by which the rows are sorted, the largest first.
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
    """Make a panel of log lines, the newest last, as a terminal has them. It has no unit but lines."""
    panel = _described(logs.Panel(), title, description, "none", missing, queries=queries, width=FULL, height=height)
    panel.show_time(True).wrap_log_message(True).enable_log_details(True)
    return panel.sort_order(common_models.LogsSortOrder.ASCENDING).dedup_strategy(common_models.LogsDedupStrategy.NONE)


def link(title: str, url: str) -> dashboard.DashboardLink:
    """Make a link of a panel's values; the URL may hold what Grafana fills in: ``${__value.raw}``, variables."""
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
