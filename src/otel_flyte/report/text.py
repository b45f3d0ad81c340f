"""The tree as text for a terminal: what ran when and for how long, and what went wrong and where."""

import enum
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from otel_flyte import semconv
from otel_flyte.recording.cells import cut, cut_start, duration, moment, printable, width
from otel_flyte.recording.outline import Line, lines
from otel_flyte.recording.tree import NEVER_ENDED, Error, Execution, ExecutionTree, Role

NEGLIGIBLE = 0.01
"""Phases that took less than this share of the execution, and hold nothing, are summed up instead of shown."""

_NARROWEST, _NARROWEST_WITH_BARS, _WIDEST = 40, 55, 160
_DURATION_CELLS = 12
_SHORTEST_BAR, _LONGEST_BAR = 12, 60
_MESSAGE_LINES = 4


class Tone(enum.Enum):
    """How a piece of text looks on a terminal, by its ANSI code."""

    BOLD = 1
    DIM = 2
    RED = 31
    GREEN = 32
    YELLOW = 33
    BLUE = 34
    MAGENTA = 35
    CYAN = 36


_ROLE_TONES = {
    Role.EXECUTION: Tone.BLUE,
    Role.WORKFLOW: Tone.BLUE,
    Role.TASK: Tone.CYAN,
    Role.MAP_ITEM: Tone.CYAN,
    Role.PHASE: Tone.GREEN,
    Role.SUBMIT: Tone.YELLOW,
    Role.USER: Tone.MAGENTA,
}
_RESULT_TONES = {
    semconv.RESULT_SUCCESS: Tone.GREEN,
    semconv.RESULT_FAILURE: Tone.RED,
    semconv.RESULT_CANCELLATION: Tone.YELLOW,
    NEVER_ENDED: Tone.YELLOW,
}
_MARKS = {
    semconv.RESULT_SUCCESS: "✓",
    semconv.RESULT_FAILURE: "✗",
    semconv.RESULT_CANCELLATION: "⊘",
    NEVER_ENDED: "?",
}
_MARKED_ROLES = (Role.EXECUTION, Role.WORKFLOW, Role.TASK)
_ASCII = str.maketrans(
    {
        "├": "|",
        "└": "`",
        "│": "|",
        "─": "-",
        "━": "=",
        "╺": "=",
        "╸": "=",
        "┅": "~",
        "✓": "+",
        "✗": "x",
        "⊘": "/",
        "·": "-",
        "…": "~",
        "µ": "u",
        "▶": ">",
    }
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is drawn.

    Attributes:
        width: terminal cells.
        color: whether to use ANSI colours.
        unicode: whether to use more than ASCII.
    """

    width: int = 100
    color: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str], columns: int) -> "Look":
        """Choose what suits a stream: colour on a terminal unless ``NO_COLOR`` is set, ASCII where it can't do more."""
        color = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        try:
            "".join(map(chr, _ASCII)).encode(stream.encoding or "ascii")
            unicode = True
        except (UnicodeEncodeError, LookupError):
            unicode = False
        return cls(columns, color, unicode)

    def paint(self, text: str, *tones: Tone) -> str:
        """Colour a text, where there are colours."""
        if not (self.color and text and tones):
            return text
        return f"\x1b[{';'.join(str(tone.value) for tone in tones)}m{text}\x1b[0m"

    def written(self, text: str) -> str:
        """Give a text as the stream can take it."""
        return text if self.unicode else text.translate(_ASCII).encode("ascii", "replace").decode()


def render(tree: ExecutionTree, look: Look | None = None) -> str:
    """Draw every execution as a tree beside its timeline, errors below the span that failed."""
    look = look or Look()
    parts = ["\n".join(_picture(execution, look)) for execution in tree.executions]
    parts += [look.paint(f"note: {printable(remark)}", Tone.YELLOW) for remark in tree.remarks]
    return look.written("\n\n".join(parts))


def _picture(execution: Execution, look: Look) -> Iterator[str]:
    everything = list(lines(execution))
    whole = everything[0]
    shown = [line for line, leaf in _with_leaves(everything) if not (leaf and _is_negligible(line, whole))]
    timeline = _Timeline.of(everything)
    stems = _stems([line.depth for line in shown])
    labels = [_Label.of(line, stem) for line, (stem, _) in zip(shown, stems, strict=True)]
    columns = _Columns.of(labels, look.width)
    yield look.paint(_caption(execution, whole), Tone.DIM)
    for line, label, (_, continued) in zip(shown, labels, stems, strict=True):
        yield _drawn(line, label, timeline, columns, look)
        if line.error:
            yield from _told(line.error, continued, columns, look)
    yield look.paint(_footer(execution, everything, len(shown)), Tone.DIM)


def _with_leaves(outline: Sequence[Line]) -> Iterator[tuple[Line, bool]]:
    for line, following in zip(outline, [*outline[1:], None], strict=True):
        yield line, following is None or following.depth <= line.depth


def _is_negligible(line: Line, whole: Line) -> bool:
    if line.role is not Role.PHASE or line.result != semconv.RESULT_SUCCESS:
        return False
    return line.seconds is not None and line.seconds < NEGLIGIBLE * (whole.seconds or 0)


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The time between the first start and the last end of anything, in nanoseconds since the epoch."""

    start_ns: int
    end_ns: int

    @classmethod
    def of(cls, outline: Sequence[Line]) -> "_Timeline":
        start_ns = min(line.start_ns for line in outline)
        return cls(start_ns, max(max(line.seen_ns, line.start_ns) for line in outline))

    def bar(self, line: Line, cells: int) -> str:
        """Draw when a line was, to half a cell; what never ended goes on to the end, dashed."""
        halves = 2 * cells / max(1, self.end_ns - self.start_ns)
        first = min(int((line.start_ns - self.start_ns) * halves), 2 * cells - 1)
        end_ns = self.end_ns if line.end_ns is None else line.end_ns
        last = max(first + 1, round((end_ns - self.start_ns) * halves))
        full = "┅" if line.end_ns is None else "━"
        drawn = ""
        for cell in range(0, 2 * cells, 2):
            left, right = first <= cell < last, first <= cell + 1 < last
            drawn += full if left and right else "╸" if left else "╺" if right else " "
        return drawn


@dataclass(frozen=True, slots=True)
class _Label:
    """What stands left of the timeline, in the parts that are coloured each in its own way."""

    stem: str
    mark: str
    name: str
    notes: str

    @classmethod
    def of(cls, line: Line, stem: str) -> "_Label":
        marked = line.role in _MARKED_ROLES or line.result != semconv.RESULT_SUCCESS
        mark = f"{_MARKS.get(line.result, '·')} " if marked else ""
        notes = " · ".join(map(printable, line.notes))
        return cls(stem, mark, printable(line.label), f"  {notes}" if notes else "")

    @property
    def width(self) -> int:
        return sum(map(width, (self.stem, self.mark, self.name, self.notes)))

    def drawn(self, cells: int, line: Line, look: Look) -> str:
        """Give exactly so many cells; the notes are the first to be cut, then the name."""
        fixed = width(self.stem) + width(self.mark)
        name = cut(self.name, cells - fixed)
        notes = cut(self.notes, cells - fixed - width(name))
        padding = " " * (cells - fixed - width(name) - width(notes))
        tone = _RESULT_TONES.get(line.result, Tone.DIM)
        emphasis = (Tone.BOLD,) if line.role in _MARKED_ROLES else ()
        return "".join(
            (
                look.paint(self.stem, Tone.DIM),
                look.paint(self.mark, tone),
                look.paint(name, *emphasis, *((tone,) if line.result != semconv.RESULT_SUCCESS else ())),
                look.paint(notes, Tone.DIM),
                padding,
            )
        )


@dataclass(frozen=True, slots=True)
class _Columns:
    """How the cells of a row are shared out."""

    total: int
    label: int
    bar: int

    @classmethod
    def of(cls, labels: Sequence[_Label], terminal: int) -> "_Columns":
        total = min(max(terminal, _NARROWEST), _WIDEST)
        room = total - _DURATION_CELLS
        longest = max(label.width for label in labels)
        if total < _NARROWEST_WITH_BARS:
            return cls(total, min(longest, room), 0)
        label = min(longest, room - max(_SHORTEST_BAR, room // 3) - 2)
        return cls(total, label, min(room - label - 2, _LONGEST_BAR))


def _drawn(line: Line, label: _Label, timeline: _Timeline, columns: _Columns, look: Look) -> str:
    took = NEVER_ENDED if line.seconds is None else duration(line.seconds)
    tone = Tone.RED if line.result == semconv.RESULT_FAILURE else _ROLE_TONES[line.role]
    bar = f"  {look.paint(timeline.bar(line, columns.bar).rstrip(), tone)}" if columns.bar else ""
    return f"{label.drawn(columns.label, line, look)}{took:>{_DURATION_CELLS}}{bar}".rstrip()


def _told(error: Error, stem: str, columns: _Columns, look: Look) -> Iterator[str]:
    """Give an error's words, and where in the user's code it came from."""
    room = max(columns.total - width(stem), _NARROWEST // 4)
    words = f"{error.type}: {error.message}" if error.message else error.type
    told = [part for line in words.splitlines() for part in textwrap.wrap(printable(line), room)]
    for part in told[:_MESSAGE_LINES]:
        yield look.paint(stem, Tone.DIM) + look.paint(part, Tone.RED)
    if len(told) > _MESSAGE_LINES:
        yield look.paint(f"{stem}… {len(told) - _MESSAGE_LINES} more lines", Tone.DIM)
    if error.frame:
        yield look.paint(f"{stem}at {cut_start(printable(error.frame), room - len('at '))}", Tone.DIM)


def _stems(depths: Sequence[int]) -> list[tuple[str, str]]:
    """Give the tree's lines before each row, and before what is told below that row."""
    stems: list[tuple[str, str]] = []
    following: set[int] = set()
    for index in range(len(depths) - 1, -1, -1):
        depth = depths[index]
        through = "".join("│  " if level in following else "   " for level in range(1, depth))
        own, below = ("├─ ", "│  ") if depth in following else ("└─ ", "   ")
        has_children = depth + 1 in following
        children = "│  " if has_children else "   "
        stems.append((through + own, through + below + children) if depth else ("", children))
        following = {level for level in following if level < depth} | {depth}
    return stems[::-1]


def _caption(execution: Execution, whole: Line) -> str:
    trace, *others = execution.trace_ids
    more = f" and {len(others)} more" if others else ""
    return f"{moment(whole.start_ns):%Y-%m-%d %H:%M:%S} UTC · trace {trace}{more}"


def _footer(execution: Execution, everything: Sequence[Line], shown: int) -> str:
    spans = list(execution.walk())
    counted = [_counted(len(spans), "span"), _counted(sum(span.error is not None for span in spans), "error")]
    if len(everything) > shown:
        counted.append(f"{_counted(len(everything) - shown, 'phase')} below {NEGLIGIBLE:.0%} of the whole not shown")
    return " · ".join(counted)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
