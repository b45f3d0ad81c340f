"""The list of executions as HTML, which needs no script."""

import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from urllib.parse import quote, urlencode

from otel_flyte import semconv
from otel_flyte.recording.cells import duration, moment, printable, without_direction
from otel_flyte.report.terminal import MARKS, NO_MARK
from otel_flyte.server.store.reader import CANCELLED, FAILED, RUNNING, STATES, SUCCEEDED, Listed

FILTERS = ("text", "state", "project", "domain", "workflow")
"""The parameters of the address that choose executions."""

PAGE = 100
"""The number of executions in a page."""

_LONGEST_NAME = 200
_MOST_IGNORED = 5
_MARKS = {
    RUNNING: "●",
    SUCCEEDED: MARKS[semconv.RESULT_SUCCESS],
    FAILED: MARKS[semconv.RESULT_FAILURE],
    CANCELLED: MARKS[semconv.RESULT_CANCELLATION],
}


def address(key: str) -> str:
    """Return the address of an execution's page."""
    return f"/executions/{quote(key, safe='')}"


def place(text: str) -> tuple[int, int] | None:
    """Return the place in the list that an address names, ``None`` for its begin."""
    start, _, number = text.partition(".")
    valid = all(part.isascii() and part.isdigit() and len(part) < 20 for part in (start, number))
    return (int(start), int(number)) if valid and max(int(start), int(number)) < 2**63 else None


def shown(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a text of telemetry for HTML: short, and without characters that are not seen."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return escape(printable(without_direction(cut)))


def badge(state: str) -> str:
    """Return a state with its mark."""
    return f'<span class="badge {state}">{_MARKS.get(state, NO_MARK)} {state}</span>'


def body(
    found: Sequence[Listed],
    filters: Mapping[str, str],
    ignored: Sequence[str] = (),
    *,
    has_more: bool,
    is_first: bool,
    endpoint: str,
) -> str:
    """Return the list with its filters.

    Args:
        found: the executions.
        filters: those in use, by their parameters.
        ignored: the parameters that choose nothing.
        has_more: whether there are older ones.
        is_first: whether there are no newer ones.
        endpoint: where telemetry is received, empty where recordings are read instead.
    """
    return (
        '<div id="app"><header><div class="title"><h1>Executions</h1>'
        f'<span id="state" class="state" role="status"></span></div></header>{_form(filters)}{_note(ignored)}'
        f'<div id="list">{_list(found, filters, has_more=has_more, is_first=is_first, endpoint=endpoint)}</div></div>'
    )


def _note(ignored: Sequence[str]) -> str:
    """Return the line about parameters that choose nothing: a filter that is misspelt must not look like one."""
    names = ", ".join(f"<code>{shown(each, 80)}</code>" for each in ignored[:_MOST_IGNORED])
    return f'<p class="note" role="status">No such filter, it is ignored: {names}</p>' if ignored else ""


def _form(filters: Mapping[str, str]) -> str:
    options = "".join(
        f'<option value="{state}"{" selected" * (state == filters.get("state"))}>{state}</option>' for state in STATES
    )
    chips = "".join(_chip(name, filters) for name in ("project", "domain", "workflow") if filters.get(name))
    return (
        '<form class="filters" action="/" role="search"><input type="search" name="text" aria-label="part of the name" '
        f'placeholder="Search names" autocomplete="off" spellcheck="false" value="{escape(filters.get("text", ""))}">'
        f'<select name="state" aria-label="state"><option value="">all states</option>{options}</select>{chips}'
        "<noscript><button>Search</button></noscript>"
        '<button form="compare" title="the two executions that are checked">Compare</button></form>'
        '<form id="compare" action="/compare"></form>'
    )


def _chip(name: str, filters: Mapping[str, str]) -> str:
    """Return a filter that a click removes."""
    without = {each: value for each, value in filters.items() if each != name}
    return (
        f'<input type="hidden" name="{name}" value="{escape(filters[name])}"><a class="chip" href="{_href(without)}" '
        f'title="remove this filter"><span>{name}</span> {shown(filters[name])} ✕</a>'
    )


def _list(found: Sequence[Listed], filters: Mapping[str, str], *, has_more: bool, is_first: bool, endpoint: str) -> str:
    if not found and is_first:
        return _nothing(filters, endpoint)
    rows = "".join(_row(each, filters) for each in found)
    head = (
        '<th scope="col" class="pick"></th><th scope="col">State</th>'
        '<th scope="col">Workflow</th><th scope="col">Project</th>'
        '<th scope="col">Start (UTC)</th><th scope="col" class="number">Duration</th>'
        '<th scope="col" class="number">Spans</th><th scope="col" class="number">Errors</th>'
    )
    pages = "" if is_first else f'<a href="{_href(filters)}">Newest</a>'
    if has_more:
        last = found[-1]
        pages += f'<a href="{_href({**filters, "after": f"{last.start_ns}.{last.id}"})}" rel="next">Older</a>'
    return (
        f'<div class="list"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<nav class="pages" aria-label="pages">{pages}</nav>'
    )


def _row(each: Listed, filters: Mapping[str, str]) -> str:
    name = each.workflow or each.name or each.key
    below = "" if name == (each.name or each.key) else f"<small>{shown(each.name or each.key)}</small>"
    seconds = max(0, (time.time_ns() if each.state == RUNNING else each.end_ns) - each.start_ns) / 1e9
    began = f"{moment(each.start_ns):%Y-%m-%d %H:%M:%S}"
    where = " / ".join(_where(each, filters))
    return (
        f'<tr data-key="{escape(printable(each.key))}"><td class="pick"><input type="checkbox" form="compare" '
        f'name="execution" value="{escape(each.key)}" aria-label="compare {shown(each.name or each.key)}"></td>'
        f'<td class="state-of">{badge(each.state)}</td>'
        f'<td class="what"><a href="{address(each.key)}">{shown(name)}</a>{below}</td><td class="where">{where}</td>'
        f'<td class="when"><time datetime="{began.replace(" ", "T")}Z">{began}</time></td>'
        f'<td class="number">{duration(seconds)}</td>{_count(each.spans, "span")}'
        f"{_count(each.errors, 'error', ' bad' if each.errors else ' none')}</tr>"
    )


def _count(number: int, noun: str, tone: str = "") -> str:
    return f'<td class="number{tone}" data-unit="{noun if number == 1 else f"{noun}s"}">{number:,}</td>'


def _where(each: Listed, filters: Mapping[str, str]) -> Iterator[str]:
    for name, value in (("project", each.project), ("domain", each.domain)):
        if value:
            yield f'<a href="{_href({**filters, name: value})}" title="only this {name}">{shown(value)}</a>'


def _nothing(filters: Mapping[str, str], endpoint: str) -> str:
    if filters:
        return '<div class="empty"><p>No execution matches.</p><p><a href="/">Show all executions</a></p></div>'
    if not endpoint:
        return '<div class="empty"><p>There are no executions yet.</p></div>'
    return (
        '<div class="empty"><h2>No executions yet</h2><p>Tasks and runs with this variable appear here while they run:'
        f"</p><pre>OTEL_EXPORTER_OTLP_ENDPOINT={escape(endpoint)}</pre><p>A pod sends its usage once a minute; "
        f"<code>{semconv.METRIC_EXPORT_INTERVAL}=2000</code> makes that two seconds.</p><p>To try it:</p>"
        f"<pre>OTEL_EXPORTER_OTLP_ENDPOINT={escape(endpoint)} otel-flyte demo</pre></div>"
    )


def _href(parameters: Mapping[str, str]) -> str:
    return escape(f"/?{urlencode(parameters)}" if parameters else "/")
