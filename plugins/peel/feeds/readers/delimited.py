"""CSV and its relatives, read fast and strictly.

Until the first quotation mark a file is lines and delimiters, and Arrow cuts it up block by block.
From the block with the first one on, Python's strict ``csv`` reads: it is the judge of what quoting is
allowed, so nothing depends on how lenient another parser is. Whatever Arrow does not like goes to the
same judge. The header is always read by it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from peel.errors import ConfigurationError
from peel.feeds.readers.layout import HEADER, NUMERIC, Numbers, check_options, headings, whole_number
from peel.feeds.readers.table import BATCH_ROWS, FIELD_LIMIT, Options, Table, UnreadableFile, batch

BLOCK_BYTES = 1 << 21
LINE_LIMIT = 64 << 20  # bytes without a line's end: beyond it a file is not read on
ENCODINGS = ("utf-8", "cp1252", "utf-8|cp1252")

OPTIONS = frozenset({"encoding", "delimiter", "skipRows", "footerRows", "untilBlank"}) | HEADER | NUMERIC

_NOT_ASCII_LINE = re.compile(rb"[^\r\n]*[\x80-\xff][^\r\n]*")
_FEW = 250  # rows taken from the csv reader at a time: they stay in the processor's cache


@dataclass(frozen=True)
class _Layout:
    encoding: str
    delimiter: str
    skip_rows: int
    header_rows: int
    footer_rows: int
    until_blank: bool

    @classmethod
    def of(cls, options: Options) -> _Layout:
        encoding = options.get("encoding", "utf-8")
        if encoding not in ENCODINGS:
            raise ConfigurationError(f"reader csv: encoding is one of {', '.join(ENCODINGS)}.")
        delimiter = options.get("delimiter", ",")
        if not isinstance(delimiter, str) or len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0 ':
            raise ConfigurationError("reader csv: delimiter is one ASCII character.")
        return cls(
            encoding=encoding,
            delimiter=delimiter,
            skip_rows=whole_number("csv", options, "skipRows", 0),
            header_rows=whole_number("csv", options, "headerRows", 1, least=1),
            footer_rows=whole_number("csv", options, "footerRows", 0),
            until_blank=bool(options.get("untilBlank", False)),
        )

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self.delimiter, strict=True)


def read_csv(stream: BinaryIO, options: Options) -> Table:
    """Read a delimited file: RFC 4180 CSV in UTF-8 unless the options say otherwise.

    Values are as delivered: no nulls, no types, no trimming. Lines end in LF, CRLF or CR; a blank line is
    no row, so an empty value in a file of one column must be written ``""``. Notes (``byte_order_mark``,
    ``line_ends_crlf``, ``encoding_cp1252``) are complete once the rows are used up.

    Args:
        stream: the file's bytes.
        options: see ``docs/readers.md``.

    Raises:
        UnreadableFile: the file is empty, not of its encoding or not CSV; rows that have too few or too many
            fields are counted to the end first.
        ConfigurationError: an option is unknown or makes no sense.
    """
    check_options("csv", options, OPTIONS)
    layout = _Layout.of(options)
    numbers = Numbers(options)
    csv.field_size_limit(FIELD_LIMIT)
    notes: dict[str, int] = {}
    lines = _Lines(_utf8(_blocks(stream), layout.encoding, notes))
    for _ in range(layout.skip_rows):
        next(lines, None)
    rows = layout.reader(lines)
    header_rows = list(islice(_strict(filter(None, rows)), layout.header_rows))
    if len(header_rows) < layout.header_rows:
        raise UnreadableFile("file_not_empty", "it holds nothing, not even a header.")
    header = headings(header_rows, options)
    if layout.until_blank or layout.footer_rows:
        found = _framed(lines, layout, len(header))
    else:
        found = _unframed(lines.rest(), layout, len(header))
    return Table(header, numbers.apply(header, found), notes)


# From bytes to blocks of UTF-8.


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream in blocks of about a MB, each ending where a line ends."""
    held = b""
    while True:
        chunk = _fill(stream)
        data = held + chunk
        if not chunk:
            break
        cut = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, len(data) - 1) + 1  # a CR at the end may await its LF
        if cut:
            yield data[:cut]
        elif len(data) > LINE_LIMIT:
            raise UnreadableFile("field_size", f"a line is longer than {LINE_LIMIT} bytes.")
        held = data[cut:]
    if held:
        yield held


def _fill(stream: BinaryIO) -> bytes:
    parts, wanted = [], BLOCK_BYTES
    while wanted > 0 and (part := stream.read(wanted)):
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _utf8(blocks: Iterator[bytes], encoding: str, notes: dict[str, int]) -> Iterator[bytes]:
    """The blocks as UTF-8 without a byte order mark; whole lines each, so no character is cut."""
    block = next(blocks, b"")
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableFile("encoding", "it is UTF-16, not UTF-8.")
    if block.startswith(codecs.BOM_UTF8):
        notes["byte_order_mark"] = 1
        block = block[len(codecs.BOM_UTF8) :]
        if encoding == "cp1252":
            raise UnreadableFile("encoding", "it has the byte order mark of UTF-8, and its contract declares CP1252.")
        encoding = "utf-8"
    seen = _Seen()
    for one in chain((block,), blocks):
        if b"\r" in one and b"\r\n" in one:
            notes["line_ends_crlf"] = 1
        if one.isascii():
            yield one
        elif encoding == "utf-8":
            yield _checked_utf8(one, blocks, seen)
        else:
            yield _recoded(one, encoding, seen, notes)


@dataclass
class _Seen:
    """What the lines with other than ASCII characters were so far."""

    utf8: bool = False
    cp1252: bool = False

    def look(self, block: bytes) -> None:
        for line in _NOT_ASCII_LINE.findall(block):
            if _decodes(line, "utf-8"):
                self.utf8 = True
            else:
                self.cp1252 = True


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _checked_utf8(block: bytes, rest: Iterator[bytes], seen: _Seen) -> bytes:
    if _decodes(block, "utf-8"):
        seen.utf8 = True
        return block
    for one in chain((block,), rest):  # say what it is instead, if the whole file is that
        seen.look(one)
        if seen.utf8 or not _decodes(one, "cp1252"):
            raise UnreadableFile("encoding", "it is not UTF-8 throughout.")
    raise UnreadableFile("encoding", "it is not UTF-8; it reads as CP1252, which the contract may declare.")


def _recoded(block: bytes, encoding: str, seen: _Seen, notes: dict[str, int]) -> bytes:
    seen.look(block)
    if encoding == "utf-8|cp1252" and seen.utf8 and seen.cp1252:
        raise UnreadableFile("encoding_mixed", "some of its lines are UTF-8 and others are not.")
    if seen.utf8 and not seen.cp1252:
        if encoding == "cp1252":
            raise UnreadableFile("encoding", "it reads as UTF-8, and its contract declares CP1252.")
        return block
    try:
        text = block.decode("cp1252")
    except UnicodeDecodeError:
        what = "it is neither UTF-8 nor CP1252." if encoding == "utf-8|cp1252" else "it is not CP1252 throughout."
        raise UnreadableFile("encoding", what) from None
    notes["encoding_cp1252"] = 1
    return text.encode()


# From blocks to rows.


class _Lines:
    """Lines of text over blocks, which may be left at the end of any line for the blocks that follow."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._text = io.StringIO("", newline="")

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while not (line := self._text.readline()):
            block = next(self._blocks, None)
            if block is None:
                raise StopIteration
            self._text = io.StringIO(block.decode(), newline="")
        return line

    def rest(self) -> Iterator[bytes]:
        """What was not read as lines."""
        left = self._text.read()
        return chain((left.encode(),), self._blocks) if left else self._blocks


def _strict(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise _fault(error) from None
        if row is None:
            return
        yield row


def _fault(error: csv.Error) -> UnreadableFile:
    if "field larger than field limit" in str(error):
        return UnreadableFile("field_size", f"a field is longer than {FIELD_LIMIT} characters.")
    return UnreadableFile("csv_layout", "it is not RFC 4180 CSV.")


def _ragged(width: int, count: int) -> UnreadableFile:
    return UnreadableFile("field_count", f"rows do not have the header's {width} fields.", count)


def _unframed(blocks: Iterator[bytes], layout: _Layout, width: int) -> Iterator[pa.RecordBatch]:
    names = [str(place) for place in range(width)]
    parsing = arrow_csv.ParseOptions(delimiter=layout.delimiter, quote_char=False, double_quote=False)
    text: Any = dict.fromkeys(names, pa.string())
    converting = arrow_csv.ConvertOptions(check_utf8=False, column_types=text, strings_can_be_null=False)
    for block in blocks:
        found = None
        if b'"' not in block:
            # In this thread: a task's process may have been forked from one that has Arrow's threads.
            reading = arrow_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names)
            source: Any = pa.BufferReader(block)
            try:
                found = arrow_csv.read_csv(source, reading, parsing, converting)
            except pa.ArrowInvalid:
                found = None
        if found is None:
            yield from _quoted(chain((block,), blocks), layout, width)
            return
        for column in found.columns:
            if (pc.max(pc.binary_length(column)).as_py() or 0) > FIELD_LIMIT and (
                pc.max(pc.utf8_length(column)).as_py() > FIELD_LIMIT
            ):
                raise UnreadableFile("field_size", f"a field is longer than {FIELD_LIMIT} characters.")
        yield from found.to_batches()


@dataclass
class _Opened:
    """Blocks as text lines for the csv reader; ``count`` says how many were opened."""

    blocks: Iterator[bytes]
    count: int = field(default=0)

    def lines(self) -> Iterator[str]:
        return chain.from_iterable(self._texts())

    def _texts(self) -> Iterator[io.StringIO]:
        for block in self.blocks:
            self.count += 1
            yield io.StringIO(block.decode(), newline="")


def _quoted(blocks: Iterator[bytes], layout: _Layout, width: int) -> Iterator[pa.RecordBatch]:
    opened = _Opened(blocks)
    rows = layout.reader(opened.lines())
    held: list[pa.RecordBatch] = []
    count = began = ragged = 0
    while True:
        try:
            few = list(islice(rows, _FEW))
        except csv.Error as error:
            raise _fault(error) from None
        if not few:
            break
        if set(map(len, few)) != {width}:
            few = [row for row in few if row]  # a blank line is no row; csv gives it as []
            ragged += sum(len(row) != width for row in few)
        if ragged or not few:
            continue  # refused whatever comes; read on to say how often
        held.append(batch(list(zip(*few, strict=True))))
        count += len(few)
        if count >= BATCH_ROWS or opened.count > began + 1:
            yield from _joined(held)
            held, count, began = [], 0, opened.count
    if ragged:
        raise _ragged(width, ragged)
    if held:
        yield from _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from pa.Table.from_batches(batches).combine_chunks().to_batches()


def _framed(lines: _Lines, layout: _Layout, width: int) -> Iterator[pa.RecordBatch]:
    """Rows of a file that has more than a table in it: what follows the table is left out."""
    held: list[list[str]] = []
    ragged = 0
    started = False
    for row in _strict(layout.reader(lines)):
        if not any(value.strip() for value in row):
            if layout.until_blank and started:
                for _ in lines.rest():
                    pass  # its encoding is checked, and whoever counts its bytes sees them all
                break
            if not row:
                continue
        started = True
        held.append(row)
        if len(held) == BATCH_ROWS + layout.footer_rows:
            full, held = held[:BATCH_ROWS], held[BATCH_ROWS:]
            ragged += sum(len(one) != width for one in full)
            if not ragged:
                yield batch(list(zip(*full, strict=True)))
    held = held[: len(held) - layout.footer_rows] if layout.footer_rows else held
    ragged += sum(len(one) != width for one in held)
    if ragged:
        raise _ragged(width, ragged)
    if held:
        yield batch(list(zip(*held, strict=True)))
