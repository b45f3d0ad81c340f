"""What can be picked at the top of a dashboard."""

from grafana.generate.sources import PROMETHEUS
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

ALL = ".*"
"""What *All* stands for. It matches series that have no such label too, which a list of all values does not."""

_LABEL_VALUES = 1
_QUERY_RESULT = 3
"""What Grafana's own editor writes beside a query of these functions."""


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
    """Offer the values of a label of Prometheus; *All* to begin with.

    Args:
        name: what queries call it.
        title: what people read.
        description: what it is, and where its values come from.
        label: the label whose values are offered.
        selector: series that have it; variables before this one narrow it.
        is_multiple: whether several can be picked. Queries match it by ``=~`` in either case.
        has_all: whether *All* is offered; without it the first value is picked.
        sort: how values are sorted.
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
    """Offer one value and *All*: the values of a label that an expression computes, at the end of the time range.

    Args:
        name: what queries call it.
        title: what people read.
        description: what it is, and where its values come from.
        label: the label in the answer.
        expression: PromQL; variables before this one narrow it.
        sort: how values are sorted.
    """
    variable = _asked(name, title, description, _QUERY_RESULT, f"query_result({expression})").sort(sort)
    variable.regex(f'/{label}="([^"]+)"/').allow_custom_value(True).include_all(True).all_value(ALL)
    return variable.current(models.VariableOption(text="All", value="$__all", selected=True))


def _asked(name: str, title: str, description: str, kind: int, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(title).description(description).datasource(PROMETHEUS)
    variable.query({"qryType": kind, "query": query, "refId": name})
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
