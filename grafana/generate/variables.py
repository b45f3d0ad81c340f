"""The variables at the top of a dashboard."""

from grafana.generate.sources import PROMETHEUS
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

ALL = ".*"
"""The value of *All*. It also matches series without the label, which a list of all values does not."""

_LABEL_VALUES = 1
_QUERY_RESULT = 3
"""The types that Grafana's own editor writes beside a query of these functions."""


def of_label(
    name: str,
    title: str,
    description: str,
    label: str,
    selector: str,
    *,
    is_multiple: bool = True,
    has_all: bool = True,
    sort: models.VariableSort = models.VariableSort.ALPHABETICAL_ASC,
) -> dashboard.QueryVariable:
    """Return a variable with the values of a label in Prometheus. The default is *All*.

    Args:
        name: Its name in queries.
        title: Its displayed name.
        description: Its meaning and the source of its values.
        label: The label with the values.
        selector: Series with the label; it may use earlier variables.
        is_multiple: Whether several values can be selected. Queries match it by ``=~`` in either case.
        has_all: Whether there is *All*; without it the first value is the default.
        sort: The order of values.
    """
    variable = _asked(name, title, description, _LABEL_VALUES, f"label_values({selector},{label})").sort(sort)
    variable.multi(is_multiple).allow_custom_value(True)
    if has_all:
        variable.include_all(True).all_value(ALL)
        variable.current(models.VariableOption(text="All", value="$__all", selected=True))
    return variable


def of_expression(
    name: str, title: str, description: str, label: str, expression: str, *, sort: models.VariableSort
) -> dashboard.QueryVariable:
    """Return a variable with *All* and the values of a label in the result of an expression, at the end of the range.

    Args:
        name: Its name in queries.
        title: Its displayed name.
        description: Its meaning and the source of its values.
        label: The label in the result.
        expression: PromQL; it may use earlier variables.
        sort: The order of values.
    """
    variable = _asked(name, title, description, _QUERY_RESULT, f"query_result({expression})").sort(sort)
    variable.regex(f'/{label}="([^"]+)"/').allow_custom_value(True).include_all(True).all_value(ALL)
    return variable.current(models.VariableOption(text="All", value="$__all", selected=True))


def _asked(name: str, title: str, description: str, kind: int, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(title).description(description).datasource(PROMETHEUS)
    variable.query({"qryType": kind, "query": query, "refId": name})
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
