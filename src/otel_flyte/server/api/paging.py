"""Opaque tokens that name the last record of a page."""

import base64
import json
from collections.abc import Sequence

from otel_flyte.server.problems import BadRequestError

FOREIGN = "after is not from an answer of this list: give its `next`, or omit it"

_LARGEST = 2**63


def token(*parts: int | str) -> str:
    """Return a token."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def parts(text: str, kinds: Sequence[type]) -> list[int | str]:
    """Return the parts of a token.

    Raises:
        BadRequestError: it is none of this kind.
    """
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        found = None
    is_right = isinstance(found, list) and [type(part) for part in found] == list(kinds)
    if not is_right or any(isinstance(part, int) and not -_LARGEST <= part < _LARGEST for part in found):
        raise BadRequestError(FOREIGN)
    return list(found)
