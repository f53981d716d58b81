"""The census tables Peel delivers are the publisher's figures, and their contracts ask what they must."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from peel import contracts
from peel.contracts import Contract
from peel.feeds.readers import READERS
from peel.feeds.reference import deliver_reference, reference_table
from peel.settings import Settings
from tests.conftest import HOME
from tests.readers.test_published_files import read as published

CENSUS = contracts.feed(HOME / "expectations", "census")
AREAS = [f"E090000{number:02}" for number in range(1, 34)]


def figures(name: str) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(reference_table(HOME, "census", name)), dtype=str, keep_default_na=False)
    frame["obs_value"] = pd.to_numeric(frame.obs_value)
    return frame


def groups() -> set[str]:
    with (HOME / "dbt_project" / "seeds" / "ref_ethnicity.csv").open(encoding="utf-8", newline="") as file:
        return {row["ethnicity_code"] for row in csv.DictReader(file) if row["is_known"] == "true"}


def column(contract: Contract, name: str) -> set[str]:
    return set(next(one for one in contract.columns if one.name == name).values or ())


@pytest.mark.parametrize("contract", CENSUS.contracts, ids=lambda contract: contract.name)
def test_each_table_is_read_by_its_contract(contract: Contract) -> None:
    data = reference_table(HOME, "census", contract.name)
    assert len(data) < 3_000_000
    table = READERS[contract.reader](io.BytesIO(data), contract.reader_options)
    assert table.header == [one.source for one in contract.columns]
    assert sum(batch.num_rows for batch in table.batches()) == data.count(b"\n") - 1


def test_the_contracts_groups_are_those_of_the_seed() -> None:
    by_name = {contract.name: contract for contract in CENSUS.contracts}
    for name in ("census_ethnic_group_by_sex", "census_ethnic_group_by_age"):
        assert column(by_name[name], "category_code") == groups() == set(figures(name).category_code)
    sets = {rule.name: set(rule.kwargs.get("value_set", ())) for rule in by_name["census_ethnic_group"].rules}
    both = figures("census_ethnic_group")
    assert sets["code_set"] == set(both.category_code) == groups() | {
        "TOTAL", "WHITE", "MIXED", "ASIAN", "BLACK", "OTHER",
    }  # fmt: skip
    assert sets["label_set"] == set(both.category_label)


def test_sexes_and_ethnic_groups_are_those_of_the_publishers_file(shared_data: Path) -> None:
    theirs = published("ethnic_group_by_sex", shared_data / "census" / "ethnic_pop_region.csv")
    ours = figures("census_ethnic_group_by_sex")
    keys = ["area_code", "sex", "category_code"]
    theirs = theirs[theirs.area_code.str.match("E09|E12000007")].set_index(keys).sort_index()
    ours = ours.set_index(keys).sort_index()
    assert ours.index.equals(theirs.index)
    pd.testing.assert_frame_equal(
        ours[["merged_with", "obs_value", "obs_status"]], theirs[["merged_with", "obs_value", "obs_status"]],
        check_dtype=False,
    )  # fmt: skip


def test_ages_and_ethnic_groups_are_those_of_the_publishers_file(shared_data: Path) -> None:
    theirs = published("ethnic_group_by_age", shared_data / "census" / "census.london-excerpt.csv")
    ours = figures("census_ethnic_group_by_age")
    keys = ["area_code", "age", "category_code"]
    theirs["age"] = theirs.age.astype(str)
    theirs, ours = theirs.set_index(keys).sort_index(), ours.set_index(keys).sort_index()
    assert ours.index.equals(theirs.index)
    pd.testing.assert_frame_equal(
        ours[["merged_with", "obs_value", "obs_status"]], theirs[["merged_with", "obs_value", "obs_status"]],
        check_dtype=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["census_ethnic_group_by_sex", "census_ethnic_group_by_age"])
def test_the_city_stands_for_westminster_and_says_so(name: str) -> None:
    found = figures(name)
    assert sorted(set(found.area_code)) == [*AREAS[:32], "E12000007"]
    assert set(found[found.merged_with != ""].area_code) == {"E09000001"}
    assert set(found[found.area_code == "E09000001"].merged_with) == {"E09000033"}
    assert set(found[found.is_total == "Y"].area_code) == {"E12000007"}
    assert found[found.obs_status == "Q"].obs_value.isna().all()
    assert found[found.obs_status == "A"].obs_value.notna().all()
    assert not (found.obs_value.dropna() % 5).any()


def test_tables_of_one_census_agree_within_rounding_and_perturbation() -> None:
    exact = figures("census_ethnic_group")
    exact = exact[(exact.census_year == "2021") & (exact.is_total == "N")]
    by_sex = figures("census_ethnic_group_by_sex")
    two = by_sex[by_sex.is_total == "N"].groupby(["area_code", "category_code"]).obs_value.sum()
    one = exact.assign(area_code=exact.area_code.replace("E09000033", "E09000001"))
    one = one.groupby(["area_code", "category_code"]).obs_value.sum()
    assert (one - two).abs().max() <= 10
    by_age = figures("census_ethnic_group_by_age")
    london = by_age[by_age.is_total == "Y"].groupby("category_code").obs_value.sum()
    assert (exact.groupby("category_code").obs_value.sum() - london).abs().max() <= 101 * 2.5
    working = by_age[(by_age.is_total == "Y") & by_age.age.astype(int).between(16, 64)]
    minority = working[~working.category_code.str.startswith("W")].obs_value.sum()
    assert (minority, working.obs_value.sum()) == (2_764_415, 6_060_665)


def test_the_reference_tables_are_delivered_once_and_anew_when_the_feed_gains_a_table(tmp_path: Path) -> None:
    settings = Settings(HOME, tmp_path, tmp_path / "sources", tmp_path / "landing")
    first = deliver_reference(settings, CENSUS, dt.date(2026, 3, 1))
    assert first == settings.sources / "census" / "2026-03-01" / "1"
    assert deliver_reference(settings, CENSUS, dt.date(2026, 3, 2)) is None
    manifest = json.loads((first / "manifest.json").read_text())
    assert {file["table"] for file in manifest["files"]} == set(CENSUS.tables)
    manifest["files"] = manifest["files"][:2]
    (first / "manifest.json").write_text(json.dumps(manifest))
    assert deliver_reference(settings, CENSUS, dt.date(2026, 2, 28)) == first.parents[1] / "2026-02-28" / "1"
    assert deliver_reference(settings, CENSUS, dt.date(2026, 3, 1)) == first.parent / "2"
    assert deliver_reference(settings, CENSUS, dt.date(2026, 3, 1)) is None
