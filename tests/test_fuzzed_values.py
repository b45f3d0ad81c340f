"""Values that other programs hand over: variables, headers, spool files, and the messages of another process."""

import json
import os
import signal
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_flyte import semconv
from otel_flyte.config import endpoints, standard
from otel_flyte.config import settings as ours
from otel_flyte.export import otlp_json, otlp_requests
from otel_flyte.export.grpc_transport import _metadata
from otel_flyte.export.spool import files as spool
from otel_flyte.export.spool import replay
from otel_flyte.export.target import Target
from otel_flyte.supervisor import listener, protocol
from test_fuzzed_files import DOCUMENT, anything, changed, places

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

few = settings(max_examples=100, deadline=None, database=None)

# --- variables ---

NAMES = sorted(
    {
        *standard.VARIABLES,
        *(value for name, value in vars(semconv).items() if name.startswith("OTEL_FLYTE_")),
        *(semconv.ENDPOINT, semconv.PROTOCOL, semconv.SAMPLER_ARG, semconv.SDK_DISABLED),
        *(
            pattern.format(signal=signal.upper())
            for signal in endpoints.SIGNALS
            for pattern in (semconv.EXPORTER, semconv.SIGNAL_ENDPOINT, semconv.SIGNAL_PROTOCOL)
        ),
    }
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=16)
values = texts | st.sampled_from(
    [
        *("", " ", ",", ", ,", "*", "none", "true", "0", "-1", "1e400", "nan", "inf", "9" * 5000, "٣", "1_0", "²"),
        *("grpc", "http/protobuf", "otlp", "otlp,console", "tracecontext, ,baggage", "otel,*", "always_off"),
        *("http://h", "https://[::1]:4317", "http://[", "http://h:99999", "grpcs://h", "h:4317", "http://u:p@h/%zz"),
        *("traceidratio", "a=b,c", "a=%00", "a=%E2%82%AC", "a-bin=%ff", "=,=", "/", "\udcff"),
    ]
)
environments = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)


@few
@given(environ=environments)
def test_any_variables_are_used_or_reported_in_one_line(environ: dict[str, str]) -> None:
    for name, line in standard.unusable(environ).items():
        assert line.startswith(name)
    usable = standard.usable(environ)
    assert standard.unusable(usable) == {}
    assert "\n" not in standard.sampled_out(environ)
    for batch in semconv.BATCHES:
        assert standard.number(usable, semconv.BATCH_QUEUE.format(batch=batch)) >= 1
    for name in standard._LIMITS:
        limit = standard.limit(usable, name)
        assert limit is None or limit >= 0
    read = ours.read(environ)
    assert 0 <= read.exit_timeout <= ours.LONGEST_EXIT_SECONDS
    assert 0 <= read.sample_interval <= ours.LONGEST_INTERVAL_SECONDS
    assert read.map_nested >= 0
    ours.switched_off_by(environ)
    for each in endpoints.SIGNALS:
        plan = endpoints.plan(each, environ)
        target = Target.of(plan, usable)
        assert target.address
        assert target.timeout > 0


@few
@given(headers=values, protocol=st.sampled_from(["grpc", "http/protobuf"]))
def test_any_headers_can_be_sent_or_are_reported(headers: str, protocol: str) -> None:
    environ = {semconv.ENDPOINT: "http://localhost:1", semconv.PROTOCOL: protocol, semconv.HEADERS: headers}
    usable = standard.usable(environ)
    target = Target.of(endpoints.plan("traces", usable), usable)
    connection = HTTPConnection("localhost")
    connection.putrequest("POST", "/")
    for name, value in target.headers.items():
        if protocol == "grpc":
            metadata = _metadata(name, value)
            assert isinstance(metadata[1], bytes) or metadata[1].isascii()
        else:
            connection.putheader(name, value.encode().decode("latin-1"))


# --- spool files ---

lines = st.builds(
    lambda path, new: json.dumps(changed(DOCUMENT, path, new)).encode(), st.sampled_from(places(DOCUMENT)), anything
)


@few
@given(line=lines | st.binary(max_size=40), notes=st.binary(max_size=45) | st.integers().map(lambda n: b"%020d" % n))
def test_any_line_of_a_spool_file_is_a_request_or_is_reported(line: bytes, notes: bytes) -> None:
    with suppress(ValueError):
        _, request = otlp_json.request_of(line)
        assert otlp_requests.count(request) >= 0
        assert otlp_json.request_of(otlp_json.line_of(request))[1] == request
    with TemporaryDirectory() as folder:
        for name in ("a.spool.jsonl", "b.jsonl", "c.rejected.jsonl"):
            path = Path(folder) / name
            path.write_bytes(line + b"\n" + line)
            spool.sent_path(path).write_bytes(notes)
            assert replay.untouched(path).left >= 0
            with spool.Held(path) as held:
                progress = replay.Progress(path)
                for number, content, _ in replay._lines(held.descriptor, held.acknowledged):
                    try:
                        replay._request(number, content, progress)
                    except replay._Skipped as skipped:
                        progress.problems.append(str(skipped))
                assert all("\n" not in problem for problem in progress.problems)
        assert replay.rejected_records(Path(folder)) >= 0


# --- messages of another process ---

pieces = st.lists(
    st.sampled_from([b"\n", b"aaaaaaaa.", b"aaaaaaaa+", b"span ", b"done ", b"pump ", b"over ", b" "])
    | st.binary(max_size=12),
    max_size=12,
).map(b"".join)


@few
@given(data=pieces, cut=st.integers(0, 40))
def test_any_message_to_the_supervisor_is_read(data: bytes, cut: int) -> None:
    whole, parts = protocol.Messages(), protocol.Messages()
    assert list(whole.feed(data)) == [*parts.feed(data[:cut]), *parts.feed(data[cut:])]
    # Each write sends it to this process.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    heard = listener.Listener()
    try:
        os.write(heard._writer, data)
        heard.listen()
    finally:
        os.close(heard._reader)
        os.close(heard._writer)
        signal.signal(signal.SIGIO, before)
