"""The landing store: each delivery's tables as compressed canonical CSV, written once, whole or not at all.

A delivery is written to a hidden folder, forced to disk and renamed; a rename is the instant at which it
exists. Only erasure changes an object afterwards, by writing another and renaming it over the first.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv

from peel import moments
from peel.disk import sync
from peel.errors import PeelError
from peel.settings import Settings

SUFFIX = ".csv.zst"
ROW = "_row"
"""The first column of every landed table: the row's number in the delivered file, from 1."""
CROSSWALK = "_crosswalk"
"""Beside the tables of a delivery landed while k_land changes: each token and the one of the epoch before."""
CROSSWALK_HEADER = ["kind", "token", "token_before"]
_BLOCK = 3 << 19  # bytes read at a time
with suppress(NotImplementedError):
    # Batches are made in one thread and let go in another: of Arrow's allocators this one gives back what is
    # free, a tenth of the process's peak. Not every build has it.
    pa.set_memory_pool(pa.jemalloc_memory_pool())
_PLAIN = pacsv.WriteOptions(include_header=False, quoting_style="none")


def folder(settings: Settings, feed: str, business_date: object, seq: int, delivery_id: str) -> Path:
    """Where a delivery stands in the landing store."""
    return settings.landing / feed / str(business_date) / str(seq) / delivery_id


@contextmanager
def writable() -> Iterator[None]:
    """Tell a landing store that cannot be written from a source that cannot be read."""
    try:
        yield
    except OSError as error:
        raise PeelError(
            f"the landing store cannot be written ({error.strerror or type(error).__name__}); nothing was changed.",
            rule="landing_store",
            do="Make room or put its rights in order, then run the step again.",
        ) from None


class Hashing(io.RawIOBase):
    """Passes bytes through and hashes them, so that what was read is what is checked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one read goes; the bytes read."""
        data = self._stream.read(len(buffer)) or b""
        buffer[: len(data)] = data
        self._digest.update(data)
        return len(data)

    def sha256(self) -> str:
        """Of the whole stream: whatever the reader left is read on."""
        while self.read(1 << 20):
            pass
        return self._digest.hexdigest()


class Writer:
    """Writes one table's canonical rows: RFC 4180, LF, quotes only where needed, in the contract's column order."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self.rows = 0
        with writable():
            self._file = path.open("wb")
        self._packed = pa.CompressedOutputStream(self._file, "zstd")
        self._digest = hashlib.sha256()
        self._write((",".join(header) + "\n").encode())

    @property
    def sha256(self) -> str:
        """Of the uncompressed rows written so far, header included."""
        return self._digest.hexdigest()

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch of text columns."""
        self._write(rows_as_csv(batch))
        self.rows += batch.num_rows

    def _write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        with writable():
            self._packed.write(data)

    def close(self) -> None:
        """Finish the file and force it to disk."""
        with writable():
            self._packed.close()
            if not self._file.closed:
                self._file.flush()
            sync(Path(self._file.name))

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        with suppress(OSError, ValueError):
            self._packed.close()
        with suppress(OSError):
            self._file.close()


def rows_as_csv(batch: pa.RecordBatch) -> memoryview | bytes:
    """A batch as CSV without a header, quotes only where needed; the same bytes however rows are batched."""
    sink = pa.BufferOutputStream()
    try:
        pacsv.write_csv(batch, sink, _PLAIN)
        return memoryview(sink.getvalue())
    except pa.ArrowInvalid:  # a field holds a comma, a quote or a line break
        text = io.StringIO()
        columns = [column.to_pylist() for column in batch.columns]
        csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
        return text.getvalue().encode()


@contextmanager
def being_written(final: Path) -> Iterator[Path]:
    """A hidden folder that becomes ``final`` when the block ends well, and nothing when it does not."""
    temporary = final.with_name(f".{final.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    with writable():
        temporary.mkdir(parents=True, mode=0o700)
    try:
        yield temporary
        sync(temporary)
        moments.before("landing rename")
        if final.exists():
            shutil.rmtree(final)  # written before a kill, never recorded
        temporary.rename(final)
        moments.after("landing rename")
        sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(settings: Settings, feed: str) -> None:
    """Remove what a killed landing left half written; under the feed's lock, so that nobody is writing.

    The same delivery writes over it, but a source may have replaced the delivery meanwhile.
    """
    for leftover in (settings.landing / feed).glob("*/*/.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """Let an unchanged table stand in a second delivery at no cost; objects are only ever replaced, not changed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)


def relink(source: Path, target: Path) -> None:
    """Let a table stand where another did, in one rename."""
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    link(source, temporary)
    moments.before("relink rename")
    temporary.replace(target)
    moments.after("relink rename")
    sync(target.parent)


def header(path: Path) -> list[str]:
    """The columns of a landed table as it stands."""
    with path.open("rb") as file, pa.CompressedInputStream(file, "zstd") as packed:
        return _first_line(packed).split(",")


def content_sha256(path: Path) -> str:
    """Of the uncompressed rows of a landed table, header included."""
    digest = hashlib.sha256()
    with path.open("rb") as file, pa.CompressedInputStream(file, "zstd") as packed:
        while block := packed.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def replace(path: Path, header: Sequence[str], batches: Iterator[pa.RecordBatch]) -> tuple[int, str]:
    """Write a table anew and rename it over the old one: what erasure does; rows and sha256 of the new one."""
    temporary = path.with_name(f".{path.name}.new")
    writer = Writer(temporary, header)
    try:
        for batch in batches:
            writer.write(batch)
        writer.close()
    finally:
        writer.abandon()
    moments.before("redaction rename")
    temporary.replace(path)
    moments.after("redaction rename")
    sync(path.parent)
    return writer.rows, writer.sha256


@contextmanager
def opened(path: Path, names: Sequence[str], sha256: str | None = None) -> Iterator[Iterator[pa.RecordBatch]]:
    """Open a landed table; batches of the text columns asked for, null where a field is empty.

    A column that the contract has gained since is null throughout; one that it has lost is left out.

    Args:
        path: the object.
        names: columns.
        sha256: what the object was recorded under. A packed file has no checksum of its own, so it is held
            against this at the end: what was made of its rows must not stand before.

    Raises:
        PeelError: the object is missing or damaged.
    """
    try:
        with path.open("rb") as file, pa.CompressedInputStream(file, "zstd") as packed:
            content = Hashing(packed)
            yield _batches(path, content, names)
            if sha256 is not None and content.sha256() != sha256:
                raise damaged(path, "it is not what was landed")
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror or type(error).__name__})") from None


def _batches(path: Path, content: Hashing, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        header = _first_line(content).split(",")
        reader = pacsv.open_csv(
            content,
            pacsv.ReadOptions(block_size=_BLOCK, use_threads=False, column_names=header),
            pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
        for batch in reader:
            yield _arranged(batch, names)
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise damaged(path, "it cannot be read") from None


def _first_line(packed: pa.NativeFile | Hashing) -> str:
    line = b""
    while not line.endswith(b"\n"):
        byte = packed.read(1)
        if not byte:
            raise pa.ArrowInvalid("no header")
        line += byte
    return line[:-1].decode()


def _arranged(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    there = set(batch.schema.names)
    columns = [batch.column(name) if name in there else pa.nulls(batch.num_rows, pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(columns, names=list(names))


def damaged(path: Path, what: str) -> PeelError:
    """The error for a landed object that is not what was written."""
    return PeelError(
        f"the landed file is damaged: {what}.",
        delivery=path.parent.name,
        file=path.name,
        rule="landing_intact",
        do="Remove the delivery's landing folder and have it landed again: `peel replay`.",
    )
