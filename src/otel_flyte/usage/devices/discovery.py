"""The readers of accelerators that are installed."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from otel_flyte import semconv
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import report
from otel_flyte.usage.devices.accelerators import Accelerator, Pids
from otel_flyte.usage.devices.ascend import Ascend
from otel_flyte.usage.devices.nvml import Nvml


def accelerators(environ: Mapping[str, str], pids: Pids | None = None) -> list[Accelerator]:
    """Return all readers; :meth:`Accelerator.open` finds out whether there is a device to read.

    A reader of a third party that can't be imported is reported once and left out.

    Args:
        environ: the variables that choose devices.
        pids: returns the processes of the task; without it no usage by process is read.
    """
    readers: list[Accelerator] = [Nvml(environ=environ, pids=pids), Ascend(environ=environ)]
    for entry in entry_points(group=semconv.ACCELERATOR_GROUP):
        try:
            with importing:
                kind = entry.load()
            readers.append(kind())
        except Exception as error:
            report(f"the accelerator {entry.name}", error)
    return readers
