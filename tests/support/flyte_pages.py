"""Flyte's pages of metrics, as its services answer a scrape, on loopback.

The pages are in `tests/recorded/flyte/`. What counts there goes on counting: with each scrape a counter has grown by
what was recorded, so that rates are those that a human would compute from the page, and the same in each run.

`python tests/support/flyte_pages.py` serves them until it is interrupted, and prints the collector's variables.
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
"""The variable of `collector/config.yaml` that each page's address goes into."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_KIND = re.compile(r"# TYPE (\S+) (\S+)")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)")
_OF_TOTALS = ("_sum", "_count", "_bucket")


def recorded(page: str) -> str:
    """Return a page as it was recorded."""
    return (RECORDED / f"{page}.prom").read_text(encoding="utf-8")


def kinds(text: str) -> dict[str, str]:
    """Return the kinds of a page's families: `counter`, `gauge`, `summary`, `histogram`."""
    return dict(_KIND.findall(text))


def names(text: str) -> set[str]:
    """Return the names of a page's series, `_sum`, `_count` and `_bucket` among them."""
    return {found[1] for line in text.splitlines() if (found := _SAMPLE.fullmatch(line))}


def moved(text: str, scrapes: int) -> str:
    """Return a page as it is after some scrapes: 1 gives it as it was recorded."""
    kind_of = kinds(text)
    return "".join(f"{_moved_line(line, kind_of, scrapes)}\n" for line in text.splitlines())


def _moved_line(line: str, kind_of: dict[str, str], scrapes: int) -> str:
    found = _SAMPLE.fullmatch(line)
    if found is None or not _is_counted(found[1], kind_of):
        return line
    return f"{found[1]}{found[2] or ''} {float(found[3]) * scrapes:.10g}"


def _is_counted(name: str, kind_of: dict[str, str]) -> bool:
    if name in kind_of:
        return kind_of[name] == "counter"
    return name.endswith(_OF_TOTALS)


@contextlib.contextmanager
def serving(*pages: str) -> Iterator[dict[str, str]]:
    """Serve pages, all unless some are named, each on a port of its own; give their addresses by name."""
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
                body = moved(text, scrapes).encode()
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
    """Return what tells the collector where the pages are: YAML lists of addresses, by variable."""
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
