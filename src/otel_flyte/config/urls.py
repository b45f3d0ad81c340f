"""URLs as they may be shown to anybody, without passwords, and their hosts."""

import re

_URL = re.compile(r"([^/@?#]*://)?(.*@)?([^?#]*).*", re.DOTALL)
_URL_IN_TEXT = re.compile(r"\S*(?:://|/\S*[?#])\S*")
_CONTAINER_SCHEMES = ("abfs://", "abfss://")
"""In ``abfs://CONTAINER@ACCOUNT/`` the part before ``@`` is no user."""


def without_password(url: str) -> str:
    """Return a URL without user, password, query and fragment.

    Where a password that is not encoded can't be distinguished from a query, only the scheme is left.
    """
    return _URL.sub(_public, url, count=1)


def without_passwords(text: str) -> str:
    """Return a text, such as the message of an error, with each URL in it without password."""
    return _URL_IN_TEXT.sub(lambda url: without_password(url[0]), text)


def without_empty_port(place: str) -> str:
    """Return ``host`` for ``host:``, as a URL may have a colon without a port."""
    return place.removesuffix(":")


def _public(url: re.Match[str]) -> str:
    scheme, user, place = url.groups(default="")
    if "?" in user or "#" in user:
        place = "…"
    elif scheme.lower() in _CONTAINER_SCHEMES and ":" not in user:
        place = f"{user}{place}"
    return f"{scheme}{place}"
