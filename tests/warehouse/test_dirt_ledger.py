"""Dirt by name, through landing, gate and apply: every planted row is caught, and no clean one."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from peel import contracts, night
from peel.feeds.reference import deliver_reference
from peel.gates.suite import rules
from peel.settings import Settings
from peel.simulate import deliver
from peel.simulate.dirt import CATALOGUE, Entry, read_ledger
from peel.simulate.dirt.census import TRAPS, spoil
from peel.warehouse import connect
from tests.conftest import HOME, copy_warehouse, drop_warehouse, point_environment_at

pytestmark = pytest.mark.slow

CLEAN, DIRTY = dt.date(2019, 3, 12), dt.date(2026, 3, 10)
"""Years apart, so that the second brings a delta of some size."""
SCALE, SEED = 0.01, 2
CONTRACTS = contracts.contracts(HOME / "expectations")
SELDOM = {
    "absent", "candidate_twice", "declaration_changed", "ethnicity_o1_in_16", "hire_cancelled", "not_stated",
    "overturned", "pcso_regraded", "promotion_late", "purged", "rejoiner_renumbered", "resit", "seconded_in",
    "several_applications", "source_conflict", "staff_and_special", "start_moved", "starter_in_future", "unit_closed",
}  # fmt: skip
RATES = {name: 400_000 if name in SELDOM else 12_000 for name, one in CATALOGUE.items() if one.feed != "census"} | {
    "candidate_birth_date_1900": 100_000,
    "clock_back": 1_000_000,
    "ethnicity_lost": 40_000,
    "ethnicity_o1_in_16": 1_000_000,
    "stage_missing": 100_000,
}
BY_RULE = sorted(name for name, one in CATALOGUE.items() if one.feed != "census" and one.rule)


def lenient(home: Path) -> None:
    """Copies of the contracts that let a delivery through which is nearly all dirt."""
    for file in (HOME / "expectations").rglob("*.yaml"):
        document = yaml.safe_load(file.read_text("utf-8"))
        for prop in document.get("customProperties", []):
            if prop["property"] == "quarantineLimit" and "census" not in str(file):
                prop["value"] = 0.9
            if prop["property"] == "volumeBand":
                prop["value"] = 5.0
            if prop["property"] == "firstLoad" and "quarantineLimit" in prop["value"]:
                prop["value"]["quarantineLimit"] = 0.9
        for table in document["schema"]:
            for rule in table.get("quality", []):
                if rule.get("type") == "sql":
                    rule["mustBeLessOrEqualTo"] = 1
        path = home / file.relative_to(HOME)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    (home / "dbt_project").mkdir(exist_ok=True)


@dataclass
class Nights:
    """A clean night and a dirty one after it.

    Attributes:
        settings: where.
        entries: the ledger of the dirty one.
        ids: delivery ids by (feed, date).
    """

    settings: Settings
    entries: list[Entry]
    ids: dict[tuple[str, str], str]

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with connect(self.settings, "owner") as connection:
            return connection.execute(query.encode(), values).fetchall()

    def planted(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.dirt == name]

    def delivery(self, feed: str, date: dt.date = DIRTY) -> str:
        return self.ids[feed, date.isoformat()]

    def labels(self, table: str, date: dt.date = DIRTY) -> dict[int, set[str]]:
        """Labels of the quarantined rows of a table, by row number."""
        contract = CONTRACTS[table]
        found = self.ask(
            f"select _row, rules from {contract.relation('quarantine')} where delivery_id = %s",
            self.delivery(contract.feed, date),
        )
        return {row: set(names) for row, names in found}


def keep_working_copies(settings: Settings, feed: str) -> None:
    """Copy what applying lets go of: the tables that say which row has which pseudonym."""
    with connect(settings, "owner") as connection:
        rows = connection.execute(
            "select delivery_id from audit.delivery where feed = %s and state = 'gated'", (feed,)
        ).fetchall()
        connection.execute("create schema if not exists kept")
        for (number,) in rows:
            for table in {"hr": ("hr_person",), "recruitment": ("ats_candidate", "ats_application")}[feed]:
                relation = CONTRACTS[table].relation("delivery", number)
                connection.execute(f"drop table if exists kept.{table}".encode())
                connection.execute(f"create table kept.{table} as select * from {relation}".encode())


@pytest.fixture(scope="module")
def nights(server: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("dirt")
    lenient(folder / "home")
    settings = copy_warehouse(server, folder / "var", folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        point_environment_at(patch, settings)
        deliver(settings.sources, CLEAN, scale=SCALE, seed=SEED, since=None)
        deliver(settings.sources, DIRTY, scale=SCALE, seed=SEED, since=CLEAN, dirt=RATES)
        for date in (CLEAN, DIRTY):
            for feed in ("hr", "recruitment"):
                landed = night.land(feed, date)
                assert landed["refused"] == []
                night.gate(feed)
                keep_working_copies(settings, feed)
                night.apply(feed, landed["refused"])
        with connect(settings, "owner") as connection:
            found = connection.execute("select feed, business_date::text, delivery_id from audit.delivery").fetchall()
        entries = read_ledger(settings.sources)
        yield Nights(settings, entries, {(feed, date): number for feed, date, number in found})
    drop_warehouse(server, settings)


def test_every_kind_is_planted(nights: Nights) -> None:
    counts = Counter(entry.dirt for entry in nights.entries)
    assert {name for name in RATES if counts[name] == 0} == set()


@pytest.mark.parametrize("name", BY_RULE)
def test_planted_so_often_caught_so_often(nights: Nights, name: str) -> None:
    planted, dirt = nights.planted(name), CATALOGUE[name]
    labels = nights.labels(dirt.table)
    for entry in planted:
        assert labels.get(int(entry.row)) == {dirt.rule, *entry.also.split()}, entry.key


DIRTY_TABLES = sorted({dirt.table for dirt in CATALOGUE.values() if dirt.feed != "census"})


@pytest.mark.parametrize("table", DIRTY_TABLES)
def test_no_row_outside_the_ledger_is_held(nights: Nights, table: str) -> None:
    planted: dict[str, set[int]] = {}
    for entry in nights.entries:
        if entry.table == table and entry.rule:
            for label in (entry.rule, *entry.also.split()):
                planted.setdefault(label, set()).add(int(entry.row))
    caught: dict[str, set[int]] = {}
    for row, names in nights.labels(table).items():
        for label in names:
            caught.setdefault(label, set()).add(row)
    assert caught == planted


def test_a_clean_night_is_not_held(nights: Nights) -> None:
    tables = {dirt.table for dirt in CATALOGUE.values() if dirt.feed != "census"}
    assert {table: nights.labels(table, CLEAN) for table in tables} == {table: {} for table in tables}


def test_both_nights_are_applied(nights: Nights) -> None:
    states = nights.ask("select feed, business_date::text, state from audit.delivery order by 1, 2")
    assert [state for *_, state in states] == ["applied"] * 4, states


# What no rule names: what shows it

BY_NUMBER = ("hr_assignment", "hr_service_event", "ats_application", "ats_stage_event")
"""Tables whose first key column is no pseudonym."""


@pytest.mark.parametrize(
    "name", sorted(name for name in RATES if not CATALOGUE[name].rule and CATALOGUE[name].table in BY_NUMBER)
)
def test_what_is_life_gets_into_history(nights: Nights, name: str) -> None:
    table = CATALOGUE[name].table
    there = [entry.key.split("|") for entry in nights.planted(name) if entry.row]
    gone = [entry.key.split("|")[0] for entry in nights.planted(name) if not entry.row]
    since = "effective_start_date::text" if table == "hr_assignment" else "''"
    key = CONTRACTS[table].columns[0].name
    found = nights.ask(
        f"select {key}::text, {since} from {CONTRACTS[table].relation('history')} where known_to is null"
    )
    keys = {number + start for number, start in found}
    assert {"".join(key) for key in there} <= keys
    assert not {number for number, _ in found} & set(gone)


def count(nights: Nights, query: str) -> int:
    return int(nights.ask(query)[0][0])


IN_HISTORY = {
    "seconded_in": "from history.hr_assignment a where assignment_status = 'SECONDED_IN' and home_force is not null",
    "hire_cancelled": "from history.hr_assignment a where action_code = 'CORR' and assignment_status = 'TERMINATED'",
    "second_post": "from history.hr_assignment a where primary_flag = 'N' and assignment_id > 500000000",
    "pcso_regraded": """from history.hr_assignment a where workforce_group = 'STAFF' and action_code = 'TRANSFER'
        and exists (select from history.hr_assignment b where a.assignment_id = b.assignment_id and b.known_to is null
        and b.workforce_group = 'PCSO' and b.effective_end_date + 1 = a.effective_start_date)""",
    "unit_closed": """from history.hr_assignment a inner join history.hr_org_unit u on a.org_unit_id = u.org_unit_id
        and u.effective_end_date < a.effective_start_date and u.known_to is null where a.assignment_id < 100000000""",
    "purged": """from sensitive.history_ats_candidate a where anonymised_ts is not null
        and num_nulls(sex, ethnicity_code, email_hash, date_of_birth) = 4""",
    "start_moved": "from history.ats_application a where current_status = 'OFFERED' and start_date is not null",
    "source_conflict": """from history.ats_application a where source_code = 'JOB_BOARD'
        and referral_event_id is not null""",
    "overturned": """from history.ats_stage_event a where outcome = 'PASS'
        and last_modified_ts - event_ts between '29 days' and '32 days'""",
    "clock_back": "from history.ats_stage_event a where extract(hour from event_ts at time zone 'UTC') = 1",
    "stage_out_of_order": """from history.ats_stage_event a where stage_code = 'VET' and exists (select
        from history.ats_stage_event b where a.application_id = b.application_id and b.stage_code = 'REG'
        and b.event_ts > a.event_ts)""",
}
"""What shows a kind in history, of versions that are in force."""


@pytest.mark.parametrize("name", sorted(IN_HISTORY))
def test_history_holds_as_many_as_were_planted(nights: Nights, name: str) -> None:
    planted = [entry for entry in nights.planted(name) if entry.expected == CATALOGUE[name].expected]
    assert planted
    query = f"select count(*) {IN_HISTORY[name]} and a.known_to is null"
    assert count(nights, query) == len(planted)


def test_a_late_promotion_is_nowhere_before_it_is_recorded(nights: Nights) -> None:
    recorded = [entry for entry in nights.planted("promotion_late") if entry.row]
    late = "(recorded_ts at time zone 'Europe/London')::date = event_date + 93"
    assert count(nights, f"select count(*) from history.hr_service_event where known_to is null and {late}") == len(
        recorded
    )
    query = "select event_date from history.hr_service_event where event_id = any(%s)"
    keys = [int(entry.key) for entry in nights.planted("promotion_late") if not entry.row]
    assert nights.ask(query, keys) == []


def test_a_starter_of_a_later_day_is_told_as_such(nights: Nights) -> None:
    pending = [entry for entry in nights.planted("starter_in_future") if entry.expected == "pending"]
    later = "select count(*) from history.hr_service_event where known_to is null and event_date > %s"
    assert nights.ask(later, DIRTY) == [(len(pending),)]


def test_a_birth_date_that_piles_up_is_warned_of(nights: Nights) -> None:
    assert len(nights.planted("birth_date_1970")) > 5
    query = "select outcome from audit.gate_result where delivery_id = %s and rule = 'birth_dates_pile_up'"
    assert nights.ask(query, nights.delivery("hr")) == [("failed",)]


@pytest.mark.parametrize(
    ("name", "token", "of"),
    [
        ("person_twice", "national_insurance_hash", "person_id"),
        ("rejoiner_renumbered", "national_insurance_hash", "person_number_hash"),
    ],
)
def test_a_second_record_has_the_token_of_the_first(nights: Nights, name: str, token: str, of: str) -> None:
    rows = [int(entry.row) for entry in nights.planted(name)]
    found = nights.ask(
        f"select distinct a._row from kept.hr_person as a inner join kept.hr_person as b"
        f" on a.{token} = b.{token} and a.{of} <> b.{of} where a._row = any(%s)",
        rows,
    )
    assert {row for (row,) in found} == set(rows)


def test_a_second_registration_has_the_tokens_of_the_first(nights: Nights) -> None:
    rows = [int(entry.row) for entry in nights.planted("candidate_twice")]
    query = "from kept.ats_application a inner join kept.ats_candidate c using (candidate_id)"
    entered = nights.ask(
        "select _row from kept.ats_application where _row = any(%s) and applied_ts >= %s", rows, f"{CLEAN}T24"
    )
    assert set(entered) <= set(nights.ask(f"select a._row {query} where a._row = any(%s)", rows))
    # who was made anonymous since has no token under either registration
    with_one = nights.ask(f"select a._row {query} where a._row = any(%s) and c.email_hash is not null", rows)
    query += (
        " inner join kept.ats_candidate d on c.email_hash = d.email_hash and c.phone_hash = d.phone_hash"
        " and c.candidate_id <> d.candidate_id"
    )
    same = nights.ask(f"select distinct a._row {query} where a._row = any(%s)", rows)
    assert len(same) > 5
    assert set(same) == set(with_one)


def declared(settings: Settings, date: dt.date) -> dict[str, dict[str, str]]:
    """Everybody's open declaration, as delivered."""
    file = settings.sources / "hr" / str(date) / "1" / f"hr_sensitive_{date:%Y%m%d}_1.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["person_id"]: row for row in csv.DictReader(lines) if not row["superseded_ts"]}


def test_lost_values_are_counted_against_the_delivery_before(nights: Nights) -> None:
    before = {person for person, row in declared(nights.settings, CLEAN).items() if row["value_code"] != "NS"}
    lost = {
        person
        for person, row in declared(nights.settings, DIRTY).items()
        if row["source"] == "MIGRATED" and not re.fullmatch("[WMABO][0-9]", row["value_code"])
    }
    assert {entry.key.split("|")[0] for entry in nights.planted("ethnicity_lost")} <= lost
    ((number,),) = nights.ask("select number from audit.look_back where rule = 'known_values_lost'")
    assert lost & before
    assert number == pytest.approx(len(lost & before) / len(before), abs=1e-9)


# The census


def census_refused(settings: Settings, name: str) -> tuple[set[str], list[Entry]]:
    """Deliver the real tables with one of them spoilt; the rules that refuse, and the ledger."""
    folder = deliver_reference(settings, contracts.feed(settings.contracts, "census"), DIRTY)
    assert folder is not None
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    tables = {file["table"]: (folder / file["file"]).read_text("utf-8") for file in manifest["files"]}
    spoilt, entries = spoil(name, tables, DIRTY.isoformat())
    for file in manifest["files"]:
        data = spoilt[file["table"]].encode()
        (folder / file["file"]).write_bytes(data)
        file |= {"sha256": hashlib.sha256(data).hexdigest(), "rows": data.count(b"\n") - 1}
    path.write_text(json.dumps(manifest))
    assert night.land("census", DIRTY)["refused"] == []
    night.gate("census")
    with connect(settings, "owner") as connection:
        failed = connection.execute(
            "select case column_name when '' then '' else column_name || ':' end || rule from audit.gate_result"
            " where outcome = 'failed' and on_failure <> 'warn' and table_name = %s",
            (CATALOGUE[name].table,),
        ).fetchall()
    return {rule for (rule,) in failed}, entries


@pytest.mark.parametrize("name", sorted(TRAPS))
def test_a_trap_of_the_census_is_refused(here: Settings, name: str) -> None:
    refused, entries = census_refused(here, name)
    assert entries
    assert CATALOGUE[name].rule in refused


def test_every_rule_of_the_catalogue_is_a_contract_s() -> None:
    for dirt in CATALOGUE.values():
        labels = {rule.label for rule in rules(CONTRACTS[dirt.table])}
        assert not dirt.rule or dirt.rule in labels, dirt.name
