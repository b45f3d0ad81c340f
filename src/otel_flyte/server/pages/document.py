"""The frame of each page: its head, its assets, and what it may load."""

from fastapi.responses import HTMLResponse

from otel_flyte.server.pages.listing import shown

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def page(title: str, body: str, styles: tuple[str, ...], scripts: tuple[str, ...], code: int = 200) -> HTMLResponse:
    """Return a page.

    Args:
        title: a text of telemetry, or of ours.
        body: its HTML.
        styles: names of assets.
        scripts: likewise.
        code: the status.
    """
    links = "".join(f'<link rel="stylesheet" href="/assets/{name}">' for name in styles)
    run = "".join(f'<script src="/assets/{name}"></script>' for name in scripts)
    return HTMLResponse(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="/assets/icon.svg">\n'
        f"<title>{shown(title)} · otel-flyte</title>\n{links}\n</head>\n<body>\n{body}\n{run}\n</body>\n</html>\n",
        code,
        {"Content-Security-Policy": _POLICY},
    )
