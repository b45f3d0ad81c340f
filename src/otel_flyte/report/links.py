"""Links from what was recorded to where more is to be seen."""

from urllib.parse import quote, urlsplit

TRACE_ID, SPAN_ID = "{trace_id}", "{span_id}"


def to_trace(template: str, trace_id: str, span_id: str = "") -> str:
    """Fill the template of a URL; empty where it is none that a browser may follow.

    Only the two placeholders are replaced: other braces, as Grafana's URLs have them, stay what they are.
    """
    return safe(template.replace(TRACE_ID, quote(trace_id, safe="")).replace(SPAN_ID, quote(span_id, safe="")))


def safe(url: object) -> str:
    """Give a URL if it leads to a server, else nothing: what a trace holds must not run as a script."""
    if not isinstance(url, str):
        return ""
    try:
        parts = urlsplit(url.strip())
        return url.strip() if parts.scheme in ("http", "https") and parts.netloc else ""
    except ValueError:
        return ""
