"""The data of executions for the page, each rendered once for all who look."""

import threading
from collections import OrderedDict
from collections.abc import Mapping

from otel_flyte.recording.tree import Analysis
from otel_flyte.report import data
from otel_flyte.runtime import garbage
from otel_flyte.server.live import Sign
from otel_flyte.server.source import Source

_KEPT_BYTES = 64 * 2**20


class Rendered:
    """Renders executions, one at a time, and keeps the last ones."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def data(self, key: str, sign: Sign) -> bytes:
        """Return the data of an execution as JSON.

        Args:
            key: that of the execution.
            sign: its sign, taken before.

        Raises:
            UnknownExecutionError: it is not kept.
        """
        with self._lock:
            version, content = self._known.pop(key, ("", b""))
            if version != sign.version:
                content = self._render(key, sign)
            self._known[key] = (sign.version, content)
            while len(self._known) > 1 and sum(len(kept) for _, kept in self._known.values()) > _KEPT_BYTES:
                self._known.popitem(last=False)
        return content

    @garbage.paused()
    def outline(self, key: str, sign: Sign) -> bytes:
        """Return the data of a first picture, which is quickly made for a large execution, too.

        Raises:
            UnknownExecutionError: it is not kept.
        """
        analysis = Analysis.outline_of(self._source.outline(key))
        return _content(data.page_data(analysis, is_outline=True), sign)

    @garbage.paused()
    def _render(self, key: str, sign: Sign) -> bytes:
        return _content(data.page_data(Analysis.of(self._source.recording(key))), sign)


def _content(found: Mapping[str, data.Json], sign: Sign) -> bytes:
    text = data.as_script({**found, "version": sign.version, "state": sign.state})
    return text.encode("utf-8", "replace")
