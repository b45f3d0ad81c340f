"""Links from a recording to other pages."""

from urllib.parse import quote, urlsplit

TRACE_ID, SPAN_ID = "{trace_id}", "{span_id}"


def to_trace(template: str, trace_id: str, span_id: str = "") -> str:
    """Return a template with its placeholders filled; empty where the result is not a URL that a browser may follow.

    Only the two placeholders are replaced: URLs of Grafana have other braces.
    """
    return safe(template.replace(TRACE_ID, quote(trace_id, safe="")).replace(SPAN_ID, quote(span_id, safe="")))


def safe(url: object) -> str:
    """Return a URL that leads to a server, else nothing: text of a trace must not run as a script."""
    if not isinstance(url, str):
        return ""
    try:
        parts = urlsplit(url.strip())
        return url.strip() if parts.scheme in ("http", "https") and parts.netloc else ""
    except ValueError:
        return ""
