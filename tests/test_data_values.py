"""Attributes of inputs and outputs on phases: sizes always, values if configured."""

import datetime as dt
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_flyte.adapters.flytekit_v1 import data_values, task_attributes
from otel_flyte.config import settings

pytestmark = pytest.mark.quick


class Secretive:
    """An object whose methods must not be called."""

    def __repr__(self) -> str:
        raise AssertionError("it was asked for its repr")

    __str__ = __repr__

    def __len__(self) -> int:
        raise AssertionError("it was asked for its length")

    @property
    def nbytes(self) -> int:
        raise AssertionError("it was asked for its size")


class Name(str):
    """A user's subclass of ``str``."""

    __slots__ = ()


def facts_of(value: Any) -> dict[str, Any]:
    span = TracerProvider().get_tracer("test").start_span("input translation")
    data_values.add_inputs(span, {"x": value})
    assert isinstance(span, ReadableSpan)
    return {name.removeprefix("flyte.input.x."): fact for name, fact in (span.attributes or {}).items()}


@pytest.fixture
def with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings.read({"OTEL_FLYTE_CAPTURE_VALUES": "true"})
    monkeypatch.setattr(settings, "current", lambda: read)


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        (7, {}),
        (None, {}),
        ("héllo", {"length": 5}),
        (b"abc", {"size": 3, "length": 3}),
        ([1, 2], {"length": 2}),
        (np.zeros((10, 10)), {"size": 800}),
        (pd.DataFrame({"x": [1, 2, 3]}), {"length": 3}),
        (Secretive(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_size_is_recorded_if_it_is_known_without_cost(value: Any, facts: dict[str, Any]) -> None:
    assert facts_of(value) == facts


@pytest.mark.usefixtures("with_values")
class TestValues:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (7, 7),
            (True, True),
            (0.5, 0.5),
            (None, "None"),
            ("text", "text"),
            (Name("own"), "own"),
            ([1, "a", None], "[1, 'a', None]"),
            ({"k": [1.5]}, "{'k': [1.5]}"),
            ([[[["deep"]]]], "[[[<list>]]]"),
            (OrderedDict(a=1), "<OrderedDict>"),
            (Secretive(), "<Secretive>"),
            (dt.timedelta(seconds=3), "0:00:03"),
            (Path("/data/x"), "/data/x"),
            (2**63, str(2**63)),
            (2**5000, "<int of 5001 bits>"),
            (b"secret", "<bytes>"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_plain_values_are_shown_and_others_by_type(self, value: Any, shown: Any) -> None:
        assert facts_of(value)["value"] == shown

    def test_containers_are_shown_with_their_first_entries(self) -> None:
        shown = facts_of(list(range(1000)))["value"]
        assert shown.startswith("[0, 1, 2, ")
        assert shown.endswith(", 23, …]")

    def test_a_long_text_is_cut(self) -> None:
        assert len(facts_of("x" * 10**8)["value"].encode()) == 1024

    def test_recursive_containers_are_cut(self) -> None:
        value: list[Any] = []
        value.append(value)
        assert facts_of(value)["value"] == "[[[<list>]]]"


def test_values_are_not_recorded_by_default() -> None:
    assert "value" not in facts_of("secret")


def test_many_inputs_leave_room_for_other_attributes() -> None:
    span = TracerProvider().get_tracer("test").start_span("input translation")
    data_values.add_inputs(span, {f"x{number}": [number] for number in range(1000)})
    assert isinstance(span, ReadableSpan)
    assert len(span.attributes or {}) == 24


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int, "int"),
        (list[int], "list[int]"),
        (int | None, "int | None"),
        (Annotated[int, Secretive()], "int"),
        (list[Annotated[int, Secretive()]], "list"),
    ],
    ids=["plain", "generic", "optional", "annotated", "annotated inside"],
)
def test_a_declared_type_is_named_without_annotations(kind: Any, name: str) -> None:
    assert task_attributes._type_name(kind) == name
