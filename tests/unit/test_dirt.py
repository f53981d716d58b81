"""Dirt by name: planted as the ledger says, each kind on its own, the same every time."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from peel.errors import PeelError
from peel.feeds.reference import reference_table
from peel.simulate import deliver, deliver_missing
from peel.simulate.days import date_of, day_of
from peel.simulate.dirt import CATALOGUE, LEDGER, PLANTERS, dirty, read_ledger
from peel.simulate.dirt.catalogue import KEYS, usual_rates
from peel.simulate.dirt.census import TRAPS, spoil
from peel.simulate.dirt.ledger import Entry
from peel.simulate.extract_hr import tables as hr_tables
from peel.simulate.extract_recruitment import tables as recruitment_tables
from peel.simulate.march import world_until
from peel.simulate.tables import STOCK_DAY
from peel.simulate.text import Table
from peel.simulate.world import World

ROOT = Path(__file__).resolve().parents[2]
NIGHT = dt.date(2021, 10, 27)
SCALE, SEED = 0.005, 2
DELIVERED = sorted(name for name, one in CATALOGUE.items() if one.feed != "census")
COUNTED_AS_IT_IS = {
    "absent", "declaration_changed", "ethnicity_o1_in_16", "several_applications", "resit", "not_stated",
}  # fmt: skip
HALF, ALL = 500_000, 1_000_000


@pytest.fixture(scope="module")
def world() -> World:
    return world_until(SEED, SCALE, NIGHT)


def extracted(world: World, feed: str, day: int) -> dict[str, Table]:
    found = hr_tables(world, day) if feed == "hr" else recruitment_tables(world, STOCK_DAY, day)
    return {name: {column: list(cells) for column, cells in table.items()} for name, table in found}


def planted(
    world: World, feed: str, rates: Mapping[str, int], day: int | None = None
) -> tuple[dict[str, Table], list[Entry]]:
    day = day_of(NIGHT) if day is None else day
    tables, entries = dirty(feed, extracted(world, feed, day).items(), world, STOCK_DAY, day, rates)
    return dict(tables), entries


def lines(table: Table) -> list[tuple[str, ...]]:
    return list(zip(*table.values(), strict=True))


def test_the_catalogue_and_the_code_name_the_same_kinds() -> None:
    assert {*TRAPS, *(name for planters in PLANTERS.values() for name in planters)} == set(CATALOGUE)
    for feed, planters in PLANTERS.items():
        assert {CATALOGUE[name].feed for name in planters} == {feed}
        assert usual_rates(feed).keys() == planters.keys()
    for dirt in CATALOGUE.values():
        assert 0 < dirt.default_rate <= ALL
        assert dirt.table in KEYS
        assert all((dirt.what, dirt.expected, dirt.shown_by, dirt.provenance))
        assert not dirt.rule or dirt.expected in ("quarantined", "refused")


@pytest.mark.parametrize("name", DELIVERED)
def test_what_is_planted_is_what_the_ledger_says(world: World, name: str) -> None:
    dirt = CATALOGUE[name]
    clean = extracted(world, dirt.feed, day_of(NIGHT))
    tables, entries = planted(world, dirt.feed, {name: HALF if name not in COUNTED_AS_IT_IS else ALL})
    assert {entry.dirt for entry in entries} <= {name}
    for entry in entries:
        assert (entry.table, entry.feed, entry.rule) == (dirt.table, dirt.feed, dirt.rule)
        assert entry.business_date == NIGHT.isoformat()
        columns = KEYS[entry.table]
        assert entry.key_columns == "|".join(columns)
        if entry.row:
            assert entry.key == "|".join(tables[entry.table][column][int(entry.row) - 1] for column in columns)
    if name in COUNTED_AS_IT_IS:
        assert tables == clean
    elif entries:
        assert tables != clean
        changed = set(lines(clean[dirt.table])) ^ set(lines(tables[dirt.table]))
        twice = len(lines(tables[dirt.table])) - len(set(lines(tables[dirt.table])))
        assert changed or twice
    # what no dirt touched is as it was, and in its order
    for table, columns in tables.items():
        assert list(columns) == list(clean[table])
        was, now = lines(clean[table]), lines(columns)
        same = set(was) & set(now)
        assert [line for line in was if line in same] == [line for line in now[: len(was)] if line in same]


@pytest.mark.parametrize("name", sorted(set(DELIVERED) - {"clock_back", "start_moved", "rejoiner_renumbered"}))
def test_every_kind_finds_something_to_befall(world: World, name: str) -> None:
    _, entries = planted(world, CATALOGUE[name].feed, {name: ALL})
    if name != "ethnicity_o1_in_16":  # rare in so small a force
        assert entries


@pytest.mark.parametrize("feed", sorted(PLANTERS))
def test_a_rate_of_nought_is_clean(world: World, feed: str) -> None:
    clean = extracted(world, feed, day_of(NIGHT))
    for rates in (
        {},
        dict.fromkeys(PLANTERS[feed], 0),
        dict.fromkeys(PLANTERS["hr" if feed != "hr" else "recruitment"], ALL),
    ):
        assert planted(world, feed, rates) == (clean, [])


@pytest.mark.parametrize("feed", sorted(PLANTERS))
def test_a_row_is_dirty_from_one_cause(world: World, feed: str) -> None:
    tables, entries = planted(world, feed, dict.fromkeys(PLANTERS[feed], 50_000))
    rows = [(entry.table, entry.row) for entry in entries if entry.row]
    assert len(rows) == len(set(rows))
    assert all(len({len(column) for column in table.values()}) == 1 for table in tables.values())


def test_more_of_a_kind_befalls_the_same_rows_and_others(world: World) -> None:
    _, few = planted(world, "hr", {"fte_hours": 20_000})
    _, many = planted(world, "hr", {"fte_hours": 200_000})
    assert {entry.key for entry in few} < {entry.key for entry in many}


@pytest.mark.parametrize("name", ["sex_word", "fte_zero", "ethnicity_ic_code", "test_record", "staff_and_special"])
def test_the_same_rows_are_dirty_every_night(world: World, name: str) -> None:
    _, earlier = planted(world, "hr", {name: 100_000}, day_of(NIGHT) - 60)
    _, later = planted(world, "hr", {name: 100_000})
    people = {entry.key.split("|")[0] for entry in earlier}
    assert people
    gone = people - {entry.key.split("|")[0] for entry in later}
    # a declaration may have been replaced since
    assert len(gone) <= (1 if name == "ethnicity_ic_code" else 0)


def rows_by_key(tables: dict[str, Table]) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for name, table in tables.items():
        for key, row in zip(zip(*(table[column] for column in KEYS[name]), strict=True), lines(table), strict=True):
            found.setdefault((name, *key), []).append(row)
    return found


def changed_overnight(world: World, rates: Mapping[str, int]) -> set[tuple[str, ...]]:
    before, after = (rows_by_key(planted(world, "hr", rates, day_of(NIGHT) - days)[0]) for days in (1, 0))
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def test_dirt_makes_no_row_change_overnight_that_would_not(world: World) -> None:
    rates = dict.fromkeys(PLANTERS["hr"], 60_000)
    dirty_changes, clean_changes = changed_overnight(world, rates), changed_overnight(world, {})
    people = set(rows_by_key(extracted(world, "hr", day_of(NIGHT))))
    # a copy of a row that changed changes too; no row that stood as it was does
    assert {key for key in dirty_changes - clean_changes if key in people} == set()


def test_a_late_promotion_shows_in_no_table_before_its_day_and_in_all_after() -> None:
    name = "promotion_late"
    world = world_until(SEED, 0.02, NIGHT)
    tables, entries = planted(world, "hr", {name: ALL})
    hidden = [entry.key for entry in entries if not entry.row]
    clean = extracted(world, "hr", day_of(NIGHT))
    events = {row[0]: row for row in lines(clean["hr_service_event"])}
    assert hidden
    for number in hidden:
        person, date = events[number][1], events[number][4]
        assert number not in tables["hr_service_event"]["event_id"]
        assignment = tables["hr_assignment"]
        assert not any(
            (who, start, action) == (person, date, "PROMO")
            for who, start, action in zip(
                assignment["person_id"], assignment["effective_start_date"], assignment["action_code"], strict=True
            )
        )
        board = tables["hr_promotion_board"]
        assert (person, date) not in set(zip(board["person_id"], board["promoted_date"], strict=True))
    later_day = day_of(NIGHT) + 93
    _, later = planted(world_until(SEED, 0.02, NIGHT + dt.timedelta(93)), "hr", {name: ALL}, later_day)
    assert set(hidden) <= {entry.key for entry in later if entry.row}


def test_the_clock_that_goes_back(world: World) -> None:
    tables, entries = planted(world, "recruitment", {"clock_back": ALL})
    moments = {tables["ats_stage_event"]["event_ts"][int(entry.row) - 1] for entry in entries}
    assert moments
    for moment in moments:
        at = dt.datetime.fromisoformat(moment)
        assert (at.hour, at.month, at.weekday(), at.tzinfo) == (1, 10, 6, None)
        assert at.day > 24


def test_a_start_date_is_told_at_the_offer_and_moved_twice() -> None:
    first = day_of(NIGHT) - 45
    world = world_until(SEED, 0.02, NIGHT)
    told: dict[str, list[str]] = {}
    for day in range(first, day_of(NIGHT) + 1):
        tables = recruitment_tables(world, day - 1, day)
        dirtied, entries = dirty("recruitment", tables, world, day - 1, day, {"start_moved": ALL})
        dates = dict(dirtied)["ats_application"]["start_date"]
        for entry in entries:
            told.setdefault(entry.key, []).append(dates[int(entry.row) - 1])
    assert max(len(set(dates)) for dates in told.values()) == 3
    assert all(dates == sorted(dates) for dates in told.values())


def test_an_appeal_brings_its_event_again_a_month_later(world: World) -> None:
    day = day_of(NIGHT)
    for night in range(day - 30, day + 1):
        tables, entries = dirty("recruitment", recruitment_tables(world, night - 1, night), world, night - 1, night,
                                {"overturned": ALL})  # fmt: skip
        found = dict(tables)
        for entry in entries:
            event = {column: cells[int(entry.row) - 1] for column, cells in found["ats_stage_event"].items()}
            assert event["outcome"] == "PASS"
            assert dt.date.fromisoformat(event["event_ts"][:10]) == date_of(night - 30)
            application = found["ats_application"]["application_id"].index(event["application_id"])
            assert found["ats_application"]["current_status"][application] != "REJECTED"
        if entries:
            return
    raise AssertionError("nobody failed in a month")


# Usual rates


@pytest.mark.parametrize("table", sorted({dirt.table for dirt in CATALOGUE.values() if dirt.expected == "quarantined"}))
def test_dirt_at_its_usual_rates_stays_below_the_limit_of_the_contract(table: str) -> None:
    (file,) = (ROOT / "expectations" / "deliveries").rglob(f"{table}.odcs.yaml")
    properties = yaml.safe_load(file.read_text("utf-8"))["customProperties"]
    (limit,) = [one["value"] for one in properties if one["property"] == "quarantineLimit"]
    rates = [one.default_rate for one in CATALOGUE.values() if (one.table, one.expected) == (table, "quarantined")]
    assert 2 * sum(rates) < limit * ALL  # some hold two rows


def contents(target: Path) -> dict[str, str]:
    return {
        str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }


def test_same_seed_and_rates_same_bytes_and_a_ledger_of_each_night(tmp_path: Path) -> None:
    rates = usual_rates("hr") | usual_rates("recruitment") | {"fte_hours": 20_000, "stage_unknown": 200_000}
    night = dt.date(2014, 6, 11)
    for folder in ("one", "two"):
        target = tmp_path / folder
        deliver(target, night, scale=0.002, seed=SEED, since=None, dirt=rates)
        deliver_missing(target, night + dt.timedelta(2), scale=0.002, seed=SEED, dirt=rates)
        deliver_missing(target, night + dt.timedelta(2), scale=0.002, seed=SEED, dirt=rates)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    entries = read_ledger(tmp_path / "one")
    assert {entry.business_date for entry in entries if entry.feed == "hr"} == {
        str(night + dt.timedelta(n)) for n in range(3)
    }
    for entry in entries:
        if entry.row:
            file = f"{entry.feed}/{entry.business_date}/1/{entry.table}_{entry.business_date.replace('-', '')}_1.csv"
            with (tmp_path / "one" / file).open(encoding="utf-8", newline="") as rows:
                row = list(csv.DictReader(rows))[int(entry.row) - 1]
            assert "|".join(row[column] for column in entry.key_columns.split("|")) == entry.key


def test_without_dirt_there_is_no_ledger_and_no_other_byte(tmp_path: Path) -> None:
    night = dt.date(2014, 6, 11)
    for folder, dirt in (("plain", None), ("none", {}), ("nought", {"fte_zero": 0})):
        deliver(tmp_path / folder, night, scale=0.002, seed=SEED, since=None, dirt=dirt)
    assert contents(tmp_path / "plain") == contents(tmp_path / "none") == contents(tmp_path / "nought")
    assert not (tmp_path / "plain" / LEDGER).exists()


@pytest.mark.parametrize(
    "dirt", [{"no such dirt": 1}, {"fte_zero": -1}, {"fte_zero": 1_000_001}, {"fte_zero": True}, {"census_percent": 1}]
)
def test_an_unknown_kind_or_an_impossible_rate_is_refused_before_anything_is_written(
    tmp_path: Path, dirt: dict[str, int]
) -> None:
    target = tmp_path / "feeds"
    for call in (
        lambda: deliver(target, NIGHT, scale=0.002, seed=SEED, since=None, dirt=dirt),
        lambda: deliver_missing(target, NIGHT, scale=0.002, seed=SEED, dirt=dirt),
    ):
        with pytest.raises(PeelError) as refused:
            call()
        assert refused.value.do
        assert not target.exists()


def test_the_ledger_holds_no_name_and_no_number_of_the_insured(tmp_path: Path) -> None:
    rates = dict.fromkeys(PLANTERS["hr"], 200_000)
    deliver(tmp_path, NIGHT, scale=SCALE, seed=SEED, since=None, dirt=rates)
    text = (tmp_path / LEDGER).read_text("utf-8")
    with (tmp_path / "hr" / str(NIGHT) / "1" / f"hr_person_{NIGHT:%Y%m%d}_1.csv").open(encoding="utf-8") as file:
        people = list(csv.DictReader(file))
    for person in people:
        assert person["full_name"] not in text
        assert not person["national_insurance_number"] or person["national_insurance_number"] not in text


@pytest.mark.parametrize("name", sorted(TRAPS))
def test_a_census_trap_spoils_one_table_as_the_ledger_says(name: str) -> None:
    names = {dirt.table for dirt in CATALOGUE.values() if dirt.feed == "census"}
    tables = {table: reference_table(ROOT, "census", table).decode() for table in names}
    spoilt, entries = spoil(name, tables, "2026-03-10")
    assert {table for table in tables if tables[table] != spoilt[table]} == {CATALOGUE[name].table}
    assert entries
    assert spoil(name, tables, "2026-03-10") == (spoilt, entries)
    rows = list(csv.DictReader(spoilt[CATALOGUE[name].table].splitlines()))
    for entry in entries[:200]:
        if entry.row:
            row = rows[int(entry.row) - 1]
            assert "|".join(row[column] for column in KEYS[entry.table]) == entry.key


def test_an_unknown_trap_is_refused() -> None:
    with pytest.raises(PeelError):
        spoil("fte_zero", {})


def test_the_documentation_lists_every_kind() -> None:
    text = (ROOT / "docs" / "simulation.md").read_text("utf-8")
    assert [name for name in CATALOGUE if f"`{name}`" not in text] == []
