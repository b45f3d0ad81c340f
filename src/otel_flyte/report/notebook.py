"""An execution tree draws itself in a notebook. The tree itself is below everything that draws."""

from otel_flyte.recording import tree
from otel_flyte.recording.attempts import attempts_of
from otel_flyte.recording.tree import ExecutionTree
from otel_flyte.report import static

LARGEST = 2**20
"""Bytes of a drawing: a notebook keeps it in its file."""

_NONE = "<p>Nothing is recorded.</p>"


def drawing(of: ExecutionTree) -> str:
    """Return a tree as HTML: as many executions as there is room for, if need be without charts."""
    style = f"<style>{static.style()}</style>"
    whole = style + _picture(of)
    if _size(whole) <= LARGEST:
        return whole
    drawn, room = [style], LARGEST - _size(style) - 200
    for execution in of.executions:
        alone = ExecutionTree((execution,))
        picture = next((each for each in (_picture(alone), static.picture(alone, ())) if _size(each) <= room), None)
        if picture is None:
            break
        room -= _size(picture)
        drawn.append(picture)
    return f"{''.join(drawn)}<p>{len(of.executions) - len(drawn) + 1} more executions are not drawn.</p>"


def _picture(of: ExecutionTree) -> str:
    return static.picture(of, attempts_of(of.walk(), ())) if of.executions or of.remarks else _NONE


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


tree.draw_by(drawing)
