"""Tokens: who may send telemetry, and who may read it."""

import base64
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

_SHORTEST = 16


class TokenError(Exception):
    """A token file can't be used. The message is one line."""


def read(path: Path) -> str:
    """Return the token in a file.

    Raises:
        TokenError: the file can't be read, or holds no token of 16 characters or more in one line.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise TokenError(f"{path} can't be read ({reason}): name a file with a token in it") from None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenError(
            f"{path} must hold one token of {_SHORTEST} ASCII characters or more: try `openssl rand -hex 32`"
        )
    return token


def check(token: str | None) -> Callable[[Mapping[str, str]], bool]:
    """Return a function that tells whether the headers of a request have the token; ``None`` allows every request.

    A browser, which asks its user, sends it as the password of any user.
    """
    if token is None:
        return lambda _: True
    expected = token.encode()
    return lambda headers: hmac.compare_digest(_given(headers.get("authorization", "")), expected)


def _given(authorization: str) -> bytes:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""
