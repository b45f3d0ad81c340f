"""The spans of a child that died: the supervisor ends them as the child ended, and sends them."""

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

_DEADLY = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_BY_EXIT_CODE = {code: number for number in _DEADLY for code in (128 + number, 256 - number)}
"""Exit codes of a parent whose child was ended by a signal: those of shells, and of ``sys.exit(-9)``, by which
``pyflyte-fast-execute`` ends."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Ending:
    """The end of a child.

    Attributes:
        exit_code: the exit code of a container.
        signal_name: the signal that ended it, or its own child; empty without a signal.
        is_oom_killed: whether the kernel killed it because memory was exhausted.
    """

    exit_code: int
    signal_name: str
    is_oom_killed: bool

    @classmethod
    def of(cls, status: int, has_oom_kill: bool) -> "Ending":
        """Return the end in a wait status; ``has_oom_kill``: some process of this container was OOM-killed."""
        code = exit_code(status)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else _BY_EXIT_CODE.get(code)
        return cls(code, _name(number) if number else "", has_oom_kill and number == signal.SIGKILL)

    @property
    def error_type(self) -> str:
        """The value of ``error.type``."""
        return semconv.ERROR_OOM_KILLED if self.is_oom_killed else self.signal_name or f"exit {self.exit_code}"

    @property
    def message(self) -> str:
        """A sentence for the status of the span."""
        if self.is_oom_killed:
            return "the process was OOM-killed"
        if self.signal_name:
            return f"the process died of {self.signal_name}"
        return f"the process exited with code {self.exit_code} before the task had ended"

    @property
    def attributes(self) -> Json:
        """The attributes that are added to the span, in OTLP JSON by key."""
        texts = {semconv.ERROR_TYPE: self.error_type, semconv.RESULT: semconv.RESULT_FAILURE}
        if self.signal_name:
            texts[semconv.SIGNAL_NAME] = self.signal_name
        values: Json = {key: {"stringValue": text} for key, text in texts.items()}
        return {**values, semconv.PROCESS_EXIT_CODE: {"intValue": str(self.exit_code)}}


def deliver(lines: Sequence[bytes], how: Ending, ended_at: float) -> None:
    """End the open spans, and send all to the destinations of the child within the exit bound, or spool them.

    Args:
        lines: the last state of each span, in OTLP JSON.
        how: the end of the child.
        ended_at: the time of its end by ``time.monotonic``, at which the bound begins.
    """
    documents = [ended(json.loads(line), how, time.time_ns()) for line in lines]
    together = {"resourceSpans": [each for document in documents for each in document["resourceSpans"]]}
    _, request = request_of(json.dumps(together).encode())
    for queue in destinations.of("traces").queues:
        queue.put_request(request)
    shutdown.end(ended_at + shutdown.exit_timeout())


def ended(document: Json, how: Ending, now: int) -> Json:
    """End the one span of a document as its process ended; a span that has ended is not changed."""
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
    except ValueError:  # Most of the real-time signals have no name.
        return f"signal {number}"
