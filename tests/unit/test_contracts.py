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
        "hr": (
            "hr_assignment",
            "hr_org_unit",
            "hr_person",
            "hr_position",
            "hr_promotion_board",
            "hr_sensitive",
            "hr_service_event",
            "hr_training",
        ),
        "postcode": ("ref_postcode_sector",),
        "recruitment": ("ats_application", "ats_campaign", "ats_candidate", "ats_source", "ats_stage_event"),
    }
    assert (feeds["hr"].mode, feeds["recruitment"].mode, feeds["census"].cadence) == ("full", "delta", "when_published")
    assert [name for name, feed in feeds.items() if any(one.needs_approval for one in feed.contracts)] == ["census"]
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


UNFIT_WHEN = (
    "- {name: known_to_top, type: custom, engine: greatExpectations,"
    " implementation: {type: expect_column_values_to_be_null, kwargs: {column: _known_to_top}}, customProperties:"
    " [{property: onFailure, value: quarantine},"
    " {property: unfitWhen, value: 'toy_id not in (select toy_id from ${top})'}]}"
)
LOOK_BACK = (
    "- {name: rate_drop, type: sql, query: 'select a.n - b.n from ${table} a, ${previous} b',"
    " mustBeLessOrEqualTo: 0.005, description: Not down., customProperties: [{property: onFailure, value: refuse}]}"
)
DERIVED = (
    "- {name: is_test, logicalType: string, physicalType: text, classification: internal, description: Test.,"
    " enum: [{value: 'Y'}, {value: 'N'}],"
    " customProperties: [{property: derivedFrom, value: {column: full_name, matches: '(?i)zztest'}}]}"
)
LOCAL = (
    "- {name: seen_ts, logicalType: timestamp, physicalType: timestamptz, classification: internal, description: Seen.,"
    " customProperties: [{property: localTime, value: Europe/London}]}"
)


def _toys(folder: Path, **texts: str) -> Path:
    (folder / "deliveries" / "toy").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / "deliveries" / "toy" / f"{name}.odcs.yaml").write_text(text)
    return folder


def test_a_rule_looks_at_another_table_of_its_delivery(tmp_path: Path) -> None:
    text = contract("toy", "toy", "full", quality=UNFIT_WHEN)
    toy = contracts.feed(_toys(tmp_path, toy=text, top=contract("top", "toy", "full", special=True)), "toy")
    (rule,) = [rule for one in toy.contracts for rule in one.rules if rule.refers_to]
    assert rule.refers_to == {"top"}
    assert rule.unfit_sql(toy.relations("0123456789ab")) == (
        'toy_id not in (select toy_id from sensitive."delivery_top__0123456789ab")'
    )


def test_a_rule_cannot_look_at_a_table_of_another_feed(tmp_path: Path) -> None:
    text = contract("toy", "toy", "full", quality=UNFIT_WHEN)
    _toys(tmp_path, toy=text, top=contract("top", "other", "full"))
    with pytest.raises(ContractError, match=r"toy: rule known_to_top names top; .* its own feed toy"):
        contracts.feeds(tmp_path)


def test_a_rule_looks_back_and_holds_up_to_its_limit(tmp_path: Path) -> None:
    toy = contracts.contracts(_toys(tmp_path, toy=contract("toy", "toy", "full", quality=LOOK_BACK)))["toy"]
    (rule,) = toy.look_back
    assert (rule.name, rule.limit, rule.on_failure, rule.description) == ("rate_drop", 0.005, "refuse", "Not down.")
    assert rule.sql("delivery.one", "delivery.two") == "select a.n - b.n from delivery.one a, delivery.two b"
    assert [rule.holds(number) for number in (0.005, 0.0051, -1, None)] == [True, False, True, None]
    assert not [other for other in toy.rules if other.name == "rate_drop"]


def test_a_column_is_derived_from_one_that_is_never_landed(tmp_path: Path) -> None:
    toy = contracts.contracts(_toys(tmp_path, toy=contract("toy", "toy", "full", extra=DERIVED)))["toy"]
    column = next(column for column in toy.columns if column.name == "is_test")
    assert column.derived_from == ("full_name", "(?i)zztest")
    assert "is_test" not in toy.source_columns
    assert "full_name" in toy.source_columns


def test_a_timestamp_without_a_zone_says_which_it_is(tmp_path: Path) -> None:
    toy = contracts.contracts(_toys(tmp_path, toy=contract("toy", "toy", "full", extra=LOCAL)))["toy"]
    assert {column.name: column.local_time for column in toy.columns if column.local_time} == {
        "seen_ts": "Europe/London"
    }


def test_a_first_load_and_an_approval_are_properties_of_the_contract(tmp_path: Path) -> None:
    text = contract("toy", "toy", "full")
    plain = contracts.contracts(_toys(tmp_path, toy=text))["toy"]
    assert (plain.first_load_limit, plain.first_load_leaves_out, plain.needs_approval) == (0.5, (), False)
    more = "{property: firstLoad, value: {quarantineLimit: 0.02, leaveOut: [key_is_unique]}}, {property: needsApproval,"
    _toys(tmp_path, toy=text.replace("{property: mode,", f"{more} value: true}}, {{property: mode,"))
    toy = contracts.contracts(tmp_path)["toy"]
    assert (toy.first_load_limit, toy.first_load_leaves_out, toy.needs_approval) == (0.02, ("key_is_unique",), True)


@pytest.mark.parametrize(
    ("quality", "extra", "change", "fault"),
    [
        (LOOK_BACK, "", ("${previous}", "${other}"), "compares"),
        (LOOK_BACK, "", ("mustBeLessOrEqualTo", "mustBeLessThan"), "mustBeLessOrEqualTo a limit"),
        (LOOK_BACK, "", ("value: refuse", "value: quarantine"), "refuses or warns"),
        (LOOK_BACK, "", ("rate_drop", "key_is_unique"), "share a name"),
        ("", DERIVED, ("{column: full_name, ", "{"), "names a column and the expression"),
        ("", DERIVED, ("(?i)zztest", "(zz"), "no regular expression"),
        ("", DERIVED, ("{value: 'N'}", "{value: 'M'}"), "Y or N"),
        ("", DERIVED, ("column: full_name", "column: surname"), "the source does not deliver"),
        ("", DERIVED, ("[{property: d", "[{property: sourceColumn, value: x}, {property: d"), "of its own"),
        ("", LOCAL, ("Europe/London", "Europe/Lundun"), "no time zone"),
        ("", LOCAL, ("timestamptz", "date"), "only a timestamptz"),
        ("", "", ("{property: m", "{property: firstLoad, value: {leaveOut: [x]}}, {property: m"), "no rule here: x"),
    ],
)  # fmt: skip
def test_an_unfit_word_of_the_language_is_refused_with_its_fault(
    tmp_path: Path, quality: str, extra: str, change: tuple[str, str], fault: str
) -> None:
    text = contract("toy", "toy", "full", quality=quality, extra=extra)
    assert change[0] in text
    with pytest.raises(ContractError, match=fault):
        contracts.contracts(_toys(tmp_path, toy=text.replace(*change, 1)))


def test_the_tables_readers_see_have_contracts_in_the_models_words() -> None:
    models = {}
    for path in (HOME / "dbt_project" / "models").rglob("*.yml"):
        models |= {model["name"]: model for model in (yaml.safe_load(path.read_text()) or {}).get("models", [])}
    switched = {name: (model["config"].get("meta") or {}).get("switch", {}) for name, model in models.items()}
    seen = {name for name, switch in switched.items() if switch.get("kind") == "partition" and "internal" not in switch}
    suites = contracts.mart_suites(EXPECTATIONS)
    assert seen <= set(suites) <= set(models)
    for name, suite in suites.items():
        model = models[name]
        table = yaml.safe_load((EXPECTATIONS / "marts" / f"{name}.odcs.yaml").read_text())["schema"][0]
        assert table["dataGranularityDescription"] == model["config"]["meta"]["each_row_is"], name
        assert {entry["name"] for entry in table["properties"]} <= {column["name"] for column in model["columns"]}, name
        keys = [one["columns"] for one in model.get("constraints", []) if one["type"] == "primary_key"]
        key = [entry["name"] for entry in table["properties"] if entry.get("primaryKey")]
        assert not key or [key] == keys, name
        assert len({(rule.subject, rule.name) for rule in suite}) == len(suite), name
