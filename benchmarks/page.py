"""Times for the page of a map of 5,000 subtasks: to write, to open in Chromium, to open its list, to scroll.

Run by hand, with Chromium installed: ``python benchmarks/page.py [SUBTASKS]``.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from otel_flyte import semconv
from otel_flyte.recording import otlp_file
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import page
from support import usages
from support.browser import CHROMIUM, MISSING, browser
from support.traces import EXECUTION_RESOURCE, Recorder, in_execution

FRAMES = 200

SCROLL = f"""
(async () => {{
  const times = [];
  for (let frame = 0; frame < {FRAMES}; frame += 1) {{
    const start = performance.now();
    scrollBy(0, 600);
    await new Promise((done) => requestAnimationFrame(done));
    times.push(performance.now() - start);
  }}
  times.sort((a, b) => a - b);
  return [times[{FRAMES // 2}], times[{FRAMES * 95 // 100}]];
}})()
"""


def main(subtasks: int) -> None:
    if CHROMIUM is None:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _record(folder / "wide.jsonl", subtasks)
        with _timed("read and write"):
            page.write(Analysis.of(otlp_file.read(folder / "wide.jsonl", required=())), folder / "wide.html")
        print(f"{(folder / 'wide.html').stat().st_size / 2**20:.1f} MiB of page")
        with browser(folder) as tab:
            with _timed("open"):
                tab.open(folder / "wide.html")
                tab.settle()
            with _timed("open the list"):
                tab.press("End", "ArrowRight")
            middle, slow = tab.run(SCROLL)
            print(f"a frame while scrolling: median {middle:.1f} ms, 95 of 100 within {slow:.1f} ms")


def _record(path: Path, subtasks: int) -> None:
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    for index in range(subtasks):
        attributes = {
            **usages.node(f"n0/n{index}", "train.score"),
            semconv.ARRAY_INDEX: index,
            **usages.quota(),
            **usages.usage(memory=(1 + index % 4) * usages.GIB),
        }
        error = ("KeyError", "'label'") if index % 50 == 7 else None
        start = index % 97
        recorder.task("train.score", start, start + 5 + index % 13, attributes, parent=in_execution(index), error=error)


@contextmanager
def _timed(action: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{action}: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
