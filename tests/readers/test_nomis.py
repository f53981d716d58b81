"""Nomis's two layouts become canonical rows; what is cut off, relabelled or suppressed is seen."""

from __future__ import annotations

import io
from typing import Any

import pytest

from peel.errors import ConfigurationError
from peel.feeds.readers import READERS, Table, UnreadableFile
from peel.feeds.readers.nomis import ANONYMOUS_CAP

WIDE = {
    "labelPrefix": "Sex: ",
    "labelSuffix": "; measures: Value",
    "categories": {"All persons": "TOTAL", "Female": "F", "Male": "M"},
    "select": "E09",
    "totals": ["TOTAL"],
}
WIDE_FILE = (
    '"date","geography","geography code","Sex: All persons; measures: Value","Sex: Female; measures: Value",'
    '"Sex: Male; measures: Value"\n'
    '"2021","City of London","E09000001",8584,3862,4722\n'
    '"2021","Hartlepool","E06000001",92338,47467,44871\n'
    '"2021","Nowhere","E09000099",5,,5\n'
)

API = {
    "censusYear": 2021,
    "dimensions": [
        {
            "column": "C2021_ETH_20",
            "name": "category",
            "labels": {"Total: All usual residents": "TOTAL", "Asian: Bangladeshi": "A3", "White: Irish": "W2"},
            "codes": {"0": "TOTAL", "12": "A3", "14": "W2"},
        },
        {"column": "C_SEX", "name": "sex", "labels": {"Female": "F", "Male": "M"}, "leaveOut": ["All persons"]},
    ],
    "totals": ["TOTAL"],
    "select": ["E09"],
}


def read(reader: str, text: str, options: dict[str, Any]) -> Table:
    return READERS[reader](io.BytesIO(text.encode()), options)


def rows(table: Table) -> list[tuple[str, ...]]:
    return [row for batch in table.batches() for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]


def refused(reader: str, text: str, options: dict[str, Any]) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        rows(read(reader, text, options))
    return caught.value


def test_a_wide_table_becomes_long() -> None:
    table = read("nomis_wide", WIDE_FILE, WIDE)
    assert table.header == [
        "census_year", "area_code", "category_code", "category_label", "is_total", "obs_value", "obs_status",
    ]  # fmt: skip
    assert rows(table) == [
        ("2021", "E09000001", "TOTAL", "All persons", "Y", "8584", "A"),
        ("2021", "E09000001", "F", "Female", "N", "3862", "A"),
        ("2021", "E09000001", "M", "Male", "N", "4722", "A"),
        ("2021", "E09000099", "TOTAL", "All persons", "Y", "5", "A"),
        ("2021", "E09000099", "F", "Female", "N", "", "Q"),
        ("2021", "E09000099", "M", "Male", "N", "5", "A"),
    ]
    assert table.source_rows == 3  # what a manifest counts


@pytest.mark.parametrize(
    ("change", "count", "said"),
    [
        (("Sex: Male;", "Sex: Men;"), 2, "1 labels are not among the contract's; missing are: Male."),
        (("Sex: Male;", "Sex: Female;"), 2, "missing are: Male"),
        (('"geography",', '"local authority",'), 1, "1 labels are not among"),
    ],
)
def test_a_relabelled_wide_table_is_refused_without_showing_its_labels(
    change: tuple[str, str], count: int, said: str
) -> None:
    fault = refused("nomis_wide", WIDE_FILE.replace(*change, 1), WIDE)
    assert (fault.rule, fault.count) == ("label_set", count)
    assert said in fault.what
    assert "Men" not in fault.what
    assert "local authority" not in fault.what


def test_a_wide_table_keeps_other_dimensions_and_says_what_was_merged() -> None:
    text = "code,Sex,Age,A,B\nE09000001,Female,100 or over,1.234,c\nE09000002,Male,7, - ,2\n"
    options = {
        "censusYear": 2021,
        "areaColumn": "code",
        "dimensions": [
            {"column": "Sex", "name": "sex", "codes": {"Female": "F", "Male": "M"}},
            {"column": "Age", "name": "age", "recode": {"100 or over": "100"}},
        ],
        "categories": {"A": "A1", "B": "B1"},
        "suppressed": ["c"],
        "thousands": ".",
        "zero": "-",
        "mergedAreas": {"E09000001": "E09000033"},
    }
    table = read("nomis_wide", text, options)
    assert table.header[2:] == [
        "sex", "age", "category_code", "category_label", "merged_with", "obs_value", "obs_status",
    ]  # fmt: skip
    assert rows(table) == [
        ("2021", "E09000001", "F", "100", "A1", "A", "E09000033", "1234", "A"),
        ("2021", "E09000001", "F", "100", "B1", "B", "E09000033", "", "Q"),
        ("2021", "E09000002", "M", "7", "A1", "A", "", "0", "A"),
        ("2021", "E09000002", "M", "7", "B1", "B", "", "2", "A"),
    ]
    fault = refused("nomis_wide", text.replace("Male", "Males"), options)
    assert (fault.rule, fault.count) == ("label_set", 1)


def test_a_wide_table_without_its_area_column_is_refused_by_the_contracts_name_for_it() -> None:
    fault = refused("nomis_wide", WIDE_FILE.replace('"geography code"', '"mnemonic"'), WIDE)
    assert (fault.rule, "geography code" in fault.what, "mnemonic" in fault.what) == ("header", True, False)


def api_file(*, count: int | None = None, status: bool = True, header: str = "") -> str:
    names = "GEOGRAPHY_CODE,GEOGRAPHY_NAME,C2021_ETH_20,C2021_ETH_20_NAME,C_SEX,C_SEX_NAME,OBS_VALUE,OBS_STATUS"
    lines = []
    for area in ("E09000001", "E06000001"):
        for code, label in (("0", "Total: All usual residents"), ("12", "Asian: Bangladeshi"), ("14", "White: Irish")):
            for sex, sex_label in (("0", "All persons"), ("1", "Female"), ("2", "Male")):
                empty = code == "14" and sex == "2"
                value, mark = ("", "Q") if empty else (str(10 * (int(code) + 1) + int(sex)), "A")
                lines.append([area, '"A name, quoted"', code, label, sex, sex_label, value, mark])
    if count is not None:
        names += ",RECORD_OFFSET,RECORD_COUNT"
        for offset, line in enumerate(lines):
            line += [str(offset), str(count)]
    if not status:
        names = names.replace(",OBS_STATUS", "")
        lines = [line[:7] + line[8:] for line in lines]
    return "\n".join([header or names, *(",".join(line) for line in lines)]) + "\n"


@pytest.mark.parametrize("status", [True, False])
@pytest.mark.parametrize("count", [None, 18])
def test_the_apis_rows_become_canonical(count: int | None, status: bool) -> None:
    table = read("nomis_api", api_file(count=count, status=status), API)
    assert table.header == [
        "census_year", "area_code", "category_code", "category_label", "sex_code", "sex_label", "is_total",
        "obs_value", "obs_status",
    ]  # fmt: skip
    assert rows(table) == [
        ("2021", "E09000001", "TOTAL", "Total: All usual residents", "F", "Female", "Y", "11", "A"),
        ("2021", "E09000001", "TOTAL", "Total: All usual residents", "M", "Male", "Y", "12", "A"),
        ("2021", "E09000001", "A3", "Asian: Bangladeshi", "F", "Female", "N", "131", "A"),
        ("2021", "E09000001", "A3", "Asian: Bangladeshi", "M", "Male", "N", "132", "A"),
        ("2021", "E09000001", "W2", "White: Irish", "F", "Female", "N", "151", "A"),
        ("2021", "E09000001", "W2", "White: Irish", "M", "Male", "N", "", "Q"),
    ]
    assert table.source_rows == 18


def test_an_answer_that_was_cut_off_is_refused() -> None:
    fault = refused("nomis_api", api_file(count=25), API)
    assert (fault.rule, fault.count) == ("record_count", 18)
    lines = api_file().splitlines()
    capped = "\n".join([lines[0], *(lines[1:] * 2000)[:ANONYMOUS_CAP]])
    assert refused("nomis_api", capped, API).rule == "record_count"
    assert len(rows(read("nomis_api", "\n".join([lines[0], *(lines[1:] * 2000)[: ANONYMOUS_CAP + 1]]), API))) > 8000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("White: Irish", "White: Irishman"), "missing are: White: Irish"),
        ((",14,White: Irish", ",15,White: Irish"), "6 labels"),  # the label is known, the code is another's
        (("Male", "Men"), "missing are: Male"),
    ],
)
def test_a_relabelled_answer_is_refused_without_showing_its_labels(change: tuple[str, str], said: str) -> None:
    fault = refused("nomis_api", api_file().replace(*change), API)
    assert fault.rule == "label_set"
    assert said in fault.what
    assert "Irishman" not in fault.what


def test_a_category_that_never_comes_is_missing() -> None:
    text = "\n".join(line for line in api_file().splitlines() if ",White: Irish," not in line)
    assert refused("nomis_api", text, API).what == "missing are: White: Irish."


@pytest.mark.parametrize(
    ("reader", "options"),
    [
        ("nomis_wide", {}),
        ("nomis_wide", WIDE | {"category": {}}),
        ("nomis_wide", WIDE | {"categories": {"Female": 1}}),
        ("nomis_wide", WIDE | {"censusYear": "2021"}),
        ("nomis_api", {}),
        ("nomis_api", {"dimensions": [{"column": "C_SEX"}]}),
        ("nomis_api", {"dimensions": [{"column": "C_SEX", "name": "sex"}]}),
    ],
)
def test_options_that_make_no_sense_are_the_contracts_fault(reader: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        read(reader, WIDE_FILE, options)
