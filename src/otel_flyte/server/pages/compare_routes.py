"""The page that compares two executions, and the one that lists with what an execution can be compared."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse, Response

from otel_flyte.server.api.comparisons import Comparisons
from otel_flyte.server.http_answers import READ
from otel_flyte.server.pages import comparison_html, document
from otel_flyte.server.pages.listing import PAGE, place, shown
from otel_flyte.server.problems import NotFoundError
from otel_flyte.server.source import Source, UnknownExecutionError
from otel_flyte.server.store.reader import Filter, Listed

_STYLES = ("page.css", "list.css", "compare.css")
_LIST = '<a href="/">Show all executions</a>'
_HOW = "Choose two executions in the list, and press Compare."


def router(source: Source, comparisons: Comparisons) -> APIRouter:
    """Return the routes."""
    made = APIRouter(include_in_schema=False)

    @made.api_route("/compare", methods=READ)
    def compare(
        a: str = "", b: str = "", execution: Annotated[tuple[str, ...], Query()] = (), after: str = ""
    ) -> Response:
        checked = tuple(filter(None, execution))
        keys = list(dict.fromkeys(filter(None, checked or (a, b))))
        try:
            found = [source.execution(key) for key in keys[:2]]
            if checked or (a and not b):
                return _sorted_out(keys, found)
            if a and a == b:
                return _problem(
                    "A and B are the same execution.", f'<a href="{address(b=b)}">Choose another one</a>', 400
                )
            if len(found) == 2:
                return _comparison(found[0], found[1], comparisons)
            return _choice(source, found[0], after) if found else _problem(_HOW, _LIST, 400)
        except UnknownExecutionError as error:
            return _problem(f"No execution {shown(str(error))} is kept.", _LIST, 404)
        except NotFoundError as error:
            return _problem(f"{shown(str(error), 600)}.", _LIST, 404)

    return made


def address(**keys: str) -> str:
    """Return the address of the page for executions by their keys: ``a``, ``b``, or ``b`` alone for a choice."""
    return f"/compare?{urlencode(keys).replace('&', '&amp;')}"


def _sorted_out(keys: list[str], found: list[Listed]) -> Response:
    """Return the page for executions that are checked in the list: the older one is A."""
    if len(keys) > 2:
        return _problem(f"{len(keys)} executions are chosen: two can be compared.", _LIST, 400)
    older = sorted(found, key=lambda each: (each.start_ns, each.id))
    names = {"b": older[0].key} if len(older) == 1 else {"a": older[0].key, "b": older[1].key}
    return RedirectResponse(f"/compare?{urlencode(names)}", 303)


def _comparison(a: Listed, b: Listed, comparisons: Comparisons) -> Response:
    comparison = comparisons.of(a.key, b.key)
    body = comparison_html.body(comparison, (a, b), swapped=address(a=b.key, b=a.key))
    names = dict.fromkeys(each.workflow or each.name or each.key for each in (a, b))
    return document.page(f"{' and '.join(names)} compared", body, _STYLES, ())


def _choice(source: Source, b: Listed, after: str) -> Response:
    """Return the earlier executions of the same workflow, the last of them first."""
    begin = place(after) or (b.start_ns, b.id)
    wanted = Filter(project=b.project, domain=b.domain, workflow=b.workflow, after=begin)
    found = source.executions(wanted, PAGE + 1)
    rows = [(each, address(a=each.key, b=b.key)) for each in found[:PAGE]]
    last = found[PAGE - 1] if len(found) > PAGE else None
    older = address(b=b.key, after=f"{last.start_ns}.{last.id}") if last else ""
    body = comparison_html.choice(b, rows, older=older, is_first=not after)
    return document.page(f"compare {b.workflow or b.name or b.key}", body, _STYLES, ())


def _problem(what: str, remedy: str, code: int) -> Response:
    body = f'{comparison_html.BAR}<div id="app"><div class="empty"><p>{what}</p><p>{remedy}</p></div></div>'
    return document.page("compare", body, _STYLES, (), code)
