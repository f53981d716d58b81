"""The simulated force: the same world however it is reached, whole, consistent and invented."""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import peel.simulate
from peel.errors import PeelError
from peel.simulate import (
    calibration,
    deliver,
    deliver_missing,
    deliver_nights,
    deliver_postcodes,
    extract_hr,
    extract_recruitment,
    pictures,
    previous_delivery,
    state,
)
from peel.simulate.days import day_of, month_of
from peel.simulate.march import advance, world_until
from peel.simulate.tables import rows
from peel.simulate.write import csv_bytes

ROOT = Path(__file__).resolve().parents[2]
SMALL, SEED = 0.01, 1829
NIGHT = dt.date(2014, 6, 11)
LONG_NIGHT = dt.date(2021, 10, 27)
KEYS = {
    "hr_person": ["person_id", "person_type", "effective_start_date"],
    "hr_assignment": ["assignment_id", "effective_start_date"],
    "hr_org_unit": ["org_unit_id", "effective_start_date"],
    "hr_service_event": ["event_id"],
    "hr_sensitive": ["person_id", "attribute", "declared_ts"],
    "hr_position": ["position_id"],
    "hr_training": ["person_id", "course_code", "event_date"],
    "hr_promotion_board": ["board_id", "person_id"],
    "ats_candidate": ["candidate_id"],
    "ats_application": ["application_id"],
    "ats_stage_event": ["event_id"],
    "ats_campaign": ["campaign_id"],
    "ats_source": ["source_code"],
}
RECRUITMENT = tuple(name for name in KEYS if name.startswith("ats_"))
LAST_TOUCHED = {"hr_service_event": "recorded_ts", "hr_sensitive": "superseded_ts"}
JOINS, LEAVES = ("JOIN", "TRANSFER_IN", "REJOIN"), ("LEAVE", "TRANSFER_OUT")
BCU_CODES = {"AS", "AW", "CE", "CN", "EA", "NA", "NE", "NW", "SE", "SN", "SW", "WA"}
STAGES = ("REG", "ELIG", "SIFT", "ASSESS", "D2", "MED", "FIT", "VET", "REF", "OFFER", "START")
BEGINNING = dt.date(2012, 3, 31)

Tables = dict[str, pd.DataFrame]


def read(target: Path, night: dt.date) -> Tables:
    """Every table of a night, all text."""
    files = sorted(target.glob(f"*/{night}/1/*.csv"))
    return {file.stem.rsplit("_", 2)[0]: _read_file(file) for file in files}


def _read_file(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def contents(target: Path, night: dt.date) -> dict[str, str]:
    """A hash of every file of a night."""
    files = sorted(target.glob(f"*/{night}/1/*"))
    return {str(file.relative_to(target)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def shown(world: Any, night: dt.date, since: dt.date = BEGINNING) -> Tables:
    """What a world shows of a night, recruitment since another."""
    everything = [
        *extract_hr.tables(world, day_of(night)),
        *extract_recruitment.tables(world, day_of(since), day_of(night)),
    ]
    return {name: pd.DataFrame(table, dtype=str) for name, table in everything}


@pytest.fixture(scope="module")
def force(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A force that delivered one night early in its history."""
    target = tmp_path_factory.mktemp("force")
    deliver_missing(target, NIGHT, scale=SMALL, seed=SEED)
    return target


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Everything a force shows after the BCU mergers and three eras of recruitment."""
    target = tmp_path_factory.mktemp("tables")
    deliver_missing(target, LONG_NIGHT, scale=0.02, seed=7)
    return read(target, LONG_NIGHT)


@pytest.fixture(scope="module")
def world() -> Any:
    """A world simulated further than any night it is asked about."""
    return world_until(SEED, SMALL, dt.date(2019, 3, 1))


def test_a_night_goes_on_from_what_was_kept_and_gives_the_same_bytes(tmp_path: Path) -> None:
    nights = [dt.date(2013, 1, 30), dt.date(2013, 1, 31), dt.date(2013, 2, 1), dt.date(2013, 4, 2)]
    kept, lived = tmp_path / "kept", tmp_path / "lived"
    since = None
    for night in nights:
        deliver(kept, night, scale=SMALL, seed=SEED, since=since)
        (lived / state.NAME).unlink(missing_ok=True)
        deliver(lived, night, scale=SMALL, seed=SEED, since=since)
        assert contents(kept, night) == contents(lived, night)
        since = night
    assert state.world_kept(kept, SEED, SMALL, nights[-1]).month == month_of(nights[-1]) + 1


def test_what_was_kept_is_used_as_long_as_it_is_this_forces_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, lived = dt.date(2012, 5, 3), []

    def counting(seed: int, scale: float, date: dt.date, without: frozenset[str]) -> Any:
        lived.append((seed, scale))
        return world_until(seed, scale, date, without)

    monkeypatch.setattr(state, "world_until", counting)
    state.world_kept(tmp_path, SEED, SMALL, night)
    state.world_kept(tmp_path, SEED, SMALL, night)
    state.world_kept(tmp_path, SEED, SMALL, dt.date(2012, 4, 2))
    assert len(lived) == 1
    state.world_kept(tmp_path, SEED + 1, SMALL, night)
    assert len(lived) == 2
    path = tmp_path / state.NAME
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole.replace(b"made_by", b"made_be")):
        path.write_bytes(damaged)
        state.world_kept(tmp_path, SEED + 1, SMALL, night)
    assert len(lived) == 5
    monkeypatch.setattr(state, "_made_by", lambda: "other code")
    state.world_kept(tmp_path, SEED + 1, SMALL, night)
    assert len(lived) == 6
    state.world_kept(tmp_path, SEED + 1, SMALL, night, frozenset({"residency_rule"}))
    assert len(lived) == 7


def test_one_seed_gives_the_same_bytes(force: Path, tmp_path: Path) -> None:
    deliver(tmp_path, NIGHT, scale=SMALL, seed=SEED, since=None)
    assert contents(tmp_path, NIGHT) == contents(force, NIGHT)
    assert len(contents(force, NIGHT)) == 15


def test_another_seed_gives_another_force(force: Path, tmp_path: Path) -> None:
    deliver(tmp_path, NIGHT, scale=SMALL, seed=SEED + 1, since=None)
    one, other = contents(tmp_path, NIGHT), contents(force, NIGHT)
    the_same_in_all = {"ats_campaign", "ats_source"}
    alike = {file for file in one if one[file] == other[file]}
    assert {Path(file).name.rsplit("_", 2)[0] for file in alike} == the_same_in_all


def test_how_far_the_world_was_simulated_does_not_show(force: Path, world: Any) -> None:
    for name, table in [
        *extract_hr.tables(world, day_of(NIGHT)),
        *extract_recruitment.tables(world, day_of(BEGINNING), day_of(NIGHT)),
    ]:
        (file,) = force.glob(f"*/{NIGHT}/1/{name}_*.csv")
        assert csv_bytes(table) == file.read_bytes(), name


def test_a_world_that_advances_is_the_world_reached_at_once(world: Any) -> None:
    other = world_until(SEED, SMALL, dt.date(2012, 5, 1))
    advance(other, dt.date(2019, 3, 1))
    night = dt.date(2019, 2, 20)
    for (name, one), (_, two) in zip(
        extract_hr.tables(world, day_of(night)), extract_hr.tables(other, day_of(night)), strict=True
    ):
        assert one == two, name


nights = st.dates(dt.date(2012, 4, 1), dt.date(2019, 3, 30))


@settings(max_examples=12, deadline=None)
@given(nights, st.integers(1, 400))
def test_for_any_two_nights_a_row_stays_as_it_was_unless_it_was_touched_between(
    world: Any, night: dt.date, days: int
) -> None:
    later_night = min(night + dt.timedelta(days), dt.date(2019, 3, 31))
    earlier, later = shown(world, night), shown(world, later_night)
    persons = np.arange(len(world.persons))
    former, present = (extract_hr.person_ids(persons, day_of(when)) for when in (night, later_night))
    for name, key in KEYS.items():
        if "person_id" in earlier[name] and name.startswith("hr_"):
            # HR numbers everyone anew in 2018 and calls what it took over migrated
            earlier[name]["person_id"] = earlier[name]["person_id"].map(dict(zip(former, present, strict=True)))
        if name == "hr_sensitive":
            earlier[name], later[name] = (part.drop(columns="source") for part in (earlier[name], later[name]))
        before = earlier[name].set_index(key)
        after = later[name].set_index(key)
        assert before.index.isin(after.index).all(), name
        after = after.loc[before.index]
        changed = after[(after != before[after.columns]).any(axis=1)]
        touched = LAST_TOUCHED.get(name, "last_modified_ts" if name[0] == "a" else "last_update_ts")
        day = changed[touched].str[:10]
        assert ((day > str(night)) & (day <= str(later_night))).all(), name


@settings(max_examples=12, deadline=None)
@given(nights, nights)
def test_for_any_two_nights_the_delta_between_them_leads_from_one_state_to_the_other(
    world: Any, one: dt.date, other: dt.date
) -> None:
    first, last = sorted((one, other))
    before, delta, after = (
        shown(world, first),
        shown(world, last, since=first),
        shown(world, last),
    )
    for name in RECRUITMENT:
        key = KEYS[name]
        applied = pd.concat([before[name], delta[name]]).drop_duplicates(key, keep="last")
        expected = after[name].sort_values(key).reset_index(drop=True)
        pd.testing.assert_frame_equal(applied.sort_values(key).reset_index(drop=True), expected)


def test_missed_nights_are_filled_and_lead_to_the_state_reached_directly(tmp_path: Path) -> None:
    first, last = dt.date(2013, 10, 26), dt.date(2013, 10, 29)
    steps, direct = tmp_path / "steps", tmp_path / "direct"
    deliver_missing(steps, first, scale=SMALL, seed=SEED)
    written = deliver_missing(steps, last, scale=SMALL, seed=SEED)
    assert [folder.parent.name for folder in written[::2]] == ["2013-10-27", "2013-10-28", "2013-10-29"]
    assert previous_delivery(steps) == last
    deliver(direct, last, scale=SMALL, seed=SEED, since=None)
    hr = f"hr/{last}/1/"
    stepped, reached = contents(steps, last), contents(direct, last)
    assert {k: v for k, v in stepped.items() if k.startswith(hr)} == {
        k: v for k, v in reached.items() if k.startswith(hr)
    }
    state = read(steps, first)
    for folder in written[1::2]:
        delta = read(steps, dt.date.fromisoformat(folder.parent.name))
        for name in RECRUITMENT:
            both = pd.concat([state[name], delta[name]])
            state[name] = both.drop_duplicates(KEYS[name], keep="last")
    for name, expected in read(direct, last).items():
        if name.startswith("ats_"):
            reached_rows = state[name].sort_values(KEYS[name]).reset_index(drop=True)
            pd.testing.assert_frame_equal(reached_rows, expected.sort_values(KEYS[name]).reset_index(drop=True))


def test_the_manifest_describes_the_files_and_links_the_chain(tmp_path: Path) -> None:
    first, last = dt.date(2013, 3, 30), dt.date(2013, 3, 31)
    deliver_missing(tmp_path, first, scale=SMALL, seed=SEED)
    deliver_missing(tmp_path, last, scale=SMALL, seed=SEED)
    manifests = {
        (feed, night): json.loads((tmp_path / feed / str(night) / "1" / "manifest.json").read_text())
        for feed in ("hr", "recruitment")
        for night in (first, last)
    }
    for (feed, night), manifest in manifests.items():
        assert (manifest["feed"], manifest["business_date"], manifest["seq"]) == (feed, str(night), 1)
        for file in manifest["files"]:
            path = tmp_path / feed / str(night) / "1" / file["file"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
            assert len(_read_file(path)) == file["rows"]
            assert file["file"] == f"{file['table']}_{night:%Y%m%d}_1.csv"
            assert b"\r" not in path.read_bytes()
    assert manifests["recruitment", first]["watermark_from"] is None
    assert manifests["recruitment", first]["watermark_to"] == "2013-03-31T00:00:00+00:00"
    assert manifests["recruitment", last]["watermark_from"] == "2013-03-31T00:00:00+00:00"
    assert manifests["recruitment", last]["watermark_to"] == "2013-03-31T23:00:00+00:00"
    assert manifests["hr", last]["watermark_to"] is None
    assert manifests["hr", last]["mode"] == "full"
    assert manifests["hr", last]["extract_ts"] == "2013-03-31T23:30:00+00:00"
    delta = read(tmp_path, last)["ats_stage_event"]
    assert delta["last_modified_ts"].between("2013-03-31T00:00:00", "2013-03-31T23:00:00+00:00").all()


def test_a_night_that_was_delivered_is_left_alone(force: Path) -> None:
    files = sorted(force.glob(f"*/{NIGHT}/1/*"))
    before = [file.stat().st_mtime_ns for file in files]
    assert deliver_missing(force, NIGHT, scale=SMALL, seed=SEED) == []
    again = deliver(force, NIGHT, scale=SMALL, seed=SEED, since=None)
    assert again == [force / "hr" / str(NIGHT) / "1", force / "recruitment" / str(NIGHT) / "1"]
    assert [file.stat().st_mtime_ns for file in files] == before


def test_postcodes_are_delivered_once_and_cover_every_home(force: Path, tmp_path: Path) -> None:
    folder = deliver_postcodes(tmp_path, NIGHT)
    assert folder == tmp_path / "postcode" / str(NIGHT) / "1"
    assert deliver_postcodes(tmp_path, NIGHT + dt.timedelta(days=1)) is None
    assert deliver_postcodes(tmp_path, NIGHT - dt.timedelta(days=1)) is not None
    (table,) = read(tmp_path, NIGHT).values()
    assert not table.duplicated(["sector", "area_code"]).any()
    shares = table.assign(share=table.share.astype(float)).groupby("sector").share
    assert shares.sum().round(9).eq(1).all()
    assert (shares.count() == 2).sum() == 32
    homes = read(force, NIGHT)["hr_person"].home_postcode.str[:-2]
    assert set(homes) <= set(table.sector)
    assert set(table[table.sector.str.startswith("ZX99 ")].area_code) == {"OUTSIDE"}


def test_a_night_broken_off_between_the_feeds_is_finished(tmp_path: Path) -> None:
    night = dt.date(2012, 7, 5)
    deliver_missing(tmp_path, night, scale=SMALL, seed=SEED)
    before = contents(tmp_path, night)
    folder = tmp_path / "recruitment" / str(night) / "1"
    folder.rename(folder.parent / ".1.partial")
    assert previous_delivery(tmp_path) is None
    deliver_missing(tmp_path, night, scale=SMALL, seed=SEED)
    assert contents(tmp_path, night) == before
    assert not list(tmp_path.rglob(".*partial*"))


def test_a_night_before_the_first_one_is_refused(force: Path) -> None:
    with pytest.raises(PeelError, match="a chain starts once"):
        deliver_missing(force, NIGHT - dt.timedelta(1), scale=SMALL, seed=SEED)
    with pytest.raises(PeelError, match="started already"):
        deliver(force, NIGHT + dt.timedelta(1), scale=SMALL, seed=SEED, since=None)


def test_a_night_before_the_history_begins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PeelError, match="April 2012"):
        deliver_missing(tmp_path, dt.date(2012, 3, 31), scale=SMALL, seed=SEED)
    assert not list(tmp_path.iterdir())


def test_one_chain_cannot_tell_of_two_forces(force: Path) -> None:
    with pytest.raises(PeelError, match="another seed or scale"):
        deliver_missing(force, NIGHT + dt.timedelta(1), scale=0.02, seed=SEED)
    with pytest.raises(PeelError, match="does not come after"):
        deliver(force, NIGHT, scale=SMALL, seed=SEED, since=NIGHT)


def _month_ends(first: str, last: str) -> Iterator[str]:
    for month in pd.period_range(first, last, freq="M"):
        yield str(month.end_time.date())


def serving(tables: Tables, day: str, group: str) -> pd.DataFrame:
    """The assignments that count on a day."""
    table = tables["hr_assignment"]
    return table[
        (table.workforce_group == group)
        & (table.effective_start_date <= day)
        & (table.effective_end_date >= day)
        & (table.assignment_status != "TERMINATED")
        & (table.primary_flag == "Y")
    ]


def test_joiners_less_leavers_are_the_change_of_strength_in_every_month_and_group(tables: Tables) -> None:
    events = tables["hr_service_event"]
    for group in ("OFF", "STAFF", "PCSO", "DESIG", "SC", "PSV", "VPC"):
        mine = events[events.workforce_group == group]
        posts = {"hr_assignment": tables["hr_assignment"].query("workforce_group == @group")}
        opening = len(serving(posts, "2012-03-31", group))
        previous = "2012-03-31"
        assert opening > 0
        for day in _month_ends("2012-04", "2021-09"):
            within = mine[(mine.event_date > previous) & (mine.event_date <= day)]
            joins, leaves = within.event_type.isin(JOINS).sum(), within.event_type.isin(LEAVES).sum()
            now = serving(posts, day, group)
            assert now.person_id.is_unique
            assert opening + joins - leaves == len(now), (group, day)
            opening, previous = len(now), day


def test_every_row_meets_its_contract(tables: Tables) -> None:
    for path in sorted((ROOT / "expectations" / "deliveries").glob("[hr]*/*.odcs.yaml")):
        contract = yaml.safe_load(path.read_text())
        table, name = tables[contract["id"]], contract["id"]
        key: list[str] = []
        source: list[str] = []
        for field in contract["schema"][0]["properties"]:
            custom = {item["property"]: item["value"] for item in field.get("customProperties", [])}
            if "derivedFrom" in custom:
                continue  # landing makes it
            column = custom.get("sourceColumn", field["name"])
            source.append(column)
            _check_field(name, field, table[column])
            key += [column] if field.get("primaryKey") else []
        extra = {item["property"]: item["value"] for item in contract["schema"][0].get("customProperties", [])}
        assert set(table.columns) == {*source, *extra.get("neverLanded", [])}, name
        assert not table.duplicated(key).any(), name
        if "effective_end_date" in table:
            assert (table.effective_end_date >= table.effective_start_date).all(), name


def _check_field(name: str, field: dict[str, Any], column: pd.Series[str]) -> None:
    what = f"{name}.{field['name']}"
    filled = column[column != ""]
    if field.get("required"):
        assert len(filled) == len(column), what
    if "enum" in field:
        assert set(filled) <= {item["value"] for item in field["enum"]}, what
    assert filled.str.len().max() <= field.get("logicalTypeOptions", {}).get("maxLength", 1000) or filled.empty, what
    pattern = field.get("logicalTypeOptions", {}).get("pattern")
    if pattern:
        assert filled.str.fullmatch(pattern.strip("^$")).all(), what
    form = {
        "date": r"\d{4}-\d\d-\d\d",
        "timestamptz": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
        "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        "bigint": r"[1-9]\d{0,9}",
        "smallint": r"[1-9]",
        "numeric(6,3)": r"(0\.\d{3}|1\.000)",
        "numeric(6,2)": r"\d{1,2}\.\d\d",
        "numeric(9,3)": r"\d{1,4}\.000",
        "numeric(5,1)": r"\d{1,2}\.\d",
        "integer": r"[1-9]\d*",
    }.get(field["physicalType"])
    if any(custom["property"] == "localTime" for custom in field.get("customProperties", [])):
        form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    if form:
        assert filled.str.fullmatch(form).all(), what


def test_rules_across_columns_hold(tables: Tables) -> None:
    posts, events, declared = tables["hr_assignment"], tables["hr_service_event"], tables["hr_sensitive"]
    assert ((posts.workforce_group == "OFF") == (posts.rank_code != "")).all()
    assert ((posts.workforce_group == "OFF") == (posts.rank_basis != "")).all()
    assert posts[posts.band != ""].workforce_group.isin(["STAFF", "PCSO", "DESIG"]).all()
    assert (events.event_type.isin(JOINS) == (events.joiner_type != "")).all()
    assert (events.event_type.isin(LEAVES) == (events.leaving_reason_code != "")).all()
    joining_officers = events.event_type.isin(JOINS) & (events.workforce_group == "OFF")
    assert (joining_officers == (events.entry_route != "")).all()
    old = declared[declared.scheme == "16+1"].value_code
    assert not old.isin(["A4", "W3", "W4", "O2"]).any()
    assert (old == "O1").any()
    assert not declared[declared.scheme == "18+1"].value_code.isin(["O1", "W4"]).any()
    applications = tables["ats_application"]
    started = applications.current_status == "STARTED"
    assert (started == (applications.start_date != "")).all()
    assert (started == (applications.person_id != "")).all()
    assert set(tables["hr_org_unit"].bcu_code) - {""} == BCU_CODES
    people = tables["hr_person"]
    hired = people[people.original_hire_date != ""]
    sixteen = hired.date_of_birth.str[:4].astype(int) + 16
    assert (hired.original_hire_date >= sixteen.astype(str) + hired.date_of_birth.str[4:]).all()


def test_tables_refer_to_each_other(tables: Tables) -> None:
    people = set(tables["hr_person"].person_id)
    for name in ("hr_assignment", "hr_service_event", "hr_sensitive"):
        assert set(tables[name].person_id) <= people
    applications = tables["ats_application"]
    assert set(applications.person_id) - {""} <= people
    assert set(applications.candidate_id) == set(tables["ats_candidate"].candidate_id)
    assert set(tables["ats_stage_event"].application_id) == set(applications.application_id)
    posts = tables["hr_assignment"].merge(tables["hr_org_unit"], on="org_unit_id", suffixes=("", "_unit"))
    assert len(posts) == len(tables["hr_assignment"])
    counted = posts[posts.assignment_status != "TERMINATED"]
    assert (counted.effective_start_date >= counted.effective_start_date_unit).all()
    assert (counted.effective_end_date <= counted.effective_end_date_unit).all()


def test_hired_candidates_are_the_same_people_in_hr(tables: Tables) -> None:
    hired = tables["ats_application"].query("person_id != ''")
    candidates = tables["ats_candidate"].drop(columns="last_modified_ts")
    both = hired.merge(candidates, on="candidate_id").merge(
        tables["hr_person"].drop_duplicates("person_id"), on="person_id", suffixes=("", "_hr")
    )
    assert len(both) == len(hired) > 100
    for column in ("full_name", "email", "phone", "date_of_birth"):
        assert (both[column] == both[f"{column}_hr"]).all()
    homes = tables["hr_person"].groupby("person_id").home_postcode.nunique()
    stayed = both[both.person_id.map(homes) == 1]
    assert len(stayed) > 50
    assert (stayed.home_postcode == stayed.home_postcode_hr).all()
    joins = tables["hr_service_event"].query("event_type in @JOINS")
    starts = hired.merge(
        joins,
        left_on=["person_id", "start_date", "workforce_group"],
        right_on=["person_id", "event_date", "workforce_group"],
    )
    assert len(starts) == len(hired)
    assert (starts.entry_route_x == starts.entry_route_y).all()


def test_every_post_that_is_held_is_listed_and_its_title_is_the_holders(tables: Tables) -> None:
    posts = tables["hr_position"].set_index("position_id")
    held = tables["hr_assignment"].join(posts, on="position_id", suffixes=("", "_post"))
    assert held.title.notna().all()
    assert (held.org_unit_id == held.org_unit_id_post).all()
    assert (held[held.rank_code == "SGT"].title == "Sergeant").all()
    assert held[held.workforce_group == "STAFF"].title.str.match("Police staff band [A-G]").all()
    established = posts[posts.title == "Constable"].establishment_fte.astype(float).sum()
    serving_now = serving(tables, str(LONG_NIGHT), "OFF")
    assert established == pytest.approx(len(serving_now[serving_now.rank_code == "CON"]), rel=0.25)
    assert set(posts.budget_year) == {"2021/22"}


def test_who_rises_in_rank_passed_a_board_and_has_an_event_of_that_day(tables: Tables) -> None:
    boards, events = tables["hr_promotion_board"], tables["hr_service_event"]
    temporary = boards.process_type == "TEMPORARY"
    assert (boards[temporary].promoted_date == "").all()
    assert set(boards[temporary].board_outcome) == {"PASS", "FAIL"}
    boards = boards[~temporary]
    risen = boards[boards.promoted_date != ""]
    assert (risen.board_outcome == "PASS").all()
    promoted = events[events.event_type == "PROMOTE"]
    assert set(zip(risen.person_id, risen.promoted_date, strict=True)) == set(
        zip(promoted.person_id, promoted.event_date, strict=True)
    )
    began = tables["hr_assignment"].query("action_code == 'PROMO'")
    ranks = began.set_index(["person_id", "effective_start_date"]).rank_code
    assert (ranks[list(zip(risen.person_id, risen.promoted_date, strict=True))].values == risen.rank_to.values).all()
    applied = boards[boards.applied_flag == "Y"]
    assert 0.5 < len(risen) / len(applied) < 0.8
    assert (boards[boards.applied_flag == "N"].board_outcome == "").all()
    assert (applied[applied.exam_outcome == "FAIL"].board_outcome == "").all()


def test_courses_are_taken_in_service(tables: Tables) -> None:
    training = tables["hr_training"]
    assert set(training.person_id) <= set(tables["hr_person"].person_id)
    assert (training.event_date <= str(LONG_NIGHT)).all()
    assert (training[training.course_code == "RACISM_AWARENESS"].event_date >= "2021-01-01").all()
    assert set(training.outcome) == {"PASS", "FAIL", "ATTENDED", "NO_SHOW"}
    assert (training[training.outcome == "NO_SHOW"].hours == "0.0").all()
    left = tables["hr_assignment"].query("assignment_status == 'TERMINATED'").groupby("person_id")
    gone = training.person_id.map(left.effective_start_date.max())
    serving_still = tables["hr_person"].query("person_type != 'EX_EMP' and effective_end_date == '4712-12-31'")
    late = training[(training.event_date >= gone) & ~training.person_id.isin(serving_still.person_id)]
    assert late.empty


def test_applications_name_a_campaign_that_was_open_and_a_source(tables: Tables) -> None:
    applications, campaigns = tables["ats_application"], tables["ats_campaign"].set_index("campaign_id")
    of = applications.join(campaigns, on="campaign_id", suffixes=("", "_campaign"))
    assert of.name.notna().all()
    applied = of.applied_ts.str[:10]
    assert ((applied >= of.open_date) & (applied <= of.close_date)).all()
    assert set(applications.source_code) <= set(tables["ats_source"].source_code)
    later = campaigns.loc["OFF_EXT-2018H2"]
    assert (later.process_version, later.last_modified_ts[:10]) == ("DAY_ONE", "2018-10-01")


def test_a_special_who_becomes_an_officer_leaves_one_and_joins_the_other_on_one_day(tables: Tables) -> None:
    events = tables["hr_service_event"]
    joined = events[events.entry_route == "SC2PC"]
    left = events[(events.leaving_reason_code == "SC2PC_OUT") & (events.workforce_group == "SC")]
    assert len(joined) > 20
    pairs = joined.merge(left, on=["person_id", "event_date"])
    assert len(pairs) == len(joined)


def test_a_rejoiner_has_a_new_record_and_the_old_ni_number(tables: Tables) -> None:
    people, events = tables["hr_person"], tables["hr_service_event"]
    back = events[events.event_type == "REJOIN"].person_id
    numbers = people.drop_duplicates("person_id").set_index("person_id").national_insurance_number
    records = numbers.value_counts()
    assert len(back) > 3
    assert (records[numbers[back]] >= 2).all()
    warrants = people.drop_duplicates("person_id").groupby("national_insurance_number").person_number.nunique()
    assert (warrants[numbers[back]] == records[numbers[back]]).all()
    others = numbers.drop(back)
    assert others.is_unique


def test_some_staff_are_also_specials(tables: Tables) -> None:
    day = "2019-06-30"
    both = set(serving(tables, day, "STAFF").person_id) & set(serving(tables, day, "SC").person_id)
    assert both
    types = tables["hr_person"][tables["hr_person"].person_id.isin(both)]
    assert types.groupby("person_id").person_type.apply(set).apply({"EMP", "VOL"}.issubset).all()


def test_hr_numbers_everyone_anew_when_its_system_changes(world: Any) -> None:
    before, after = (
        shown(world, night, since=since)
        for night, since in ((dt.date(2018, 2, 4), BEGINNING), (dt.date(2018, 2, 5), dt.date(2018, 2, 4)))
    )
    old, new = before["hr_person"], after["hr_person"]
    assert not set(old.person_id) & set(new.person_id)
    assert set(old.national_insurance_number) <= set(new.national_insurance_number)
    for name in ("hr_assignment", "hr_service_event", "hr_sensitive", "hr_training", "hr_promotion_board"):
        assert set(after[name].person_id) <= set(new.person_id), name
    declared, joined = after["hr_sensitive"], after["hr_service_event"].groupby("person_id").event_date.max()
    # who joins on the day itself brings what was declared on applying, into the new system
    there = declared.person_id.map(joined).fillna("") < "2018-02-05"
    carried = (declared.declared_ts < "2018-02-05") & there
    assert carried.sum() > 500
    assert (declared[carried].source == "MIGRATED").all()
    assert set(before["hr_sensitive"].source) == {"SELF_SERVICE", "ATS", "MIGRATED"}
    applications = after["ats_application"]
    assert set(applications.person_id) - {""} <= set(new.person_id)
    again = applications[applications.last_modified_ts == "2018-02-05T08:00:00+00:00"]
    everything = before["ats_application"]
    assert set(again.application_id) == set(everything[everything.person_id != ""].application_id)


def test_the_unsuccessful_are_made_anonymous_after_a_year_and_keep_what_monitoring_needs(tables: Tables) -> None:
    candidates, applications = tables["ats_candidate"], tables["ats_application"]
    gone = candidates[candidates.anonymised_ts != ""]
    assert len(gone) > 500
    for column in ("full_name", "email", "phone", "date_of_birth"):
        assert (gone[column] == "").all()
    assert (gone.sex != "").all()
    assert gone.home_postcode.str.fullmatch(r"ZX\d+ \dZZ").all()
    assert (gone.last_modified_ts == gone.anonymised_ts).all()
    theirs = applications[applications.candidate_id.isin(gone.candidate_id)]
    assert not theirs.current_status.isin(["OPEN", "OFFERED", "STARTED"]).any()
    ended = theirs.groupby("candidate_id").last_modified_ts.max().str[:10]
    waited = pd.to_datetime(gone.set_index("candidate_id").anonymised_ts.str[:10]) - pd.to_datetime(ended)
    assert (waited.dt.days == 365).all()
    kept = applications[applications.current_status.isin(["REJECTED", "WITHDRAWN"])].groupby("candidate_id")
    still = kept.last_modified_ts.max()
    hired = set(applications[applications.current_status == "STARTED"].candidate_id)
    open_now = set(applications[applications.current_status.isin(["OPEN", "OFFERED"])].candidate_id)
    old = still[still < "2020-10-01"].index
    assert not (set(old) - hired - open_now - set(gone.candidate_id))


def test_a_second_paid_assignment_lies_within_the_first_and_may_bring_more_than_full_time(world: Any) -> None:
    posts = shown(world, dt.date(2019, 2, 20))["hr_assignment"]
    second = posts[posts.primary_flag == "N"]
    assert set(second.workforce_group) <= {"STAFF", "PCSO"}
    assert second.assignment_id.is_unique
    assert not set(second.assignment_id) & set(posts[posts.primary_flag == "Y"].assignment_id)
    first = posts[(posts.primary_flag == "Y") & (posts.assignment_status != "TERMINATED")]
    both = second.merge(first, on=["person_id", "workforce_group"], suffixes=("", "_first"))
    ends = both.groupby("assignment_id").agg(
        end=("effective_end_date", "first"), last=("effective_end_date_first", "max")
    )
    assert len(ends) == len(second) > 0
    assert (ends.end <= ends["last"]).all()
    together = both.fte.astype(float) + both.fte_first.astype(float)
    assert (together > 1).any()


def test_people_move_home_and_staff_rise_in_band(tables: Tables) -> None:
    people = tables["hr_person"].sort_values(["person_id", "person_type", "effective_start_date"])
    periods = people.groupby(["person_id", "person_type"])
    following = periods.effective_start_date.shift(-1)
    inner = following.notna()
    gap = pd.to_datetime(following[inner]) - pd.to_datetime(people.effective_end_date[inner])
    assert (gap.dt.days == 1).all()
    assert (periods.home_postcode.shift(-1)[inner] != people.home_postcode[inner]).mean() > 0.99
    homes = people[people.person_type == "EMP"].groupby("person_id").home_postcode.nunique()
    assert 0.05 < (homes > 1).mean() < 0.5
    risen = tables["hr_assignment"].query("workforce_group == 'STAFF' and action_code == 'PROMO'")
    assert len(risen) > 5
    assert risen.band.str.fullmatch("[A-F]").all()


def test_cadets_are_thirteen_to_seventeen(tables: Tables) -> None:
    births = tables["hr_person"].drop_duplicates("person_id").set_index("person_id").date_of_birth
    for day in ("2012-04-01", "2016-02-29", "2021-10-27"):
        born = serving(tables, day, "VPC").person_id.map(births)
        assert len(born) > 20
        years = int(day[:4]) - born.str[:4].astype(int) - (born.str[5:] > day[5:])
        assert years.between(13, 17).all()


def test_borough_command_units_give_way_to_basic_command_units(tables: Tables) -> None:
    units = tables["hr_org_unit"].set_index("org_unit_id")
    before = units.loc[serving(tables, "2016-12-31", "OFF").org_unit_id]
    after = units.loc[serving(tables, "2019-03-31", "OFF").org_unit_id]
    assert (before.org_type == "BOCU").mean() == pytest.approx(0.54, abs=0.08)
    assert (before[before.org_type == "BOCU"].borough_code != "").all()
    assert not (after.org_type == "BOCU").any()
    local = after[after.org_type == "BCU"]
    assert len(local) / len(after) == pytest.approx(0.54, abs=0.08)
    assert (local.bcu_code != "").all()
    assert (local.borough_code != "").mean() == pytest.approx(0.5, abs=0.12)


def test_identifiers_lie_outside_the_ranges_in_use(tables: Tables) -> None:
    forms = {
        "national_insurance_number": r"QQ\d{6}[A-D]",
        "email": r"[a-z.]+\d+@example\.invalid",
        "phone": r"(07700 900\d{3}|020 7946 0\d{3})",
        "home_postcode": r"ZX([1-9]|[12]\d|3[0-3]|99) \d[A-Z]{2}",
    }
    for name in ("hr_person", "ats_candidate"):
        for column, form in forms.items():
            if column in tables[name]:
                values = tables[name][column]
                assert values[values != ""].str.fullmatch(form).all(), (name, column)
    candidates = tables["ats_candidate"].query("anonymised_ts == ''")
    assert candidates.email.is_unique
    outside = candidates.home_postcode.str.startswith("ZX99")
    assert (outside == (candidates.outside_london_flag == "Y")).all()


def test_the_residency_rule_is_that_of_its_time(tables: Tables) -> None:
    officers = tables["ats_application"].query("workforce_group == 'OFF'")
    applied = officers.applied_ts.str[:10]
    assert (officers[applied < "2014-08-01"].lrc_basis == "").all()
    lifted = officers[(applied >= "2018-11-01") & (applied < "2020-11-13")]
    assert (lifted.lrc_basis != "").all()
    assert (lifted.lrc_pass == "").all()
    again = officers[applied >= "2020-11-13"]
    assert ((again.lrc_basis == "NONE") == (again.lrc_pass == "N")).all()
    early = again[again.registered_interest_ts < "2020-11-13"]
    assert (early.lrc_basis == "EXEMPT").all()
    assert (again[again.entry_route.isin(["DDHEP", "PNOW", "SC2PC"])].lrc_basis == "EXEMPT").all()
    failed = officers[(officers.lrc_pass == "N") & (officers.current_status == "STARTED")]
    assert failed.empty


def test_stages_follow_each_other_and_end_as_the_application_says(tables: Tables) -> None:
    stages = tables["ats_stage_event"].merge(tables["ats_application"], on="application_id")
    order = list(STAGES)
    stages["place"] = stages.stage_code.map(order.index)
    stages = stages.sort_values(["application_id", "event_ts"])
    parallel = stages.stage_code.isin(["MED", "FIT"])
    straight = stages[~parallel]
    assert (straight.groupby("application_id").place.diff().dropna() >= 0).all()
    touched = tables["ats_application"].set_index("application_id").last_modified_ts.sort_index()
    latest = stages.groupby("application_id").last_modified_ts_x.max()
    renumbered = touched == "2018-02-05T08:00:00+00:00"
    assert (latest[renumbered] < touched[renumbered]).all()
    assert (latest[~renumbered] == touched[~renumbered]).all()
    furthest = stages.groupby("application_id").place.max().map(lambda n: order[n])
    assert (furthest == tables["ats_application"].set_index("application_id").current_stage.sort_index()).all()
    ended = stages[stages.outcome.isin(["WITHDRAWN", "NO_SHOW", "EXPIRED"])]
    assert (ended.current_status == "WITHDRAWN").all()
    assert (stages.attempt_no == "2").any()
    open_now = tables["ats_application"].current_status.isin(["OPEN", "OFFERED"]).mean()
    assert 0 < open_now < 0.1
    starts = (tables["ats_application"].query("workforce_group == 'OFF'").current_status == "STARTED").mean()
    assert 1 / 12 < starts < 1 / 5


def test_the_room_imports_nothing_of_the_pipeline() -> None:
    allowed = ("peel.simulate", "peel.settings", "peel.errors", "peel.london")
    for file in Path(peel.simulate.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert not module.startswith("peel") or module.startswith(allowed), (file.name, module)


def test_every_parameter_says_where_it_comes_from() -> None:
    folder = Path(peel.simulate.__file__).parent / "tables"
    for file in folder.glob("*.csv"):
        if file.stem != "names":
            assert all(row["provenance"] for row in rows(file.stem)), file.stem


PRESENT = dt.date(2026, 11, 20)


@pytest.fixture(scope="module")
def delivered_quarter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the force at its default size delivered, to the present."""
    target = tmp_path_factory.mktemp("quarter")
    deliver_missing(target, PRESENT, scale=0.25, seed=SEED)
    return target


@pytest.fixture(scope="module")
def quarter(delivered_quarter: Path) -> Tables:
    return read(delivered_quarter, PRESENT)


@pytest.mark.slow
class TestNearThePublished:
    """The force at its default size against published figures, each on its own basis."""

    def test_strength_follows_the_published_series(self, quarter: Tables) -> None:
        for point in rows("strength"):
            if point["status"] != "published" or point["as_at"] > "2026-10":
                continue
            day = str(pd.Period(point["as_at"]).end_time.date())
            groups = {"STAFF_DESIG": ["STAFF", "DESIG"]}.get(point["series"], [point["series"]])
            people = pd.concat([serving(quarter, day, group) for group in groups])
            size = people.fte.astype(float).sum() if point["basis"] == "fte" else len(people)
            # a few people more or less are more than 3% of the small groups
            assert size * 4 == pytest.approx(float(point["value"]), rel=0.03, abs=80), point

    def test_shares_and_heads_lie_near_the_published(self, quarter: Tables, delivered_quarter: Path) -> None:
        compared = calibration.compare(delivered_quarter, PRESENT)
        sex = quarter["hr_person"].drop_duplicates("person_id").set_index("person_id").sex
        found = {(one.figure, one.measure, one.group, one.segment, one.day): one for one in compared}
        for row in rows("published"):
            day, group = row["to_day"], row["group_code"]
            if row["unit"] != "percent" or group == "ALL" or row["segment"] == "CHIEF" or row["conflict"]:
                continue
            if row["measure"].startswith("joiner"):
                people = _recruits(quarter, group, row["from_day"], day)
                day = "2026-11-20"
            else:
                people = serving(quarter, day, group)
                if row["segment"]:
                    people = people[people.rank_code == row["segment"]]
                people = people.person_id
            chosen = _chosen(quarter, row["measure"].removeprefix("joiner_"), people, day, sex)
            # one point, or twice the error of a quarter-size force and of the published share
            errors = 2 * (25 * 25 / len(people) + 25 * 100 / float(row["denominator"] or 2000)) ** 0.5 * 1.7
            assert abs(100 * chosen.mean() - float(row["value"])) <= max(1.0, errors), row
            same = found[row["figure"], row["measure"], group, row["segment"], row["to_day"]]
            assert same.simulated == pytest.approx(100 * chosen.mean()), row


def test_pictures_are_drawn_of_a_delivered_force(force: Path, tmp_path: Path) -> None:
    drawn = pictures.draw(force, NIGHT, tmp_path)
    assert [file.name for file in drawn] == ["strength.png", "shares.png", "funnel.png"]
    for file in drawn:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 10_000


def test_what_was_not_delivered_is_not_compared(force: Path, tmp_path: Path) -> None:
    for folder, night in ((tmp_path, NIGHT), (force, NIGHT + dt.timedelta(1))):
        with pytest.raises(PeelError, match=f"delivered nothing for {night}"):
            calibration.compare(folder, night)


def test_a_share_of_few_is_held_to_its_interval() -> None:
    assert calibration.wilson(8, 10) == pytest.approx((49.02, 94.33), abs=0.01)
    assert calibration.wilson(0, 20) == pytest.approx((0.0, 16.11), abs=0.01)
    assert calibration.wilson(0, 0) == (0.0, 100.0)


def test_impossible_orders_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    since, until = dt.date(2013, 1, 2), dt.date(2013, 1, 1)
    with pytest.raises(PeelError, match="comes after the last"):
        deliver_nights(tmp_path, until, since=since, scale=SMALL, seed=SEED)
    for scale in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(PeelError, match="size of the simulated force"):
            deliver_nights(tmp_path, until, since=None, scale=scale, seed=SEED)
    with pytest.raises(PeelError, match="no history before"):
        deliver_nights(tmp_path, dt.date(2012, 3, 1), since=None, scale=SMALL, seed=SEED)
    assert not list(tmp_path.iterdir())


_GOLDEN = """
import datetime, hashlib, pathlib, sys, tempfile
from peel.simulate import deliver
night = datetime.date(2015, 2, 11)
with tempfile.TemporaryDirectory() as folder:
    deliver(pathlib.Path(folder), night, scale=0.01, seed=1829, since=None)
    digest = hashlib.sha256()
    for file in sorted(pathlib.Path(folder).glob("*/*/1/*")):
        digest.update(file.name.encode() + file.read_bytes())
print(digest.hexdigest())
"""
GOLDEN = "e17757590887da1a5358afe72aa8f7fb52495763d1c3825bea45befedf1de009"


@pytest.mark.parametrize("features", ["as they are", "none but the baseline's"])
def test_the_bytes_are_the_same_whatever_the_processor_can_do(features: str) -> None:
    from numpy._core import _multiarray_umath as numpy_core

    environment = dict(os.environ, PYTHONPATH=str(ROOT / "plugins"))
    if features != "as they are":
        there = numpy_core.__cpu_features__
        dispatched = [name for name in numpy_core.__cpu_dispatch__ if there.get(name)]
        if not dispatched:
            pytest.skip("this processor has nothing beyond numpy's baseline")
        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(dispatched)
    run = subprocess.run([sys.executable, "-c", _GOLDEN], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == GOLDEN


def _recruits(tables: Tables, group: str, first: str, last: str) -> pd.Series[str]:
    events = tables["hr_service_event"]
    return events[
        (events.workforce_group == group)
        & events.event_type.isin(JOINS)
        & ~events.joiner_type.isin(["TRANSFER", "REJOINER"])
        & events.event_date.between(first, last)
    ].person_id


def _chosen(tables: Tables, measure: str, people: pd.Series[str], day: str, sex: pd.Series[str]) -> pd.Series[bool]:
    if measure == "women_share":
        return people.map(sex) == "F"
    table = tables["hr_sensitive"]
    standing = (table.declared_ts.str[:10] <= day) & (
        (table.superseded_ts == "") | (table.superseded_ts.str[:10] > day)
    )
    codes = people.map(table[standing].set_index("person_id").value_code).fillna("NS")
    if measure == "minority_share":
        return ~codes.str.startswith("W") & (codes != "NS")
    return codes.str.startswith({"black_share": "B", "asian_share": "A"}[measure])
