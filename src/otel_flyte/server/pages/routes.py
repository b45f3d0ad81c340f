"""The pages: the list of executions, and an execution as the report shows it, followed while it runs."""

from collections.abc import Mapping
from html import escape

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from starlette.convertors import PathConvertor, register_url_convertor

from otel_flyte.recording.cells import printable
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import static
from otel_flyte.server import http_answers
from otel_flyte.server.live import Changes
from otel_flyte.server.pages import compare_routes as compare_pages
from otel_flyte.server.pages import document, listing, static_files
from otel_flyte.server.pages.listing import FILTERS, PAGE
from otel_flyte.server.pages.rendered import Rendered
from otel_flyte.server.source import Source, UnknownExecutionError
from otel_flyte.server.store.reader import STATES, Filter


class _AnyText(PathConvertor):
    """A part of a path with any characters: `path` ends at a line break, which the name of an execution may have."""

    regex = "(?s:.*)"


register_url_convertor("any", _AnyText())

LARGE = 5000
"""Spans above which a page shows the outline of an execution first."""

_UNKNOWN = (
    '<div id="app"><div class="empty"><p>No such execution is kept.</p><p><a href="/">Show all executions</a></p></div>'
    "</div>"
)


def is_page(path: str) -> bool:
    """Return whether a path is one that people look at."""
    return path in ("/", "/compare") or path.startswith("/executions/")


def unavailable(path: str, message: str, code: int) -> Response:
    """Return the page that says why there is no answer for a path."""
    others = "" if path == "/" else ' · <a href="/">Show all executions</a>'
    body = (
        f'<div id="app"><div class="empty" role="alert"><h2>No answer</h2><p>{escape(printable(message))}</p>'
        f'<p><a href="">Try again</a>{others}</p></div></div>'
    )
    return document.page("no answer", body, ("page.css", "list.css"), (), code)


def router(source: Source, changes: Changes, endpoint: str) -> APIRouter:
    """Return the routes.

    The key of an execution may contain slashes, so that nothing follows it in an address.

    Args:
        source: where executions are found.
        changes: those of the source.
        endpoint: where telemetry is received, empty where recordings are read instead.
    """
    made = APIRouter(include_in_schema=False)
    _add_pages(made, source, endpoint)
    _add_data(made, changes, Rendered(source))

    @made.api_route("/assets/{name}", methods=http_answers.READ)
    def asset(name: str, request: Request) -> Response:
        found = static_files.asset(name)
        if found is None:
            raise HTTPException(404, "no such file")
        response = http_answers.answer(request, found.content, found.kind, found.digest)
        response.headers["Cache-Control"] = "no-cache"
        return response

    return made


def _add_pages(made: APIRouter, source: Source, endpoint: str) -> None:
    @made.api_route("/", methods=http_answers.READ)
    def executions(request: Request) -> Response:
        filters = _filters(request.query_params)
        after = listing.place(request.query_params.get("after", ""))
        ignored = _ignored(request.query_params, filters, after)
        found = source.executions(_wanted(filters, after), PAGE + 1)
        has_more, is_first = len(found) > PAGE, after is None
        body = listing.body(found[:PAGE], filters, ignored, has_more=has_more, is_first=is_first, endpoint=endpoint)
        return document.page("executions", body, ("page.css", "list.css"), ("list.js",))

    @made.api_route("/executions/{key:any}", methods=http_answers.READ)
    def execution(key: str, request: Request) -> Response:
        try:
            found = source.execution(key)
            title = found.workflow or found.name or found.key
            if "plain" not in request.query_params:
                return document.page(title, _frame(key, is_large=found.spans > LARGE), ("page.css",), ("page.js",))
            analysis = Analysis.of(source.recording(key))
        except UnknownExecutionError:
            return document.page("no such execution", _UNKNOWN, ("page.css", "list.css"), (), 404)
        picture = static.picture(analysis.tree, analysis.attempts)
        return document.page(title, f'{_bar(key)}<div id="app">{picture}</div>', ("page.css", "static.css"), ())


def _add_data(made: APIRouter, changes: Changes, rendered: Rendered) -> None:
    @made.get("/data/{key:any}")
    def data(key: str, request: Request) -> Response:
        try:
            sign = changes.sign(key)
            known = http_answers.unchanged(request, sign.version)
            if known is not None:
                return known
            return http_answers.answer(request, rendered.data(key, sign), "application/json", sign.version)
        except UnknownExecutionError:
            raise HTTPException(404, "no such execution") from None

    @made.get("/outline/{key:any}")
    def outline(key: str, request: Request) -> Response:
        try:
            sign = changes.sign(key)
            content = rendered.outline(key, sign)
        except UnknownExecutionError:
            raise HTTPException(404, "no such execution") from None
        return http_answers.answer(request, content, "application/json", f"{sign.version}-outline")

    @made.get("/events/{key:any}")
    def events(key: str) -> Response:
        changes.check_room()
        return http_answers.Events(changes.of_execution(key))

    @made.get("/events")
    def all_events() -> Response:
        changes.check_room()
        return http_answers.Events(changes.of_all())


def _filters(parameters: Mapping[str, str]) -> dict[str, str]:
    filters = {name: value for name in FILTERS if (value := parameters.get(name, ""))}
    if filters.get("state", STATES[0]) not in STATES:
        del filters["state"]
    return filters


def _ignored(parameters: Mapping[str, str], filters: Mapping[str, str], after: tuple[int, int] | None) -> list[str]:
    """Return the parameters of an address that choose nothing."""
    known = {*filters, "after"} if after is not None else filters.keys()
    return [f"{name}={value}" for name, value in parameters.items() if value and name not in known]


def _wanted(filters: Mapping[str, str], after: tuple[int, int] | None) -> Filter:
    text, state, project, domain, workflow = (filters.get(name, "") for name in FILTERS)
    return Filter(text=text, state=state, project=project, domain=domain, workflow=workflow, after=after)


def _frame(key: str, *, is_large: bool) -> str:
    address = listing.address(key)
    of_key = address.removeprefix("/executions/")
    large = " data-large" * is_large
    return (
        f'{_bar(key)}<div id="app" data-source="/data/{of_key}" data-events="/events/{of_key}"{large}>'
        '<p class="state" id="waiting">The execution is fetched.</p></div>'
        f'<noscript><p>This page needs a script: <a href="{address}?plain">show it without</a>.</p></noscript>'
    )


def _bar(key: str) -> str:
    recording = f"/api/v1{listing.address(key)}/recording"
    return (
        '<nav class="bar" aria-label="executions"><a href="/">Executions</a>'
        '<span id="state" class="state"></span><span class="last">'
        f'<a href="{compare_pages.address(b=key)}">Compare</a> '
        f'<a href="{recording}" download>Recording</a></span></nav>'
    )
