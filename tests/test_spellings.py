"""The spelling of most exporters has a path of its own through the reader. It reads what the other spellings give."""

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_flyte.recording.model import Recording
from otel_flyte.recording.otlp_file import UnreadableError, read

pytestmark = pytest.mark.quick

TRACE, SPAN, PARENT = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b173"
ODD = st.sampled_from(
    [
        *(None, 0, 1, 7, -1, True, 1.5, "", "0", "1", "x", "é", "\ud800", "1e3", "0" * 16, "A" * 16, SPAN.upper()),
        *(2**64, str(2**63), str(2**64), "٣", [], {}, [1], {"a": 1}, 1234567890123456, "1234567890123456"),
        "7pGee+zBsXQ=",
    ]
)
USUAL: dict[str, Any] = {
    "traceId": TRACE,
    "spanId": SPAN,
    "parentSpanId": PARENT,
    "name": "batch",
    "kind": 1,
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": "1544712661000000000",
    "attributes": [{"key": "rows", "value": {"intValue": "512"}}],
    "status": {},
    "events": [],
    "links": [],
}
VALUES = st.one_of(
    st.just({}),
    st.none(),
    st.builds(lambda kind, value: {kind: value}, st.sampled_from(["stringValue", "intValue", "doubleValue"]), ODD),
    st.builds(lambda kind, value: {kind: value}, st.sampled_from(["boolValue", "bytesValue", "other"]), ODD),
    st.builds(lambda one, two: {"intValue": one, "stringValue": two}, ODD, ODD),
    ODD,
)
ATTRIBUTES = st.lists(st.builds(lambda key, value: {"key": key, "value": value}, ODD | st.just("rows"), VALUES))


@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(st.sampled_from(sorted(USUAL)), ODD, max_size=3), attributes=ATTRIBUTES, left_out=st.data()
)
def test_a_span_in_the_usual_spelling_is_the_same_in_the_other(
    fields: dict[str, Any], attributes: list[Any], left_out: st.DataObject
) -> None:
    missing = left_out.draw(st.none() | st.sampled_from(sorted(USUAL)))
    span = {**USUAL, "attributes": attributes, **fields}
    span.pop(missing or "", None)
    assert found(span) == found(respelled(span))


def test_the_usual_spelling_is_read() -> None:
    recording = found(USUAL)
    assert isinstance(recording, Recording)
    (span,) = recording.spans
    assert (span.trace_id, span.span_id, span.parent_id, span.name) == (TRACE, SPAN, PARENT, "batch")
    assert (span.start_ns, span.end_ns, span.kind) == (1544712660000000000, 1544712661000000000, "internal")
    assert span.attributes == {"rows": 512}


def found(span: dict[str, Any]) -> Recording | str:
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.jsonl"
        path.write_text(json.dumps(document) + "\n")
        try:
            recording = read(path, required=())
        except UnreadableError as error:
            return str(error).replace(folder, "")
    return replace(recording, remarks=tuple(remark.replace(folder, "") for remark in recording.remarks))


def respelled(value: Any) -> Any:
    """Return JSON with its fields in snake case, as protobuf may write them."""
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key): respelled(each) for key, each in value.items()
        }
    return [respelled(each) for each in value] if isinstance(value, list) else value
