"""Tasks with inputs that other tasks have written, and tasks with metadata of their outputs."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

from flytekit import Artifact, task
from flytekit.core.artifact import Granularity
from flytekit.core.context_manager import FlyteContextManager, OutputMetadata
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

Measurement = Artifact(
    name="measurement",
    partition_keys=["region"],
    time_partitioned=True,
    time_partition_granularity=Granularity.DAY,
)


class Opaque:
    """flytekit has no transformer for it, so it is pickled."""

    def __init__(self, value: int) -> None:
        self.value = value


class Card:
    """Counts its serialisations, because code of users may be slow or have side effects."""

    serialised = 0

    def __init__(self, text: str) -> None:
        self.text = text

    def serialize_to_string(self, ctx: Any, variable_name: str) -> tuple[str, str]:
        type(self).serialised += 1
        return f"card-{variable_name}", f"{self.text} ({type(self).serialised})"


@task
def measure(value: int) -> Annotated[int, Measurement]:
    return Measurement.create_from(
        value + 1000,
        Card("as measured"),
        region="eu",
        time_partition=dt.datetime(2026, 5, 28, tzinfo=dt.timezone.utc),
    )


@task
def annotate(value: int) -> tuple[int, str]:
    """The metadata is too long and too much; the first output has none."""
    result = "seen " * value
    items = [Card("x" * 3000)]
    partitions = {f"key-{number:02}": "y" * 3000 for number in range(40)}
    context = FlyteContextManager.current_context()
    context.output_metadata_tracker.add(result, OutputMetadata(Measurement, partitions, None, items))
    return value, result


@task
def read(source: FlyteFile) -> str:
    return str(source.remote_source)


@task
def read_all(sources: list[FlyteFile], by_name: dict[str, FlyteFile], folder: FlyteDirectory) -> int:
    return len(sources)


@task
def read_and_write(source: FlyteFile) -> FlyteFile:
    target = Path("copy.txt")
    target.write_text(Path(source).read_text())
    return FlyteFile(str(target))


@task
def unpickle(opaque: Opaque) -> int:
    return opaque.value
