"""Other people's words, as a part of one line of ours."""

LONGEST = 200
"""Characters of what a receiver says that are worth a line: some answer with a whole page."""


def in_brief(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line and with an ellipsis where it is longer than so many characters."""
    words = " ".join(text.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
