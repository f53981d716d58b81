"""Files that come packed: ``x.csv.gz``, ``x.csv.zip`` or ``x.zip``, unpacked as a stream, never to disk."""

from __future__ import annotations

import gzip
import io
import re
import stat
import zipfile
import zlib
from typing import BinaryIO, cast

from peel.feeds.readers.table import UnreadableFile
from peel.sources.streams import BUFFER

EXPANDED_LIMIT = 4 << 30
"""Bytes that a packed file may expand to."""
RATIO_LIMIT = 200
"""How many times its packed size it may expand to, after the first :data:`RATIO_FREE` bytes."""
RATIO_FREE = 10 << 20
IN_MEMORY_LIMIT = 64 << 20
"""Packed bytes of a zip that is taken into memory because its stream cannot seek."""

_PLAIN_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_. ()+-]{0,200}$")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40


def unpacked(stream: BinaryIO, file_name: str) -> BinaryIO:
    """The bytes of a file as they were before it was packed; of a file that is not packed, the stream itself.

    A gzip is unpacked as it comes. A zip, whose table of contents is at its end, is read in place where the
    stream can seek, and otherwise taken into memory, up to 64 MiB. Whoever checks the packed bytes'
    sha256 gives a stream that hashes as it is read, and reads it to its end afterwards.

    Args:
        stream: the packed bytes; closed with the stream returned.
        file_name: the name that says how they are packed.

    Raises:
        UnreadableFile: rule ``archive_layout`` (a zip with anything but one plain member), ``archive_expands``
            (too much comes out) or ``archive_damaged``; the latter two also while reading.
    """
    name = file_name.lower()
    if name.endswith(".gz"):
        counted = _Counted(stream)
        return _buffered(gzip.GzipFile(fileobj=cast(BinaryIO, counted), mode="rb"), counted, stream)
    if name.endswith(".zip"):
        return _zip_member(stream)
    return stream


def _zip_member(stream: BinaryIO) -> BinaryIO:
    packed = stream if stream.seekable() else io.BytesIO(_into_memory(stream))
    counted = _Counted(packed)
    try:
        archive = zipfile.ZipFile(cast(BinaryIO, counted))
        members = archive.infolist()
    except _DAMAGE:
        raise _damaged() from None
    if len(members) != 1:
        raise UnreadableFile("archive_layout", "the archive does not hold exactly one file.", len(members))
    (member,) = members
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        raise UnreadableFile("archive_layout", "the archive's member is no plain file.")
    if member.orig_filename != member.filename or not _PLAIN_NAME.match(member.filename) or ".." in member.filename:
        raise UnreadableFile("archive_layout", "the archive's member has no plain name.")
    if member.flag_bits & _ENCRYPTED:
        raise UnreadableFile("archive_layout", "the archive is encrypted.")
    if member.compress_type not in _METHODS:
        raise UnreadableFile("archive_layout", "the archive is packed by another method than deflate.")
    if member.file_size > EXPANDED_LIMIT:
        raise _expands()
    counted.count = 0  # the table of contents is no part of the packed file
    try:
        opened = archive.open(member)
    except _DAMAGE:
        raise _damaged() from None
    return _buffered(opened, counted, stream, archive)


def _into_memory(stream: BinaryIO) -> bytes:
    blocks, size = [], 0
    while block := stream.read(BUFFER):
        size += len(block)
        if size > IN_MEMORY_LIMIT:
            raise UnreadableFile(
                "archive_layout",
                f"the zip is larger than {IN_MEMORY_LIMIT >> 20} MiB, and its source cannot be read out of order; "
                "gzip has no such limit.",
            )
        blocks.append(block)
    return b"".join(blocks)


# What zipfile, gzip and zlib raise on bytes that are not what they should be.
_DAMAGE = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OverflowError,
    RuntimeError,
)


def _damaged() -> UnreadableFile:
    return UnreadableFile("archive_damaged", "the archive is damaged or cut off.")


def _expands() -> UnreadableFile:
    return UnreadableFile(
        "archive_expands",
        f"the archive expands to more than {EXPANDED_LIMIT >> 30} GiB or {RATIO_LIMIT} times its size.",
    )


def _buffered(source: object, counted: _Counted, *closed_with: object) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Expanding(cast(BinaryIO, source), counted, closed_with), BUFFER))


class _Counted:
    """Counts the packed bytes as they are read; no more of a file than gzip and zipfile use."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0
        self.seek = stream.seek
        self.tell = stream.tell
        self.seekable = stream.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


class _Expanding(io.RawIOBase):
    """Unpacked bytes, as long as there are not endlessly many of them."""

    def __init__(self, source: BinaryIO, packed: _Counted, closed_with: tuple[object, ...]) -> None:
        self._source, self._packed, self._closed_with = source, packed, closed_with
        self._expanded = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self._source.read(len(buffer))
        except _DAMAGE:
            raise _damaged() from None
        self._expanded += len(data)
        endless = self._expanded > RATIO_FREE and self._expanded > RATIO_LIMIT * self._packed.count
        if endless or self._expanded > EXPANDED_LIMIT:
            raise _expands()
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            try:
                for each in (self._source, *reversed(self._closed_with)):
                    each.close()  # type: ignore[attr-defined]
            finally:
                super().close()
