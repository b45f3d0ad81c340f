"""Values as people read them in the cells of a terminal."""

import unicodedata
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(nanoseconds: int) -> datetime:
    """Give the time in UTC, to the microsecond, of nanoseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def duration(seconds: float) -> str:
    """Say a duration in the unit that suits it: ``412 µs``, ``3.4 ms``, ``1.23 s``, ``2 min 03 s``, ``1 h 04 min``."""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1e3)} ms"
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def printable(text: str) -> str:
    """Replace what a terminal would act upon: control characters, and halves of surrogate pairs."""
    return "".join("\ufffd" if unicodedata.category(character)[0] == "C" else character for character in text)


def width(text: str) -> int:
    """Count the cells that a text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, cells: int) -> str:
    """Shorten a text to a number of cells, with an ellipsis where something is gone."""
    if width(text) <= cells:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > cells - 1:
            break
        kept += character
    return kept + "…" if cells > 0 else ""


def cut_start(text: str, cells: int) -> str:
    """Shorten a text as :func:`cut` does, but keep its end: of a path that is the telling part."""
    return cut(text[::-1], cells)[::-1]


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
