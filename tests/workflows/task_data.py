"""Tasks whose data goes through the bucket."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from pathlib import Path
from typing import Annotated

import flytekit
from flytekit import Artifact, task
from flytekit.core.context_manager import FlyteContextManager, OutputMetadata
from flytekit.interfaces.random import random as flytekit_random
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

# The names of raw outputs depend on it.
flytekit_random.seed(0)


class Opaque:
    """flytekit has no transformer for it, so it is pickled."""

    def __init__(self, value: int) -> None:
        self.value = value


Measurement = Artifact(name="measurement", partition_keys=["region"])


@task
def copy_file(source: FlyteFile) -> FlyteFile:
    target = Path("copy.txt")
    target.write_text(Path(source).read_text().upper())
    return FlyteFile(str(target))


@task
def write_directory(count: int) -> FlyteDirectory:
    target = Path("parts")
    target.mkdir()
    for i in range(count):
        (target / f"{i}.txt").write_text(str(i))
    return FlyteDirectory(str(target))


@task
def write_files(count: int) -> list[FlyteFile]:
    paths = [Path(f"{i}.txt") for i in range(count)]
    for path in paths:
        path.write_text(path.name)
    return [FlyteFile(str(path)) for path in paths]


@task
def pickle_one(value: int) -> Opaque:
    return Opaque(value)


@task
def measure(region: str) -> Annotated[int, Measurement]:
    return Measurement.create_from(len(region), region=region)


@task
def annotate(value: int) -> int:
    result = value + 1000
    context = FlyteContextManager.current_context()
    context.output_metadata_tracker.add(result, OutputMetadata(Measurement, dynamic_partitions={"region": "eu"}))
    return result


@task
def save_checkpoint(value: int) -> int:
    checkpoint = flytekit.current_context().checkpoint
    previous = checkpoint.read()
    checkpoint.write(b"half way")
    return value if previous is None else -1


@task
def count_metrics(value: int) -> int:
    stats = flytekit.current_context().stats
    stats.incr("rows", value)
    stats.gauge("depth", 7, tags={"queue": "a"})
    stats.timing("latency", 3)
    return value


@task
def long_text(length: int) -> str:
    return "x" * length
