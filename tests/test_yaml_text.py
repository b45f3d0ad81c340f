"""YAML of a dump: to the letter that of the package `yaml`, which defines the form."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_flyte.recording import yaml_text
from otel_flyte.recording.cells import DIRECTIONS

pytestmark = [pytest.mark.quick, pytest.mark.newest_only]

WORDS = st.sampled_from(
    [
        *("yes", "No", "null", "~", "y", "a b", "a:", "a: b", "a:/b", "x #y", "s3://bucket/x", "https://x.y/z?a=b"),
        *("2026-05-28T20:26:40+00:00", "2026-05-28T20:26:40.584442+00:00", "2026-05-28", "12:30:45"),
        *("12e5", "0x1f", "1_000", "012", "9e12", "1.5", "1a", "00a", "1e0f", "-", "- a", "=", "<<", "%x", "(a)", "@a"),
        *("a\nb\n", "x\n\n", "\n", "tail ", "é", "\u202e", "\ud800", "a\tb", "w " * 80, "w" * 140, "", "following"),
    ]
)
TEXTS = WORDS | st.text(max_size=12) | st.text("ab01:- /.'\"#\n", max_size=12)
KEYS = TEXTS | st.integers()
LEAVES = TEXTS | st.integers() | st.floats() | st.booleans() | st.none() | st.binary(max_size=3)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(document=st.dictionaries(KEYS, VALUES, max_size=5), depth=st.integers(0, 60))
def test_any_document_is_written_as_by_the_package(document: dict[Any, Any], depth: int) -> None:
    for _ in range(depth):
        document = {"below": document}
    assert yaml_text.written(document) == by_package(document)


@pytest.mark.parametrize(
    "value",
    [
        "one two " * 20,
        "first\nsecond\n",
        "left open\n\n",
        [1, 2.5, True] * 30,
        [{"name": "epoch", "time": "2026-05-28T20:26:40+00:00"}, {"name": "a\nb"}],
        [["nested"], {}],
        {"\u202e": float("inf")},
    ],
)
def test_an_entry_is_in_its_place_at_any_depth(value: Any) -> None:
    for depth in (0, 1, 10, 55, 70):
        document = {"before": 1, "value": value, "following": value, "after": "word"}
        for _ in range(depth):
            document = {"nodes": document}
        assert yaml_text.written(document) == by_package(document)


def by_package(document: dict[Any, Any]) -> str:
    text = yaml.dump(document, Dumper=yaml_text.Dumper, sort_keys=False, allow_unicode=True, width=120)
    text = text.removesuffix("...\n")
    return "".join(f"\\u{ord(each):04X}" if each in DIRECTIONS else each for each in text)
