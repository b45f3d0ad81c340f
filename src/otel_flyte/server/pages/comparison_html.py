"""Two compared executions as HTML, which needs no script."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from otel_flyte.recording.cells import counted, duration, moment
from otel_flyte.recording.compare import BOTH, A, B, Change, Comparison, NodeChange
from otel_flyte.recording.measures import DURATION, MEMORY_PEAK
from otel_flyte.report import comparison as words
from otel_flyte.report.comparison import Sentence
from otel_flyte.server.pages import listing
from otel_flyte.server.pages.listing import badge, shown
from otel_flyte.server.store.reader import RUNNING, Listed

BAR = '<nav class="bar" aria-label="executions"><a href="/">Executions</a></nav>'

NODES = 300
"""The number of nodes in a page, those that changed most."""

_NUMBERS = 200
"""The number of rows in the table of a node: a task may have any number of inputs."""

_LONGEST = 600
"""Characters of a sentence."""


def body(comparison: Comparison, sides: tuple[Listed, Listed], *, swapped: str) -> str:
    """Return a comparison.

    Args:
        comparison: the comparison.
        sides: its executions, as they are listed.
        swapped: the address of the same with A and B exchanged.
    """
    nodes = comparison.ranked[:NODES]
    places = {id(node): f"node-{number}" for number, node in enumerate(nodes)}
    cards = "".join(_card(letter, side) for letter, side in zip("AB", sides, strict=True))
    return (
        f'{BAR}<div id="app" class="compare"><header><div class="title"><h1>What changed from A to B</h1>'
        f'<span class="links"><a class="button" href="{swapped}">⇄ Swap</a></span></div></header>'
        f'<div class="sides">{cards}</div>{_changes(comparison, places)}{_gaps(comparison, sides)}'
        f"{_nodes(comparison, nodes, sides)}</div>"
    )


def choice(b: Listed, earlier: Sequence[tuple[Listed, str]], *, older: str, is_first: bool) -> str:
    """Return the executions with which one can be compared.

    Args:
        b: the one.
        earlier: earlier executions of its workflow, the last one first, with the addresses of their comparisons.
        older: the address of more of them, empty where there are none.
        is_first: whether there are no later ones.
    """
    rows = "".join(
        _choice(each, address, "previous" * (is_first and not at)) for at, (each, address) in enumerate(earlier)
    )
    head = (
        '<th scope="col">State</th><th scope="col">Compare with</th><th scope="col">Start (UTC)</th>'
        '<th scope="col" class="number">Duration</th>'
    )
    table = f'<div class="list"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    nothing = '<div class="empty"><p>No earlier execution of this workflow is kept.</p></div>'
    more = f'<nav class="pages" aria-label="pages"><a href="{older}" rel="next">Older</a></nav>' if older else ""
    return (
        f'{BAR}<div id="app" class="compare"><header><h1>What changed since an earlier execution</h1></header>'
        f'<div class="sides">{_card("B", b)}</div>{table if earlier else nothing}{more}'
        '<p class="note">To compare any others, check two of them in <a href="/">the list</a>.</p></div>'
    )


def _choice(each: Listed, address: str, remark: str) -> str:
    note = f"<small>{remark}</small>" if remark else ""
    return (
        f'<tr><td class="state-of">{badge(each.state)}</td>'
        f'<td class="what"><a href="{address}">{shown(each.name or each.key)}</a>{note}'
        f'</td><td class="when">{_began(each)}</td><td class="number">{_took(each)}</td></tr>'
    )


def _card(letter: str, side: Listed) -> str:
    name = side.workflow or side.name or side.key
    own = () if name == (side.name or side.key) else (shown(side.name or side.key),)
    where = " / ".join(shown(each) for each in (side.project, side.domain) if each)
    facts = "".join(f"<span>{each}</span>" for each in (*own, where, _began(side), _took(side)) if each)
    return (
        f'<article class="side-{letter.lower()}"><h2><b class="letter">{letter}</b> '
        f'<a href="{listing.address(side.key)}">{shown(name)}</a> {badge(side.state)}</h2>'
        f'<p class="facts">{facts}</p></article>'
    )


def _began(each: Listed) -> str:
    began = f"{moment(each.start_ns):%Y-%m-%d %H:%M:%S}"
    return f'<time datetime="{began.replace(" ", "T")}Z">{began}</time>'


def _took(each: Listed) -> str:
    return duration(max(0, each.end_ns - each.start_ns) / 1e9)


def _changes(comparison: Comparison, places: Mapping[int, str]) -> str:
    items = "".join(f"<li>{_sentence(each, places)}</li>" for each in words.sentences(comparison))
    return f'<section class="changes" aria-label="what changed most"><ol>{items}</ol></section>'


def _sentence(sentence: Sentence, places: Mapping[int, str]) -> str:
    text = shown(sentence.text, _LONGEST)
    if not sentence.subject:
        return f"{text[:1].upper()}{text[1:]}."
    subject = shown(sentence.subject)
    if place := places.get(id(sentence.node)):
        subject = f'<a href="#{place}">{subject}</a>'
    return f"<b>{subject}</b> {text}"


def _gaps(comparison: Comparison, sides: tuple[Listed, Listed]) -> str:
    running = [letter for letter, side in zip("AB", sides, strict=True) if side.state == RUNNING]
    lines = [f"{letter} is running: what has not ended is compared once it has" for letter in running]
    items = "".join(f"<li>{shown(line, _LONGEST)}</li>" for line in (*lines, *words.not_compared(comparison)))
    return f'<section class="remarks" aria-label="not compared"><ul>{items}</ul></section>' if items else ""


def _nodes(comparison: Comparison, nodes: Sequence[NodeChange], sides: tuple[Listed, Listed]) -> str:
    if not nodes:
        return ""
    longest = max((value for node in nodes for value in _durations(node) if value is not None), default=0.0)
    drawn = "".join(_node(node, f"node-{number}", longest, sides) for number, node in enumerate(nodes))
    rest = len(comparison.nodes) - len(nodes)
    more = f'<p class="note">{counted(rest, "more node")} changed less: the API has all of them.</p>' if rest else ""
    return (
        '<section class="nodes" aria-label="nodes"><div class="node-heads" aria-hidden="true"><span>Node</span>'
        '<span class="bars">Duration</span><span class="number">A</span><span class="number">B</span>'
        '<span class="number">Change</span><span class="number">Memory A</span><span class="number">Memory B</span>'
        f'</div>{drawn}</section>{more}<p class="note">{words.thresholds()}</p>'
    )


def _node(node: NodeChange, place: str, longest: float, sides: tuple[Listed, Listed]) -> str:
    is_open = " open" * (place == "node-0" and node.is_notable)
    change = node.change(DURATION)
    memory = node.change(MEMORY_PEAK)
    cells = (words.took(node, A), words.took(node, B), words.difference(change) if node.side == BOTH else "")
    used = (words.value_of(memory, memory.a if memory else None), words.value_of(memory, memory.b if memory else None))
    numbers = "".join(
        f'<span class="number {name}">{shown(cell)}</span>' for name, cell in zip(_CELLS, (*cells, *used), strict=True)
    )
    return (
        f'<details class="node{" noted" * node.is_notable}" id="{place}"{is_open}><summary><span class="node-name">'
        f"{shown(node.name)}<small>{_notes(node)}</small></span>{_bars(node, longest)}{numbers}</summary>"
        f"<div>{_table(node)}{_links(node, sides)}</div></details>"
    )


_CELLS = ("of-a", "of-b", "change", "memory", "memory")


def _notes(node: NodeChange) -> str:
    notes = [*([] if node.side == BOTH else [f"only in {words.SIDES[node.side]}"]), *words.notes(node)]
    return shown("; ".join(notes))


def _durations(node: NodeChange) -> tuple[float | None, float | None]:
    change = node.change(DURATION)
    return (change.a, change.b) if change else (None, None)


def _bars(node: NodeChange, longest: float) -> str:
    """Return a bar for each side. They are SVG: the page allows no style in its HTML."""
    bars = "".join(
        f'<rect class="bar-{side}" y="{y}" width="{max(0.5, 100 * value / longest):.1f}%" height="7" rx="2"/>'
        for side, y, value in zip((A, B), (0, 9), _durations(node), strict=True)
        if value is not None and longest > 0
    )
    return f'<svg class="bars" width="100%" height="16" aria-hidden="true">{bars}</svg>'


def _table(node: NodeChange) -> str:
    rows = "".join(islice(_rows(node), _NUMBERS))
    head = '<th scope="col"></th><th scope="col">A</th><th scope="col">B</th><th scope="col">Change</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _rows(node: NodeChange) -> Iterator[str]:
    for fact in node.facts:
        yield _row(fact.name, fact.a or words.UNKNOWN_VALUE, fact.b or words.UNKNOWN_VALUE, "")
    for change in sorted(node.changes, key=lambda each: not each.is_notable):
        yield _row(change.name, *_values(change), words.difference(change))


def _values(change: Change) -> tuple[str, str]:
    return words.value_of(change, change.a), words.value_of(change, change.b)


def _row(name: str, a: str, b: str, difference: str) -> str:
    cells = "".join(f"<td>{shown(cell, _LONGEST)}</td>" for cell in (a, b, difference))
    return f'<tr{" class=noted" * bool(difference)}><th scope="row">{shown(name)}</th>{cells}</tr>'


def _links(node: NodeChange, sides: tuple[Listed, Listed]) -> str:
    links = " ".join(
        f'<a href="{listing.address(side.key)}#span={span_id}">Show in {letter}</a>'
        for letter, side, span_id in zip("AB", sides, node.span_ids, strict=True)
        if span_id
    )
    return f'<p class="rows-of">{links}</p>'
