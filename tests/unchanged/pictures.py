"""A picture of a run: everything that a pod leaves behind, but for parts that differ between any two runs."""

import re
from pathlib import Path
from typing import Any

from flyteidl.core import dynamic_job_pb2, errors_pb2, literals_pb2
from google.protobuf import text_format

from support import pods
from support.receiver import Receiver
from unchanged.cases import Case

Picture = dict[str, Any]

TIME_OF_A_LOG_LINE = re.compile(r'(?<="asctime": ")[^"]+')
# flytekit's JSON lines gain the ids of their span; `test_logs.py` tests them.
IDS_OF_A_LOG_LINE = re.compile(r', "trace_id": "[0-9a-f]{32}", "span_id": "[0-9a-f]{16}"(?=})')
# The deck that otel-flyte adds; `test_deck.py` tests it.
OWN_DECK = re.compile(
    r"<li onclick=\"handleLinkClick\(this\)\">Telemetry</li>|<div><!-- otel-flyte -->.*?<!-- /otel-flyte --></div>",
    re.DOTALL,
)
TIME_IN_A_DECK = re.compile(r"(?<=<td>)\d+\.\d{6}(?=</td>)")
TEMPORARY_FOLDER = re.compile(r"(?<=/tmp/)(flyte-?|tmp)\w{8}")
LOCAL_FOLDER_OF_A_PROCESS = re.compile(r"(?<=local_flytekit/)[0-9a-f]{32}")
# The line depends on a race between a future's result and the thread that waits for it.
LINE_OF_A_RACE = re.compile(r'(?<=futures/_base\.py)(\\*", line )\d+(?=, in result)')
# A traceback in a log may show frames of otel-flyte; files in the bucket may not.
OWN_FRAME = re.compile(r'^( *)File "[^"\n]*/otel_flyte/[^"\n]*", line .*\n(?:\1  .*\n)*', re.MULTILINE)
CHANGING = (TIME_OF_A_LOG_LINE, TIME_IN_A_DECK, TEMPORARY_FOLDER, LOCAL_FOLDER_OF_A_PROCESS, LINE_OF_A_RACE)

MESSAGES: dict[str, Any] = {
    "outputs.pb": literals_pb2.LiteralMap,
    "futures.pb": dynamic_job_pb2.DynamicJobSpec,
    "error.pb": errors_pb2.ErrorDocument,
    "o0_offloaded_metadata.pb": literals_pb2.Literal,
}


def picture(result: pods.Result, root: Path) -> Picture:
    return {
        "exit code": result.returncode,
        "stdout": normalised(result.stdout, root),
        "stderr": OWN_FRAME.sub("", unescaped(normalised(result.stderr, root))),
        "files": {name: normalised(readable(name, content), root) for name, content in result.files.items()},
        "raw files": result.raw_files,
    }


def readable(name: str, content: bytes) -> str:
    """Return the whole content as text: protobuf orders maps differently in each process."""
    if name not in MESSAGES:
        return content.decode()
    message = MESSAGES[name].FromString(content)
    if isinstance(message, errors_pb2.ErrorDocument):
        message.error.ClearField("timestamp")
    return text_format.MessageToString(message, as_utf8=True, print_unknown_fields=True)


def unescaped(log: str) -> str:
    """Return a log of JSON lines with real line breaks and quotes."""
    return log.replace("\\n", "\n").replace('\\"', '"')


def normalised(text: str, root: Path) -> str:
    text = IDS_OF_A_LOG_LINE.sub("", text.replace(str(root), "(root)"))
    text = OWN_DECK.sub("", text)
    for changing in CHANGING:
        text = changing.sub("(changes)", text)
    return text


def assert_ends_as_known(case: Case, bare: Picture) -> None:
    assert (bare["exit code"], bare["files"].keys()) == (case.exit_code, case.leaves), bare
    if case.error:
        message = text_format.Parse(bare["files"]["error.pb"], errors_pb2.ErrorDocument()).error.message
        assert case.error in message


def task_spans(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.spans() if span.name.startswith("task ")]


def strings(result: pods.Result) -> list[str]:
    """Return the list of strings that a task returned."""
    assert result.outputs is not None, result.stderr
    return [item.scalar.primitive.string_value for item in result.outputs.literals["o0"].collection.literals]
