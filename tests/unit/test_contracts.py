"""The contracts say what they must, and an unfit one is refused with its fault."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from peel import contracts
from peel.builds.sources import sources_document
from peel.contracts import ContractError
from peel.gates.suite import rules
from tests.conftest import HOME
from tests.toys import contract

EXPECTATIONS = HOME / "expectations"


def test_the_feeds_of_the_first_night_are_there() -> None:
    feeds = {feed.name: feed for feed in contracts.feeds(EXPECTATIONS)}
    assert {name: feed.tables for name, feed in feeds.items()} == {
        "census": (
            "census_ethnic_group",
            "census_ethnic_group_by_age",
            "census_ethnic_group_by_sex",
            "census_sex",
        ),
        "hr": ("hr_assignment", "hr_org_unit", "hr_person", "hr_sensitive", "hr_service_event"),
        "recruitment": ("ats_application", "ats_candidate", "ats_stage_event"),
    }
    assert (feeds["hr"].mode, feeds["recruitment"].mode, feeds["census"].cadence) == ("full", "delta", "when_published")
    assert (feeds["hr"].source_kind, feeds["census"].source_kind) == ("simulated", "real")


@pytest.mark.parametrize("table", ["hr_sensitive", "ats_candidate"])
def test_ethnicity_makes_a_table_sensitive(table: str) -> None:
    assert contracts.contracts(EXPECTATIONS)[table].is_special


def test_every_contract_declares_what_gates_it() -> None:
    for one in contracts.contracts(EXPECTATIONS).values():
        assert one.each_row_is
        assert one.rules
        assert one.volume_band is not None or one.cadence == "when_published", one.name
        assert all(column.description.endswith(".") for column in one.columns), one.name
        assert len({(rule.column, rule.name) for rule in rules(one)}) == len(rules(one)), one.name


def test_no_contract_lands_a_name_an_address_or_a_full_postcode() -> None:
    for one in contracts.contracts(EXPECTATIONS).values():
        for column in one.columns:
            if column.source in {"national_insurance_number", "email", "phone", "person_number", "candidate_id"}:
                assert column.identifier, (one.name, column.name)
            assert column.source != "full_name"
            assert column.source != "home_postcode" or column.postcode_sector


def test_listed_codes_are_those_of_the_seeds() -> None:
    seeds = HOME / "dbt_project" / "seeds"

    def codes(seed: str) -> set[str]:
        with (seeds / f"ref_{seed}.csv").open(encoding="utf-8", newline="") as file:
            return {row[f"{seed}_code"] if f"{seed}_code" in row else row[seed] for row in csv.DictReader(file)}

    seen = {"workforce_group": "workforce_group", "rank_code": "rank", "stage_code": "stage", "sex": "sex"}
    checked = 0
    for one in contracts.contracts(EXPECTATIONS).values():
        for column in one.columns:
            if column.name in seen and column.values:
                assert set(column.values) <= codes(seen[column.name]), (one.name, column.name)
                checked += 1
    assert checked >= 7
    candidate = contracts.contracts(EXPECTATIONS)["ats_candidate"]
    ethnicity = next(column for column in candidate.columns if column.name == "ethnicity_code")
    assert set(ethnicity.values or ()) - {"O1"} <= codes("ethnicity")


def test_dbt_reads_what_the_contracts_say() -> None:
    path = HOME / "dbt_project" / "models" / "staging" / "_sources.yml"
    assert path.read_text("utf-8") == sources_document(EXPECTATIONS), "run `peel dbt-sources`"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("kind: DataContract\n", ""), "kind"),
        (("id: toy", "id: other"), "same lower_case name"),
        (("primaryKey: true, primaryKeyPosition: 1, ", ""), "no column is marked primaryKey"),
        (("{property: mode, value: full}, ", ""), "must name mode"),
        (("value: full}", "value: partial}"), "mode is full or delta"),
        (("{value: A}", "{value: OFF}"), "quote its listed values"),
        (("classification: pseudonymised", "classification: internal"), "only they, name their identifier"),
        (("onFailure, value: quarantine", "onFailure, value: ignore"), "quarantine, refuse or warn"),
        (("dataGranularityDescription: one toy", 'dataGranularityDescription: ""'), "what each row is"),
        (('latency, value: "03:00"', 'other, value: "03:00"'), "needs a due time"),
        (("description: Key.", "x: ["), "not YAML"),
    ],
)
def test_an_unfit_contract_is_refused_with_its_fault(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    folder = tmp_path / "deliveries" / "toy"
    folder.mkdir(parents=True)
    text = contract("toy", "toy", "full")
    assert change[0] in text
    (folder / "toy.odcs.yaml").write_text(text.replace(*change, 1))
    with pytest.raises(ContractError, match=fault):
        contracts.contracts(tmp_path)


def test_contracts_of_one_feed_agree(tmp_path: Path) -> None:
    folder = tmp_path / "deliveries" / "toy"
    folder.mkdir(parents=True)
    (folder / "toy.odcs.yaml").write_text(contract("toy", "toy", "full"))
    (folder / "top.odcs.yaml").write_text(contract("top", "toy", "delta"))
    with pytest.raises(ContractError, match="disagree on mode"):
        contracts.feeds(tmp_path)


def test_mart_contracts_name_tables_that_dbt_builds() -> None:
    models = set()
    for path in (HOME / "dbt_project" / "models").rglob("*.yml"):
        models |= {model["name"] for model in (yaml.safe_load(path.read_text()) or {}).get("models", [])}
    suites = contracts.mart_suites(EXPECTATIONS)
    assert suites
    assert set(suites) <= models
