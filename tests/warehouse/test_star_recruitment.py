"""Recruitment, boards, training and residents in the star, worked out again from the delivered files."""

from __future__ import annotations

import csv
import datetime as dt
import io
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from peel import night
from peel.builds import erasing
from peel.deliveries.decisions import Signed
from peel.errors import PeelError
from peel.feeds.reference import reference_table
from peel.settings import Settings
from peel.simulate import deliver
from peel.simulate.dirt import read_ledger
from peel.warehouse import connect
from tests.conftest import HOME, NIGHT, copy_warehouse, drop_warehouse, point_environment_at
from tests.warehouse.test_nights import Rows, day, redeliver, rows, run

pytestmark = pytest.mark.slow

DATE = dt.date.fromisoformat(NIGHT)
LONDON = ZoneInfo("Europe/London")
DIRT = {
    "candidate_twice": 300_000, "overturned": 100_000, "purged": 200_000, "source_conflict": 400_000,
    "stage_missing": 200_000, "stage_out_of_order": 50_000, "person_twice": 20_000, "ethnicity_differs": 50_000,
}  # fmt: skip
STAGES = ["REG", "ELIG", "SIFT", "ASSESS", "D2", "MED", "FIT", "VET", "REF", "OFFER", "START"]
LACKS = {
    "INTERNAL": {"SIFT", "ASSESS", "REF"},
    "STAFF": {"D2", "MED", "FIT"},
    "PCSO": {"D2", "REF"},
    "SPECIAL": {"SIFT", "D2", "REF"},
}
ONE_AFTER_THE_OTHER = {"SEARCH", "DAY_ONE"}  # everywhere else medical and fitness run beside each other


def read(settings: Settings, feed: str, table: str) -> list[dict[str, str]]:
    (path,) = (settings.sources / feed).glob(f"*/1/{table}_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def month_end(date: dt.date) -> dt.date:
    return (date.replace(day=1) + dt.timedelta(31)).replace(day=1) - dt.timedelta(1)


def in_london(moment: str) -> dt.date:
    return dt.datetime.fromisoformat(moment).astimezone(LONDON).date()


@pytest.fixture(scope="module")
def dirty(server: Settings) -> Iterator[Settings]:
    """A first night with what recruitment's star has rules for, planted often."""
    folder = Path(tempfile.mkdtemp(prefix="peel-recruitment-"))
    folder.chmod(0o755)
    settings = copy_warehouse(server, folder / "var")
    with pytest.MonkeyPatch.context() as patch:
        point_environment_at(patch, settings)
        deliver(settings.sources, DATE, scale=settings.scale, seed=settings.seed, since=None, dirt=DIRT)
        night.run_direct(DATE, lambda _: None, drafts=False)
    yield settings
    drop_warehouse(server, settings)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def applications(dirty: Settings) -> dict[str, dict[str, str]]:
    held = {row[0] for row in rows(dirty, "select application_id::text from quarantine.ats_application")}
    return {
        row["application_id"]: row
        for row in read(dirty, "recruitment", "ats_application")
        if row["application_id"] not in held
    }


def test_every_application_is_there_once_and_put_down_by_precedence(
    dirty: Settings, applications: dict[str, dict[str, str]]
) -> None:
    category = {row["source_code"]: row["category"] for row in read(dirty, "recruitment", "ats_source")}
    expected = Counter(
        "AMBASSADOR"
        if row["referral_ambassador_id"]
        else "OUTREACH_EVENT"
        if row["referral_event_id"]
        else category[row["source_code"]]
        for row in applications.values()
    )
    found = rows(dirty, "select attributed_category, count(*) from core.fct_application group by 1")
    assert dict(found) == expected
    conflicts = rows(
        dirty, "select count(*) from core.fct_application where source_code = 'JOB_BOARD' and is_referred_by_event"
    )
    planted = [entry for entry in read_ledger(dirty.sources) if entry.dirt == "source_conflict"]
    assert conflicts == [(len(planted),)]
    assert len(planted) > 50
    assert dict(
        rows(dirty, "select attributed_category, sum(applications) from mart.application_month group by 1")
    ) == (expected)


def test_registrations_with_the_same_identifiers_are_one_person(
    dirty: Settings, applications: dict[str, dict[str, str]]
) -> None:
    insured = {row["person_id"]: row["national_insurance_number"] for row in read(dirty, "hr", "hr_person")}
    parent: dict[str, str] = {}

    def root(one: str) -> str:
        while parent.get(one, one) != one:
            one = parent[one]
        return one

    def join(one: str, other: str) -> None:
        parent[root(one)] = root(other)

    for row in read(dirty, "recruitment", "ats_candidate"):
        if row["email"] and row["phone"] and row["date_of_birth"]:
            join(row["candidate_id"], "|".join((row["email"], row["phone"], row["date_of_birth"])))
    for row in applications.values():
        if row["person_id"] in insured:
            join(row["candidate_id"], insured[row["person_id"]])
    candidates = {row["candidate_id"] for row in applications.values()}
    persons = {root(one) for one in candidates}
    assert len(candidates) - len(persons) > 20
    found = rows(dirty, "select count(distinct candidate_key), count(distinct person_key) from core.fct_application")
    assert found == [(len(candidates), len(persons))]


def expected_stages(
    settings: Settings, applications: dict[str, dict[str, str]]
) -> tuple[Counter[tuple[Any, ...]], dict[tuple[str, str], dt.date]]:
    """First attempts by month and outcome, and the imputed ones with their days."""
    process = {row["campaign_id"]: row["process_version"] for row in read(settings, "recruitment", "ats_campaign")}
    held = {row[0] for row in rows(settings, "select event_id::text from quarantine.ats_stage_event")}
    events: dict[str, list[tuple[str, dt.date, str, str]]] = defaultdict(list)
    for row in read(settings, "recruitment", "ats_stage_event"):
        if row["application_id"] in applications and row["event_id"] not in held:
            on = dt.date.fromisoformat(row["event_ts"][:10])  # delivered in London time
            events[row["application_id"]].append((row["stage_code"], on, row["outcome"], row["attempt_no"]))
    counted: Counter[tuple[Any, ...]] = Counter()
    imputed: dict[tuple[str, str], dt.date] = {}
    for number, mine in events.items():
        version = process[applications[number]["campaign_id"]]
        for stage, on, outcome, attempt in mine:
            if attempt == "1":
                counted[month_end(on), f"{version}:{stage}", outcome, False] += 1
        for place, stage in enumerate(STAGES):
            if stage in LACKS.get(version, ()) or stage in {other for other, *_ in mine}:
                continue
            beside = {"MED", "FIT"} if stage in ("MED", "FIT") and version not in ONE_AFTER_THE_OTHER else set()
            later = [on for other, on, *_ in mine if STAGES.index(other) > place and other not in beside]
            if later:
                imputed[number, stage] = min(later)
                counted[month_end(min(later)), f"{version}:{stage}", "PASS", True] += 1
    return counted, imputed


def test_stages_are_as_delivered_and_passed_where_they_were_passed_over(
    dirty: Settings, applications: dict[str, dict[str, str]]
) -> None:
    counted, imputed = expected_stages(dirty, applications)
    found = rows(
        dirty, "select application_id::text, stage_code, event_on from core.fct_application_stage where is_imputed"
    )
    assert {(number, stage): on for number, stage, on in found} == imputed
    assert sum(1 for _, stage in imputed if stage == "ASSESS") > 20
    first = rows(
        dirty,
        "select (date_trunc('month', event_on) + interval '1 month - 1 day')::date, stage_key, outcome, is_imputed,"
        " count(*) from core.fct_application_stage where attempt_no = 1 group by 1, 2, 3, 4",
    )
    assert {tuple(row[:4]): row[4] for row in first} == counted
    expected: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 6)
    for (month, stage, outcome, is_imputed), number in counted.items():
        one = expected[month, stage]
        one[0] += number
        one[{"PASS": 1, "FAIL": 2, "WITHDRAWN": 3}.get(outcome, 4)] += number
        one[5] += number if is_imputed else 0
    view = rows(
        dirty,
        "select month_end, stage_key, sum(first_attempts), sum(passed), sum(failed), sum(withdrawn),"
        " sum(otherwise_ended), sum(imputed) from mart.stage_month group by 1, 2",
    )
    assert {tuple(row[:2]): [int(one) for one in row[2:]] for row in view} == dict(expected)


def test_who_applied_and_where_they_lived_is_as_delivered_with_the_application(
    dirty: Settings, applications: dict[str, dict[str, str]]
) -> None:
    held = {row[0] for row in rows(dirty, "select row_key from sensitive.quarantine_ats_candidate")}
    assert not held
    main: dict[str, tuple[float, str]] = {}
    for row in read(dirty, "postcode", "ref_postcode_sector"):
        one = (-float(row["share"]), row["area_code"])
        main[row["sector"]] = min(main.get(row["sector"], one), one)
    candidates = {row["candidate_id"]: row for row in read(dirty, "recruitment", "ats_candidate")}
    expected: Counter[tuple[Any, ...]] = Counter()
    for row in applications.values():
        candidate = candidates[row["candidate_id"]]
        code = candidate["ethnicity_code"] or "NC"
        if code == "O1" and candidate["ethnicity_scheme"] == "16+1":
            code = "A4"
        area = main.get(candidate["home_postcode"][:-2], (0.0, ""))[1]
        expected[
            month_end(in_london(row["applied_ts"])),
            row["entry_route"] or "NONE",
            code,
            candidate["sex"] or "U",
            area if area.startswith("E09") else "OUTSIDE" if candidate["outside_london_flag"] == "Y" else "UNK",
        ] += 1
    found = rows(
        dirty,
        "select month_end, entry_route, ethnicity_code, sex_code, residence_area, sum(applications)"
        " from mart.application_month group by 1, 2, 3, 4, 5",
    )
    assert {tuple(row[:5]): int(row[5]) for row in found} == expected
    assert len({key[4] for key in expected}) >= 33


def test_boards_and_courses_are_there_once_for_each_person(dirty: Settings) -> None:
    insured = {row["person_id"]: row["national_insurance_number"] for row in read(dirty, "hr", "hr_person")}
    boards = read(dirty, "hr", "hr_promotion_board")
    expected = {
        (
            row["board_id"],
            insured[row["person_id"]],
            row["rank_to"],
            dt.date.fromisoformat(f"{row['board_id'][-7:]}-01"),
        )
        for row in boards
    }
    found = rows(dirty, "select board_rank_code, board_month_end, count(*) from core.fct_promotion_board group by 1, 2")
    assert {(rank, month): number for rank, month, number in found} == Counter(
        (rank, month_end(month)) for _, _, rank, month in expected
    )
    below = rows(
        dirty,
        "select count(*), count(*) filter (where held.sort_order < sought.sort_order) from core.fct_promotion_board b"
        " join core.dim_rank held using (rank_code) join core.dim_rank sought on sought.rank_code = b.board_rank_code"
        " where promoted_on is not null and process_type = 'SUBSTANTIVE'",
    )[0]
    assert 0 < below[1] >= 0.9 * below[0], "whoever rose held a lower rank when the month began"
    courses = {
        (insured[row["person_id"]], row["course_code"], row["event_date"]): row["outcome"]
        for row in read(dirty, "hr", "hr_training")
        if row["event_date"] <= NIGHT
    }
    found = rows(dirty, "select course_code, count(*) from core.fct_training group by 1")
    assert dict(found) == Counter(course for _, course, _ in courses)


def test_residents_within_groups_are_those_of_the_census_files(dirty: Settings) -> None:
    table = reference_table(HOME, "census", "census_ethnic_group_by_age").decode("utf-8")
    by_age = list(csv.DictReader(io.StringIO(table)))
    found = rows(
        dirty,
        "select a.from_age, a.to_age, p.residents, known_cells, suppressed_cells, merged_with_area_code"
        " from mart.population_within p join mart.dim_age_band a using (age_band_code)"
        " where area_code = 'E09000001' and ethnicity_code = 'B2'",
    )
    assert len(found) == 10
    for low, high, residents, known, suppressed, merged in found:
        cells = [
            row["obs_value"]
            for row in by_age
            if row["area_code"] == "E09000001" and row["category_code"] == "B2" and low <= int(row["age"]) <= high
        ]
        assert (known, suppressed) == (sum(1 for one in cells if one), sum(1 for one in cells if not one))
        assert residents == (sum(int(one) for one in cells if one) if known else None)
        assert merged == "E09000033"
    assert rows(dirty, "select count(*) from mart.population") == [(1287,)]


def test_codes_map_to_their_dimensions(london_night: Settings) -> None:
    financial = rows(
        london_night,
        "select date_day::text, financial_year, financial_quarter, month_start::text, is_month_end, quarter_end::text,"
        " financial_year_end::text from core.dim_date"
        " where date_day in ('2026-03-31', '2026-04-01', '2024-02-29') order by 1",
    )
    assert financial == [
        ("2024-02-29", "2023/24", 4, "2024-02-01", True, "2024-03-31", "2024-03-31"),
        ("2026-03-31", "2025/26", 4, "2026-03-01", True, "2026-03-31", "2026-03-31"),
        ("2026-04-01", "2026/27", 1, "2026-04-01", False, "2026-06-30", "2027-03-31"),
    ]
    assert rows(
        london_night,
        "select count(*) from core.fct_workforce_movement m where entry_route not in (select entry_route from"
        " core.dim_entry_route) or joiner_type not in (select joiner_type from core.dim_joiner_type)"
        " or leaving_reason_code not in (select leaving_reason_code from core.dim_leaving_reason)",
    ) == [(0,)]
    assert rows(london_night, "select min(bands), max(bands) from (select age, count(*) as bands from"
                " core.bridge_age_band group by age) as of_age") == [(2, 2)]  # fmt: skip
    leaves = rows(
        london_night,
        "select classification, count(*), count(distinct category_code) from core.bridge_ethnicity group by 1"
        " order by 1",
    )
    assert leaves == [("2001", 20, 17), ("2011", 19, 18), ("2021", 19, 19)]
    assert rows(london_night, "select count(distinct area_code), count(distinct bcu_code), min(valid_from)::text"
                " from core.bridge_borough_bcu where valid_to is null") == [(32, 12, "2017-02-22")]  # fmt: skip


def candidate_of(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """A candidate not yet anonymous who applied once, last year, and was not hired; and the application."""
    candidates = {row["candidate_id"]: row for row in read(settings, "recruitment", "ats_candidate")}
    times = Counter(row["candidate_id"] for row in read(settings, "recruitment", "ats_application"))
    for row in read(settings, "recruitment", "ats_application"):
        one = candidates[row["candidate_id"]]
        if (
            times[row["candidate_id"]] == 1
            and not row["person_id"]
            and row["current_status"] == "REJECTED"
            and row["workforce_group"] == "OFF"
            and one["email"]
            and one["ethnicity_code"] == "W1"
            and one["sex"] == "M"
            and one["outside_london_flag"] == "N"
            and "2025-04" < row["applied_ts"] < "2025-12"
        ):
            return one, row
    raise AssertionError("no such candidate")


def closed(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    views = {"applicant_month": "month_end", "applicant_route_month": "month_end", "applicant_year": "year_end"}
    views |= {"application_month": "month_end", "stage_month": "month_end"}
    return {
        view: rows(settings, f"select t::text collate \"C\" from mart.{view} t where {at} < '2026-03-01' order by 1")
        for view, at in views.items()
    }


def test_an_application_keeps_its_day_and_a_second_registration_its_person(night_copy: Settings) -> None:
    candidate, application = candidate_of(night_copy)
    number = application["application_id"]
    key = f"select * from core.fct_application where application_id = '{number}'"
    (before,) = rows(night_copy, key)

    def moves_and_declares(members: Rows) -> None:
        changed = candidate | {"ethnicity_code": "B2", "ethnicity_scheme": "18+1", "outside_london_flag": "Y"}
        members[:] = [changed | {"last_modified_ts": "2026-03-11T09:00:00+00:00"}]

    redeliver(night_copy, day(1), {"ats_candidate": moves_and_declares})
    run(day(1))
    versions = "select count(*) from sensitive.history_ats_candidate where known_from > '2026-03-10'"
    assert rows(night_copy, versions) == [(1,)]
    assert rows(night_copy, key) == [before]
    switched = "select rows from audit.switch order by switch_id desc limit 1"
    assert {"fct_application", "application_month"} & set(rows(night_copy, switched)[0][0]) == set()

    twin = "0aaaaaaa-0000-4000-8000-000000000001"
    again = {"application_id": "0aaaaaaa-0000-4000-8000-000000000002", "candidate_id": twin}

    def blanked_and_registered_again(members: Rows) -> None:
        nothing = dict.fromkeys(("full_name", "email", "phone", "date_of_birth", "ethnicity_code"), "")
        blanked = candidate | nothing | {"ethnicity_scheme": "", "sex": "", "outside_london_flag": ""}
        told = {"last_modified_ts": "2026-03-12T09:00:00+00:00"}
        members[:] = [
            blanked | told | {"anonymised_ts": "2026-03-12T09:00:00+00:00"},
            candidate
            | told
            | {"candidate_id": twin, "created_ts": "2026-03-12T08:00:00+00:00", "ethnicity_code": "B1"},
        ]

    def applied_again(members: Rows) -> None:
        members[:] = [application | again | {"last_modified_ts": "2026-03-12T09:00:00+00:00"}]

    redeliver(night_copy, day(2), {"ats_candidate": blanked_and_registered_again, "ats_application": applied_again})
    run(day(2))
    # The day before the candidate's own identifiers were last known; they are the twin's.
    (same,) = rows(night_copy, key)
    assert same == before, "a blanked row overwrites nothing"
    (other,) = rows(
        night_copy,
        "select person_key, candidate_key, ethnicity_code from core.fct_application"
        f" where application_id = '{again['application_id']}'",
    )
    (mine,) = rows(
        night_copy, f"select person_key, candidate_key from core.fct_application where application_id = '{number}'"
    )
    assert other[0] == mine[0]
    assert other[1] != mine[1]
    assert other[2] == "B1"

    totals = closed(night_copy)
    erasing.erase_person(night_copy, [("candidate_id", twin)], Signed("A. Founder", "request 18"))
    run(day(2))
    assert rows(night_copy, f"select person_key from core.fct_application where application_id = '{number}'") == [
        mine[:1]
    ]
    assert rows(night_copy, "select count(*) from core.fct_application_stage where application_id ="
                f" '{again['application_id']}'") == [(0,)]  # fmt: skip
    assert closed(night_copy) == totals


def test_an_application_moved_from_may_to_march_restates_both_months_and_no_other(night_copy: Settings) -> None:
    application = next(
        row
        for row in read(night_copy, "recruitment", "ats_application")
        if row["applied_ts"].startswith("2025-05-1") and row["current_status"] == "REJECTED"
    )
    before = closed(night_copy)

    def moved(members: Rows) -> None:
        times = {
            "registered_interest_ts": "2025-03-12T10:00:00+00:00",
            "applied_ts": "2025-03-15T10:00:00+00:00",
            "last_modified_ts": "2026-03-11T09:00:00+00:00",
        }
        members[:] = [application | times]

    redeliver(night_copy, day(1), {"ats_application": moved})
    run(day(1))
    restated = rows(
        night_copy,
        "select table_name, cell ->> 'month_end', measure, sum(change)::integer from mart.restatement"
        " where table_name in ('applicant_month', 'applicant_route_month') and measure = 'applications'"
        " group by 1, 2, 3 order by 1, 2",
    )
    assert restated == [
        (table, month, "applications", change)
        for table in ("applicant_month", "applicant_route_month")
        for month, change in (("2025-03-31", 1), ("2025-05-31", -1))
    ]
    assert rows(night_copy, "select distinct month_end::text from next.int_affected_applied_month"
                " where month_end < '2026-03-01' order by 1") == [("2025-03-31",), ("2025-05-31",)]  # fmt: skip
    after = closed(night_copy)
    assert before["applicant_year"] != after["applicant_year"], "March is of the financial year before"
    assert len({*before["application_month"]} ^ {*after["application_month"]}) in (2, 3, 4)


def test_whoever_hr_no_longer_has_is_a_candidate_alone(night_copy: Settings) -> None:
    hired = next(row for row in read(night_copy, "recruitment", "ats_application") if row["person_id"])
    number = hired["person_id"]
    keys = (
        f"select person_key, candidate_key from core.fct_application where application_id = '{hired['application_id']}'"
    )
    ((person_key, candidate_key),) = rows(night_copy, keys)
    assert person_key != candidate_key

    def gone(members: Rows) -> None:
        members[:] = [row for row in members if row["person_id"] != number]

    tables = ("person", "assignment", "sensitive", "service_event", "promotion_board", "training")
    redeliver(night_copy, day(1), {f"hr_{table}": gone for table in tables})
    run(day(1))
    assert rows(night_copy, "select business_date from mart.as_of") == [(day(1),)]
    assert rows(night_copy, f"select 1 from core.person_input where person_key = '{person_key}'") == []
    assert rows(night_copy, keys) == [(candidate_key, candidate_key)]


def test_erasing_the_registration_that_gives_the_key_leaves_the_other_counted_once(night_copy: Settings) -> None:
    candidate, application = candidate_of(night_copy)
    twin = "0aaaaaaa-0000-4000-8000-000000000001"

    def registered_again(members: Rows) -> None:
        told = {"created_ts": "2026-03-11T08:00:00+00:00", "last_modified_ts": "2026-03-11T09:00:00+00:00"}
        members[:] = [candidate | told | {"candidate_id": twin}]

    def applied_again(members: Rows) -> None:
        new = {"application_id": "0aaaaaaa-0000-4000-8000-000000000002", "candidate_id": twin}
        members[:] = [application | new | {"last_modified_ts": "2026-03-11T09:00:00+00:00"}]

    before = closed(night_copy)
    redeliver(night_copy, day(1), {"ats_candidate": registered_again, "ats_application": applied_again})
    run(day(1))
    totals = closed(night_copy)
    assert totals["application_month"] != before["application_month"]
    report = erasing.erase_person(
        night_copy, [("candidate_id", candidate["candidate_id"])], Signed("A. Founder", "request 19")
    )
    assert report.kept > 1, "the application and its stages"
    run(day(1))
    assert closed(night_copy) == totals


def test_what_a_later_delivery_tells_of_a_stage_takes_the_place_of_what_was_imputed(night_copy: Settings) -> None:
    events = read(night_copy, "recruitment", "ats_stage_event")
    mine = defaultdict(set)
    for event in events:
        mine[event["application_id"]].add(event["stage_code"])
    passed = next(
        e
        for e in events
        if e["stage_code"] == "REG" and e["outcome"] == "PASS" and {"SIFT"} <= mine[e["application_id"]]
    )
    star = (
        "select outcome, is_imputed, event_on::text from core.fct_application_stage"
        f" where application_id = '{passed['application_id']}' and stage_code = 'REG'"
    )
    told = passed["event_ts"][:10]
    assert rows(night_copy, star) == [("PASS", False, told)]

    def corrected(members: Rows) -> None:
        members[:] = [passed | {"outcome": "DEFERRED", "last_modified_ts": "2026-03-11T09:00:00+00:00"}]

    redeliver(night_copy, day(1), {"ats_stage_event": corrected})
    run(day(1))
    assert rows(night_copy, star) == [("DEFERRED", False, told)]
    ((changed,),) = rows(night_copy, "select rows from audit.switch order by switch_id desc limit 1")
    assert changed["fct_application_stage"] == 2, "one out, one in: a night costs what changed"
    assert 0 < changed["stage_month"] <= 4

    # Without the event the stage is read as passed.
    with connect(night_copy, "owner") as connection:
        connection.execute("delete from history.ats_stage_event where event_id = %s", (passed["event_id"],))
        # No delivery takes an event away; whatever writes history anew changes what a build is said to stand on.
        connection.execute("update audit.build set history_digest = 'another'")
    redeliver(night_copy, day(2))
    run(day(2))
    ((outcome, imputed, on),) = rows(night_copy, star)
    assert (outcome, imputed) == ("PASS", True)
    assert on >= told


def test_so_many_units_unmatched_refuse_the_build(night_copy: Settings) -> None:
    before = rows(night_copy, "select build_id from mart.as_of")
    shut = next(row["org_unit_id"] for row in read(night_copy, "hr", "hr_org_unit") if row["org_type"] == "BOCU")

    def post_to_a_closed_unit(members: Rows) -> None:
        serving = [row for row in members if row["effective_end_date"] == "4712-12-31"]
        for row in serving[::20]:
            row["org_unit_id"] = shut

    redeliver(night_copy, day(1), {"hr_assignment": post_to_a_closed_unit})
    with pytest.raises(PeelError, match="unknown_member_share"):
        run(day(1))
    assert rows(night_copy, "select build_id from mart.as_of") == before
    (verdict,) = rows(
        night_copy,
        "select unknown_share > share_limit, verdict_on_unknown from next.unknown_member_share"
        " where dimension_name = 'dim_org_unit'",
    )
    assert verdict == (True, "refuse")
