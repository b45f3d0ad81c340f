"""Headless Chromium, driven by its DevTools protocol over a pair of pipes: no driver and no library is needed."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
) or next(iter(map(str, Path("/Applications").glob("*Chrom*.app/Contents/MacOS/*Chrom*"))), None)

MISSING = "no Chromium is installed (Debian: apt-get install chromium)"

_KEYS = {"Backspace": 8, "Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39}

CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if ((color[3] ?? 1) > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll('#app *')) {
    const isText = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!isText || !e.checkVisibility() || e.closest('svg')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) bad.push([e.className, e.textContent.slice(0, 20), contrast]);
  }
  return bad;
})()
"""
"""Text whose contrast is below 4.5: https://www.w3.org/TR/WCAG22/#contrast-minimum."""


class NavigatedError(Exception):
    """The page has gone while an answer of it was awaited."""


class Browser:
    """One tab. It collects all network requests, log messages and exceptions of a page."""

    def __init__(self, commands: int, answers: int) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._loaded = False
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(
        self, page: Path | str, width: int = 1440, height: int = 900, *, dark: bool = False, script: bool = True
    ) -> None:
        """Open a file or an address, and wait until it is loaded."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)
        self._call("Emulation.setScriptExecutionDisabled", value=not script)
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        # The page before may still complain of a server that has ended.
        self._go("about:blank")
        self.requests.clear()
        self.complaints.clear()
        self._go(page if isinstance(page, str) else page.resolve().as_uri())

    def _go(self, url: str) -> None:
        self._loaded = False
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._read()

    def without(self, name: str) -> str:
        """Remove a feature from all pages that are opened; return what :meth:`with_all` gets to bring it back."""
        return str(self._call("Page.addScriptToEvaluateOnNewDocument", source=f"delete window.{name}")["identifier"])

    def with_all(self, removed: str) -> None:
        """Bring a feature back."""
        self._call("Page.removeScriptToEvaluateOnNewDocument", identifier=removed)

    def ready(self) -> None:
        """Wait until the page is drawn, which is later than its load where its data are compressed."""
        drawn = "'ready' in (document.documentElement?.dataset ?? {})"
        self.run(f"(async () => {{ while (!({drawn})) await new Promise(setTimeout) }})()")
        self.settle()

    def run(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true, in this page or in one that follows it."""
        end = time.monotonic() + seconds
        while True:
            with suppress(NavigatedError):
                if self.run(expression):
                    return
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def text(self, selector: str = "body") -> str:
        """Return the rendered text of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, *keys: str) -> None:
        """Press keys in order: ``j``, ``ArrowDown``, ``Enter``, ``Shift+ArrowLeft``."""
        for pressed in keys:
            key = pressed.removeprefix("Shift+")
            text = key if len(key) == 1 else "\r" if key == "Enter" else ""
            code = {
                "modifiers": 8 * (key != pressed),
                "windowsVirtualKeyCode": _KEYS.get(key, ord(key.upper()) if len(key) == 1 and key.isalnum() else 0),
            }
            self._call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, **code)
            self._call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)
        self.settle()

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'nearest'}})")
        box = self.run(f"{found}.getBoundingClientRect().toJSON()")
        x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def point(self, selector: str, at: float) -> None:
        """Move the pointer over an element, to a fraction of its width."""
        self._mouse("mouseMoved", *self._place(selector, at))
        self.settle()

    def drag(self, selector: str, begin: float, end: float) -> None:
        """Drag over an element, from one fraction of its width to another."""
        for kind, at in (("mousePressed", begin), ("mouseMoved", (begin + end) / 2), ("mouseMoved", end)):
            self._mouse(kind, *self._place(selector, at), button="left", buttons=1, clickCount=1)
        self.settle()

    def drop(self, selector: str, at: float) -> None:
        """End a drag."""
        self._mouse("mouseReleased", *self._place(selector, at), button="left", clickCount=1)
        self.settle()

    def double_click(self, selector: str, at: float) -> None:
        """Click twice on an element, at a fraction of its width."""
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                self._mouse(kind, *self._place(selector, at), button="left", clickCount=count)
        self.settle()

    def _place(self, selector: str, at: float) -> tuple[float, float]:
        box = self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        return box["left"] + at * box["width"], box["top"] + box["height"] / 2

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def settle(self) -> None:
        """Wait until all changes are drawn, or another page is opened."""
        with suppress(NavigatedError):
            self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screenshot(self, path: Path, *, full_page: bool = False) -> None:
        """Take a screenshot of the visible part, or of the whole page."""
        taken = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=full_page)
        path.write_bytes(base64.b64decode(taken["data"]))

    def pdf(self, path: Path) -> None:
        """Print."""
        path.write_bytes(base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"]))

    def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise NavigatedError
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self) -> Mapping[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise AssertionError("Chromium has ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        self._note(answer.get("method", ""), answer.get("params", {}))
        return answer

    def _note(self, method: str, params: Mapping[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(params["entry"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a browser with a new profile in a folder."""
    assert CHROMIUM
    to_read, commands = os.pipe()
    answers, to_write = os.pipe()
    for descriptor in (to_read, to_write):
        os.set_inheritable(descriptor, True)
    # It reads its commands from descriptor 3 and answers on 4.
    moved = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
    arguments = [
        *("bash", "-c", moved, CHROMIUM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
        *("--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--hide-scrollbars"),
        *("--force-color-profile=srgb", f"--user-data-dir={folder / 'profile'}", "about:blank"),
    ]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(to_read, to_write)
        )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers)
