"""Values as text for the cells of a terminal."""

import unicodedata
from datetime import datetime, timedelta, timezone

DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""The characters of Unicode with the property Bidi_Control."""

_NO_DIRECTION = dict.fromkeys(map(ord, DIRECTIONS), "\ufffd")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(nanoseconds: int) -> datetime:
    """Return the time in UTC, to the microsecond, of nanoseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def duration(seconds: float) -> str:
    """Return a duration with its unit: ``412 µs``, ``3.40 ms``, ``1.23 s``, ``2 min 03 s``, ``1 h 04 min``."""
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


def size(number: float) -> str:
    """Return bytes with their unit: ``812 KiB``, ``2.1 GiB``, ``4 GiB``."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= 0.9995 * factor:
            return f"{amount(number / factor)} {unit}"
    return f"{number:.0f} B"


def cores(number: float) -> str:
    """Return a number of cores: ``0.02 cores``, ``1 core``, ``16 cores``."""
    text = amount(number)
    return f"{text} core{'s' * (text != '1')}"


def percent(share: float) -> str:
    """Return a fraction of 1 in percent: ``0.4 %``, ``83 %``."""
    return f"{amount(share * 100) if share < 0.0095 else round(share * 100)} %"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 span``, ``2 spans``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """Replace control characters, on which a terminal would act, and halves of surrogate pairs."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(character)[0] == "C" else character for character in text)


def without_direction(text: str) -> str:
    """Replace the characters that change the direction of a text: "evil" would read "live"."""
    return text.translate(_NO_DIRECTION) if any(each in text for each in DIRECTIONS) else text


def width(text: str) -> int:
    """Return the number of cells that a text takes."""
    if text.isascii():
        return len(text)
    # A task's deck is drawn with this module: most need no more than ASCII.
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, cells: int) -> str:
    """Shorten a text to a number of cells, with an ellipsis where something is missing."""
    if width(text) <= cells:
        return text
    if cells <= 0:
        return ""
    from rich.cells import set_cell_size

    kept = set_cell_size(text, cells - 1)
    # Half a wide character has become a blank.
    return f"{kept if text.startswith(kept) else kept[:-1]}…"


def cut_start(text: str, cells: int) -> str:
    """Shorten a text as :func:`cut` does, but keep its end."""
    return cut(text[::-1], cells)[::-1]


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def amount(value: float) -> str:
    """Round to a tenth, a small value to a hundredth and a large one to the whole, without a fraction of 0."""
    text = f"{value:.{2 if value < 0.095 else 1 if value < 9.95 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
