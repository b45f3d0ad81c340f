"""The abilities of a terminal, and text that suits them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from otel_flyte import semconv
from otel_flyte.recording.span_tree import NEVER_ENDED

MARKS = {semconv.RESULT_SUCCESS: "✓", semconv.RESULT_FAILURE: "✗", semconv.RESULT_CANCELLATION: "⊘", NEVER_ENDED: "?"}
NO_MARK = "·"
STYLES = {
    semconv.RESULT_SUCCESS: "green",
    semconv.RESULT_FAILURE: "red",
    semconv.RESULT_CANCELLATION: "yellow",
    NEVER_ENDED: "yellow",
}
_ANSI = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}
_ASCII = str.maketrans("├└│─━╺╸┅✓✗⊘·…µ▶Σ", "|`|-===~+x/-~u>=")


@dataclass(frozen=True, slots=True)
class Terminal:
    """The abilities of a terminal.

    Attributes:
        width: in cells.
        color: whether it has ANSI colours.
        unicode: whether it has more than ASCII.
    """

    width: int = 100
    color: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str], columns: int | None = None) -> "Terminal":
        """Return the abilities of a stream: colour on a terminal unless ``NO_COLOR`` is set, else plain text."""
        columns = columns or shutil.get_terminal_size((100, 24)).columns
        color = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        try:
            "".join(map(chr, _ASCII)).encode(stream.encoding or "ascii")
            unicode = True
        except (UnicodeEncodeError, LookupError):
            unicode = False
        return cls(columns, color, unicode)

    def paint(self, text: str, *styles: str) -> str:
        """Return a text in colour, where there are colours."""
        if not (self.color and text and styles):
            return text
        return f"\x1b[{';'.join(str(_ANSI[style]) for style in styles)}m{text}\x1b[0m"

    def encodable(self, text: str) -> str:
        """Return a text in the characters that the terminal has."""
        return text if self.unicode else text.translate(_ASCII).encode("ascii", "replace").decode()
