"""Read files of OTLP JSON (https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/).

Each line is an object of OTLP JSON. A file of objects that take several lines is read too, and so are arrays of them
and compressed files.
"""

import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from otel_flyte.recording.compressed import DecompressionError, decompressed
from otel_flyte.recording.model import Recording, Span
from otel_flyte.recording.otlp_json import LOGS, METRICS, SPANS, Fault, parse, signals

_SIGNALS = {SPANS: "spans", LOGS: "logs", METRICS: "metrics"}
_REJECTED = ".rejected.jsonl"
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_BETWEEN = re.compile(r"[ \t\r\n]*")
_OTHER_FILE = "use a file written by otel-flyte or an OTLP file exporter"
_JSON_TYPES = {"NoneType": "null", "list": "an array", "str": "a string", "bool": "a boolean"}


class UnreadableError(Exception):
    """A file that can't be read as OTLP, or lacks required data. Its message is one line: problem, then remedy."""

    def __init__(self, problem: str, remedy: str = _OTHER_FILE) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem

    def ignored(self, part: str) -> str:
        """Return the line for a part, a file or a line, that is left out while others are shown."""
        return f"{self.problem}: the {part} is ignored"


def read(*paths: str | os.PathLike[str], required: Collection[str] = ("spans",)) -> Recording:
    """Read files, and of each folder its ``*.jsonl`` files, also compressed, but those of rejected records.

    Args:
        paths: files and folders.
        required: fields of :class:`Recording` of which one must not be empty. Where none is required, a recording
            without a span has a remark.

    Raises:
        UnreadableError: a file is missing or not OTLP, or all required fields are empty.
    """
    files = [file for path in map(Path, paths) for file in (_read_folder(path) if _is_folder(path) else [_read(path)])]
    # The parts of a file are joined already.
    recording = files[0][0] if len(files) == 1 else _joined([part for part, _ in files])
    if recording.spans or any(getattr(recording, name) for name in required):
        return recording
    error = next(error for _, error in files if error)
    if required:
        raise error
    others = (remark for remark in recording.remarks if not remark.startswith(error.problem))
    return replace(recording, remarks=(*others, str(error)))


def check_first_line(path: Path) -> None:
    """Check that the first line of a file, if it has one, is OTLP.

    Raises:
        UnreadableError: it is not.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        line = next((line for line in file if line.strip()), b"")
    if line:
        _check_shape(_whole(line, path), path, 1)


def unreadable(path: str | os.PathLike[str], error: OSError) -> UnreadableError:
    """Return the error for a path that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return UnreadableError(f"{path} does not exist", "check the path")
    return UnreadableError(f"{path} can't be read ({error.strerror or error})", "check the path and its permissions")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from None


def _read_folder(folder: Path) -> list[tuple[Recording, UnreadableError | None]]:
    """Read each file that can be read: a broken file must not hide the others of its folder."""
    try:
        # `Path.glob` returns nothing for a folder that can't be read.
        files = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES) and not path.is_fifo())
    except OSError as error:
        raise unreadable(folder, error) from None
    files = [path for path in files if not path.name.endswith(_REJECTED)]
    if not files:
        raise UnreadableError(f"{folder} is a folder without a *.jsonl file", "name the file with the trace")
    recordings: list[tuple[Recording, UnreadableError | None]] = []
    for file in files:
        try:
            recordings.append(_read(file))
        except UnreadableError as error:
            recordings.append((Recording(remarks=(error.ignored("file"),)), error))
    return recordings


def _read(path: Path) -> tuple[Recording, UnreadableError | None]:
    """Return the records of a file, and the reason for which it has no span, ``None`` where it has one.

    Raises:
        UnreadableError: no line is OTLP.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        content = decompressed(content)
    except DecompressionError as error:
        raise UnreadableError(f"{path} {error}", error.remedy) from None
    if not content or content.isspace():
        empty = UnreadableError(
            f"{path} is empty, its process has ended no span yet",
            "read it again later, or record it again",
        )
        return Recording(remarks=(empty.ignored("file"),)), empty
    parts: list[Recording] = []
    others: set[str] = set()
    faults: list[tuple[int, Fault]] = []
    errors: dict[int, UnreadableError] = {}
    for number, document in _documents(content, path, errors):
        try:
            part, found = _parse(document, path, number)
        except UnreadableError as error:
            errors[number] = error
            continue
        parts.append(part)
        faults += [(number, fault) for fault in found]
        if not part.spans:
            others |= {name for key, name in _SIGNALS.items() if key in (signals(document) or ()) and key != SPANS}
    in_order = [errors[number] for number in sorted(errors)]
    if not parts:
        raise in_order[0]
    remarks = (*(error.ignored("line") for error in in_order), *_remarks(faults, path))
    recording = replace(_joined(parts), remarks=remarks)
    if recording.spans:
        return recording, None
    only = f", only {' and '.join(sorted(others))}" if others else ""
    no_span = UnreadableError(f"{path} holds no span{only}", "name the file with the traces")
    return recording, next(iter(in_order), no_span)


def _documents(content: bytes, path: Path, errors: dict[int, UnreadableError]) -> Iterator[tuple[int, Any]]:
    """Return the parsed lines by number, one after the other, and add an error for each line that is not JSON.

    Where the first line is not JSON, the content may be objects of several lines. The items of an array have its line.
    """
    lines = _of_lines(content, path, errors)
    first = next(lines, None)
    if errors:
        yield from _of_a_broken_file(content, path, [first, *lines] if first else [], errors)
    elif first:
        yield first
        yield from lines


def _of_lines(content: bytes, path: Path, errors: dict[int, UnreadableError]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(io.BytesIO(content), 1):
        if line.isspace():
            continue
        try:
            document = json.loads(line.removesuffix(b"\n"))
        except (ValueError, RecursionError) as error:
            is_last = number == content.rstrip().count(b"\n") + 1
            problem = "incomplete because its writer was interrupted" if is_last else f"not JSON ({error})"
            errors[number] = UnreadableError(f"{path}, line {number} is {problem}")
            continue
        for item in _items(document):
            yield number, item


def _of_a_broken_file(
    content: bytes, path: Path, documents: list[tuple[int, Any]], errors: dict[int, UnreadableError]
) -> list[tuple[int, Any]]:
    """Return the objects of a file whose first line is not JSON, from its lines where these have more."""
    several, broken = _of_several_lines(content, path)
    if (broken is None and several) or any(signals(document) is not None for _, document in several):
        errors.clear()
        if broken:
            errors[content.rstrip().count(b"\n") + 1] = broken
        return several
    if not any(signals(document) is not None for _, document in documents):
        raise broken or errors[min(errors)]
    return documents


def _items(document: Any) -> list[Any]:
    """Return the items of an array of OTLP, and any other document as the only one."""
    is_array = isinstance(document, list) and any(signals(item) is not None for item in document)
    return document if is_array else [document]


def _of_several_lines(content: bytes, path: Path) -> tuple[list[tuple[int, Any]], UnreadableError | None]:
    """Return objects that take several lines by the number of their first line, and the error that ends them."""
    documents: list[tuple[int, Any]] = []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return [], UnreadableError(f"{path} is not text, it may be compressed or protobuf")
    decoder = json.JSONDecoder()
    begin = at = 0
    number = 1
    while (at := _BETWEEN.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        number += text.count("\n", begin, at)
        begin = at
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            return documents, UnreadableError(f"{path}, line {error.lineno} is not JSON ({error.msg})")
        except (ValueError, RecursionError):
            return documents, UnreadableError(f"{path} is JSON that is nested too deeply for OTLP")
        documents += [(number, item) for item in _items(document)]
    return documents, None


def _whole(content: bytes, path: Path) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        problem = f"{path}, line {error.lineno} is not JSON ({error.msg})"
    except UnicodeDecodeError:
        problem = f"{path} is not text, it may be compressed or protobuf"
    except RecursionError:
        problem = f"{path} is JSON that is nested too deeply for OTLP"
    raise UnreadableError(problem)


def _parse(document: Any, path: Path, number: int) -> tuple[Recording, list[Fault]]:
    """Return the records of a document, and the parts of it that can't be read.

    Raises:
        UnreadableError: no part of it can be read.
    """
    _check_shape(document, path, number)
    faults: list[Fault] = []
    recording = parse(document, faults)
    if faults and not (recording.spans or recording.logs or recording.points):
        raise UnreadableError(f"{path}, line {number} is not OTLP JSON ({faults[0].reason})")
    return recording, faults


def _remarks(faults: Iterable[tuple[int, Fault]], path: Path) -> Iterator[str]:
    """Return a line for the faults of each part: another program's file has the same fault in each record."""
    by_part: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for number, fault in faults:
        by_part[fault.part].append((number, fault.reason))
    for part, found in by_part.items():
        number, reason = found[0]
        article = "an" if part[0] in "aeiou" else "a"
        others = f", and {len(found) - 1} more" if len(found) > 1 else ""
        problem = UnreadableError(f"{path}, line {number} has {article} {part} that is not OTLP JSON ({reason})")
        yield f"{problem.ignored(part)}{others}"


def _check_shape(document: Any, path: Path, number: int) -> None:
    if signals(document) is not None:
        return
    if isinstance(document, dict):
        found = f"an object with {', '.join(list(document)[:3])[:60]}, no {SPANS}"
    else:
        found = f"{_JSON_TYPES.get(type(document).__name__, 'a number')} instead of an object with {SPANS}"
    raise UnreadableError(f"{path}, line {number} is JSON but not OTLP ({found})")


def _joined(parts: Sequence[Recording]) -> Recording:
    """Join recordings. A span that an exporter wrote again, in a retry, is kept once; a record with an end wins."""
    spans: dict[tuple[str, str], Span] = {}
    for part in parts:
        for span in part.spans:
            kept = spans.setdefault((span.trace_id, span.span_id), span)
            if kept.end_ns is None and span.end_ns is not None:
                spans[span.trace_id, span.span_id] = span
    return Recording(
        tuple(spans.values()),
        tuple(chain.from_iterable(part.logs for part in parts)),
        tuple(chain.from_iterable(part.points for part in parts)),
        tuple(chain.from_iterable(part.remarks for part in parts)),
    )
