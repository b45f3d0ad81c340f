"""The metrics pages of Flyte's services, served on loopback.

The pages are in `tests/recorded/flyte/`. With each scrape a counter grows by its recorded value, so that rates are the
same in each run and follow from the page.

`python tests/support/flyte_pages.py` serves them until interrupted, and prints the collector's variables.
"""

import contextlib
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "recorded" / "flyte"
PAGES = tuple(sorted(path.stem for path in RECORDED.glob("*.prom")))

VARIABLES = {
    "admin": "FLYTE_ADMIN_TARGETS",
    "propeller": "FLYTE_PROPELLER_TARGETS",
    "scheduler": "FLYTE_SCHEDULER_TARGETS",
    "datacatalog": "FLYTE_DATACATALOG_TARGETS",
    "kube-state-metrics": "KUBE_STATE_METRICS_TARGETS",
}
"""The variable of `collector/config.yaml` for the address of each page."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_KIND = re.compile(r"# TYPE (\S+) (\S+)")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)")
_COUNTED_SUFFIXES = ("_sum", "_count", "_bucket")


def recorded(page: str) -> str:
    """Return a page as recorded."""
    return (RECORDED / f"{page}.prom").read_text(encoding="utf-8")


def kinds(text: str) -> dict[str, str]:
    """Return the type of each metric family of a page: `counter`, `gauge`, `summary`, `histogram`."""
    return dict(_KIND.findall(text))


def names(text: str) -> set[str]:
    """Return the names of a page's series, including `_sum`, `_count` and `_bucket`."""
    return {found[1] for line in text.splitlines() if (found := _SAMPLE.fullmatch(line))}


def after(text: str, scrapes: int) -> str:
    """Return a page after a number of scrapes: 1 returns it as recorded."""
    kind_of = kinds(text)
    return "".join(f"{_line_after(line, kind_of, scrapes)}\n" for line in text.splitlines())


def _line_after(line: str, kind_of: dict[str, str], scrapes: int) -> str:
    found = _SAMPLE.fullmatch(line)
    if found is None or not _is_counted(found[1], kind_of):
        return line
    return f"{found[1]}{found[2] or ''} {float(found[3]) * scrapes:.10g}"


def _is_counted(name: str, kind_of: dict[str, str]) -> bool:
    if name in kind_of:
        return kind_of[name] == "counter"
    return name.endswith(_COUNTED_SUFFIXES)


@contextlib.contextmanager
def serving(*pages: str) -> Iterator[dict[str, str]]:
    """Serve the named pages, or all, each on its own port; yield their addresses by name."""
    with contextlib.ExitStack() as stack:
        yield {page: stack.enter_context(_serving(recorded(page))) for page in pages or PAGES}


@contextlib.contextmanager
def _serving(text: str) -> Iterator[str]:
    lock = threading.Lock()
    scrapes = 0

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            with lock:
                scrapes += 1
                body = after(text, scrapes).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def collector_variables(addresses: dict[str, str]) -> dict[str, str]:
    """Return the collector's variables for the pages: YAML lists of addresses."""
    return {variable: f"[{addresses[page]}]" for page, variable in VARIABLES.items() if page in addresses}


if __name__ == "__main__":
    with serving() as served:
        for name, value in collector_variables(served).items():
            sys.stdout.write(f"export {name}='{value}'\n")
        for name in sorted(served.keys() - VARIABLES):
            sys.stdout.write(f"# {name}: http://{served[name]}/metrics\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
