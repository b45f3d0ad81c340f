"""Runs a case with otel-flyte, and as if it were not installed."""

import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import bare_cache, pods
from support.receiver import Receiver
from unchanged import pictures
from unchanged.cases import CASES, Case
from unchanged.pictures import Picture


@dataclass(frozen=True)
class Given:
    """The task and the inputs of both runs of a case, equal to the byte."""

    case: Case
    task: str | pods.Template
    inputs: bytes | None

    @classmethod
    def of(cls, case: Case, folder: Path) -> "Given":
        values = case.inputs(folder) if callable(case.inputs) else case.inputs
        return cls(
            case=case,
            task=case.task(folder) if callable(case.task) else case.task,
            inputs=pods.inputs_pb(values) if isinstance(values, Mapping) else values,
        )

    def run(self, root: Path, *, bare: bool = False, env: Mapping[str, str] | None = None) -> Picture:
        result = pods.prepare(
            self.case.entrypoint,
            root,
            self.task,
            self.inputs,
            attempt=pods.Attempt(array_index=self.case.index),
            env={**self.case.env, **(env or {})},
            bare=bare,
        ).run(forked=self.case.forked)
        return pictures.picture(result, root)

    @property
    def key(self) -> str | None:
        """The key of the bare run; ``None`` where the task or its inputs name a temporary file."""
        case = self.case
        parts = (self.task, self.inputs, case.entrypoint, case.index, sorted(case.env.items()))
        if tempfile.gettempdir() in repr(parts):
            return None
        return bare_cache.key(*parts, sources=[Path(pictures.__file__), Path(__file__)])


@dataclass(frozen=True)
class Bare:
    picture: Picture
    is_cached: bool


@dataclass
class BothWays:
    """Runs cases; each bare run takes place once, beside the others, unless an earlier session has kept its result."""

    folders: pytest.TempPathFactory
    _beside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))
    _given: dict[str, Given] = field(default_factory=dict)
    _bare: dict[str, "Future[Bare]"] = field(default_factory=dict)

    def begin(self, name: str) -> "Future[Bare]":
        """Begin the bare run of a case."""
        if name not in self._bare:
            self._given[name] = Given.of(CASES[name], self.folders.mktemp("given"))
            self._bare[name] = self._beside.submit(self._run_bare, self._given[name])
        return self._bare[name]

    def __call__(self, name: str, env: Mapping[str, str]) -> tuple[Picture, Picture]:
        """Return how a case ends with otel-flyte in this environment, and how without."""
        begun = self.begin(name)
        given = self._given[name]
        instrumented = given.run(self.folders.mktemp("instrumented") / "pod", env=env)
        bare = begun.result()
        if bare.is_cached and bare.picture != instrumented:
            # A kept result never decides that a test fails.
            bare = self._run_bare(given, is_fresh=True)
        return instrumented, bare.picture

    def close(self) -> None:
        self._beside.shutdown(cancel_futures=True)

    def _run_bare(self, given: Given, *, is_fresh: bool = False) -> Bare:
        key = given.key
        kept = bare_cache.read(key) if key and not is_fresh else None
        if kept is not None:
            return Bare(kept, is_cached=True)
        picture = given.run(self.folders.mktemp("bare") / "pod", bare=True)
        if key:
            bare_cache.write(key, picture)
        return Bare(picture, is_cached=False)


def assert_unchanged(name: str, both_ways: BothWays, receiver: Receiver) -> None:
    """Check that a case ends as flytekit is known to end it, and in the same way when it is exported."""
    case = CASES[name]
    instrumented, bare = both_ways(name, receiver.environment("http/protobuf"))

    pictures.assert_ends_as_known(case, bare)
    assert instrumented == bare
    if case.traced:
        assert pictures.task_spans(receiver)
