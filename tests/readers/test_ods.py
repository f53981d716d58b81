"""A table of a sheet as text; nothing that would unpack without end is opened."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peel.errors import ConfigurationError
from peel.feeds.readers import FIELD_LIMIT, READERS, Table, UnreadableFile, ods

MIMETYPE = "application/vnd.oasis.opendocument.spreadsheet"
NAMES = "".join(
    f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
)


def cell(value: object, attributes: str = "") -> str:
    if value is None:
        return f"<table:table-cell {attributes}/>"
    kind = {float: "float", int: "float", str: "string"}[type(value)]
    of = "" if kind == "string" else f' office:value="{value}"'
    return f'<table:table-cell office:value-type="{kind}"{of} {attributes}><text:p>{value}</text:p></table:table-cell>'


def date(value: str) -> str:
    of = f'office:value-type="date" office:date-value="{value}"'
    return f"<table:table-cell {of}><text:p>a day</text:p></table:table-cell>"


def row(*cells: object, repeated: int = 1) -> str:
    inside = "".join(one if isinstance(one, str) and one.startswith("<") else cell(one) for one in cells)
    return f'<table:table-row table:number-rows-repeated="{repeated}">{inside}</table:table-row>'


def sheet(*rows: str, name: str = "Data", mimetype: str = MIMETYPE, before: str = "") -> bytes:
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}<office:document-content{NAMES}><office:body>'
        f'<office:spreadsheet><table:table table:name="{name}">{"".join(rows)}</table:table></office:spreadsheet>'
        "</office:body></office:document-content>"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", mimetype, zipfile.ZIP_STORED)
        archive.writestr("META-INF/manifest.xml", '<?xml version="1.0"?><manifest/>')
        archive.writestr("content.xml", content)
    return buffer.getvalue()


def read(data: bytes, **options: Any) -> Table:
    return READERS["ods_sheet"](io.BytesIO(data), {"sheet": "Data"} | options)


def rows(table: Table) -> list[tuple[str, ...]]:
    return [row for batch in table.batches() for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]


def refused(data: bytes, **options: Any) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        rows(read(data, **options))
    return caught.value


def test_cells_are_text_without_artefacts() -> None:
    table = read(
        sheet(
            row("a", "b", "c", "d"),
            row(31556.0, 0.1, date("2019-09-30"), "NA"),
            row(-2, 1e16, date("2019-09-30T10:30:00"), " x "),
            row(30940.226789999928, 1e-7, None, "1,5"),
        )
    )
    assert table.header == ["a", "b", "c", "d"]
    assert rows(table) == [
        ("31556", "0.1", "2019-09-30", "NA"),
        ("-2", "10000000000000000", "2019-09-30T10:30:00", " x "),
        ("30940.226789999928", "0.0000001", "", "1,5"),
    ]


def test_a_table_among_title_and_notes_is_found_by_range_or_by_header_row() -> None:
    data = sheet(
        row("Table 1: a title"),
        row(None),
        row(None, "Force [note 1]", "Head \n count"),
        row(None, "Met2", 5),
        row(None, "Kent", 6, "remark"),
        row(None),
        row("Notes"),
    )
    tidy = {"tidyHeader": True, "headerNotes": r"\[note \d+\]", "cellNotes": {"Force": r"\d$"}}
    table = read(data, range="B3:C5", **tidy)
    assert (table.header, rows(table)) == (["Force", "Head count"], [("Met", "5"), ("Kent", "6")])
    whole = read(data, headerRow=3, untilBlank=True, **tidy)
    assert [row[1:3] for row in rows(whole)] == [("Met", "5"), ("Kent", "6")]
    assert [row[1] for row in rows(read(data, headerRow=3, footerRows=1, **tidy))] == ["Met", "Kent"]


def test_merged_cells_are_filled_down_where_asked_and_headings_to_the_right() -> None:
    data = sheet(
        row(None, "2018", None, "2019", None),
        row("force", "n", "%", "n", "%"),
        row("Met", 1, 2, 3, 4),
        row(None, 5, 6, 7, 8),
        row("Kent", 9, 1, 2, 3),
    )
    table = read(data, headerRows=2, fillDown=["force"], columns={"2019 n": "latest"})
    assert table.header == ["force", "2018 n", "2018 %", "latest", "2019 %"]
    assert [row[0] for row in rows(table)] == ["Met", "Met", "Kent"]
    assert rows(read(data, headerRows=2))[1][0] == ""
    fault = refused(data, headerRows=2, columns={"2020 n": "latest"})
    assert (fault.rule, fault.what) == ("header", "headings are missing: 2020 n.")
    assert refused(data, headerRows=2, fillDown=["region"]).rule == "header"


def test_numbers_written_for_people_are_made_plain() -> None:
    data = sheet(row("n", "m"), row("1,234 ", "1,234 "), row(" -", 7), row("..", "x"))
    assert rows(read(data, numericColumns=["n"], thousands=",", zero=["-"])) == [
        ("1234", "1,234 "),
        ("0", "7"),
        ("..", "x"),
    ]


def test_another_sheet_an_empty_place_and_a_long_cell_are_refused() -> None:
    data = sheet(row("a"), row("1"))
    assert refused(data, sheet="Other").rule == "sheet_present"
    assert refused(data, headerRow=9).rule == "file_not_empty"
    assert refused(b"").rule == "file_not_empty"
    assert refused(sheet(row("a"), row("x" * (FIELD_LIMIT + 1)))).rule == "field_size"
    assert rows(read(sheet(row("a")))) == []


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04",
        b"a,b\n1,2\n",
        sheet(row("a"), mimetype="application/zip"),
        sheet(row("a"), before='<!DOCTYPE x [<!ENTITY y "z">]>'),
        sheet("<table:table-row>"),
        sheet(row("a"))[:-40],
    ],
)
def test_what_is_no_spreadsheet_is_refused(data: bytes) -> None:
    assert refused(data).rule == "ods_layout"


def test_a_large_file_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ods, "PACKED_LIMIT", 1000)
    assert refused(sheet(*(row(f"{n * 7919 % 10007}") for n in range(2000)))).rule == "file_size"


def test_a_file_that_unpacks_without_end_is_refused_whatever_it_claims() -> None:
    data = sheet(*[row("x" * 1000)] * 20_000)
    assert refused(data).rule == "file_size"
    # The sizes in the archive's own lists say a hundred bytes.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.getinfo("content.xml").file_size
    lying = data.replace(struct.pack("<L", size), struct.pack("<L", 100))
    assert lying != data
    assert refused(lying).rule == "file_size"


def test_cells_repeated_without_end_are_refused_and_blank_ones_are_not() -> None:
    full = cell("x", 'table:number-columns-repeated="16384"')
    assert refused(sheet(row("a"), row(full, repeated=1_000_000))).rule == "file_size"
    far = cell(None, 'table:number-columns-repeated="1000000"')
    assert refused(sheet(row("a", repeated=1000), row(far, "x"))).rule == "file_size"
    blank = cell(None, 'table:number-columns-repeated="16384"')
    assert rows(read(sheet(row("a"), row("1"), row(blank, repeated=1_048_574)))) == [("1",)]


@pytest.mark.parametrize(
    "options",
    [
        {"sheet": 3},
        {"range": "A4"},
        {"range": "A4:B9", "headerRow": 4},
        {"headerRow": 0},
        {"colums": {}},
        {"columns": {"a": 1}},
        {"decimal": ","},
    ],
)
def test_options_that_make_no_sense_are_the_contracts_fault(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        read(sheet(row("a"), row("1")), **options)


WHOLE = sheet(row("a", "b"), row("1", 2), row(date("2019-09-30"), 4))


@settings(deadline=None, max_examples=300)
@given(
    damage=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(WHOLE)),
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(damage: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(WHOLE)
    for place, value in damage:
        data[place] = value
    with contextlib.suppress(UnreadableFile):
        rows(read(bytes(data if damage else data[:cut])))


@settings(deadline=None, max_examples=200)
@given(
    value=st.one_of(
        st.text(st.characters(codec="ascii", exclude_characters='<&"', min_codepoint=32), max_size=12),
        st.sampled_from(["1e999", "nan", "-inf", "99999-99-99", "2019-02-30", "0000-00-00", "PT99999999999H", "1_0"]),
    ),
    kind=st.sampled_from(["float", "date", "time", "boolean", "percentage", "currency", "string", "other"]),
)
def test_a_cell_with_any_value_is_read_or_refused_and_nothing_else(value: str, kind: str) -> None:
    name = {"date": "date-value", "time": "time-value", "boolean": "boolean-value"}.get(kind, "value")
    odd = f'<table:table-cell office:value-type="{kind}" office:{name}="{value}"><text:p>x</text:p></table:table-cell>'
    with contextlib.suppress(UnreadableFile):
        rows(read(sheet(row("a"), row(odd))))


def test_a_sheet_in_an_encoding_that_there_is_not_is_refused() -> None:
    def renamed(data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            parts = {name: old.read(name) for name in old.namelist()}
        parts["content.xml"] = b'<?xml version="1.0" encoding="eeTF-8"?>' + parts["content.xml"].split(b"?>", 1)[-1]
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as new:
            for name, part in parts.items():
                new.writestr(name, part)
        return made.getvalue()

    with pytest.raises(UnreadableFile):
        rows(read(renamed(WHOLE)))
