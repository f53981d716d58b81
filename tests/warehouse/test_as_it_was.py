"""The workforce at any day as known at any delivery date, and the aggregate star as of any build."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import psycopg
import pytest

from peel.builds.back import lift_hold, switch_back
from peel.builds.erasing import erase_person
from peel.deliveries.decisions import Signed
from peel.settings import Settings
from peel.warehouse import connect, parameters
from tests.conftest import HOME, NIGHT
from tests.warehouse.test_nights import FIRST, Changes, Rows, _officer, day, other_sex, redeliver, run
from tests.warehouse.test_switch_back import WHO

pytestmark = pytest.mark.slow

Cells = list[tuple[Any, ...]]
GRAIN = (
    "workforce_group, rank_code, rank_group, band, ethnicity_code, sex_code, age_band_code, org_type, bcu_code,"
    " borough_code, headcount, fte, working_strength, part_time, temporary_rank, held, fte_capped"
)
KEPT = ("workforce_month", "movement_month")
FEBRUARY, JUNE = dt.date(2026, 2, 28), dt.date(2025, 6, 30)


def ask(settings: Settings, query: str, role: str = "analyst") -> Cells:
    with psycopg.connect(**parameters(settings, role), autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def as_known(settings: Settings, as_at: dt.date, known_on: dt.date) -> Cells:
    return ask(settings, f"select {GRAIN} from core.headcount_as_known('{as_at}', '{known_on}') order by {GRAIN}")


def star(settings: Settings, month_end: dt.date) -> Cells:
    return ask(settings, f"select {GRAIN} from core.workforce_month where month_end = '{month_end}' order by {GRAIN}")


def heads(cells: Cells) -> int:
    return sum(cell[10] for cell in cells)


def shown(settings: Settings) -> dict[str, Cells]:
    """What BI sees of every aggregate that is kept, row by row."""
    return {name: ask(settings, f'select t::text collate "C" from mart.{name} t order by 1', "bi") for name in KEPT}


def as_of(settings: Settings, build_id: str) -> dict[str, Cells]:
    return {
        name: ask(settings, f"select t::text collate \"C\" from mart.{name}_as_of('{build_id}') t order by 1", "bi")
        for name in KEPT
    }


def build_id(settings: Settings) -> str:
    return str(ask(settings, "select build_id from mart.as_of", "bi")[0][0])


def night(settings: Settings, number: int, changes: Changes | None = None) -> tuple[str, dict[str, Cells]]:
    """Run a night; the build that readers see then, and what they see."""
    redeliver(settings, day(number), changes)
    run(day(number))
    return build_id(settings), shown(settings)


def _examples(build: str) -> list[str]:
    """The statements of docs/as-it-was.md, about a build that there is."""
    text = (HOME / "docs" / "as-it-was.md").read_text("utf-8")
    found = [re.sub("af9f052d5a66", build, block) for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]
    assert len(found) == 6
    return found


def _spoilt(settings: Settings) -> Changes:
    """A change that puts an officer's assignment into quarantine."""
    officer = _officer(settings)

    def spoil(members: Rows) -> None:
        for row in members:
            if row["person_id"] == officer and row["effective_end_date"] == "4712-12-31":
                row["fte"] = "37"

    return {"hr_assignment": spoil}


def test_at_month_ends_as_known_now_it_is_the_star_in_every_cell(london_night: Settings) -> None:
    for month_end in (dt.date(2012, 4, 30), dt.date(2018, 11, 30), dt.date(2024, 2, 29), FEBRUARY):
        cells = as_known(london_night, month_end, FIRST)
        assert heads(cells) > 500
        assert cells == star(london_night, month_end), month_end
    assert as_known(london_night, FIRST, FIRST) == star(london_night, dt.date(2026, 3, 31))


@pytest.mark.parametrize("as_at", [dt.date(2019, 6, 17), dt.date(2024, 9, 12)])
def test_in_the_middle_of_a_month_it_is_the_month_before_and_who_moved_since(
    london_night: Settings, as_at: dt.date
) -> None:
    moved = ask(
        london_night,
        "select workforce_group,"
        " sum(case when movement_type in ('join', 'move_in', 'reclassify_in') then 1 else -1 end)"
        " from core.fct_workforce_movement where is_ho_headcount and movement_kind <> 'redeclared' and movement_type in"
        " ('join', 'move_in', 'reclassify_in', 'leave', 'move_out', 'reclassify_out')"
        f" and event_date between date_trunc('month', date '{as_at}') and '{as_at}' group by 1",
    )
    opening: dict[str, int] = {}
    for cell in star(london_night, as_at.replace(day=1) - dt.timedelta(days=1)):
        opening[cell[0]] = opening.get(cell[0], 0) + cell[10]
    assert sum(abs(heads) for _, heads in moved) > 0
    for group, more in moved:
        opening[group] = opening.get(group, 0) + more
    closing: dict[str, int] = {}
    for cell in as_known(london_night, as_at, FIRST):
        closing[cell[0]] = closing.get(cell[0], 0) + cell[10]
    assert closing == {group: heads for group, heads in opening.items() if heads}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (f"'2012-03-31', '{NIGHT}'", "nobody is counted before 2012-04-01"),
        ("'2026-02-28', '2026-03-09'", "nothing was delivered before 2026-03-10"),
        ("'2026-02-28', '2026-03-11'", "readers see the night of 2026-03-10, nothing after it"),
        (f"'2026-03-11', '{NIGHT}'", "nobody is counted at a day after known_on"),
        (f"null, '{NIGHT}'", "both needed"),
        ("'2026-02-28', null", "both needed"),
    ],
)
def test_what_cannot_be_asked_is_an_error_and_not_nobody(london_night: Settings, arguments: str, told: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=told):
        ask(london_night, f"select * from core.headcount_as_known({arguments})")


def test_a_build_that_readers_never_saw_is_an_error(london_night: Settings) -> None:
    for name in KEPT:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="never saw a build of that name"):
            ask(london_night, f"select count(*) from mart.{name}_as_of('000000000000')", "bi")
        assert ask(london_night, f"select count(*) > 0 from mart.{name}_as_of((select build_id from mart.as_of))")


def test_counts_of_any_smallness_are_for_analysts_and_open_nothing_else_to_them(london_night: Settings) -> None:
    call = f"select * from core.headcount_as_known('2026-02-28', '{NIGHT}')"
    for role in ("bi", "publish", "gate", "ingest"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(london_night, call, role)
    assert ask(london_night, call)
    for relation in (
        "history.hr_assignment",
        "sensitive.history_hr_sensitive",
        "keyless.fact_row",
        "past.movement_month",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(london_night, f"select * from {relation} limit 1")


def test_no_table_that_is_kept_for_good_has_a_column_of_persons(london_night: Settings) -> None:
    found = ask(
        london_night,
        "select table_name, column_name from information_schema.columns where table_schema = 'past'"
        " and column_name ~ '(person|candidate|application_id|event_id|movement_key|_hash|birth)'",
        "owner",
    )
    tables = ask(london_night, "select table_name from audit.past order by 1", "owner")
    assert (found, tables) == ([], [(name,) for name in sorted(KEPT)])


def test_each_night_is_had_again_as_it_was_known_and_as_readers_saw_it(
    london_night: Settings, corrected_copy: Settings
) -> None:
    def counted(settings: Settings, date: dt.date) -> dict[dt.date, Cells]:
        days = {FEBRUARY: FEBRUARY, JUNE: JUNE, date: dt.date(2026, 3, 31)}
        return {end: star(settings, month) for end, month in days.items()}

    seen = {build_id(one): shown(one) for one in (london_night, corrected_copy)}
    known = {FIRST: counted(london_night, FIRST), day(1): counted(corrected_copy, day(1))}
    for number, changes in ((2, other_sex(corrected_copy) | _spoilt(corrected_copy)), (3, None)):
        seen |= [night(corrected_copy, number, changes)]
        known[day(number)] = counted(corrected_copy, day(number))
    assert known[FIRST][JUNE] != known[day(1)][JUNE]
    assert [sum(cell[15] for cell in known[day(n)][day(n)]) for n in (1, 2, 3)] == [0, 1, 0]
    for known_on, stars in known.items():
        for as_at, cells in stars.items():
            assert as_known(corrected_copy, as_at, known_on) == cells, (as_at, known_on)
    assert len(seen) == 4
    for build, tables in seen.items():
        assert as_of(corrected_copy, build) == tables, build
    for example in _examples(build_id(corrected_copy)):
        assert ask(corrected_copy, example), example
    # A night costs what it changes: an officer's cells of some sixteen years, there and back.
    ((gone, whole),) = ask(
        corrected_copy,
        "select (select count(*) from past.workforce_month where seen_until is not null),"
        " (select count(*) from core.workforce_month)",
        "owner",
    )
    assert 0 < gone < whole / 10
    switches = ask(corrected_copy, "select switch_id, business_date, is_taken_back from mart.switch order by 1", "bi")
    assert [row[1:] for row in switches] == [(day(number), False) for number in range(4)]
    ((first,),) = ask(
        corrected_copy,
        "select count(*) from mart.workforce_month_as_seen where seen_from = 1 and seen_until is null",
        "bi",
    )
    assert 0 < first < whole


def test_a_switch_that_was_taken_back_is_had_again_too(london_night: Settings, corrected_copy: Settings) -> None:
    change = other_sex(corrected_copy)
    seen = {build_id(one): shown(one) for one in (london_night, corrected_copy)}
    doubted, tables = night(corrected_copy, 2, change | _spoilt(corrected_copy))
    seen[doubted] = tables
    switch_back(corrected_copy, WHO)
    assert build_id(corrected_copy) != doubted
    for build, tables in seen.items():
        assert as_of(corrected_copy, build) == tables, build
    switch_back(corrected_copy, WHO)
    lift_hold(corrected_copy, WHO)
    seen |= [night(corrected_copy, 3, change)]
    for build, tables in seen.items():
        assert as_of(corrected_copy, build) == tables, build
    assert ask(corrected_copy, "select is_taken_back from mart.switch order by switch_id", "bi") == [
        (False,), (False,), (False,), (True,), (True,), (False,),
    ]  # fmt: skip


def test_somebody_erased_is_counted_at_the_ends_of_closed_months_and_at_no_other_day(night_copy: Settings) -> None:
    seen = {build_id(night_copy): shown(night_copy)}
    middle = dt.date(2026, 2, 15)
    before = as_known(night_copy, FEBRUARY, FIRST), heads(as_known(night_copy, middle, FIRST))
    erase_person(night_copy, [("person_id", _officer(night_copy))], Signed("A. Founder", "request 17"))
    # Nothing of them is left to be asked for, whether or not the star was built since.
    assert as_known(night_copy, FEBRUARY, FIRST) == before[0]
    assert heads(as_known(night_copy, middle, FIRST)) == before[1] - 1
    seen |= [night(night_copy, 1, other_sex(night_copy))]
    seen |= [night(night_copy, 2)]
    for known_on in (FIRST, day(1), day(2)):
        assert heads(as_known(night_copy, middle, known_on)) == before[1] - 1
    assert as_known(night_copy, FEBRUARY, FIRST) == before[0]
    assert as_known(night_copy, FEBRUARY, day(2)) == star(night_copy, FEBRUARY)
    assert len(seen) == 3
    for build, tables in seen.items():
        assert as_of(night_copy, build) == tables, build


def test_a_table_that_was_made_anew_is_had_again_with_what_it_had_then(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_id(night_copy)
    with connect(night_copy, "transform") as connection:  # an earlier shape: a column less, another type, another key
        connection.execute("drop view mart.workforce_wide, mart.representation_wide cascade")
        for schema in ("core", "past"):
            connection.execute(f"alter table {schema}.workforce_month drop column temporary_rank cascade".encode())
            connection.execute(f"alter table {schema}.workforce_month alter part_time type text".encode())
        connection.execute("alter table core.workforce_month drop constraint workforce_month_pkey")
        key = (
            "month_end, rank_code, age_band_code, band, ethnicity_code, sex_code, workforce_group, org_type, headcount"
        )
        key += ", bcu_code, borough_code"
        connection.execute(f"alter table core.workforce_month add primary key ({key})".encode())
        connection.execute("drop index past.workforce_month_standing")
        connection.execute(
            f"create unique index workforce_month_standing on past.workforce_month ({key})"
            " where seen_until is null".encode()
        )
    cells = f"select month_end, {GRAIN.replace('temporary_rank', 'null')} from"
    then = ask(night_copy, f"{cells} core.workforce_month order by {GRAIN.split(', headcount')[0]}, month_end")
    monkeypatch.setattr("peel.builds.dbt.checksum", lambda _: "changed")
    second, tables = night(night_copy, 1, other_sex(night_copy))
    grain = GRAIN.replace(" bcu_code", " posting_bcu_code").replace(" borough_code", " posting_borough_code")
    asked = f"select month_end, {grain} from mart.workforce_month_as_of('{first}')"

    expected = [(*row[:14], int(row[14]), *row[15:]) for row in then]
    assert sorted(map(str, ask(night_copy, asked))) == sorted(map(str, expected))
    assert as_of(night_copy, second) == tables
    third, after = night(night_copy, 2)
    assert (as_of(night_copy, second), as_of(night_copy, third)) == (tables, after)
    assert sorted(map(str, ask(night_copy, asked))) == sorted(map(str, expected))
