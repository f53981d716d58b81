"""One table of one sheet of an OpenDocument spreadsheet, as text."""

from __future__ import annotations

import datetime as dt
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, BinaryIO
from xml.parsers import expat

from peel.errors import ConfigurationError
from peel.feeds.readers.layout import (
    HEADER,
    NUMERIC,
    Numbers,
    check_options,
    headings,
    listed,
    text_mapping,
    whole_number,
)
from peel.feeds.readers.table import FIELD_LIMIT, Options, Table, UnreadableFile, from_rows

PACKED_LIMIT = 50 << 20
EXPANSION_LIMIT = 200  # times its packed size
CELL_LIMIT = 5_000_000  # cells with something in them, repeats counted

OPTIONS = (
    frozenset({"sheet", "range", "headerRow", "untilBlank", "footerRows", "columns", "fillDown", "cellNotes"})
    | HEADER
    | NUMERIC
)

_MIMETYPE = b"application/vnd.oasis.opendocument.spreadsheet"
_RANGE = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6}):([A-Z]{1,3})([1-9]\d{0,6})")


def ods_sheet(stream: BinaryIO, options: Options) -> Table:
    """Read a table from a sheet.

    Cells are text as a person would type it: whole numbers without a fraction, other numbers with the
    digits the file stores, dates in ISO form, yes and no as ``true`` and ``false``. A row of blank cells
    is no row.

    Args:
        stream: the file's bytes.
        options: ``sheet`` and where the table stands on it; see ``docs/readers.md``.

    Raises:
        UnreadableFile: it is no such file, too large, or holds no such sheet or table.
        ConfigurationError: an option is unknown or makes no sense.
    """
    check_options("ods_sheet", options, OPTIONS)
    if not isinstance(options.get("sheet"), str):
        raise ConfigurationError("reader ods_sheet: sheet must be named.")
    top, bottom, left, right = _place(options)
    header_rows = whole_number("ods_sheet", options, "headerRows", 1, least=1)
    footer_rows = whole_number("ods_sheet", options, "footerRows", 0)
    numbers = Numbers(options)
    cells = _cells(_guarded(stream), options["sheet"])[top:bottom]
    if left:
        cells = [row[left - 1 : right] for row in cells]
    table = [[_text(cell) for cell in row] for row in cells]
    if len(table) < header_rows:
        raise UnreadableFile("file_not_empty", "the sheet holds nothing where the table should be.")
    header = headings(table[:header_rows], options)
    named = text_mapping("ods_sheet", options, "columns")
    missing = [name for name in named if name not in header]
    if missing:
        raise UnreadableFile("header", f"headings are missing: {', '.join(missing)}.", len(missing))
    header = [named.get(name, name) for name in header]
    rows = list(_body(table[header_rows:], bool(options.get("untilBlank", False))))
    rows = rows[: len(rows) - footer_rows] if footer_rows else rows
    _cut_notes(header, rows, text_mapping("ods_sheet", options, "cellNotes"))
    _fill_down(header, rows, listed(options.get("fillDown")))
    if any(len(value) > FIELD_LIMIT for row in rows for value in row):
        raise UnreadableFile("field_size", f"a field is longer than {FIELD_LIMIT} characters.")
    read = from_rows(header, rows)
    return Table(header, numbers.apply(header, read.batches()), read.notes)


# Where the table stands


def _place(options: Options) -> tuple[int, int | None, int, int]:
    """Rows as a slice, columns 1-based with both ends; 0 for "all columns"."""
    if "range" not in options:
        return whole_number("ods_sheet", options, "headerRow", 1, least=1) - 1, None, 0, 0
    found = _RANGE.fullmatch(str(options["range"]))
    if found is None or "headerRow" in options:
        raise ConfigurationError('reader ods_sheet: range reads like "A4:H60", and stands instead of headerRow.')
    left, top, right, bottom = found.groups()
    return int(top) - 1, int(bottom), _column(left), _column(right)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _body(rows: Sequence[list[str]], until_blank: bool) -> Iterator[list[str]]:
    started = False
    for row in rows:
        if any(value.strip() for value in row):
            started = True
            yield row
        elif until_blank and started:
            return


def _cut_notes(header: Sequence[str], rows: Sequence[list[str]], patterns: dict[str, str]) -> None:
    for column, pattern in patterns.items():
        place, note = _known(header, column), re.compile(pattern)
        for row in rows:
            row[place] = note.sub("", row[place])


def _fill_down(header: Sequence[str], rows: Sequence[list[str]], columns: Sequence[str]) -> None:
    for column in columns:
        place, above = _known(header, column), ""
        for row in rows:
            above = row[place] = row[place] if row[place].strip() else above


def _known(header: Sequence[str], column: str) -> int:
    if column not in header:
        raise UnreadableFile("header", f"columns are missing: {column}.", 1)
    return header.index(column)


# Cells


def _cells(data: bytes, sheet: str) -> list[list[Any]]:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(data)) as workbook:
            if sheet not in workbook.sheet_names:
                raise UnreadableFile("sheet_present", "the sheet that the contract names is not in it.")
            found = workbook.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
            return [list(row) for row in found]
    except (CalamineError, ValueError, OSError):
        raise _not_a_sheet() from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # how its Rust says that it fell; no Exception
            raise _not_a_sheet() from None
        raise


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else format(Decimal(repr(cell)), "f")
    if isinstance(cell, dt.datetime):
        return cell.date().isoformat() if cell.time() == dt.time() else cell.isoformat()
    if isinstance(cell, (dt.date, dt.time)):
        return cell.isoformat()
    return str(cell)


# Before anything opens it


def _not_a_sheet() -> UnreadableFile:
    return UnreadableFile("ods_layout", "it is no OpenDocument spreadsheet that can be read.")


def _guarded(stream: BinaryIO) -> bytes:
    """The file's bytes, once it is known that unpacking them does no harm.

    The sizes an archive claims for its members may lie, and a few bytes may say that a cell is repeated
    a thousand million times: so members are unpacked here, up to the limit, and the cells counted.
    """
    data = stream.read(PACKED_LIMIT + 1)
    if not data:
        raise UnreadableFile("file_not_empty", "it holds nothing.")
    if len(data) > PACKED_LIMIT:
        raise UnreadableFile("file_size", f"it is larger than {PACKED_LIMIT} bytes.")
    left = EXPANSION_LIMIT * len(data)
    content = _Cells()
    is_spreadsheet = False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
        if len({member.filename for member in members}) != len(members):
            raise _not_a_sheet()
        for member in members:
            for part in _unpacked(data, member):
                left -= len(part)
                if left < 0:
                    raise UnreadableFile("file_size", f"it unpacks to more than {EXPANSION_LIMIT} times its size.")
                if member.filename == "content.xml":
                    content.feed(part)
                is_spreadsheet |= member.filename == "mimetype" and part.strip() == _MIMETYPE
    except (zipfile.BadZipFile, zlib.error, struct.error, expat.ExpatError, ValueError, NotImplementedError):
        raise _not_a_sheet() from None
    if not is_spreadsheet:
        raise _not_a_sheet()
    return data


def _unpacked(data: bytes, member: zipfile.ZipInfo) -> Iterator[bytes]:
    name_length, extra_length = struct.unpack_from("<HH", data, member.header_offset + 26)
    start = member.header_offset + 30 + name_length + extra_length
    packed = data[start : start + member.compress_size]
    if member.compress_type == zipfile.ZIP_STORED:
        yield packed
        return
    if member.compress_type != zipfile.ZIP_DEFLATED:
        raise zipfile.BadZipFile
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflate.eof:
        part = inflate.decompress(packed, 1 << 20)
        if not part and not inflate.unconsumed_tail:
            raise zipfile.BadZipFile
        packed = inflate.unconsumed_tail
        yield part


class _Cells:
    """Measures a spreadsheet's sheets as whoever opens it will lay them out: height times width, repeats included."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._sheet_height = self._sheet_width = 0  # to the last cell with something in it
        self._rows = self._repeats = self._columns = self._width = 0

    def feed(self, part: bytes) -> None:
        try:
            self._parser.Parse(part, False)
        except LookupError:  # it names an encoding that there is not
            raise _not_a_sheet() from None

    def _doctype(self, *_: object) -> None:
        raise _not_a_sheet()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "table:table":
            self._rows = self._sheet_height = self._sheet_width = 0
        elif name == "table:table-row":
            self._repeats = int(attributes.get("table:number-rows-repeated", "1"))
            self._rows += self._repeats
            self._columns = self._width = 0
        elif name in ("table:table-cell", "table:covered-table-cell"):
            self._columns += int(attributes.get("table:number-columns-repeated", "1"))
            if "office:value-type" in attributes or "table:formula" in attributes:
                self._width = self._columns
        elif name.startswith("text:"):
            self._width = self._columns

    def _end(self, name: str) -> None:
        if name == "table:table-row" and self._width:
            self._sheet_height = self._rows
            self._sheet_width = max(self._sheet_width, self._width)
            if self._sheet_height * self._sheet_width > CELL_LIMIT:
                raise UnreadableFile("file_size", f"a sheet has more than {CELL_LIMIT} cells.")
