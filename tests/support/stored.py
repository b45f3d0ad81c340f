"""Literals of stored data for the inputs of tasks, and a web server for the data."""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flyteidl.core import literals_pb2, types_pb2

from support import pods

Literal = Any
"""A ``flyteidl.core.literals_pb2.Literal``."""


def inputs(**literals: Literal) -> bytes:
    content: bytes = literals_pb2.LiteralMap(literals=literals).SerializeToString(deterministic=True)
    return content


def stored(uri: str, *, folder: bool = False, kind: str = "") -> Literal:
    """Return a file, a folder or a pickle at ``uri``; ``kind`` is flytekit's name of its format."""
    blob_type = types_pb2.BlobType(format=kind, dimensionality=int(folder))
    blob = literals_pb2.Blob(uri=uri, metadata=literals_pb2.BlobMetadata(type=blob_type))
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=blob))


def several(*literals: Literal) -> Literal:
    return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=literals))


def by_name(**literals: Literal) -> Literal:
    return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=literals))


def raw_output(attempt: str, *, execution: str = pods.Attempt().execution) -> str:
    """Return the path of an attempt's data; ``attempt`` is a unique node id and a number, such as ``n0-0-n3-1``."""
    return f"s3://bucket/data/k7/{execution}-{attempt}/0123456789abcdef/x.txt"


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder, and yield the address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the base class
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
