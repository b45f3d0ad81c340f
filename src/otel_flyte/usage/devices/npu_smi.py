"""Ascend chips through the command ``npu-smi``, where the driver's library can't be loaded.

Source: the output of ``npu-smi info -m`` and ``npu-smi info -t common -i ID``, as the `npu-smi reference
<https://www.hiascend.com/document/detail/zh/Atlas%20200I%20A2/24.1.RC3/re/npu/npusmi_020.html>`_ and recorded outputs
show it. It was verified against recorded outputs, not on an Ascend machine.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from otel_flyte.usage.devices import ranges
from otel_flyte.usage.devices.accelerators import logger
from otel_flyte.usage.devices.ascend_chip import MIB, Chip, Reading

_COMMAND = "npu-smi"
_LIMIT_SECONDS = 5.0
_PERIOD_SECONDS = 10.0
_DIGITS = 9
_CAPACITIES = ("HBM Capacity(MB)", "Memory Capacity(MB)", "DDR Capacity(MB)")
_MEMORY_PERCENT = ("HBM Usage Rate(%)", "Memory Usage Rate(%)", "DDR Usage Rate(%)")
_UTILIZATION = ("Aicore Usage Rate(%)", "NPU Utilization(%)")
_POWER = ("NPU Real-time Power(W)", "Power Dissipation(W)")
_TEMPERATURE = ("Temperature(C)",)
_COLUMNS = re.compile("NPU ID|Slot ID|Chip ID|Chip Logic ID|Chip Phy-ID|Chip Name")
_END = "Chip Name"
"""The lines after it describe the card's own controller."""


@dataclass
class _Query:
    """The arguments that select a chip, the process that reads it, and the last reading."""

    arguments: tuple[str, ...]
    process: "subprocess.Popen[str] | None" = None
    started: float | None = None
    reading: Reading | None = None
    is_killed: bool = False


class NpuSmi:
    """Reads each chip by a process, at most every 10 s, one process at a time, without waiting for it.

    A reading comes from the last process that has ended; memory in use is known to a percent. A task that handles
    SIGCHLD, or waits for any child, sees these processes too.

    Args:
        environ: the variables; the command is searched on their ``PATH``.
        clock: returns monotonic seconds.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic) -> None:
        self._environ = environ
        self._clock = clock
        self._command = ""
        self._queries: dict[Chip, _Query] = {}

    def chips(self) -> list[Chip]:
        """Return the chips; none without the command."""
        self._queries = {}
        self._command = shutil.which(_COMMAND, path=self._environ.get("PATH")) or ""
        mapped = sorted(_mapped(self._output("-m")), key=lambda chip: chip.logic) if self._command else []
        cards = [chip.card for chip in mapped]
        capacities: dict[str, int | None] = {}
        for chip in mapped:
            # Not every driver supports the option, and a card with one chip does not need it.
            one = ("-c", str(chip.number)) if cards.count(chip.card) > 1 else ()
            arguments = ("-i", str(chip.card), *one)
            if chip.name not in capacities:
                capacities[chip.name] = _capacity(_values(self._output("-t", "usages", *arguments)))
            self._queries[replace(chip, memory_limit=capacities[chip.name])] = _Query(arguments)
        return list(self._queries)

    def read(self, chip: Chip) -> Reading | None:
        """Return the last reading; start the next process where it is due."""
        query = self._queries[chip]
        now = self._clock()
        if query.process and query.started is not None:
            self._take(chip, query, query.process, now - query.started)
        is_due = query.started is None or now - query.started >= _PERIOD_SECONDS
        if is_due and not any(other.process for other in self._queries.values()):
            query.started, query.is_killed = now, False
            query.process = self._start("-t", "common", *query.arguments)
        return query.reading

    def forget(self) -> None:
        """In a forked child: leave a running process to the parent, which has started it."""
        for query in self._queries.values():
            if query.process:
                query.process.returncode = 0
                query.process = None

    def _take(self, chip: Chip, query: _Query, process: "subprocess.Popen[str]", seconds: float) -> None:
        if process.poll() is None:
            if seconds >= _LIMIT_SECONDS and not query.is_killed:
                # It is not waited for even now: no process that hangs in a driver can be ended.
                process.kill()
                query.reading, query.is_killed = None, True
                logger.debug("npu-smi has not answered for the NPU %s within %.0f s.", chip.id, _LIMIT_SECONDS)
            return
        # The output fits into the pipe.
        output, _ = process.communicate()
        query.process = None
        query.reading = _reading(chip, _values(output)) if process.returncode == 0 else None

    def _output(self, *arguments: str) -> str:
        process = self._start(*arguments)
        if process is None:
            return ""
        try:
            output, _ = process.communicate(timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return ""
        return output if process.returncode == 0 else ""

    def _start(self, *arguments: str) -> "subprocess.Popen[str] | None":
        """Start the command apart from the task: without signals of its terminal, and without its descriptors."""
        try:
            return subprocess.Popen(  # noqa: S603  # the driver's own command
                [self._command, "info", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            logger.debug("npu-smi can't be started: %s", error)
            return None


def _mapped(text: str) -> Iterator[Chip]:
    """Parse the table of ``info -m``, whose columns differ by driver; controllers have no logic number."""
    columns: list[str] = []
    for line in text.splitlines():
        columns = columns or _COLUMNS.findall(line)
        row = dict(zip(columns, line.split(maxsplit=max(0, len(columns) - 1)), strict=False))
        card, number, physical = row.get("NPU ID", ""), row.get("Chip ID", ""), row.get("Chip Phy-ID", "")
        logic = row.get("Chip Logic ID", physical)
        if all(map(_is_number, (card, number, logic))):
            yield Chip(
                int(card),
                int(number),
                int(logic),
                int(physical if _is_number(physical) else logic),
                id=f"{card}-{number}",
                name=row.get("Chip Name", "").strip(),
            )


def _capacity(values: Mapping[str, str]) -> int | None:
    """Return the bytes of memory; kinds of memory that a chip lacks are 0 or missing."""
    for name in _CAPACITIES:
        capacity = _first(values, (name,))
        size = None if capacity is None else ranges.memory(capacity * MIB)
        if size:
            return size
    return None


def _values(text: str) -> dict[str, str]:
    """Parse lines of a name and a value, up to those of the card's own controller."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == _END:
            break
        values.setdefault(name.replace(" (", "("), value)
    return values


def _reading(chip: Chip, values: Mapping[str, str]) -> Reading:
    share = ranges.percent(_first(values, _MEMORY_PERCENT))
    total = chip.memory_limit
    return Reading(
        utilization=ranges.percent(_first(values, _UTILIZATION)),
        memory_used=None if share is None or total is None else int(total * share),
        power=_first(values, _POWER),
        temperature=_first(values, _TEMPERATURE),
    )


def _first(values: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    """Return the first value that is a number."""
    for name in names:
        try:
            return float(values[name])
        except (KeyError, ValueError):
            continue
    return None


def _is_number(text: str) -> bool:
    """Return whether a text is the number of a card or a chip."""
    return text.isdecimal() and len(text) <= _DIGITS
