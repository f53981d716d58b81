"""Files that no one here wrote, read through contracts: the publishers' own totals come out, to the digit."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from peel.contracts import Contract, contracts
from peel.feeds.readers import READERS, Table, UnreadableFile

CONTRACTS = contracts(Path(__file__).parent / "contracts")
WHITE = ["W1", "W2", "W3", "W4", "W9"]
TOTALS = ["TOTAL", "WHITE", "MIXED", "ASIAN", "BLACK", "OTHER"]


def opened(contract: Contract, path: Path) -> tuple[list[tuple[str, ...]], Table]:
    """A file's rows as landing sees them: the contract's columns, as text, and nothing else."""
    with path.open("rb") as stream:
        table = READERS[contract.reader](stream, contract.reader_options)
        places = [table.header.index(column.source) for column in contract.columns]
        rows: list[tuple[str, ...]] = []
        for batch in table.batches():
            rows += zip(*(batch.column(place).to_pylist() for place in places), strict=True)
    return rows, table


def read(name: str, path: Path) -> pd.DataFrame:
    """A file by its contract: numbers as numbers, everything else as text."""
    contract = CONTRACTS[name]
    rows, _ = opened(contract, path)
    frame = pd.DataFrame(rows, columns=[column.name for column in contract.columns], dtype=str)
    for column in contract.columns:
        if not column.is_text:
            frame[column.name] = pd.to_numeric(frame[column.name])  # refuses whatever is no number
    assert not frame.duplicated([column.name for column in contract.key]).any()
    return frame


def test_ethnic_groups_of_2011_from_a_nomis_bulk_file(shared_data: Path) -> None:
    found = read("la_ethnic_groups", shared_data / "census" / "la-ethnic-groups.csv")
    assert (found.area_code.nunique(), len(found), set(found.census_year)) == (33, 33 * 24, {2011})
    leaves, totals = found[found.is_total == "N"], found[found.is_total == "Y"]
    assert leaves.obs_value.sum() == 8_173_941
    assert set(totals.category_code) == set(TOTALS)
    assert totals[totals.category_code == "TOTAL"].obs_value.sum() == 8_173_941
    share = leaves[~leaves.category_code.isin(WHITE)].obs_value.sum() / leaves.obs_value.sum()
    assert round(100 * share, 2) == 40.21
    # Group totals stand beside their children: whoever adds every row counts people three times.
    assert found.obs_value.sum() == 3 * 8_173_941
    of_group = leaves.groupby(["area_code", leaves.category_code.str[0]]).obs_value.sum()
    assert of_group.to_dict() == {
        (row.area_code, row.category_code[0]): row.obs_value
        for row in totals[totals.category_code != "TOTAL"].itertuples()
    }


def test_ethnic_groups_of_both_censuses(shared_data: Path) -> None:
    path = shared_data / "census" / "borough_ethnic_group_2011_2021.csv"
    found = read("borough_ethnic_groups", path)
    assert found.groupby("census_year").residents.sum().to_dict() == {2011: 8_173_941, 2021: 8_799_736}
    assert found.groupby("census_year").category_label.nunique().to_dict() == {2011: 18, 2021: 19}
    assert set(found.groupby("census_year").area_code.nunique()) == {33}
    last = found[found.census_year == 2021]
    not_white = last[~last.category_label.str.startswith("White:")]
    assert round(100 * not_white.residents.sum() / 8_799_736, 2) == 46.24
    tower_hamlets = last[(last.area_code == "E09000030") & last.category_label.str.endswith(": Bangladeshi")]
    assert tower_hamlets.residents.tolist() == [107_333]
    assert opened(CONTRACTS["borough_ethnic_groups"], path)[1].notes == {"line_ends_crlf": 1}


def test_ethnic_groups_of_2021_from_a_european_spreadsheet(shared_data: Path) -> None:
    path = shared_data / "census" / "ethnicity-composition-across-uk.csv"
    found = read("ethnicity_composition", path).set_index("area_code")
    groups = [name for name in found.columns if len(name) == 2]
    london = found[found.index.str.startswith("E09")]
    assert (len(found), len(london), len(groups)) == (331, 33, 19)
    assert (london[groups].sum().sum(), found[groups].sum().sum()) == (8_799_736, 59_597_578)
    assert found.loc["E06000001", ["w1", "w1_percent", "w4_percent"]].tolist() == [87_761, 95.0, 0]
    assert london.loc["E09000030", "a3"] == 107_333
    assert (found[groups] == 0).sum().sum() == 7  # written " -   "
    assert opened(CONTRACTS["ethnicity_composition"], path)[1].notes == {"line_ends_crlf": 1}


def test_both_sources_of_2021_say_the_same_of_every_cell(shared_data: Path) -> None:
    wide = read("ethnicity_composition", shared_data / "census" / "ethnicity-composition-across-uk.csv")
    long = read("borough_ethnic_groups", shared_data / "census" / "borough_ethnic_group_2011_2021.csv")
    groups = [name for name in wide.columns if len(name) == 2]
    london = wide[wide.area_code.str.startswith("E09")].set_index("area_code")[groups]
    last = long[long.census_year == 2021]
    assert [sorted(row) for row in london.to_numpy().tolist()] == [
        sorted(residents) for _, residents in last.groupby("area_code").residents
    ]


def test_ages_of_2021_from_a_nomis_bulk_file(shared_data: Path) -> None:
    found = read("ts007_age", shared_data / "census" / "census2021-ts007-ltla.csv")
    assert (found.area_code.nunique(), found.category_code.nunique()) == (33, 113)
    total, single = found[found.category_code == "TOTAL"], found[found.is_total == "N"]
    assert set(single.category_code) == {str(age) for age in range(101)}
    assert total.obs_value.sum() == 8_799_756  # another table's London is 8,799,736: cells are perturbed
    assert found[found.category_code == "16"].obs_value.sum() == 101_941
    short = total.set_index("area_code").obs_value - single.groupby("area_code").obs_value.sum()
    assert not short.any()


def test_ethnic_groups_by_sex(shared_data: Path) -> None:
    path = shared_data / "census" / "ethnic_pop_region.csv"
    found = read("ethnic_group_by_sex", path)
    assert len(found) == 682 * 19
    assert (found.obs_status == "Q").sum() == found.obs_value.isna().sum() == 139  # suppressed, and never nought
    boroughs = found[found.area_code.str.startswith("E09")]
    assert (boroughs.area_code.nunique(), (boroughs.obs_value % 5).sum()) == (32, 0)
    assert set(boroughs[boroughs.merged_with != ""].area_code) == {"E09000001"}
    assert set(found.merged_with) == {"", "E09000033"}
    assert boroughs.groupby("sex").obs_value.sum().to_dict() == {"F": 4_531_615, "M": 4_268_115}
    tower_hamlets = boroughs[(boroughs.area_code == "E09000030") & (boroughs.category_code == "A3")]
    assert tower_hamlets.obs_value.sum() == 107_330
    assert opened(CONTRACTS["ethnic_group_by_sex"], path)[1].notes == {"byte_order_mark": 1, "line_ends_crlf": 1}


def test_ethnic_groups_by_single_year_of_age(shared_data: Path) -> None:
    path = shared_data / "census" / "census.london-excerpt.csv"
    found = read("ethnic_group_by_age", path)
    london, boroughs = (found[found.area_code == "E12000007"], found[found.area_code != "E12000007"])
    assert (boroughs.area_code.nunique(), set(found.age)) == (32, set(range(101)))
    assert (len(boroughs), (boroughs.obs_status == "Q").sum()) == (32 * 101 * 19, 17_278)
    assert ((london.obs_status == "Q").sum(), int(london.obs_value.sum())) == (76, 8_799_600)
    assert int(boroughs.obs_value.sum()) == 8_752_660  # what suppression leaves
    assert boroughs.obs_value.min() == 10
    working = london[london.age.between(16, 64)]
    assert int(working[working.category_code.isin(WHITE)].obs_value.sum()) == 3_296_250
    assert int(working[~working.category_code.isin(WHITE)].obs_value.sum()) == 2_764_415


def test_sexes_by_borough_written_with_a_fraction(shared_data: Path) -> None:
    path = shared_data / "census" / "age_gender21_ltla21_ew.london-excerpt.csv"
    rows, _ = opened(CONTRACTS["age_gender21"], path)
    assert rows[0] == ("E09000001", "8584", "3862", "4722")
    found = read("age_gender21", path)
    totals = found[["total_population", "total_females", "total_males"]].sum().tolist()
    assert totals == [8_799_697, 4_531_627, 4_268_070]


def test_a_nomis_query_with_title_and_footnotes(shared_data: Path) -> None:
    rows, table = opened(CONTRACTS["sex_lsoa"], shared_data / "census" / "Sex lsoa.csv")
    assert len(rows) == 4_988
    assert rows[0] == ("E01000027", "Barking and Dagenham 001A", "53.7", "46.3")
    assert rows[-1] == ("E01035722", "Westminster 024G", "53.7", "46.3")
    assert table.header == ["2021 super output area - lower layer", "mnemonic", "Female", "Male"]


def test_officers_by_rank_with_numbers_written_for_people(shared_data: Path) -> None:
    found = read("officer_ranks", shared_data / "home_office" / "officer-rank-2003-2005.csv")
    met = found[found.force == "Metropolitan Police"]
    assert met.groupby("year").headcount.sum().to_dict() == {2003: 28_569, 2004: 30_385, 2005: 31_454}
    assert met.groupby("year").fte.sum().to_dict() == {2003: 28_231, 2004: 30_036, 2005: 31_074}
    last = met[met.year == 2005]
    assert last.groupby("ethnic_group").headcount.sum().to_dict() == {
        "Black, Asian and Minority Ethnic": 2_191,
        "Not stated": 83,
        "White": 29_180,
    }
    assert last[last.sex == "Female"].headcount.sum() == 6_392
    assert found[found.year == 2005].headcount.sum() == 142_796


@pytest.mark.parametrize(
    ("name", "mets", "mets_in_march", "rows"),
    [
        ("workforce_officers", "31556", "31063", 57),
        ("workforce_staff", "9001", "8911", 56),
        ("workforce_designated", "727", "730", 56),
        ("workforce_pcso", "1326", "1307", 56),
    ],
)
def test_the_mets_strength_from_a_spreadsheet(
    shared_data: Path, name: str, mets: str, mets_in_march: str, rows: int
) -> None:
    path = shared_data / "home_office" / "police-workforce-sep19-tables.ods"
    found, table = opened(CONTRACTS[name], path)
    assert table.header == [
        "force", "2019-03-31", "2019-09-30",
        "Change in 6 months Mar-19 to Sep-19 number", "Change in 6 months Mar-19 to Sep-19 %",
    ]  # fmt: skip
    by_force = {row[0]: row[1:] for row in found}
    assert len(by_force) == len(found) == rows
    march, september, change = by_force["Metropolitan Police"]
    assert (march, september) == (mets_in_march, mets)
    assert int(change) == int(september) - int(march)


def test_the_public_attitude_survey(shared_data: Path) -> None:
    found = read("pas_boroughs", shared_data / "public_attitude" / "PAS_buroughs.csv")
    assert (len(found), found.quarter_end.nunique(), found.borough.nunique()) == (9_312, 37, 33)
    assert {"Richmond upon Thames", "Richmond Upon Thames"} <= set(found.borough)  # one borough, two spellings
    assert '"Good Job" local' in set(found.measure)
    assert round(found.proportion.sum(), 2) == 5_585.55
    newham = found[(found.borough == "Newham") & (found.measure == "Trust MPS") & (found.quarter_end == "31/12/2023")]
    assert (newham.proportion.tolist(), newham.mps.tolist()) == ([0.71], [0.69])


def test_a_table_with_a_label_changed_or_gone_is_refused(shared_data: Path, tmp_path: Path) -> None:
    text = (shared_data / "census" / "la-ethnic-groups.csv").read_text("utf-8")
    with (shared_data / "census" / "la-ethnic-groups.csv").open(encoding="utf-8", newline="") as file:
        cut = [row[:-1] for row in csv.reader(file)]
    changed = tmp_path / "changed.csv"
    for content in (text.replace("Ethnic Group: Black;", "Ethnic Group: Black or so;", 1), cut):
        if isinstance(content, str):
            changed.write_text(content, "utf-8")
        else:
            with changed.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(content)
        with pytest.raises(UnreadableFile) as caught:
            opened(CONTRACTS["la_ethnic_groups"], changed)
        assert caught.value.rule == "label_set"
        assert "Black or so" not in caught.value.what


def test_a_semicolon_file_read_as_commas_lacks_the_contracts_columns(shared_data: Path) -> None:
    with (shared_data / "public_attitude" / "PAS_buroughs.csv").open("rb") as stream:
        table = READERS["csv"](stream, {})
    assert len(table.header) == 1
