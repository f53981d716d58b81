"""The workforce in the star, every cell of every month, beside what the delivered files say.

The files are read again with plain Python that shares no code with the pipeline: people by their National Insurance
number, day by day.
"""

from __future__ import annotations

import csv
import datetime as dt
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from peel import night
from peel.deliveries.pseudonyms import load_keys
from peel.settings import Settings
from peel.simulate import deliver
from peel.simulate.dirt import read_ledger
from peel.simulate.dirt.ledger import Entry
from peel.warehouse import connect
from tests.conftest import NIGHT, copy_warehouse, drop_warehouse, point_environment_at

pytestmark = pytest.mark.slow

TONIGHT = dt.date.fromisoformat(NIGHT)
OPEN_END = dt.date(4712, 12, 31)
UNPAID = {"SC", "PSV", "VPC"}
LENT = {"SECONDED_OUT", "SECONDED_IN"}
FIVE = {"W": "White", "M": "Mixed", "A": "Asian", "B": "Black", "O": "Other"}
JOINING = {"JOIN": "joined", "TRANSFER_IN": "transferred_in", "REJOIN": "rejoined"}
LEAVING = {"LEAVE": "left", "TRANSFER_OUT": "transferred_out"}
RISING = {"PROMOTE": "rose", "DEMOTE": "lowered"}

Row = dict[str, str]
One = tuple[str, str]  # a person's National Insurance number and a workforce group


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(settings, "owner") as connection:
        return connection.execute(query.encode()).fetchall()


def month_end(day: dt.date) -> dt.date:
    return (day.replace(day=1) + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)


def five_group(code: str) -> str:
    return {"NS": "Not stated", "NC": "Unknown"}.get(code) or FIVE[code[0]]


def in_headcount(row: Row) -> bool:
    return row["assignment_status"] not in LENT


def in_working_strength(row: Row) -> bool:
    return in_headcount(row) and row["assignment_status"] != "CAREER_BREAK"


BASES = {"HO_HEADCOUNT": in_headcount, "WORKING_STRENGTH": in_working_strength}


@dataclass
class Files:
    """HR's files of one night."""

    sources: Path
    until: dt.date
    insured: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.insured = {row["person_id"]: row["national_insurance_number"] for row in self.read("hr_person")}

    def read(self, table: str) -> list[Row]:
        path = self.sources / "hr" / str(self.until) / "1" / f"{table}_{self.until:%Y%m%d}_1.csv"
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def months(self) -> list[dt.date]:
        found = [dt.date(2012, 4, 30)]
        while found[-1] < self.until:
            found.append(month_end(found[-1] + dt.timedelta(days=1)))
        return found

    def counted_on(self, month: dt.date) -> dt.date:
        return min(month, self.until)

    @cached_property
    def terms(self) -> dict[One, list[tuple[dt.date, dt.date, Row]]]:
        """First and last day of everything somebody served under in a group."""
        found: dict[One, list[tuple[dt.date, dt.date, Row]]] = defaultdict(list)
        for row in self.read("hr_assignment"):
            if row["assignment_status"] != "TERMINATED":
                start, end = (dt.date.fromisoformat(row[f"effective_{side}_date"]) for side in ("start", "end"))
                found[self.insured[row["person_id"]], row["workforce_group"]].append((start, end, row))
        return found

    def serving(self, one: One, day: dt.date) -> Row | None:
        """The row somebody is counted by in a group on a day."""
        at_once = [row for start, end, row in self.terms.get(one, ()) if start <= day <= end]
        if not at_once:
            return None
        return min(
            at_once, key=lambda row: (not in_headcount(row), row["primary_flag"] != "Y", int(row["assignment_id"]))
        )

    @cached_property
    def stock(self) -> dict[dt.date, dict[One, Row]]:
        """Who serves in which group at each month's count date."""
        found: dict[dt.date, dict[One, Row]] = {month: {} for month in self.months}
        for one, terms in self.terms.items():
            first, last = min(start for start, *_ in terms), max(end for _, end, _ in terms)
            for month in self.months:
                if first <= self.counted_on(month) <= last:
                    row = self.serving(one, self.counted_on(month))
                    if row is not None:
                        found[month][one] = row
        return found

    def fte(self, one: One, day: dt.date) -> int:
        """Thousandths of a full-time equivalent."""
        if one[1] in UNPAID:
            return 0
        at_once = [row for start, end, row in self.terms[one] if start <= day <= end]
        counted = [row for row in at_once if in_headcount(row)] or at_once
        return min(1000, sum(int(row["fte"].replace(".", "")) for row in counted))

    @cached_property
    def declared(self) -> dict[str, list[tuple[str, str]]]:
        """Moments and codes of everybody's declarations, in order."""
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in self.read("hr_sensitive"):
            if row["attribute"] == "ETHNICITY":
                code = "A4" if (row["scheme"], row["value_code"]) == ("16+1", "O1") else row["value_code"]
                found[self.insured[row["person_id"]]].append((row["declared_ts"], code))
        return {person: sorted(theirs) for person, theirs in found.items()}

    def ethnicity(self, person: str, day: dt.date) -> str:
        london = ZoneInfo("Europe/London")
        code = "NC"
        for moment, declared in self.declared.get(person, ()):
            if dt.datetime.fromisoformat(moment).astimezone(london).date() <= day:
                code = declared
        return code

    @cached_property
    def units(self) -> dict[str, list[tuple[dt.date, dt.date, Row]]]:
        found: dict[str, list[tuple[dt.date, dt.date, Row]]] = defaultdict(list)
        for row in self.read("hr_org_unit"):
            start, end = (dt.date.fromisoformat(row[f"effective_{side}_date"]) for side in ("start", "end"))
            found[row["org_unit_id"]].append((start, end, row))
        return found

    def place(self, row: Row, day: dt.date) -> tuple[str, str]:
        for start, end, unit in self.units[row["org_unit_id"]]:
            if start <= day <= end:
                return unit["bcu_code"] or "NONE", unit["borough_code"] or "NONE"
        return "UNK", "UNK"

    @cached_property
    def events(self) -> list[Row]:
        return [row for row in self.read("hr_service_event") if dt.date.fromisoformat(row["event_date"]) <= self.until]

    def roll_forward(self) -> dict[tuple[Any, ...], Counter[str]]:
        """Every month's cells, worked out person by person."""
        cells: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)

        def count(month: dt.date, basis: str, group: str, ethnicity: str, what: str) -> None:
            if month > self.months[0]:
                cells[month, basis, group, five_group(ethnicity)][what] += 1

        for before, month in zip([None, *self.months[:-1]], self.months, strict=True):
            for basis, counted in BASES.items():
                for (person, group), row in self.stock[month].items():
                    if counted(row):
                        count(month, basis, group, self.ethnicity(person, self.counted_on(month)), "closing")
                for (person, group), row in self.stock[before].items() if before else ():
                    if counted(row):
                        was, now = self.ethnicity(person, before), self.ethnicity(person, self.counted_on(month))
                        count(month, basis, group, was, "opening")
                        if five_group(was) != five_group(now):
                            count(month, basis, group, was, "reclassified_out")
                            count(month, basis, group, now, "reclassified_in")
        for event in self.events:
            day, one = dt.date.fromisoformat(event["event_date"]), self.one(event)
            if event["event_type"] in RISING:
                continue
            leaves = event["event_type"] in LEAVING
            row = self.serving(one, day - dt.timedelta(days=leaves))
            assert row is not None, event
            month = month_end(day)
            for basis, counted in BASES.items():
                if counted(row):
                    ethnicity = self.ethnicity(one[0], self.counted_on(month))
                    count(month, basis, one[1], ethnicity, "leavers" if leaves else "joiners")
        for one, day, was, now in self.steps():
            month = month_end(day)
            for basis, counted in BASES.items():
                if counted(was) != counted(now):
                    what = "moves_in" if counted(now) else "moves_out"
                    count(month, basis, one[1], self.ethnicity(one[0], self.counted_on(month)), what)
        return cells

    def one(self, row: Row) -> One:
        return self.insured[row["person_id"]], row["workforce_group"]

    def steps(self) -> Iterator[tuple[One, dt.date, Row, Row]]:
        """Days on which somebody who goes on serving in a group serves on other terms."""
        for one, terms in self.terms.items():
            for day in sorted({start for start, *_ in terms if start <= self.until}):
                was, now = self.serving(one, day - dt.timedelta(days=1)), self.serving(one, day)
                if was is not None and now is not None:
                    yield one, day, was, now


def rank_of(row: Row) -> str:
    if row["workforce_group"] != "OFF":
        return "NONE"
    return row["substantive_rank_code"] if row["rank_basis"] == "ACT" else row["rank_code"]


def expected_cells(files: Files) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """Headcount, working strength and FTE in thousandths by month, group, rank, BCU and borough."""
    cells: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for month, stock in files.stock.items():
        day = files.counted_on(month)
        for one, row in stock.items():
            if in_headcount(row):
                cell = cells[month, one[1], rank_of(row), *files.place(row, day)]
                cell[0] += 1
                cell[1] += in_working_strength(row)
                cell[2] += files.fte(one, day)
    return {key: (cell[0], cell[1], cell[2]) for key, cell in cells.items()}


def found_cells(settings: Settings) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    return {
        tuple(key): (heads, working, int(fte * 1000))
        for *key, heads, working, fte in rows(
            settings,
            "select month_end, workforce_group, rank_code, posting_bcu_code, posting_borough_code, sum(headcount),"
            " sum(working_strength), sum(fte) from mart.workforce_month group by 1, 2, 3, 4, 5",
        )
    }


COLUMNS = ["opening", "joiners", "moves_in", "reclassified_in", "leavers", "moves_out", "reclassified_out", "closing"]


def found_roll_forward(settings: Settings) -> dict[tuple[Any, ...], Counter[str]]:
    return {
        tuple(key[:4]): Counter(dict(zip(COLUMNS, key[4:], strict=True)))
        for key in rows(
            settings,
            "select month_end, count_basis, workforce_group, five_group, opening, joiners, moves_in, reclassified_in,"
            " leavers, moves_out, reclassified_out, closing from mart.roll_forward",
        )
    }


@pytest.fixture(scope="module")
def clean(london_night: Settings) -> Files:
    return Files(london_night.sources, TONIGHT)


def test_every_cell_of_every_month_is_what_the_files_say(london_night: Settings, clean: Files) -> None:
    expected = expected_cells(clean)
    assert len({key[0] for key in expected}) == 168
    assert len(expected) > 15_000
    assert sum(heads for heads, *_ in expected.values()) > 100_000
    assert found_cells(london_night) == expected


def test_joining_leaving_and_rising_are_what_the_files_say(london_night: Settings, clean: Files) -> None:
    kinds = JOINING | LEAVING | RISING
    expected = Counter(
        (month_end(dt.date.fromisoformat(row["event_date"])), row["workforce_group"], kinds[row["event_type"]])
        for row in clean.events
    )
    listed = ", ".join(f"'{kind}'" for kind in kinds.values())
    found = rows(
        london_night,
        "select month_end, workforce_group, movement_kind, sum(movements) from mart.movement_month"
        f" where movement_kind in ({listed}) group by 1, 2, 3",
    )
    assert {tuple(key): number for *key, number in found} == expected
    assert {kind for *_, kind in expected} >= {"joined", "rejoined", "transferred_in", "left", "rose"}


def test_every_month_rolls_forward_as_the_files_say(london_night: Settings, clean: Files) -> None:
    expected = clean.roll_forward()
    found = found_roll_forward(london_night)
    assert {key for key, cell in expected.items() if any(cell.values())} == set(found)
    assert [(key, expected[key], found[key]) for key in found if +found[key] != +expected[key]] == []
    total: Counter[str] = sum(expected.values(), Counter())
    assert min(total[column] for column in COLUMNS) > 5, "every way of coming and going is there"
    assert rows(london_night, "select sum(abs(unexplained)), sum(abs(set_aside)) from mart.roll_forward") == [(0, 0)]


def test_what_hr_says_of_people_stands_in_periods(london_night: Settings, clean: Files) -> None:
    disagreeing = (
        "select count(*), count(*) filter (where p.person_key is null or (p.ethnicity_code, p.sex_code) <>"
        " (s.ethnicity_code, s.sex_code)) from core.fct_workforce_snapshot s left join core.dim_person p on"
        " s.person_key = p.person_key and p.valid_from <= least(s.month_end, date '%s')"
        " and (p.valid_to is null or p.valid_to > least(s.month_end, date '%s'))"
    )
    ((all_rows, differing),) = rows(london_night, disagreeing.replace("%s", NIGHT))
    assert all_rows == rows(london_night, "select count(*) from core.fct_workforce_snapshot")[0][0], "one period each"
    assert differing == 0

    (path,) = (london_night.sources / "postcode").glob("*/1/ref_postcode_sector_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        directory = sorted(csv.DictReader(file), key=lambda row: float(row["share"]))
    area = {row["sector"]: row["area_code"] for row in directory}
    latest: dict[str, str] = {}
    for row in sorted(clean.read("hr_person"), key=lambda row: row["effective_start_date"]):
        latest[row["national_insurance_number"]] = area.get(row["home_postcode"][:-2], "UNK")
    homes = Counter(home if home.startswith("E09") or home == "UNK" else "OUTSIDE" for home in latest.values())
    tonight = rows(london_night, "select home_area, count(*) from core.dim_person where valid_to is null group by 1")
    assert dict(tonight) == homes
    assert len(homes) > 30


def test_a_posting_is_to_another_command_or_kind_of_unit(london_night: Settings, clean: Files) -> None:
    def whereabouts(row: Row, day: dt.date) -> str:
        unit = next(unit for start, end, unit in clean.units[row["org_unit_id"]] if start <= day <= end)
        return unit["bcu_code"] or unit["org_type"]

    expected = Counter(
        (month_end(day), one[1])
        for one, day, was, now in clean.steps()
        if whereabouts(was, day - dt.timedelta(days=1)) != whereabouts(now, day)
    )
    found = rows(
        london_night,
        "select month_end, workforce_group, sum(movements) from mart.movement_month where movement_kind = 'posted'"
        " group by 1, 2",
    )
    assert {tuple(key): number for *key, number in found} == expected
    units = Counter(month_end(day) for _, day, was, now in clean.steps() if was["org_unit_id"] != now["org_unit_id"])
    assert sum(units.values()) > sum(expected.values()) > 500, "a borough's people are not posted when a BCU goes live"


def test_a_special_who_becomes_an_officer_leaves_and_joins_on_one_day_under_one_key(london_night: Settings) -> None:
    pairs = rows(
        london_night,
        "select j.person_key, j.event_date, l.leaving_reason_code from core.fct_workforce_movement j"
        " join core.fct_workforce_movement l using (person_key, event_date)"
        " where j.workforce_group = 'OFF' and j.joiner_type = 'PREVIOUSLY_SPECIAL' and l.workforce_group = 'SC'"
        " and l.movement_type = 'leave'",
    )
    joined = rows(
        london_night,
        "select count(*) from core.fct_workforce_movement where joiner_type = 'PREVIOUSLY_SPECIAL'",
    )
    assert joined == [(len(pairs),)]
    assert len(pairs) > 0
    assert {reason for *_, reason in pairs} == {"SC2PC_OUT"}


def test_temporary_rank_counts_and_acting_rank_does_not(london_night: Settings, clean: Files) -> None:
    month = dt.date(2026, 2, 28)
    officers = [row for one, row in clean.stock[month].items() if one[1] == "OFF" and in_headcount(row)]
    expected = Counter((row["rank_basis"], rank_of(row)) for row in officers)
    found = rows(
        london_night,
        "select rank_basis, rank_code, count(*) from core.fct_workforce_snapshot"
        f" where month_end = '{month}' and workforce_group = 'OFF' and is_ho_headcount group by 1, 2",
    )
    assert {tuple(key): number for *key, number in found} == expected
    raised = [row for row in officers_ever(clean) if row["rank_code"] != row["substantive_rank_code"]]
    assert {row["rank_basis"] for row in raised} == {"TEMP", "ACT"}


def officers_ever(files: Files) -> list[Row]:
    """Every row by which an officer is counted in some month."""
    return [row for stock in files.stock.values() for one, row in stock.items() if one[1] == "OFF"]


def test_both_schemes_of_ages_and_hours_are_what_the_files_say(london_night: Settings, clean: Files) -> None:
    born = {row["national_insurance_number"]: row["date_of_birth"] for row in clean.read("hr_person")}
    month, first = dt.date(2019, 6, 30), dt.date(2019, 6, 1)

    def age(person: str) -> int:
        birth = dt.date.fromisoformat(born[person])
        return first.year - birth.year - ((first.month, first.day) < (birth.month, birth.day))

    def band(years: int, bands: list[tuple[int, str]]) -> str:
        return next(code for below, code in bands if years < below)

    home_office = [(26, "HO_U26"), (41, "HO_26_40"), (56, "HO_41_55"), (999, "HO_O55")]
    ons = [(16, "ONS_U16"), (25, "ONS_16_24"), (35, "ONS_25_34"), (50, "ONS_35_49"), (65, "ONS_50_64"), (999, "ONS_65")]
    expected = Counter(
        (one[1], row["band"] or "NONE", band(age(one[0]), home_office), band(age(one[0]), ons), row["hours_basis"])
        for one, row in clean.stock[month].items()
    )
    found = rows(
        london_night,
        "select workforce_group, band, age_band_code, age_band_ons_code, hours_basis, count(*)"
        f" from core.fct_workforce_snapshot where month_end = '{month}' group by 1, 2, 3, 4, 5",
    )
    assert {tuple(key): number for *key, number in found} == expected


# Dirt that is life. Each kind is planted often enough to be there in a small force.

LIFE = {
    "pcso_regraded": 500_000,
    "hire_cancelled": 300_000,
    "seconded_in": 50_000,
    "starter_in_future": 300_000,
    "second_post": 100_000,
    "staff_and_special": 100_000,
    "unit_closed": 5_000,  # so many more would refuse the build
    "person_twice": 50_000,
    "rejoiner_renumbered": 1_000_000,
}


class Dirty:
    """A night of a force with dirt, its files and its ledger."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.files = Files(settings.sources, TONIGHT)
        self.ledger = read_ledger(settings.sources)
        keys = load_keys(settings, create=False)
        numbers = sorted(self.files.insured)
        tokens = pa.array([keys.landing_token("person_id", number) for number in numbers], pa.string())
        found = dict(rows(settings, "select person_id, person_key::text from next.int_person"))
        hashed = keys.person_keys()(tokens).to_pylist()
        self.key = {number: found[one] for number, one in zip(numbers, hashed, strict=True)}

    def entries(self, dirt: str, expected: str | None = None) -> list[Entry]:
        return [e for e in self.ledger if e.dirt == dirt and expected in (None, e.expected)]

    def planted(self, dirt: str, expected: str | None = None) -> list[Row]:
        """The rows of a kind as delivered."""
        entries = self.entries(dirt, expected)
        assert entries, dirt
        table = {entry.table for entry in entries}.pop()
        members = self.files.read(table)
        return [members[int(entry.row) - 1] for entry in entries]

    def snapshot(self, number: str) -> list[dict[str, Any]]:
        return self._of("fct_workforce_snapshot", number)

    def movements(self, number: str) -> list[dict[str, Any]]:
        return self._of("fct_workforce_movement", number)

    def _of(self, fact: str, number: str) -> list[dict[str, Any]]:
        found = rows(self.settings, f"select to_jsonb(f) from core.{fact} f where person_key = '{self.key[number]}'")
        return [row[0] for row in found]


@pytest.fixture(scope="module")
def dirty(server: Settings) -> Iterator[Dirty]:
    folder = Path(tempfile.mkdtemp(prefix="peel-dirty-"))
    folder.chmod(0o755)
    settings = copy_warehouse(server, folder / "var")
    with pytest.MonkeyPatch.context() as patch:
        point_environment_at(patch, settings)
        deliver(settings.sources, TONIGHT, scale=settings.scale, seed=settings.seed, since=None, dirt=LIFE)
        night.run_direct(TONIGHT, lambda _: None, drafts=False)
        yield Dirty(settings)
    drop_warehouse(server, settings)
    shutil.rmtree(folder, ignore_errors=True)


def test_every_cell_is_what_the_files_say_with_dirt_in_them(dirty: Dirty) -> None:
    assert {entry.dirt for entry in dirty.ledger} == set(LIFE)
    assert rows(dirty.settings, "select sum(quarantined) from audit.delivery_table") == [(0,)]
    assert found_cells(dirty.settings) == expected_cells(dirty.files)
    found = rows(dirty.settings, "select sum(abs(unexplained)), sum(abs(set_aside)) from mart.roll_forward")
    assert found == [(0, 0)]


def test_whoever_is_regraded_goes_out_of_one_group_and_into_the_other(dirty: Dirty) -> None:
    regraded = dirty.planted("pcso_regraded")
    assert len(regraded) > 5
    into = Counter()
    out: Counter[tuple[str, str]] = Counter()
    for row in regraded:
        one, day = dirty.files.one(row), dt.date.fromisoformat(row["effective_start_date"])
        into[dirty.key[row["person_id"]], str(day)] += 1
        # Who holds a second post as a PCSO leaves that group when it ends.
        while dirty.files.serving((one[0], "PCSO"), day) is not None:
            day += dt.timedelta(days=1)
        if day <= TONIGHT:
            out[dirty.key[row["person_id"]], str(day)] += 1
        told = [
            (m["workforce_group"], m["movement_type"])
            for m in dirty.movements(row["person_id"])
            if m["event_date"] == row["effective_start_date"] and m["movement_type"] in ("join", "leave")
        ]
        assert told == [], "neither a joiner nor a leaver"
    found = rows(
        dirty.settings,
        "select movement_type, workforce_group, person_key::text, event_date::text from core.fct_workforce_movement"
        " where movement_kind = 'regraded'",
    )
    assert Counter(row[2:] for row in found if row[:2] == ("reclassify_in", "STAFF")) == into
    assert Counter(row[2:] for row in found if row[:2] == ("reclassify_out", "PCSO")) == out
    assert len(found) == into.total() + out.total()


def test_a_hire_taken_back_is_no_joiner_and_nobody(dirty: Dirty) -> None:
    for row in dirty.planted("hire_cancelled", "not counted"):
        assert dirty.movements(row["person_id"]) == []
        assert dirty.snapshot(row["person_id"]) == []


def test_a_starter_of_a_later_day_is_pending(dirty: Dirty) -> None:
    for row in dirty.planted("starter_in_future", "pending"):
        assert row["event_date"] > NIGHT
        assert dirty.movements(row["person_id"]) == []
        assert dirty.snapshot(row["person_id"]) == []
    for row in dirty.planted("starter_in_future", "counted"):
        joined = [m["event_date"] for m in dirty.movements(row["person_id"]) if m["movement_type"] == "join"]
        assert joined == [row["event_date"]]


def test_officers_lent_by_another_force_are_nobody_of_ours(dirty: Dirty) -> None:
    seen = 0
    for row in dirty.planted("seconded_in"):
        found = dirty.snapshot(row["person_id"])
        seen += len(found)
        assert {(f["is_ho_headcount"], f["is_working_strength"]) for f in found} <= {(False, False)}
        assert dirty.movements(row["person_id"]) == []
    assert seen > 50


def test_a_second_post_is_no_second_head_and_no_more_than_one_fte(dirty: Dirty) -> None:
    capped = 0
    for row in dirty.planted("second_post"):
        one = dirty.files.one(row)
        months = Counter(f["month_end"] for f in dirty.snapshot(row["person_id"]) if f["workforce_group"] == "STAFF")
        expected = {str(month) for month, stock in dirty.files.stock.items() if one in stock}
        assert months == Counter(expected)
        for found in dirty.snapshot(row["person_id"]):
            assert found["fte"] <= 1
            capped += found["is_fte_capped"]
    assert capped > 50


def test_staff_who_are_specials_count_in_both_groups(dirty: Dirty) -> None:
    for row in dirty.planted("staff_and_special"):
        person = dirty.files.insured[row["person_id"]]
        for group in ("STAFF", "SC"):
            months = [f["month_end"] for f in dirty.snapshot(row["person_id"]) if f["workforce_group"] == group]
            expected = [str(month) for month, stock in dirty.files.stock.items() if (person, group) in stock]
            assert sorted(months) == expected
            paid = {f["fte"] > 0 for f in dirty.snapshot(row["person_id"]) if f["workforce_group"] == group}
            assert paid <= {group == "STAFF"}


def test_a_unit_that_is_closed_maps_to_no_command_and_posts_nobody(dirty: Dirty) -> None:
    seen = 0
    for row in dirty.planted("unit_closed"):
        for found in dirty.snapshot(row["person_id"]):
            in_force = row["effective_start_date"] <= min(found["month_end"], NIGHT) <= row["effective_end_date"]
            if in_force and found["workforce_group"] == row["workforce_group"]:
                assert (found["bcu_code"], found["org_unit_key"], found["org_type"]) == ("UNK", "UNKNOWN", "UNKNOWN")
                seen += 1
        posted = [m["event_date"] for m in dirty.movements(row["person_id"]) if m["movement_kind"] == "posted"]
        assert row["effective_start_date"] not in posted
    assert seen > 50


def test_two_records_of_one_person_are_one_person(dirty: Dirty) -> None:
    by_person: dict[str, set[str]] = defaultdict(set)
    for number, person in dirty.files.insured.items():
        by_person[person].add(number)
    seen = 0
    for row in dirty.planted("person_twice"):
        numbers = by_person[row["national_insurance_number"]]
        assert len(numbers) > 1
        assert len({dirty.key[number] for number in numbers}) == 1
        months = Counter((f["month_end"], f["workforce_group"]) for f in dirty.snapshot(row["person_id"]))
        assert set(months.values()) <= {1}, "once in each group"
        seen += len(months)
    assert seen > 50


def test_rejoiners_keep_the_key_of_their_first_record(dirty: Dirty) -> None:
    first = {}
    for row in dirty.files.read("hr_person"):
        held = first.setdefault(row["national_insurance_number"], (row["effective_start_date"], row["person_id"]))
        first[row["national_insurance_number"]] = min(held, (row["effective_start_date"], row["person_id"]))
    keys = load_keys(dirty.settings, create=False)
    back = {row["person_id"] for row in dirty.planted("rejoiner_renumbered")}
    twice = {row["national_insurance_number"] for row in dirty.planted("person_twice")}
    assert len(back) > 3
    for number in back:
        insured = dirty.files.insured[number]
        if insured in twice:
            continue
        token = pa.array([keys.landing_token("person_id", first[insured][1])], pa.string())
        assert dirty.key[number].replace("-", "") == keys.person_keys()(token).to_pylist()[0][:32]
        kinds = Counter(m["movement_kind"] for m in dirty.movements(number) if m["workforce_group"] == "OFF")
        assert kinds["rejoined"] == 1
        assert kinds["left"] + kinds["transferred_out"] >= 1


def test_a_promotion_recorded_late_restates_its_months_and_no_others(here: Settings) -> None:
    dirt = {"promotion_late": 1_000_000}
    first, later = dt.date(2025, 5, 30), dt.date(2025, 7, 29)
    query = (
        "select month_end, person_key::text, rank_code from core.fct_workforce_snapshot where workforce_group = 'OFF'"
    )
    deliver(here.sources, first, scale=here.scale, seed=here.seed, since=None, dirt=dirt)
    night.run_direct(first, lambda _: None, drafts=False)
    before = {row[:2]: row[2] for row in rows(here, query)}
    deliver(here.sources, later, scale=here.scale, seed=here.seed, since=first, dirt=dirt)
    night.run_direct(later, lambda _: None, drafts=False)
    after = {row[:2]: row[2] for row in rows(here, query)}

    files, closed = Files(here.sources, later), first.replace(day=1)
    told = [
        row
        for row in files.events
        if row["event_type"] == "PROMOTE"
        and str(first) < row["recorded_ts"][:10] <= str(later)
        and row["event_date"] < str(closed)
    ]
    months = {month for row in told for month in files.months if row["event_date"] <= str(month) < str(closed)}
    assert len(told) > 1
    assert len(months) > 1
    restated = {month for (month, person), rank in before.items() if month < closed and after[month, person] != rank}
    assert restated == months
    still_open = {month_end(dt.date(2025, number, 1)) for number in (5, 6, 7)}
    assert rows(here, "select months from audit.switched_build") == [(sorted(months | still_open),)]
