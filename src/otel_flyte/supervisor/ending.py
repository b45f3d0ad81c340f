"""What the supervisor says for a child that can't any more: the spans that it left, ended as it ended."""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import StatusCode

from otel_flyte import semconv
from otel_flyte.export import destinations
from otel_flyte.export.otlp_json import request_of
from otel_flyte.process import shutdown
from otel_flyte.supervisor.process import exit_code

OUT_OF_MEMORY = "OOMKilled"
"""The word of Kubernetes for it."""

_DEADLY = (
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
)
_BY_EXIT_CODE = {code: number for number in _DEADLY for code in (128 + number, 256 - number)}
"""Exit codes by which a parent tells of which signal its own child died: as shells do, and as ``sys.exit(-9)`` does, by
which ``pyflyte-fast-execute`` ends."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        exit_code: what a container would exit with.
        signal_name: of what it, or the process that it stood for, died; empty where it was no signal.
        out_of_memory: whether the kernel killed it for want of memory.
    """

    exit_code: int
    signal_name: str
    out_of_memory: bool

    @classmethod
    def of(cls, status: int, ran_out_of_memory: bool) -> "Ending":
        """Read a wait status; ``ran_out_of_memory``: the kernel killed some process here for want of memory."""
        code = exit_code(status)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else _BY_EXIT_CODE.get(code)
        return cls(code, _name(number) if number else "", ran_out_of_memory and number == signal.SIGKILL)

    @property
    def error_type(self) -> str:
        """The value of ``error.type``."""
        return OUT_OF_MEMORY if self.out_of_memory else self.signal_name or f"exit {self.exit_code}"

    @property
    def message(self) -> str:
        """A sentence for whoever reads the trace."""
        if self.out_of_memory:
            return "the kernel killed the process for want of memory"
        if self.signal_name:
            return f"the process died of {self.signal_name}"
        return f"the process exited with code {self.exit_code} before the task had ended"

    @property
    def attributes(self) -> Json:
        """The attributes that the span gets, in OTLP JSON by key."""
        texts = {semconv.ERROR_TYPE: self.error_type, semconv.RESULT: semconv.RESULT_FAILURE}
        if self.signal_name:
            texts[semconv.SIGNAL_NAME] = self.signal_name
        values: Json = {key: {"stringValue": text} for key, text in texts.items()}
        return {**values, semconv.PROCESS_EXIT_CODE: {"intValue": str(self.exit_code)}}


def deliver(lines: Sequence[bytes], how: Ending, ended_at: float) -> None:
    """End the spans that are open, and send all, within the bound and by the ways that the child had; or spool them.

    Args:
        lines: what was last heard of each span, in OTLP JSON.
        how: how the child ended.
        ended_at: when it did, by ``time.monotonic``, from which the bound counts.
    """
    documents = [ended(json.loads(line), how, time.time_ns()) for line in lines]
    together = {"resourceSpans": [each for document in documents for each in document["resourceSpans"]]}
    _, request = request_of(json.dumps(together).encode())
    for queue in destinations.of("traces").queues:
        queue.put_request(request)
    shutdown.end(ended_at + shutdown.exit_timeout())


def ended(document: Json, how: Ending, now: int) -> Json:
    """End the one span of a document as its process ended; one that has an end already is left as it is."""
    span = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    if int(span.get("endTimeUnixNano", 0)):
        return document
    known = {attribute["key"]: attribute["value"] for attribute in span.get("attributes", ())}
    span["attributes"] = [{"key": key, "value": value} for key, value in {**known, **how.attributes}.items()]
    span["endTimeUnixNano"] = str(max(now, int(span["startTimeUnixNano"])))
    span["status"] = {"code": StatusCode.ERROR.value, "message": how.message}
    return document


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # Most of the real-time signals have none.
        return f"signal {number}"
