"""Readers of files that other programs write: whatever is in a file, they raise only what they document."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_flyte import semconv
from otel_flyte.recording.compare import compare
from otel_flyte.recording.model import Recording
from otel_flyte.recording.otlp_file import UnreadableError, read
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import comparison, metrics, page
from otel_flyte.report.text import render
from otel_flyte.usage.devices import npu_smi
from otel_flyte.usage.devices.ascend_chip import Chip
from otel_flyte.usage.readers import cgroup, host
from otel_flyte.usage.readers.processes import ProcessTree
from support import traces

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

FIXTURES = Path(__file__).parent / "fixtures"
few = settings(max_examples=100, deadline=None, database=None)

# --- recordings ---

ID, TIME = "ab" * 16, str(traces.BEGIN_NS)
SPAN = {
    "traceId": ID,
    "spanId": "01" * 8,
    "parentSpanId": "02" * 8,
    "name": "task t",
    "kind": 1,
    "startTimeUnixNano": TIME,
    "endTimeUnixNano": TIME,
    "status": {"code": 2, "message": "m"},
    "attributes": [
        {"key": semconv.TASK_NAME, "value": {"stringValue": "a.t"}},
        {"key": semconv.SPAN_ROLE, "value": {"stringValue": "attempt"}},
        {"key": semconv.ATTEMPT, "value": {"intValue": "1"}},
        {"key": semconv.USAGE_CPU_MEAN, "value": {"doubleValue": 0.5}},
        {"key": semconv.INPUT_PROPERTY.format(variable="x", property="size"), "value": {"intValue": "8"}},
        {"key": semconv.USAGE_STEP, "value": {"intValue": "60"}},
        {"key": semconv.USAGE_SERIES.format(name=semconv.SERIES[0]), "value": {"arrayValue": {"values": []}}},
    ],
    "events": [
        {
            "name": "exception",
            "timeUnixNano": TIME,
            "attributes": [{"key": "exception.stacktrace", "value": {"stringValue": "x\ny"}}],
        }
    ],
    "links": [{"traceId": ID, "spanId": "03" * 8, "attributes": []}],
}
LOG = {"traceId": ID, "spanId": "01" * 8, "timeUnixNano": TIME, "severityNumber": 9, "body": {"stringValue": "b"}}
POINT = {"asDouble": 5, "timeUnixNano": TIME, "attributes": []}
METRIC = {"name": semconv.METRIC_TASK_SERIES.format(name=semconv.SERIES[0]), "gauge": {"dataPoints": [POINT]}}
SCOPE = {"name": semconv.SCOPE, "version": "1"}
RESOURCE = {"attributes": [{"key": semconv.RUN_NAME, "value": {"stringValue": "f1"}}]}
DOCUMENT = {
    "resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"scope": SCOPE, "spans": [SPAN]}]}],
    "resourceLogs": [{"resource": RESOURCE, "scopeLogs": [{"scope": SCOPE, "logRecords": [LOG]}]}],
    "resourceMetrics": [{"resource": RESOURCE, "scopeMetrics": [{"scope": SCOPE, "metrics": [METRIC]}]}],
}

texts = st.text(st.characters(exclude_categories=()), max_size=12)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64, -(2**63), 10**400, 1e308, float("nan"), float("inf")]),
    st.floats(),
    texts,
    st.sampled_from(["", "0" * 16, "0" * 32, "1e999", "9" * 5000, "NaN", "\ud800", "SPAN_KIND_SERVER", "true"]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, part in items for path in places(part, (*here, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with another part at a path."""
    if not path:
        return new
    first, *rest = path
    if isinstance(value, list):
        return [changed(part, tuple(rest), new) if index == first else part for index, part in enumerate(value)]
    return {key: changed(part, tuple(rest), new) if key == first else part for key, part in value.items()}


def check_recording(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f.jsonl"
        path.write_bytes(content)
        try:
            recording = read(path, required=("spans", "points", "logs"))
        except UnreadableError as error:
            recording = Recording(remarks=(str(error),))
    assert all("\n" not in remark for remark in recording.remarks)
    analysis = Analysis.of(recording)
    compared = [compare(a, b) for a in analysis.tree.executions for b in analysis.tree.executions]
    for shown in (
        analysis.tree.explain(),
        analysis.tree.dump(),
        render(analysis.tree),
        page.render(analysis),
        metrics.list_as_json(analysis.attempts),
        *map(metrics.as_csv, analysis.attempts),
        *map(comparison.as_text, compared),
        *map(comparison.as_json, compared),
    ):
        assert shown.encode() is not None


@few
@given(path=st.sampled_from(places(DOCUMENT)), new=anything)
def test_a_recording_with_any_value_in_any_place_is_shown_or_reported(path: tuple[Any, ...], new: Any) -> None:
    line = json.dumps(changed(DOCUMENT, path, new)).encode()
    check_recording(line + b"\n" + json.dumps(DOCUMENT).encode())


@few
@given(content=st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_file_is_a_recording_or_is_reported(content: bytes) -> None:
    for before in (b"", b"\x1f\x8b\x08", b"{", b"[", b'{"resourceSpans":'):
        check_recording(before + content)


@few
@given(cut=st.integers(0, 3000), indent=st.sampled_from([None, 1]), count=st.integers(1, 2))
def test_a_cut_recording_is_shown_or_reported(cut: int, indent: int | None, count: int) -> None:
    check_recording("\n".join([json.dumps(DOCUMENT, indent=indent)] * count).encode()[:-cut])


SHAPES: dict[str, Callable[[Any], Any]] = {
    "array": lambda document: [document, document],
    "answer of Tempo": lambda document: {"batches": document["resourceSpans"]},
    "second answer of Tempo": lambda document: {"trace": {"resourceSpans": document["resourceSpans"]}},
}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "zstd": lambda content: bytes(zstandard.compress(content)),
    "zstd of the collector": lambda content: (
        len(found := zstandard.compress(content)).to_bytes(4, "big") + bytes(found)
    ),
}


@few
@given(data=st.data(), shape=st.sampled_from(list(SHAPES)), new=anything)
def test_a_document_of_another_program_with_any_value_is_shown_or_reported(
    data: st.DataObject, shape: str, new: Any
) -> None:
    document = SHAPES[shape](DOCUMENT)
    path = data.draw(st.sampled_from(places(document)))
    check_recording(json.dumps(changed(document, path, new), indent=1).encode())


@few
@given(
    how=st.sampled_from(list(COMPRESSED)), at=st.integers(0, 500), new=st.binary(max_size=8), end=st.binary(max_size=8)
)
def test_a_broken_compressed_recording_is_shown_or_reported(how: str, at: int, new: bytes, end: bytes) -> None:
    content = COMPRESSED[how](json.dumps(DOCUMENT).encode())
    check_recording(content[:at] + new + content[at + len(new) :] + end)


# --- the kernel's files ---

words = st.sampled_from(
    [
        b"0",
        b"1",
        b"-1",
        b"max",
        b"7:0",
        b"8:0",
        b"rbytes=5",
        b"x=",
        b"Read",
        b"(a b) R",
        b"\xff",
        b"9" * 30,
        b"9" * 5000,
    ]
)
lines = st.lists(st.lists(words | st.binary(max_size=8), max_size=60).map(b" ".join), max_size=4)
contents = lines.map(b"\n".join)


@few
@given(name=st.sampled_from(["stat", "statm", "io"]), pid=st.sampled_from([100, 101]), content=contents)
def test_any_file_of_a_process_is_read_without_an_error(name: str, pid: int, content: bytes) -> None:
    with TemporaryDirectory() as folder:
        proc = shutil.copytree(FIXTURES / "proc", Path(folder) / "proc")
        tree = ProcessTree(proc, 100)
        tree.read()
        (proc / str(pid) / name).write_bytes(content)
        (proc / "loadavg").write_bytes(content)
        tree.read()
        tree.descendants()
        tree.close()


@few
@given(number=st.integers(22, 52), word=words | st.binary(max_size=4), field=st.integers(0, 50))
def test_any_field_of_a_process_is_read_without_an_error(number: int, word: bytes, field: int) -> None:
    fields = [b"1"] * number
    fields[min(field, number - 1)] = word
    with TemporaryDirectory() as folder:
        proc = shutil.copytree(FIXTURES / "proc", Path(folder) / "proc")
        (proc / "100/stat").write_bytes(b"100 (a) R " + b" ".join(fields))
        tree = ProcessTree(proc, 100)
        tree.read()
        tree.close()


@few
@given(data=st.data(), recorded=st.sampled_from(["v1_pod", "v2_pod", "hybrid"]), content=contents)
def test_any_file_of_a_cgroup_is_read_without_an_error(data: st.DataObject, recorded: str, content: bytes) -> None:
    with TemporaryDirectory() as folder:
        root = shutil.copytree(FIXTURES / "cgroup" / recorded, Path(folder) / "root", symlinks=True)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        data.draw(st.sampled_from(files)).write_bytes(content)
        host.memory_total(root)
        found = cgroup.find(root)
        if found is not None:
            found.read()
            found.memory_peak()
            found.limits()
            assert found.is_container in (True, False)
            found.close()


# --- npu-smi ---

NAMES = ["NPU ID", "Chip ID", "Chip Logic ID", "Chip Phy-ID", "Chip Name", "HBM Capacity(MB)", "HBM Usage Rate(%)"]
NAMES += ["Aicore Usage Rate(%)", "NPU Real-time Power(W)", "Temperature(C)"]
values = texts | st.sampled_from(["0", "239", "nan", "inf", "-1", "1e400", "9" * 5000, "٣", "²", "-"])
outputs = st.lists(st.tuples(st.sampled_from(NAMES), values).map(" : ".join) | texts, max_size=12).map("\n".join)
rows = st.lists(st.lists(values, max_size=5).map(" ".join), max_size=4).map("\n".join)


@few
@given(table=rows, output=outputs)
def test_any_output_of_npu_smi_is_read_without_an_error(table: str, output: str) -> None:
    heading = "NPU ID  Chip ID  Chip Logic ID  Chip Name\n"
    for chip in npu_smi._mapped(heading + table):
        assert chip.logic >= 0
    found = npu_smi._values(output)
    limit = npu_smi._capacity(found)
    assert limit is None or limit > 0
    reading = npu_smi._reading(Chip(0, 0, 0, 0, "0-0", "x", limit), found)
    assert reading.utilization is None or 0 <= reading.utilization <= 1
    assert reading.memory_used is None or limit is None or 0 <= reading.memory_used <= limit
