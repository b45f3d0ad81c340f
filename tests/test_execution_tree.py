"""The reader of OTLP files, and the tree of their spans."""

import base64
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from inline_snapshot import snapshot
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from otel_flyte import semconv
from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.recording import model
from otel_flyte.recording.cells import cut, duration, printable, width
from otel_flyte.recording.failures import Error
from otel_flyte.recording.model import Span
from otel_flyte.recording.otlp_file import UnreadableError, read
from otel_flyte.recording.roles import Role
from otel_flyte.recording.rows import rows_of
from otel_flyte.recording.span_tree import NEVER_ENDED, LastSeen
from otel_flyte.recording.tree import Analysis, ExecutionTree
from otel_flyte.report import metrics, page
from otel_flyte.report.text import render
from support import traces

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

OLD_RECORDING = Path(__file__).parent / "fixtures" / "recordings" / "without_roles.jsonl"
"""A run of the demo and a killed attempt, recorded by version 0.1.0: its spans have no role attribute."""

TRACE, ROOT, CHILD = "ab" * 16, "01" * 8, "02" * 8


@pytest.fixture
def local_run(tmp_path: Path) -> Path:
    traces.local_run(traces.Recorder.of_file(tmp_path / "local.jsonl"))
    return tmp_path / "local.jsonl"


@pytest.fixture
def execution(tmp_path: Path) -> Path:
    traces.execution(traces.Recorder.of_file(tmp_path / "execution.jsonl", traces.EXECUTION_RESOURCE))
    return tmp_path / "execution.jsonl"


def span(span_id: str = ROOT, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a span as OTLP JSON."""
    identity = {"traceId": TRACE, "spanId": span_id, **({"parentSpanId": parent} if parent else {})}
    times = {"startTimeUnixNano": str(traces.BEGIN_NS), "endTimeUnixNano": str(traces.BEGIN_NS + 10**9)}
    return {**identity, "name": "task t", "kind": 1, **times, **fields}


def request(*spans: dict[str, Any], scope: str = semconv.SCOPE) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"scope": {"name": scope}, "spans": list(spans)}]}]}


def written(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def plain(
    name: str, span_id: str, parent: str | None = None, start: int = 0, end: int | None = 1, **fields: Any
) -> Span:
    """Return a span of ours as the reader returns it, with times in seconds."""
    fields = {"scope": model.Scope(semconv.SCOPE), **fields}
    return Span(TRACE, span_id, parent, name, start * 10**9, None if end is None else end * 10**9, **fields)


class TestOtlpFile:
    def test_spans_exported_by_the_sdk_are_read_back_complete(self, tmp_path: Path) -> None:
        provider = TracerProvider(resource=Resource({"service.name": "flyte"}), shutdown_on_exit=False)
        link = Link(SpanContext(0xAB, 0xCD, True, TraceFlags(1)), {"flyte.link": "launched_by"})
        attributes: dict[str, Any] = {
            "a": "s",
            "b": True,
            "c": -(2**62),
            "d": 0.5,
            "e": ("x", "y"),
            "f": (1, 2),
            "g": float("inf"),
        }
        tracer = provider.get_tracer("scope", "1.2")
        made = tracer.start_span("näme", kind=SpanKind.CONSUMER, attributes=attributes, links=[link], start_time=5)
        made.add_event("exception", {"exception.type": "E"}, timestamp=7)
        made.end(9)
        exporter = FileSpanExporter(tmp_path / "f.jsonl")
        assert exporter.export([made]) is SpanExportResult.SUCCESS  # type: ignore[list-item]
        (found,) = read(tmp_path / "f.jsonl").spans
        context = made.get_span_context()
        assert found == Span(
            trace_id=f"{context.trace_id:032x}",
            span_id=f"{context.span_id:016x}",
            parent_id=None,
            name="näme",
            start_ns=5,
            end_ns=9,
            kind="consumer",
            attributes={**attributes, "e": ["x", "y"], "f": [1, 2]},
            events=(model.Event("exception", 7, {"exception.type": "E"}),),
            links=(model.Link(f"{0xAB:032x}", f"{0xCD:016x}", {"flyte.link": "launched_by"}),),
            scope=model.Scope("scope", "1.2"),
            resource={"service.name": "flyte"},
        )

    def test_each_batch_is_one_line(self, local_run: Path) -> None:
        lines = local_run.read_text().splitlines()
        assert len(lines) == len(read(local_run).spans) == 15
        assert all("resourceSpans" in json.loads(line) for line in lines)

    def test_an_unwritable_file_drops_spans_without_an_exception(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        exporter = FileSpanExporter("/dev/full")
        kept = traces.Kept()
        traces.Recorder(kept).leaf("a", 0, 1)
        assert exporter.export(kept.spans) is SpanExportResult.FAILURE
        exporter.shutdown()
        assert exporter.export(kept.spans) is SpanExportResult.FAILURE
        assert "/dev/full can't be written" in caplog.text

    def test_forked_processes_write_to_the_same_file(self, tmp_path: Path) -> None:
        program = f"""
import os
from pathlib import Path
from support import traces
recorder = traces.Recorder.of_file(Path({str(tmp_path / "f.jsonl")!r}))
child = os.fork()
if child == 0:
    for number in range(50):
        recorder.leaf("child", number, number + 1)
    os._exit(0)
with recorder.span("parent", 0, 1):
    for number in range(50):
        recorder.leaf("parent", number, number + 1, parent=traces.in_execution(number))
os.waitpid(child, 0)
"""
        subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)
        lines = (tmp_path / "f.jsonl").read_text().splitlines()
        assert len([json.loads(line) for line in lines]) == 101

    def test_a_pretty_printed_document_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "f.json").write_text(json.dumps(request(span(), span(CHILD, ROOT)), indent=2))
        assert [found.span_id for found in read(tmp_path / "f.json").spans] == [ROOT, CHILD]

    def test_enums_are_read_by_number_and_by_name(self, tmp_path: Path) -> None:
        named = span(CHILD, kind="SPAN_KIND_CONSUMER", status={"code": "STATUS_CODE_ERROR"})
        unknown = span("03" * 8, kind=17, status={"code": "STATUS_CODE_NEW"})
        path = written(tmp_path / "f.jsonl", request(span(kind=5, status={"code": 2}), named, unknown))
        assert [(found.kind, found.status_code) for found in read(path).spans] == [
            ("consumer", "error"),
            ("consumer", "error"),
            ("unspecified", "unset"),
        ]

    def test_base64_ids_of_tempo_are_read(self, tmp_path: Path) -> None:
        ids = {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            for key, value in (("traceId", TRACE), ("spanId", ROOT))
        }
        (found,) = read(written(tmp_path / "f.jsonl", request(span(**ids)))).spans
        assert (found.trace_id, found.span_id) == (TRACE, ROOT)

    def test_every_kind_of_attribute_value_is_read(self, tmp_path: Path) -> None:
        values = [
            {"stringValue": "s"},
            {"boolValue": False},
            {"intValue": "-1"},
            {"intValue": 7},
            {"doubleValue": "NaN"},
            {"bytesValue": "AQI="},
            {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}},
            {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}},
            {"arrayValue": {}},
            {"newValue": 1},
            {},
        ]
        attributes = [{"key": str(number), "value": value} for number, value in enumerate(values)]
        (found,) = read(written(tmp_path / "f.jsonl", request(span(attributes=attributes)))).spans
        assert repr(list(found.attributes.values())) == snapshot(
            "['s', False, -1, 7, nan, b'\\x01\\x02', [1, 'x'], {'k': True}, [], None, None]"
        )

    def test_other_signals_in_the_file_are_ignored(self, tmp_path: Path) -> None:
        path = written(tmp_path / "f.jsonl", {"resourceLogs": []}, request(span()), {"resourceMetrics": []}, {})
        assert len(read(path).spans) == 1

    def test_a_duplicate_span_is_kept_once_with_its_end(self, tmp_path: Path) -> None:
        path = written(tmp_path / "f.jsonl", request(span(endTimeUnixNano="0")), request(span()), request(span()))
        (found,) = read(path).spans
        assert found.end_ns == traces.BEGIN_NS + 10**9

    def test_a_truncated_last_line_is_the_only_one_ignored(self, local_run: Path) -> None:
        whole = read(local_run)
        content = local_run.read_bytes()
        local_run.write_bytes(content[:-40])
        recording = read(local_run)
        assert recording.spans == whole.spans[:-1]
        assert recording.remarks == (
            f"{local_run}, line 15 is incomplete because its writer was interrupted: the line is ignored",
        )

    def test_a_last_line_truncated_inside_a_character_is_the_only_one_ignored(self, tmp_path: Path) -> None:
        path = written(tmp_path / "f.jsonl", request(span()))
        path.write_bytes(
            path.read_bytes()
            + json.dumps(request(span(CHILD, name="ä")), ensure_ascii=False).encode().partition(b"\xa4")[0]
        )
        assert len(read(path).spans) == 1

    def test_all_files_of_a_folder_are_read_and_unreadable_ones_are_reported(self, tmp_path: Path) -> None:
        written(tmp_path / "a.jsonl", request(span()))
        written(tmp_path / "b.jsonl", request(span(CHILD, ROOT)))
        (tmp_path / "c.jsonl").touch()
        (tmp_path / "notes.txt").write_text("no trace")
        recording = read(tmp_path)
        assert [found.span_id for found in recording.spans] == [ROOT, CHILD]
        assert recording.remarks == (
            f"{tmp_path / 'c.jsonl'} is empty, its process has ended no span yet: the file is ignored",
        )

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                b"",
                "is empty, its process has ended no span yet: read it again later, or record it again",
            ),
            (
                b"\n \n",
                "is empty, its process has ended no span yet: read it again later, or record it again",
            ),
            (b'{"resourceSp', "line 1 is not JSON (Unterminated string starting at): use a file written by"),
            (
                b"hello\nworld\n",
                "line 1 is not JSON (Expecting value): use a file written by otel-flyte or an OTLP file exporter",
            ),
            (
                b'{\n  "resourceSpans": [\n    {\n',
                "line 4 is not JSON (Expecting property name enclosed in double quotes)",
            ),
            (b'{"data": [], "total": 0}', "line 1 is JSON but not OTLP (an object with data, total, no resourceSpans)"),
            (b"[1, 2]", "line 1 is JSON but not OTLP (an array instead of an object with resourceSpans)"),
            (b'"text"', "line 1 is JSON but not OTLP (a string instead of an object with resourceSpans)"),
            (b"null", "line 1 is JSON but not OTLP (null instead of an object with resourceSpans)"),
            (b"7.5", "line 1 is JSON but not OTLP (a number instead of an object with resourceSpans)"),
            (b"\x0a\xff\xfe", "is not text, it may be compressed or protobuf: use a file written by"),
            (b"\x1f\x8b\x07\x00\xff\xfe", "is no valid gzip file (Error -3 while decompressing data"),
            (b"\xef\xbb\xbf", "line 1 is incomplete because its writer was interrupted"),
            (b"\xc2\xa0", "line 1 is not JSON (Expecting value)"),
            (b"[" * 100_000, "is JSON that is nested too deeply for OTLP"),
            (b'{"resourceLogs": []}', "holds no span, only logs: name the file with the traces"),
            (b"{}", "holds no span: name the file with the traces"),
            (
                b'{}\n{"resourceSpans": nope}\n{}\n',
                "line 2 is not JSON (Expecting value: line 1 column 19 (char 18)): use a file",
            ),
            (b'{}\n{"resourceSpans": [7]}\n{}\n', "line 2 is not OTLP JSON"),
            (b'{"resourceSpans": 7}', "line 1 is not OTLP JSON (a value has the wrong type): use a file written by"),
            (b'{"resourceSpans": [7]}', "line 1 is not OTLP JSON"),
        ],
    )
    def test_content_that_is_not_otlp_is_reported_in_one_line(
        self, tmp_path: Path, content: bytes, message: str
    ) -> None:
        path = tmp_path / "f.jsonl"
        path.write_bytes(content)
        with pytest.raises(UnreadableError) as raised:
            read(path)
        assert message in str(raised.value)
        assert str(raised.value).startswith(str(path))
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"traceId": "xyz"}, "'xyz' is not an id of 16 bytes"),
            ({"spanId": "01"}, "is not an id of 8 bytes"),
            ({"startTimeUnixNano": "-5"}, "'-5' is not a time"),
            ({"startTimeUnixNano": [1]}, "a value has the wrong type"),
            ({"traceId": "0" * 32}, "is not an id of 16 bytes"),
            ({"spanId": None}, "lacks 'spanId'"),
        ],
    )
    def test_an_invalid_span_is_reported_in_one_line(
        self, tmp_path: Path, fields: dict[str, Any], message: str
    ) -> None:
        path = written(tmp_path / "f.jsonl", request(span(**fields)))
        with pytest.raises(UnreadableError) as raised:
            read(path)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_a_missing_file_and_an_empty_folder_are_reported_in_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableError, match=r"nothing\.jsonl does not exist: check the path$"):
            read(tmp_path / "nothing.jsonl")
        with pytest.raises(UnreadableError, match=r"is a folder without a \*.jsonl file"):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("broken", "problem"),
        [
            ("\0garbage", "is not JSON (Expecting value: line 1 column 1 (char 0)): the line is ignored"),
            ('{"resourceSpans": [', "is not JSON (Expecting value: line 1 column 20 (char 19)): the line is ignored"),
            ('{"row": 1}', "is JSON but not OTLP (an object with row, no resourceSpans): the line is ignored"),
            (
                '{"resourceSpans": [7]}',
                "is not OTLP JSON (a value has the wrong type): the line is ignored",
            ),
        ],
    )
    @pytest.mark.parametrize("number", [1, 3])
    def test_an_invalid_line_among_valid_ones_is_reported_and_ignored(
        self, tmp_path: Path, broken: str, problem: str, number: int
    ) -> None:
        lines = [json.dumps(request(span())), "", json.dumps(request(span(CHILD, ROOT)))]
        lines.insert(number - 1, broken)
        path = tmp_path / "f.spool.jsonl"
        path.write_text("\n".join([*lines, ""]))
        recording = read(tmp_path)
        assert [found.span_id for found in recording.spans] == [ROOT, CHILD]
        (remark,) = recording.remarks
        assert remark.startswith(f"{path}, line {number} {problem}")

    def test_rejected_records_are_not_read_with_their_folder(self, tmp_path: Path) -> None:
        written(tmp_path / "a.spool.jsonl", request(span()))
        rejected = written(tmp_path / "a.spool.jsonl.rejected.jsonl", request(span(CHILD, ROOT)))
        assert [found.span_id for found in read(tmp_path).spans] == [ROOT]
        assert [found.span_id for found in read(rejected).spans] == [CHILD]


NINES, ZEROS, WHOLE = "9" * 40, "0" * 32, "an integer of 64 bits"
OTHERS_LINK = {"traceId": "ef" * 16, "spanId": "05" * 8}


class TestFilesOfOtherPrograms:
    @pytest.mark.parametrize(
        ("fields", "remark"),
        [
            (
                {"links": [{"traceId": "", "spanId": ""}, OTHERS_LINK]},
                "a link that is not OTLP JSON ('' is not an id of 16 bytes): the link is ignored",
            ),
            (
                {"links": [{"traceId": "0" * 32, "spanId": "0" * 16}, {}, 7, OTHERS_LINK]},
                f"a link that is not OTLP JSON ('{ZEROS}' is not an id of 16 bytes): the link is ignored, and 2 more",
            ),
            (
                {"links": 7},
                "a link that is not OTLP JSON (a value has the wrong type): the link is ignored",
            ),
            (
                {"events": [{"name": "e", "timeUnixNano": "x"}]},
                "an event that is not OTLP JSON ('x' is not an integer of 64 bits): the event is ignored",
            ),
            (
                {"attributes": [{}, {"key": "kept", "value": {"intValue": "7"}}]},
                "an attribute that is not OTLP JSON (lacks 'key'): the attribute is ignored",
            ),
            (
                {"attributes": [{"key": "huge", "value": {"intValue": NINES}}]},
                f"an attribute that is not OTLP JSON ('{NINES}' is not {WHOLE}): the attribute is ignored",
            ),
            (
                {"endTimeUnixNano": "1e99"},
                "an end time that is not OTLP JSON ('1e99' is not an integer of 64 bits): the end time is ignored",
            ),
            (
                {"parentSpanId": "xyz"},
                "a parent id that is not OTLP JSON ('xyz' is not an id of 8 bytes): the parent id is ignored",
            ),
            ({"kind": {}}, None),
            ({"kind": [1]}, "a kind that is not OTLP JSON (a value has the wrong type): the kind is ignored"),
            ({"status": 7}, "a status that is not OTLP JSON (a value has the wrong type): the status is ignored"),
            (
                {"status": {"code": "2.5"}},
                "a status that is not OTLP JSON ('2.5' is not an integer of 64 bits): the status is ignored",
            ),
        ],
    )
    def test_an_invalid_field_costs_only_itself(
        self, tmp_path: Path, fields: dict[str, Any], remark: str | None
    ) -> None:
        spans = [span(f"{number:016x}") for number in range(1, 100)]
        path = written(tmp_path / "f.jsonl", request(span(CHILD, **fields), *spans))
        recording = read(path)
        assert len(recording.spans) == 100
        assert recording.spans[0].name == "task t"
        expected = () if remark is None else (f"{path}, line 1 has {remark}",)
        assert tuple(each for each in recording.remarks) == expected
        assert all(link.span_id == "05" * 8 for link in recording.spans[0].links)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"traceId": "xyz"}, "'xyz' is not an id of 16 bytes"),
            ({"spanId": 7}, "7 is not an id of 8 bytes"),
            ({"startTimeUnixNano": "-5"}, "'-5' is not a time"),
        ],
    )
    def test_an_invalid_span_costs_only_itself(self, tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
        path = written(tmp_path / "f.jsonl", request(span(), {**span(CHILD), **fields}, {**span(CHILD), **fields}))
        recording = read(path)
        assert [found.span_id for found in recording.spans] == [ROOT]
        assert recording.remarks == (
            f"{path}, line 1 has a span that is not OTLP JSON ({reason}): the span is ignored, and 1 more",
        )

    @pytest.mark.parametrize("broken", [7, {"scopeSpans": 7}, {"scopeSpans": [7]}, {"resource": 7, "scopeSpans": "x"}])
    def test_an_invalid_resource_costs_only_itself(self, tmp_path: Path, broken: object) -> None:
        document = request(span())
        document["resourceSpans"].insert(0, broken)
        recording = read(written(tmp_path / "f.jsonl", document))
        assert [found.span_id for found in recording.spans] == [ROOT]
        assert all("a value has the wrong type" in remark for remark in recording.remarks)
        assert recording.remarks

    def test_an_invalid_log_record_or_point_costs_only_itself(self, tmp_path: Path) -> None:
        logs = [{"body": {"stringValue": "a"}, "traceId": "x"}, {"body": 7}, {"body": {"stringValue": "b"}}]
        name = semconv.METRIC_TASK_SERIES.format(name=semconv.SERIES[0])
        points = [{"asDouble": "x", "timeUnixNano": "1"}, 7, {"asInt": "5", "timeUnixNano": "1e3"}]
        metric = {"name": name, "gauge": {"dataPoints": points}}
        path = written(
            tmp_path / "f.jsonl",
            request(span()),
            {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]},
            {"resourceMetrics": [{"scopeMetrics": [{"metrics": [7, metric]}]}]},
        )
        recording = read(path)
        assert [record.body for record in recording.logs] == ["a", "b"]
        assert [(point.value, point.time_ns) for point in recording.points] == [(5.0, 1000)]
        assert [remark.partition(" that ")[0].rpartition("line ")[2] for remark in recording.remarks] == [
            "2 has a trace id",
            "2 has a body",
            "3 has a metric",
            "3 has a data point",
        ]

    @pytest.mark.parametrize("parent", ["0" * 16, "", None, "AAAAAAAAAAA=", "AAAAAAAAAAA"])
    def test_a_parent_of_zeros_is_none(self, tmp_path: Path, parent: str | None) -> None:
        recording = read(written(tmp_path / "f.jsonl", request({**span(), "parentSpanId": parent})))
        assert recording.spans[0].parent_id is None
        assert recording.remarks == ()

    def test_all_spellings_of_protobufs_json_are_read(self, tmp_path: Path) -> None:
        usual = span(
            CHILD,
            ROOT,
            kind=3,
            status={"code": 2, "message": "m"},
            attributes=[{"key": "a", "value": {"intValue": "7"}}, {"key": "b", "value": {"boolValue": False}}],
            links=[OTHERS_LINK],
            events=[{"name": "e", "timeUnixNano": "5000"}],
        )
        other = {
            "trace_id": base64.urlsafe_b64encode(bytes.fromhex(TRACE)).decode().rstrip("="),
            "span_id": base64.b64encode(bytes.fromhex(CHILD)).decode(),
            "parent_span_id": ROOT.upper(),
            "name": "task t",
            "kind": "SPAN_KIND_CLIENT",
            "start_time_unix_nano": traces.BEGIN_NS,
            "end_time_unix_nano": str(traces.BEGIN_NS + 10**9),
            "status": {"code": "STATUS_CODE_ERROR", "message": "m"},
            "attributes": [{"key": "a", "value": {"int_value": 7.0}}, {"key": "b", "value": {"bool_value": "false"}}],
            "links": [{"trace_id": OTHERS_LINK["traceId"], "span_id": OTHERS_LINK["spanId"]}],
            "events": [{"name": "e", "time_unix_nano": "5e3"}],
        }
        scope = {"name": "s"}
        expected = read(written(tmp_path / "a.jsonl", request(usual, scope="s")))
        for kind, code in (("SPAN_KIND_CLIENT", "STATUS_CODE_ERROR"), ("3", "2"), (3.0, 2.0), ("client", "error")):
            other["kind"], other["status"] = kind, {"code": code, "message": "m"}
            document = {"resource_spans": [{"scope_spans": [{"scope": scope, "spans": [other]}]}]}
            assert read(written(tmp_path / "b.jsonl", document)) == expected
        old = {"instrumentation_library_spans": [{"instrumentation_library": scope, "spans": [other]}]}
        assert read(written(tmp_path / "b.jsonl", {"resource_spans": [old]})) == expected

    @pytest.mark.parametrize(("number", "name"), [(9, "INFO"), ("9", "INFO"), ("SEVERITY_NUMBER_INFO2", "INFO")])
    def test_a_severity_is_read_as_number_and_by_name(self, tmp_path: Path, number: object, name: str) -> None:
        record = {"body": {"stringValue": "a"}, "severityNumber": number}
        path = written(tmp_path / "f.jsonl", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
        assert [found.severity for found in read(path, required=("logs",)).logs] == [name]

    @pytest.mark.parametrize("shape", ["batches", "trace", "trace of batches"])
    def test_an_answer_of_tempos_api_is_read(self, tmp_path: Path, shape: str) -> None:
        usual = request(span(), span(CHILD, ROOT))
        batches = {"batches": usual["resourceSpans"]}
        document = {"batches": batches, "trace": {"trace": usual}, "trace of batches": {"trace": batches}}[shape]
        expected = read(written(tmp_path / "a.jsonl", usual))
        assert read(written(tmp_path / "b.json", document)) == expected
        (tmp_path / "c.json").write_text(json.dumps(document, indent=2))
        assert read(tmp_path / "c.json") == expected

    @pytest.mark.parametrize("indent", [None, 2])
    @pytest.mark.parametrize("is_array", [False, True])
    def test_arrays_and_documents_of_several_lines_are_read(
        self, tmp_path: Path, indent: int | None, is_array: bool
    ) -> None:
        documents = [request(span()), request(span(CHILD, ROOT))]
        parts = [documents] if is_array else documents
        (tmp_path / "f.json").write_text("\n".join(json.dumps(part, indent=indent) for part in parts))
        recording = read(tmp_path / "f.json")
        assert [found.span_id for found in recording.spans] == [ROOT, CHILD]
        assert recording.remarks == ()

    def test_a_cut_document_of_several_lines_costs_only_itself(self, tmp_path: Path) -> None:
        text = "\n".join(json.dumps(request(span(each)), indent=1) for each in (ROOT, CHILD))
        (tmp_path / "f.json").write_text(text[:-5])
        recording = read(tmp_path / "f.json")
        assert [found.span_id for found in recording.spans] == [ROOT]
        (remark,) = recording.remarks
        assert "is not JSON" in remark

    def test_a_gzip_file_is_read(self, local_run: Path, tmp_path: Path) -> None:
        content = local_run.read_bytes()
        half = content.index(b"\n") + 1
        compressed = gzip.compress(content[:half]) + gzip.compress(content[half:])
        (tmp_path / "zip").mkdir()
        (tmp_path / "zip/local.jsonl.gz").write_bytes(compressed)
        assert read(tmp_path / "zip") == read(local_run)

    def test_a_gzip_file_that_is_still_written_shows_what_it_has(self, local_run: Path, tmp_path: Path) -> None:
        path = tmp_path / "local.jsonl.gz"
        path.write_bytes(gzip.compress(local_run.read_bytes() * 50)[:-300])
        recording = read(path)
        assert len(recording.spans) == 15
        assert all("incomplete" in remark for remark in recording.remarks)

    def test_a_zstd_file_is_read_if_zstandard_is_installed(self, local_run: Path, tmp_path: Path) -> None:
        zstandard = pytest.importorskip("zstandard")
        frame = zstandard.ZstdCompressor().compress(local_run.read_bytes())
        (tmp_path / "a.zst").write_bytes(frame + frame)
        (tmp_path / "b.zst").write_bytes((len(frame).to_bytes(4, "big") + frame) * 2)
        assert read(tmp_path / "a.zst").spans == read(tmp_path / "b.zst").spans == read(local_run).spans

    def test_a_zstd_file_without_zstandard_is_reported_in_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "zstandard", None)
        (tmp_path / "f.zst").write_bytes(b"\x28\xb5\x2f\xfd\x04")
        expected = "f.zst is compressed by zstd: install the package zstandard, or decompress it by `zstd -d`$"
        with pytest.raises(UnreadableError, match=expected):
            read(tmp_path / "f.zst")

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d x"])
    def test_a_lone_surrogate_is_replaced(self, tmp_path: Path, text: str) -> None:
        attributes = [{"key": text, "value": {"stringValue": text}}]
        path = written(tmp_path / "f.jsonl", request(span(name=text, attributes=attributes, status={"message": text})))
        tree = ExecutionTree.from_file(path)
        for shown in (tree.dump(), tree.explain(), render(tree)):
            assert "\ufffd" in shown.encode().decode()
        spans = [plain(f"task {text}", ROOT, attributes={text: [text]})]
        assert "\ufffd" in ExecutionTree.from_spans(spans).dump()

    @pytest.mark.parametrize("control", ["\u202e", "\u2066", "\u200f", "\u061c"])
    def test_no_text_is_shown_in_another_direction(self, tmp_path: Path, control: str) -> None:
        name = f"a{control}live"
        attributes = [{"key": name, "value": {"stringValue": f"{name}\nb"}}]
        events = [{"name": "exception", "attributes": [{"key": "exception.message", "value": {"stringValue": name}}]}]
        fields: dict[str, Any] = {
            "attributes": attributes,
            "events": events,
            "status": {"code": 2, "message": name},
        }
        tree = ExecutionTree.from_file(written(tmp_path / "f.jsonl", request(span(name=f"task {name}", **fields))))
        analysis = Analysis.of(read(tmp_path / "f.jsonl"))
        shown = [tree.dump(), tree.explain(), render(tree), page.render(analysis)]
        shown += [metrics.list_as_table(analysis.attempts), metrics.list_as_csv(analysis.attempts)]
        assert [control in text for text in shown] == [False] * len(shown)
        (dumped,) = yaml.safe_load(tree.dump()).values()
        (task,) = next(iter(dumped["nodes"].values()))["task_attempts"].values()
        assert task["attributes"] == {name: f"{name}\nb"}


class TestAttemptsThatNeverEnded:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> ExecutionTree:
        traces.killed(tmp_path / "killed.jsonl")
        return ExecutionTree.from_file(tmp_path / "killed.jsonl")

    def test_a_pending_span_replaces_the_missing_span_of_an_attempt(self, tree: ExecutionTree) -> None:
        (attempts,) = tree.attempts().values()
        (attempt,) = attempts
        assert (attempt.span.name, attempt.result, attempt.node_path) == ("task train.fit", NEVER_ENDED, "n1")
        assert attempt.start_ns == traces.BEGIN_NS
        assert semconv.MARKER not in attempt.span.attributes
        assert [(child.span.name, child.orphan) for child in attempt.children] == [
            ("load", False),
            ("input translation", False),
            ("epoch 1", True),
        ]

    def test_the_last_log_record_has_the_phase_of_the_attempt_and_its_duration(self, tree: ExecutionTree) -> None:
        (attempt,) = (span for span in tree.walk() if span.role is Role.ATTEMPT)
        assert attempt.last_seen == LastSeen("user code", 42.0, is_over=False, time_ns=traces.nanoseconds(46))
        assert "never ended; n1; last seen in user code for 42.0 s" in tree.explain()
        nodes = yaml.safe_load(tree.dump())["f1c0ffee"]["nodes"]
        assert nodes["n1"]["task_attempts"][0]["last_seen"] == {
            "in": "user code",
            "time": "2026-05-28T20:27:26+00:00",
            "seconds_in_phase": 42.0,
        }

    def test_the_last_seen_phase_follows_from_ended_phases_and_the_pending_span(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "all.jsonl")
        spans = [line for line in (tmp_path / "all.jsonl").read_text().splitlines() if "resourceSpans" in line]
        (tmp_path / "spans.jsonl").write_text("\n".join(spans))
        tree = ExecutionTree.from_file(tmp_path / "spans.jsonl")
        assert "last seen after input translation" in tree.explain()
        (tmp_path / "marker.jsonl").write_text(spans[0])
        assert (
            "never ended; n1; last seen in load\n"
            in ExecutionTree.from_file(tmp_path / "marker.jsonl").explain() + "\n"
        )

    def test_the_pending_span_of_an_ended_attempt_is_ignored(self) -> None:
        marker = plain("running", "0a" * 8, ROOT, 1, 1, attributes={semconv.MARKER: True})
        tree = ExecutionTree.from_spans([plain("task t", ROOT, start=0, end=5), marker])
        assert [found.span.name for found in tree.walk()] == ["task t"]

    def test_of_attempts_that_share_a_process_a_span_belongs_to_that_with_its_identity(self) -> None:
        identities: list[dict[str, Any]] = [
            {semconv.RUN_NAME: "run", semconv.ACTION_NAME: f"n{number}", semconv.ATTEMPT: 0} for number in range(2)
        ]
        pending = [
            plain(
                "running", f"0{number}" * 8, f"a{number}" * 8, number, number, attributes={**one, semconv.MARKER: True}
            )
            for number, one in enumerate(identities)
        ]
        missing = "bb" * 8
        steps = [plain(f"step {number}", f"c{number}" * 8, missing, 5, 6) for number in range(2)]
        steps = [replace(step, attributes=one) for step, one in zip(steps, identities, strict=True)]
        tree = ExecutionTree.from_spans([*pending, *steps, plain("unknown", "cc" * 8, missing, 5, 6)])
        assert {
            attempt.span.span_id: [child.span.name for child in attempt.children]
            for attempt in tree.walk()
            if attempt.children and attempt.role is Role.ATTEMPT
        } == {"a0" * 8: ["step 0"], "a1" * 8: ["step 1", "unknown"]}

    def test_a_folder_of_spool_files_is_read_like_any_other_folder(self, tmp_path: Path) -> None:
        traces.killed(tmp_path / "all.jsonl")
        folder = tmp_path / "spool"
        folder.mkdir()
        for number, line in enumerate((tmp_path / "all.jsonl").read_text().splitlines(keepends=True)):
            (folder / f"{number}.spool.jsonl").write_text(line)
            (folder / f"{number}.spool.jsonl.sent").write_text("0\n")
        tree = ExecutionTree.from_file(folder)
        assert tree.explain() == ExecutionTree.from_file(tmp_path / "all.jsonl").explain()
        assert tree.remarks == ()

    def test_other_log_records_are_not_events(self, tmp_path: Path) -> None:
        other = {"traceId": TRACE, "body": {"stringValue": "no event"}, "timeUnixNano": "1"}
        event = {"traceId": TRACE, "spanId": ROOT, "eventName": "flyte.phase", "observedTimeUnixNano": "2"}
        logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [other, {**other, "spanId": ROOT}, event]}]}]}
        recording = read(written(tmp_path / "f.jsonl", logs, request(span())))
        events = [record for record in recording.logs if record.event]
        assert events == [model.LogRecord(TRACE, ROOT, 2, "flyte.phase")]


class TestTree:
    def test_a_local_run_is_a_workflow_with_tasks_phases_items_and_user_spans(self, local_run: Path) -> None:
        (run,) = ExecutionTree.from_file(local_run).executions
        assert (run.name, run.scope) == ("", "")
        assert [(found.role, found.span.name) for found in run.walk()] == [
            (Role.EXECUTION, "workflow shop.main"),
            (Role.ATTEMPT, "task shop.fetch"),
            (Role.PHASE, "input translation"),
            (Role.PHASE, "user code"),
            (Role.USER, "GET /reviews"),
            (Role.PHASE, "output translation"),
            (Role.ATTEMPT, "task shop.fetch"),
            (Role.ATTEMPT, f"task shop.map_score_{'0f' * 16}-arraynode"),
            (Role.PHASE, "user code"),
            (Role.ITEM, "map item"),
            (Role.ITEM, "map item"),
            (Role.ITEM, "map item"),
            (Role.ATTEMPT, "task shop.train"),
            (Role.PHASE, "input translation"),
            (Role.PHASE, "user code"),
        ]

    def test_an_error_is_reported_once_on_its_innermost_span_with_the_frame_of_the_user(self, local_run: Path) -> None:
        ((found, error),) = ExecutionTree.from_file(local_run).errors()
        assert found.span.name == "user code"
        assert error.summary == "ValueError: loss is not finite"
        assert error.frame == "/code/pipelines/train.py:42 in fit"

    def test_flytekits_prefix_of_an_error_is_removed_and_its_wrapper_is_not_another_error(self) -> None:
        inner, outer = (
            {"exception.message": words} for words in ("no", "Error encountered while executing 'w.t':\n  no")
        )
        failed: dict[str, Any] = {"status_code": "error"}
        tree = ExecutionTree.from_spans(
            [
                plain("user code", ROOT, events=(model.Event("exception", 1, outer),), **failed),
                plain("step", CHILD, ROOT, events=(model.Event("exception", 1, inner),), **failed),
            ]
        )
        assert [(found.span.name, error.message) for found, error in tree.errors()] == [("step", "no")]

    def test_a_different_error_of_an_outer_span_is_reported_too(self) -> None:
        inner, outer = ({"exception.message": words} for words in ("no", "gave up"))
        failed: dict[str, Any] = {"status_code": "error"}
        tree = ExecutionTree.from_spans(
            [
                plain("user code", ROOT, events=(model.Event("exception", 1, outer),), **failed),
                plain("step", CHILD, ROOT, events=(model.Event("exception", 1, inner),), **failed),
            ]
        )
        assert [error.message for _, error in tree.errors()] == ["gave up", "no"]

    def test_a_failure_without_an_exception_is_reported_from_its_attributes(self) -> None:
        failed = plain(
            "task t", ROOT, status_code="error", status_message="OOMKilled", attributes={"error.type": "SYSTEM"}
        )
        ((_, error),) = ExecutionTree.from_spans([failed]).errors()
        assert error == Error("SYSTEM", "OOMKilled")

    def test_the_frame_is_the_innermost_one_of_user_code_or_else_of_any_code(self) -> None:
        library = '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n'
        users = '  File "C:\\app\\lib\\my code.py", line 3, in <module>\n'
        assert Error("E", "", users + library).frame == "C:\\app\\lib\\my code.py:3 in <module>"
        assert Error("E", "", library).frame == "/usr/lib/python3.11/json/decoder.py:355 in raw_decode"
        assert Error("E", "").frame == ""

    def test_attempts_of_a_node_are_sorted_regardless_of_the_order_in_the_file(self, execution: Path) -> None:
        attempts = ExecutionTree.from_file(execution).attempts()
        assert [(found.attempt, found.result) for found in attempts["f1c0ffee/n1"]] == [(0, "failure"), (1, "success")]
        assert len(attempts) == 32

    def test_traces_of_one_execution_are_combined(self) -> None:
        execution = {semconv.RUN_NAME: "f1"}
        other = Span("cd" * 16, ROOT, None, "task t", 5, 6, attributes=execution)
        tree = ExecutionTree.from_spans([other, plain("task t", ROOT, attributes=execution)])
        (found,) = tree.executions
        assert (found.name, found.trace_ids) == ("f1", (TRACE, "cd" * 16))

    def test_local_runs_are_not_combined(self) -> None:
        local = {semconv.RUN_NAME: "local"}
        other = Span("cd" * 16, ROOT, None, "task t", 5, 6, attributes=local)
        assert len(ExecutionTree.from_spans([other, plain("task t", ROOT, attributes=local)]).executions) == 2

    @pytest.mark.parametrize(
        ("name", "attributes", "parent", "result"),
        [
            ("workflow w", {}, None, "success"),
            ("task eager", {}, None, "success"),
            ("task of a pod", {semconv.ATTEMPT: 0, semconv.NODE_PATH: "n0"}, None, "unknown"),
            ("task inside a workflow that still runs", {}, "09" * 8, "unknown"),
        ],
    )
    def test_an_execution_has_a_result_where_the_span_around_all_others_is_there(
        self, name: str, attributes: dict[str, Any], parent: str | None, result: str
    ) -> None:
        run = {semconv.RUN_NAME: "w-20261129"}
        spans = [plain(name, ROOT, parent, attributes=run | attributes), plain("task t", CHILD, ROOT, attributes=run)]
        (execution,) = ExecutionTree.from_spans(spans).executions
        top, *_ = rows_of(execution)
        assert (top.label, top.result) == ("execution w-20261129", result)

    def test_an_execution_succeeds_whose_workflow_handles_a_failure(self) -> None:
        run = {semconv.RUN_NAME: "w-20261129"}
        failed = replace(plain("task t", CHILD, ROOT, attributes=run), status_code="error")
        (execution,) = ExecutionTree.from_spans([plain("workflow w", ROOT, attributes=run), failed]).executions
        assert next(rows_of(execution)).result == "success"

    def test_a_span_whose_parent_is_missing_is_kept_and_marked(self) -> None:
        (run,) = ExecutionTree.from_spans([plain("task t", CHILD, "09" * 8), plain("task u", ROOT)]).executions
        assert [(root.span.name, root.orphan) for root in run.roots] == [("task t", True), ("task u", False)]

    def test_spans_in_a_circle_of_parents_are_kept(self) -> None:
        (run,) = ExecutionTree.from_spans(
            [plain("a", ROOT, CHILD), plain("b", CHILD, ROOT), plain("c", "03" * 8, "03" * 8)]
        ).executions
        assert sorted(found.span.name for found in run.walk()) == ["a", "b", "c"]

    def test_an_attempt_without_an_end_has_the_result_never_ended(self) -> None:
        tree = ExecutionTree.from_spans([plain("task t", ROOT, end=None), plain("user code", CHILD, ROOT, end=None)])
        assert [(found.result, found.seconds) for found in tree.walk()] == [(NEVER_ENDED, None)] * 2
        assert "never ended" in tree.explain()
        assert yaml.safe_load(tree.dump())["t"]["nodes"]["t"]["task_attempts"][0]["end"] is None

    def test_very_deeply_nested_spans_are_only_counted(self) -> None:
        ids = [f"{number:016x}" for number in range(1, 5001)]
        spans = [plain("f", own, above) for own, above in zip(ids, [None, *ids], strict=False)]
        tree = ExecutionTree.from_spans(spans)
        assert tree.explain().splitlines()[-1].split("  ")[-1] == "4969 spans below"
        assert "deeper_spans: 4949" in tree.dump()

    def test_neither_flytekit_nor_opentelemetry_is_imported(self) -> None:
        program = (
            "import sys, otel_flyte.recording.document, otel_flyte.recording.table, otel_flyte.report.text\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('flytekit', 'opentelemetry', 'click')])"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert done.stdout == "[]\n"


class TestRoles:
    @pytest.mark.parametrize("role", [role for role in Role if role not in (Role.PENDING, Role.USER)])
    def test_the_role_attribute_overrides_the_name(self, role: Role) -> None:
        named = plain("task t", ROOT, attributes={semconv.SPAN_ROLE: role.value})
        renamed = plain("anything", CHILD, attributes={semconv.SPAN_ROLE: role.value})
        assert [found.role for found in ExecutionTree.from_spans([named, renamed]).walk()] == [role, role]

    def test_an_unknown_role_is_replaced_by_that_of_the_name(self) -> None:
        (found,) = ExecutionTree.from_spans([plain("task t", ROOT, attributes={semconv.SPAN_ROLE: "replica"})]).walk()
        assert found.role is Role.ATTEMPT

    @pytest.mark.parametrize(
        ("name", "role"),
        [
            ("workflow w", Role.EXECUTION),
            ("task t", Role.ATTEMPT),
            ("submit t", Role.SUBMISSION),
            ("map item", Role.ITEM),
            ("get data", Role.TRANSFER),
            ("put data", Role.TRANSFER),
            ("user code", Role.PHASE),
            ("rank", Role.PHASE),
        ],
    )
    def test_the_name_implies_the_role_if_the_attribute_is_missing(self, name: str, role: Role) -> None:
        (found,) = ExecutionTree.from_spans([plain(name, ROOT)]).walk()
        assert found.role is role

    def test_a_recording_without_roles_is_read_as_before(self) -> None:
        tree = ExecutionTree.from_file(OLD_RECORDING)
        assert f"{tree.explain()}\n" == OLD_RECORDING.with_suffix(".explain.txt").read_text()
        assert f"{render(tree)}\n" == OLD_RECORDING.with_suffix(".show.txt").read_text()

    def test_a_recording_with_roles_is_read_like_one_without(self, tmp_path: Path) -> None:
        tree = ExecutionTree.from_file(OLD_RECORDING)
        roles = {found.span.span_id: found.role.value for found in tree.walk() if found.role is not Role.USER}
        documents = [json.loads(line) for line in OLD_RECORDING.read_text().splitlines()]
        stated = 0
        for document in documents:
            for resource in document.get("resourceSpans", ()):
                for found in resource["scopeSpans"][0]["spans"]:
                    attributes = found.setdefault("attributes", [])
                    is_pending = any(pair["key"] == semconv.MARKER for pair in attributes)
                    attributes[:] = [pair for pair in attributes if pair["key"] != semconv.MARKER]
                    role = semconv.SPAN_ROLE_PENDING if is_pending else roles.get(found["spanId"])
                    if role:
                        attributes.append({"key": semconv.SPAN_ROLE, "value": {"stringValue": role}})
                        stated += 1
        assert stated == 50
        with_roles = ExecutionTree.from_file(written(tmp_path / "f.jsonl", *documents))
        assert with_roles.explain() == tree.explain()

    def test_spans_of_the_control_plane_are_in_the_tree(self) -> None:
        spans = [
            plain(name, f"{number:016x}", parent, start=number, end=20 - number, attributes={semconv.SPAN_ROLE: role})
            for number, (name, parent, role) in enumerate(
                [
                    ("execution f1", None, semconv.SPAN_ROLE_EXECUTION),
                    ("node n0", f"{1:016x}", semconv.SPAN_ROLE_NODE),
                    ("attempt 0", f"{2:016x}", semconv.SPAN_ROLE_ATTEMPT),
                    ("task t", f"{3:016x}", semconv.SPAN_ROLE_ATTEMPT),
                ],
                start=1,
            )
        ]
        tree = ExecutionTree.from_spans(spans)
        assert [found.span.name for found in tree.walk()] == ["execution f1", "node n0", "attempt 0", "task t"]
        assert [line.partition("  05-")[0].split()[0] for line in tree.explain().splitlines()[2:]] == [
            "execution",
            "node",
            "attempt",
            "task",
        ]
        assert yaml.safe_load(tree.dump())


class TestExplain:
    def test_a_local_run(self, local_run: Path) -> None:
        assert ExecutionTree.from_file(local_run).explain() == snapshot("""\
operation               start (UTC)            end (UTC)                duration  share  entity                      notes
--------------------------------------------------------------------------------------------------------------------------
workflow shop.main      05-28 20:26:40.000000  05-28 20:26:50.000000  10.000000s         workflow/shop.main          failure
  task shop.fetch       05-28 20:26:40.500000  05-28 20:26:43.000000   2.500000s    25%  task/shop.fetch             cache miss
    input translation   05-28 20:26:40.500000  05-28 20:26:40.502000   0.002000s     0%  task/shop.fetch
    user code           05-28 20:26:40.502000  05-28 20:26:42.900000   2.398000s    96%  task/shop.fetch
      GET /reviews      05-28 20:26:41.000000  05-28 20:26:42.000000   1.000000s    42%  task/shop.fetch
    output translation  05-28 20:26:42.900000  05-28 20:26:43.000000   0.100000s     4%  task/shop.fetch
  task shop.fetch       05-28 20:26:43.000000  05-28 20:26:43.001000   0.001000s     0%  task/shop.fetch             cache hit
  task shop.map_score   05-28 20:26:43.000000  05-28 20:26:46.000000   3.000000s    30%  task/shop.map_score         map
    user code           05-28 20:26:43.000000  05-28 20:26:46.000000   3.000000s   100%  task/shop.map_score
      map item 0        05-28 20:26:43.000000  05-28 20:26:44.000000   1.000000s    33%  task/shop.map_score/item/0
      map item 1        05-28 20:26:44.000000  05-28 20:26:45.000000   1.000000s    33%  task/shop.map_score/item/1
      map item 2        05-28 20:26:45.000000  05-28 20:26:46.000000   1.000000s    33%  task/shop.map_score/item/2
  task shop.train       05-28 20:26:46.000000  05-28 20:26:49.500000   3.500000s    35%  task/shop.train             failure
    input translation   05-28 20:26:46.000000  05-28 20:26:46.350000   0.350000s    10%  task/shop.train
    user code           05-28 20:26:46.350000  05-28 20:26:49.150000   2.800000s    80%  task/shop.train             failure; ValueError: loss is not finite; /code/pipelines/train.py:42 in fit\
""")  # noqa: E501

    def test_an_execution_with_attempts_and_a_summarised_map(self, execution: Path) -> None:
        assert ExecutionTree.from_file(execution).explain() == snapshot("""\
operation                 start (UTC)            end (UTC)                 duration  share  entity              notes
---------------------------------------------------------------------------------------------------------------------
execution f1c0ffee        05-28 20:26:40.000000  05-28 20:28:28.000000  108.000000s         execution/f1c0ffee  failure; shop/production; parents not recorded
  task train.prepare      05-28 20:26:40.000000  05-28 20:26:50.000000   10.000000s     9%  node/n0/task/0      n0
    input translation     05-28 20:26:40.000000  05-28 20:26:41.000000    1.000000s    10%  node/n0/task/0
    user code             05-28 20:26:41.000000  05-28 20:26:49.000000    8.000000s    80%  node/n0/task/0
    output translation    05-28 20:26:49.000000  05-28 20:26:50.000000    1.000000s    10%  node/n0/task/0
  task train.fit          05-28 20:26:52.000000  05-28 20:28:20.000000   83.000000s         node/n1             n1; 2 attempts; wall 1 min 23 s; sum 1 min 23 s
    attempt 0             05-28 20:26:52.000000  05-28 20:27:20.000000   28.000000s    34%  node/n1/task/0      failure; USER:Recoverable, recoverable
      input translation   05-28 20:26:52.000000  05-28 20:26:54.800000    2.800000s    10%  node/n1/task/0
      user code           05-28 20:26:54.800000  05-28 20:27:17.200000   22.400000s    80%  node/n1/task/0      failure; ValueError: loss is not finite; /code/pipelines/train.py:42 in fit
    attempt 1             05-28 20:27:25.000000  05-28 20:28:20.000000   55.000000s    66%  node/n1/task/1
      input translation   05-28 20:27:25.000000  05-28 20:27:30.500000    5.500000s    10%  node/n1/task/1
      user code           05-28 20:27:30.500000  05-28 20:28:14.500000   44.000000s    80%  node/n1/task/1
      output translation  05-28 20:28:14.500000  05-28 20:28:20.000000    5.500000s    10%  node/n1/task/1
  task train.score        05-28 20:28:20.000000  05-28 20:28:28.000000  145.000000s         node/n2             failure; 30 items; wall 8.00 s; 1 failure (1 KeyError); median 5.00 s; slowest 8.00 s; 6 shown; n2; sum 2 min 25 s
    map item 7            05-28 20:28:20.000000  05-28 20:28:22.000000    2.000000s     1%  node/n2/n7/task/0   failure
      input translation   05-28 20:28:20.000000  05-28 20:28:20.200000    0.200000s    10%  node/n2/n7/task/0
      user code           05-28 20:28:20.200000  05-28 20:28:21.800000    1.600000s    80%  node/n2/n7/task/0   failure; KeyError: 'label'; /code/pipelines/train.py:42 in fit
    map item 6            05-28 20:28:20.000000  05-28 20:28:28.000000    8.000000s     6%  node/n2/n6/task/0
      input translation   05-28 20:28:20.000000  05-28 20:28:20.800000    0.800000s    10%  node/n2/n6/task/0
      user code           05-28 20:28:20.800000  05-28 20:28:27.200000    6.400000s    80%  node/n2/n6/task/0
      output translation  05-28 20:28:27.200000  05-28 20:28:28.000000    0.800000s    10%  node/n2/n6/task/0
    map item 13           05-28 20:28:20.000000  05-28 20:28:28.000000    8.000000s     6%  node/n2/n13/task/0
      input translation   05-28 20:28:20.000000  05-28 20:28:20.800000    0.800000s    10%  node/n2/n13/task/0
      user code           05-28 20:28:20.800000  05-28 20:28:27.200000    6.400000s    80%  node/n2/n13/task/0
      output translation  05-28 20:28:27.200000  05-28 20:28:28.000000    0.800000s    10%  node/n2/n13/task/0
    map item 20           05-28 20:28:20.000000  05-28 20:28:28.000000    8.000000s     6%  node/n2/n20/task/0
      input translation   05-28 20:28:20.000000  05-28 20:28:20.800000    0.800000s    10%  node/n2/n20/task/0
      user code           05-28 20:28:20.800000  05-28 20:28:27.200000    6.400000s    80%  node/n2/n20/task/0
      output translation  05-28 20:28:27.200000  05-28 20:28:28.000000    0.800000s    10%  node/n2/n20/task/0
    map item 27           05-28 20:28:20.000000  05-28 20:28:28.000000    8.000000s     6%  node/n2/n27/task/0
      input translation   05-28 20:28:20.000000  05-28 20:28:20.800000    0.800000s    10%  node/n2/n27/task/0
      user code           05-28 20:28:20.800000  05-28 20:28:27.200000    6.400000s    80%  node/n2/n27/task/0
      output translation  05-28 20:28:27.200000  05-28 20:28:28.000000    0.800000s    10%  node/n2/n27/task/0
    map item 5            05-28 20:28:20.000000  05-28 20:28:27.000000    7.000000s     5%  node/n2/n5/task/0
      input translation   05-28 20:28:20.000000  05-28 20:28:20.700000    0.700000s    10%  node/n2/n5/task/0
      user code           05-28 20:28:20.700000  05-28 20:28:26.300000    5.600000s    80%  node/n2/n5/task/0
      output translation  05-28 20:28:26.300000  05-28 20:28:27.000000    0.700000s    10%  node/n2/n5/task/0\
""")  # noqa: E501

    def test_control_sequences_of_terminals_are_replaced(self) -> None:
        explained = ExecutionTree.from_spans([plain("a\x1b[31m\n\ud800", ROOT)]).explain()
        assert "a�[31m��" in explained
        explained.encode()

    def test_remarks_come_last(self, local_run: Path) -> None:
        with local_run.open("a") as file:
            file.write('{"resource')
        assert ExecutionTree.from_file(local_run).explain().splitlines()[-1].startswith("note: ")


class TestDump:
    def test_a_local_run(self, local_run: Path) -> None:
        assert ExecutionTree.from_file(local_run).dump() == snapshot("""\
shop.main:
  trace_id: a0000000000000000000000000000001
  start: '2026-05-28T20:26:40+00:00'
  end: '2026-05-28T20:26:50+00:00'
  duration: 10.0
  result: failure
  attributes:
    flyte.workflow_name: shop.main
    error.type: ValueError
  resource:
    service.name: flyte
  breakdown:
    input translation: 0.352
    user code: 8.198
    output translation: 0.1
  nodes:
    shop.fetch:
      breakdown:
        input translation: 0.002
        user code: 2.398
        output translation: 0.1
      task_attempts:
        0:
          start: '2026-05-28T20:26:40.500000+00:00'
          end: '2026-05-28T20:26:43+00:00'
          duration: 2.5
          result: success
          attributes:
            flyte.cache.status: miss
          breakdown:
            input translation: 0.002
            user code: 2.398
            output translation: 0.1
          phases:
            input translation:
              start: '2026-05-28T20:26:40.500000+00:00'
              end: '2026-05-28T20:26:40.502000+00:00'
              duration: 0.002
              result: success
            user code:
              start: '2026-05-28T20:26:40.502000+00:00'
              end: '2026-05-28T20:26:42.900000+00:00'
              duration: 2.398
              result: success
              spans:
              - name: GET /reviews
                start: '2026-05-28T20:26:41+00:00'
                end: '2026-05-28T20:26:42+00:00'
                duration: 1.0
                result: success
                attributes:
                  http.response.status_code: 200
            output translation:
              start: '2026-05-28T20:26:42.900000+00:00'
              end: '2026-05-28T20:26:43+00:00'
              duration: 0.1
              result: success
    shop.fetch (2):
      breakdown: {}
      task_attempts:
        0:
          start: '2026-05-28T20:26:43+00:00'
          end: '2026-05-28T20:26:43.001000+00:00'
          duration: 0.001
          result: success
          attributes:
            flyte.cache.status: hit
          breakdown: {}
    shop.map_score_0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f-arraynode:
      breakdown:
        user code: 3.0
      task_attempts:
        0:
          start: '2026-05-28T20:26:43+00:00'
          end: '2026-05-28T20:26:46+00:00'
          duration: 3.0
          result: success
          attributes:
            flyte.task.kind: map
          breakdown:
            user code: 3.0
          phases:
            user code:
              start: '2026-05-28T20:26:43+00:00'
              end: '2026-05-28T20:26:46+00:00'
              duration: 3.0
              result: success
              items:
                0:
                  start: '2026-05-28T20:26:43+00:00'
                  end: '2026-05-28T20:26:44+00:00'
                  duration: 1.0
                  result: success
                  attributes:
                    flyte.array_index: 0
                1:
                  start: '2026-05-28T20:26:44+00:00'
                  end: '2026-05-28T20:26:45+00:00'
                  duration: 1.0
                  result: success
                  attributes:
                    flyte.array_index: 1
                2:
                  start: '2026-05-28T20:26:45+00:00'
                  end: '2026-05-28T20:26:46+00:00'
                  duration: 1.0
                  result: success
                  attributes:
                    flyte.array_index: 2
    shop.train:
      breakdown:
        input translation: 0.35
        user code: 2.8
      task_attempts:
        0:
          start: '2026-05-28T20:26:46+00:00'
          end: '2026-05-28T20:26:49.500000+00:00'
          duration: 3.5
          result: failure
          attributes:
            error.type: ValueError
          breakdown:
            input translation: 0.35
            user code: 2.8
          phases:
            input translation:
              start: '2026-05-28T20:26:46+00:00'
              end: '2026-05-28T20:26:46.350000+00:00'
              duration: 0.35
              result: success
            user code:
              start: '2026-05-28T20:26:46.350000+00:00'
              end: '2026-05-28T20:26:49.150000+00:00'
              duration: 2.8
              result: failure
              error:
                type: ValueError
                message: loss is not finite
                stacktrace: |
                  Traceback (most recent call last):
                    File "/usr/lib/python3.11/site-packages/flytekit/core/utils.py", line 312, in wrapper
                      return fn(*args, **kwargs)
                    File "/code/pipelines/train.py", line 42, in fit
                      raise ValueError("loss is not finite")
                  ValueError: loss is not finite
              attributes:
                error.type: ValueError
""")

    def test_an_execution_has_the_structure_of_flytekits_own_dump(self, execution: Path) -> None:
        (whole,) = yaml.safe_load(ExecutionTree.from_file(execution).dump()).values()
        assert whole["nodes"]["n1"]["breakdown"] == {
            "input translation": 8.3,
            "user code": 66.4,
            "output translation": 5.5,
        }
        assert {number: attempt["result"] for number, attempt in whole["nodes"]["n1"]["task_attempts"].items()} == {
            0: "failure",
            1: "success",
        }
        assert len(whole["nodes"]) == 32

    def test_a_breakdown_counts_all_time_once(self) -> None:
        spans = [
            plain("task outer", "01" * 8, start=0, end=10),
            plain("user code", "02" * 8, "01" * 8, start=0, end=10),
            plain("task inner", "03" * 8, "02" * 8, start=2, end=6),
            plain("user code", "04" * 8, "03" * 8, start=2, end=5),
            plain("task parallel", "05" * 8, "02" * 8, start=4, end=8),
            plain("user code", "06" * 8, "05" * 8, start=4, end=8),
        ]
        (whole,) = yaml.safe_load(ExecutionTree.from_spans(spans).dump()).values()
        assert whole["breakdown"] == {"user code": 4 + 3 + 4}

    def test_runs_of_the_same_name_have_different_keys(self) -> None:
        other = Span("cd" * 16, ROOT, None, "task t", 5, 6, scope=model.Scope(semconv.SCOPE))
        tree = ExecutionTree.from_spans([other, plain("task t", ROOT, start=1)])
        assert list(yaml.safe_load(tree.dump())) == ["t", "t (2)"]


class TestCells:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 µs"),
            (4.12e-4, "412 µs"),
            (9.996e-4, "1.00 ms"),
            (0.0034, "3.40 ms"),
            (0.4999, "500 ms"),
            (0.99949, "999 ms"),
            (0.9996, "1.00 s"),
            (12.34, "12.3 s"),
            (59.96, "1 min 00 s"),
            (123, "2 min 03 s"),
            (3599.9, "1 h 00 min"),
            (3900, "1 h 05 min"),
            (360000, "100 h 00 min"),
        ],
    )
    def test_a_duration_has_a_suitable_unit(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    def test_a_text_is_cut_by_cells_instead_of_characters(self) -> None:
        assert [width(text) for text in ("abc", "日本", "e\u0301")] == [3, 4, 1]
        assert [cut("日本語", cells) for cells in (6, 5, 4, 1, 0)] == ["日本語", "日本…", "日…", "…", ""]

    def test_control_characters_are_replaced(self) -> None:
        assert printable("a\tb\x1b\x00") == "a�b��"
