"""Readers taken back to the night before, and what a switch says it restated."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from peel import night
from peel.builds.back import lift_hold, switch_back
from peel.deliveries.decisions import Signed
from peel.errors import PeelError
from peel.settings import Settings
from peel.status import document, lines
from peel.warehouse import connect
from tests.conftest import digest
from tests.warehouse.test_nights import FIRST, Rows, day, other_sex, redeliver, rows, run
from tests.warehouse.test_star_recruitment import read

pytestmark = pytest.mark.slow

WHO = Signed("R. Peel", "the night is doubted")
READ = ("core",)


def mart(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    with connect(settings, "bi") as connection:
        return {
            name: connection.execute(f'select * from mart."{name}" order by 1, 2, 3, 4'.encode()).fetchall()
            for name in ("workforce_month", "movement_month", "dim_sex", "indicator_observation")
        }


def kept(settings: Settings) -> list[str]:
    return [
        name
        for (name,) in rows(
            settings, "select relname from pg_class where relnamespace = 'undo'::regnamespace and relkind = 'r'"
        )
    ]


def test_a_switch_is_taken_back_and_nothing_is_built_until_the_hold_is_lifted(
    london_night: Settings, corrected_copy: Settings
) -> None:
    first, shown = digest(london_night, *READ), mart(london_night)
    second = digest(corrected_copy, *READ)
    assert second != first

    taken = switch_back(corrected_copy, WHO)
    assert taken.business_date == FIRST.isoformat()
    assert taken.rows["fct_workforce_snapshot"] > 100
    assert digest(corrected_copy, *READ) == first
    again = mart(corrected_copy)
    assert again["workforce_month"] == shown["workforce_month"]
    assert rows(corrected_copy, "select business_date, held_because from mart.as_of") == [(FIRST, WHO.reason)]
    assert [hold["who"] for hold in document(corrected_copy)["holds"]] == [WHO.who]
    assert any(line.startswith("HELD") and WHO.reason in line for line in lines(corrected_copy))

    redeliver(corrected_copy, day(2), other_sex(corrected_copy))
    told = run(day(2))
    assert any("R. Peel holds readers there" in line for line in told)
    assert digest(corrected_copy, *READ) == first

    assert lift_hold(corrected_copy, WHO) == 1
    run(day(2))
    assert rows(corrected_copy, "select business_date, held_because from mart.as_of") == [(day(2), None)]
    assert digest(corrected_copy, *READ) == second
    with pytest.raises(PeelError, match="no hold"):
        lift_hold(corrected_copy, WHO)


def test_three_switches_are_taken_back_one_after_the_other_and_no_more(
    london_night: Settings, corrected_copy: Settings
) -> None:
    states = [digest(one, *READ) for one in (london_night, corrected_copy)]
    change = other_sex(corrected_copy)
    for number in range(2, 5):
        redeliver(corrected_copy, day(number), change if number % 2 else None)
        run(day(number))
        states.append(digest(corrected_copy, *READ))
    switches = {int(name.rsplit("__", 1)[1]) for name in kept(corrected_copy)}
    assert len(switches) == 3
    for number in (3, 2, 1):
        assert switch_back(corrected_copy, WHO).business_date == day(number).isoformat()
        assert digest(corrected_copy, *READ) == states[number], number
    assert kept(corrected_copy) == []
    with pytest.raises(PeelError, match="what this one replaced is gone"):
        switch_back(corrected_copy, WHO)
    assert digest(corrected_copy, *READ) == states[1]
    assert lift_hold(corrected_copy, WHO) == 3
    run(day(4))
    assert digest(corrected_copy, *READ) == states[4]


def test_a_build_that_stands_on_what_was_taken_back_is_never_switched(
    london_night: Settings, corrected_copy: Settings
) -> None:
    first = digest(london_night, *READ)
    redeliver(corrected_copy, day(2))
    for feed in ("hr", "recruitment"):
        landed = night.land(feed, day(2))
        night.gate(feed)
        night.apply(feed, landed["refused"])
    built = night.build()["build_id"]
    night.gate_build(built)
    switch_back(corrected_copy, WHO)
    with pytest.raises(PeelError, match="has not passed its gate"):
        night.switch(built)
    assert digest(corrected_copy, *READ) == first
    lift_hold(corrected_copy, WHO)
    run(day(2))
    assert rows(corrected_copy, "select business_date from mart.as_of") == [(day(2),)]
    assert digest(corrected_copy, *READ) == first  # the second night's correction was withdrawn by the third


def test_the_first_switch_cannot_be_taken_back(night_copy: Settings) -> None:
    with pytest.raises(PeelError, match="no earlier night"):
        switch_back(night_copy, WHO)


def test_tables_that_were_made_anew_are_put_back_as_they_were(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(night_copy, "transform") as connection:
        connection.execute("alter table core.fct_workforce_movement add column formerly text")
        connection.execute("alter table core.dim_rank add column formerly text")
        connection.execute("create table core.forgotten as select 1 as one")
    first = digest(night_copy, *READ)
    shapes = (
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
        " where connamespace = 'core'::regnamespace union all select tablename, indexname, '' from pg_indexes"
        " where schemaname = 'core' order by 1, 2"
    )
    formed = rows(night_copy, shapes)
    monkeypatch.setattr("peel.builds.dbt.checksum", lambda _: "changed")
    redeliver(night_copy, day(1))
    run(day(1))
    now = digest(night_copy, *READ)
    assert "core.forgotten" not in now
    assert now["core.dim_rank"] != first["core.dim_rank"]
    assert {"forgotten", "dim_rank"} <= {name.rsplit("__", 1)[0] for name in kept(night_copy)}

    switch_back(night_copy, WHO)
    back = digest(night_copy, *READ)
    assert back.keys() == first.keys() - {"core.forgotten"} | {"core.forgotten"} & now.keys()
    assert {name: held for name, held in back.items() if first[name] != held} == {}
    assert rows(night_copy, shapes) == formed
    assert mart(night_copy)["workforce_month"]


def test_nobody_who_was_erased_is_brought_back(night_copy: Settings) -> None:
    redeliver(night_copy, day(1))
    run(day(1))
    with connect(night_copy, "ingest") as connection:
        connection.execute("insert into audit.erasure (kind, who, reason) values ('erasure', 'R. Peel', 'asked')")
    with pytest.raises(PeelError, match="erased"):
        switch_back(night_copy, WHO)
    change = other_sex(night_copy)
    redeliver(night_copy, day(2), change)
    run(day(2))
    assert kept(night_copy) == []
    restated = rows(
        night_copy, "select because, count(*), sum(change) from mart.restatement where measure = 'headcount' group by 1"
    )
    ((because, lines_told, change_told),) = restated
    assert re.fullmatch(r"requests of people; deliveries hr:\w{12}, recruitment:\w{12}", because), because
    assert (lines_told > 100, change_told) == (True, 0), "a correction that comes with a request is told like any other"
    with pytest.raises(PeelError, match="erased"):
        switch_back(night_copy, WHO)
    redeliver(night_copy, day(3))
    run(day(3))
    assert kept(night_copy) != []
    assert switch_back(night_copy, WHO).business_date == day(2).isoformat()


def test_only_the_builder_reads_what_was_replaced(corrected_night: Settings) -> None:
    (name, *_) = kept(corrected_night)
    for role in ("bi", "analyst", "publish", "gate", "ingest"):
        with pytest.raises(PeelError, match="42501"), connect(corrected_night, role) as connection:
            connection.execute(f'select * from undo."{name}"'.encode())


def test_a_correction_of_closed_months_is_told_cell_by_cell(corrected_copy: Settings) -> None:
    told = rows(
        corrected_copy,
        "select (cell ->> 'month_end')::date, cell ->> 'sex_code', cell ->> 'workforce_group', before, after, because,"
        " as_known_on from mart.restatement where table_name = 'workforce_month' and measure = 'headcount'",
    )
    months = {month for month, *_ in told}
    assert len(months) > 60
    assert dt.date(2026, 3, 31) not in months  # still open
    assert {(group, after - was) for _, _, group, was, after, _, _ in told} == {("OFF", -1), ("OFF", 1)}
    assert all(sum(after - was for month, _, _, was, after, _, _ in told if month == one) == 0 for one in months)
    (delivery,) = rows(
        corrected_copy, "select delivery_id from audit.delivery where feed = 'hr' and business_date = '2026-03-11'"
    )
    assert all(f"hr:{delivery[0]}" in why and "definitions" not in why for *_, why, _ in told)
    assert {known for *_, known in told} == {day(1)}
    # the figures are those that readers see
    shown = rows(
        corrected_copy,
        "select r.after, (select w.headcount from mart.workforce_month w where to_jsonb(w) @> r.cell)"
        " from mart.restatement r where table_name = 'workforce_month' and measure = 'headcount'",
    )
    assert all(after == (seen or 0) for after, seen in shown)
    assert {table for (table,) in rows(corrected_copy, "select distinct table_name from mart.restatement")} >= {
        "workforce_month", "indicator_observation",
    }  # fmt: skip
    switch_back(corrected_copy, WHO)
    (back,) = rows(
        corrected_copy,
        "select count(*), count(*) filter (where because = 'taken back'), sum(change) from mart.restatement"
        " where table_name = 'workforce_month' and measure = 'headcount'",
    )
    assert back == (2 * len(told), len(told), 0)


def test_a_reason_and_a_posting_that_are_put_right_are_told_in_their_cells(night_copy: Settings) -> None:
    resigned = ("LEAVE", "RES")
    left = next(
        row
        for row in read(night_copy, "hr", "hr_service_event")
        if row["event_date"].startswith("2025-1") and (row["event_type"], row["leaving_reason_code"]) == resigned
    )
    units = {row["org_unit_id"]: row for row in read(night_copy, "hr", "hr_org_unit") if row["org_type"] == "BCU"}
    posted = next(
        row
        for row in read(night_copy, "hr", "hr_assignment")
        if row["org_unit_id"] in units
        and row["effective_end_date"] == "4712-12-31"
        and "2020-01-01" < row["effective_start_date"] < "2025-06-01"
        and (row["workforce_group"], row["assignment_status"]) == ("OFF", "ACTIVE")
    )
    former = units[posted["org_unit_id"]]["bcu_code"]
    unit, latter = next((unit, row["bcu_code"]) for unit, row in units.items() if row["bcu_code"] not in ("", former))

    def reason(members: Rows) -> None:
        (row,) = [row for row in members if row["event_id"] == left["event_id"]]
        row["leaving_reason_code"] = "MED"

    def posting(members: Rows) -> None:
        (row,) = [row for row in members if row == posted]
        row |= {"org_unit_id": unit, "position_id": ""}

    redeliver(night_copy, day(1), {"hr_service_event": reason, "hr_assignment": posting})
    run(day(1))
    told = rows(
        night_copy,
        "select cell ->> 'movement_kind', cell ->> 'leaving_reason_code', sum(change)::integer from mart.restatement"
        " where table_name = 'movement_month' and measure = 'movements' and cell ->> 'movement_type' = 'leave'"
        " group by 1, 2 order by 2",
    )
    assert told == [("left", "MED", 1), ("left", "RES", -1)]
    moved = rows(
        night_copy,
        "select cell ->> 'posting_bcu_code', count(*), sum(change)::integer from mart.restatement"
        " where table_name = 'workforce_month' and measure = 'headcount' group by 1 order by 3",
    )
    assert [code for code, *_ in moved] == [former, latter]
    ((_, cells, went), (_, *others)) = moved
    assert others == [cells, -went]
    assert cells == -went > 8


def test_the_draft_follows_readers_back(night_copy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from peel.cli import main

    night.draft()
    (first,) = rows(night_copy, "select build_id from mart.as_of")
    change = other_sex(night_copy)
    redeliver(night_copy, day(1), change)
    run(day(1))
    night.draft()
    latest = night_copy.drafts / "latest"
    assert Path(latest).resolve().name != first[0]
    assert main(["switch", "--back", "--who", "R. Peel", "--reason", "doubted"]) == 0
    assert Path(latest).resolve().name == first[0]
    assert main(["switch", "--lift", "--who", "R. Peel", "--reason", "mended"]) == 0
    assert main(["switch", "--back", "--who", "R. Peel", "--reason", "doubted"]) == 1
