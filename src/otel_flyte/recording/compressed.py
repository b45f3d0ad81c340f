"""Decompress files: gzip by Python's own module, zstd by the package ``zstandard`` where it is installed."""

import io
import zlib
from importlib import import_module

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_SIZE = 4
"""Bytes before each object that OpenTelemetry's collector compresses by itself."""


class DecompressionError(Exception):
    """A file can't be decompressed. The message continues the file's name."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


def decompressed(content: bytes) -> bytes:
    """Return the content of a file, decompressed where it is; of a file that is cut off, what there is of it.

    Raises:
        DecompressionError: it is broken, or nothing here can decompress it.
    """
    if content.startswith(_GZIP):
        return _from_gzip(content)
    if content.startswith(_ZSTD):
        return _from_zstd(content)
    if content[_SIZE:].startswith(_ZSTD):
        return b"\n".join(map(_from_zstd, _objects(content)))
    return content


def _from_gzip(content: bytes) -> bytes:
    parts = []
    while content.startswith(_GZIP):
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            parts += [member.decompress(content), member.flush()]
        except zlib.error as error:
            raise DecompressionError(f"is no valid gzip file ({error})", "copy it again") from None
        content = member.unused_data
    return b"".join(parts)


def _from_zstd(content: bytes) -> bytes:
    try:
        zstandard = import_module("zstandard")
    except ImportError:
        remedy = "install the package zstandard, or decompress it by `zstd -d`"
        raise DecompressionError("is compressed by zstd", remedy) from None
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True) as reader:
            found: bytes = reader.read()
    except zstandard.ZstdError as error:
        raise DecompressionError(f"is no valid zstd file ({error})", "copy it again") from None
    return found


def _objects(content: bytes) -> list[bytes]:
    """Return the compressed objects of a file of the collector, each after its size."""
    objects = []
    while content:
        end = _SIZE + int.from_bytes(content[:_SIZE], "big")
        objects.append(content[_SIZE:end])
        content = content[end:]
    return objects
