"""Dirt in the applicant tracking system's tables.

The feed brings changes only: what befalls an application befalls every row of it that is ever delivered, and what
happens on a later day brings the row again on that day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from peel.simulate import extract_recruitment as extract
from peel.simulate import tables as t
from peel.simulate import text
from peel.simulate.days import date_of
from peel.simulate.dirt.sheet import Sheet, day_in, later, number_of

Planter = Callable[[Sheet, str], None]

OVERTURNED_AFTER = 30
"""Days after which an appeal is decided."""
ANNOUNCED_AFTER = (0, 7, 14)
"""Days after the offer on which a start date is told, each time another."""
_ANOTHER_GROUP = {"W": "M9", "M": "A9", "A": "B9", "B": "O9", "O": "W9"}


def _moment(day: int) -> str:
    return f"{date_of(day).isoformat()}T12:00:00+00:00"


def _application_ids(sheet: Sheet, positions: NDArray[np.int64]) -> list[str]:
    state = sheet.world.applications
    return text.uuids(state["id_high"][positions], state["id_low"][positions])


def _befallen(sheet: Sheet, name: str, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the applications that a kind of dirt befalls."""
    if len(positions) == 0:
        return positions
    return positions[np.array(sheet.befalls(name, _application_ids(sheet, positions)), dtype=np.bool_)]


def _rows_of(table: text.Table) -> list[dict[str, str]]:
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


# Life


def candidate_twice(sheet: Sheet, name: str) -> None:
    """Second applications made under a new registration with the same address, telephone and date of birth.

    The new registration is told whenever the former is: it is made anonymous with it.
    """
    state = sheet.world.applications
    seen = np.flatnonzero(state["day"] <= sheet.day)
    again = _befallen(sheet, name, seen[extract.first_applications(sheet.world)[state["candidate"][seen]] != seen])
    rows, candidates = sheet.groups("ats_application", "application_id"), sheet.groups("ats_candidate", "candidate_id")
    registered = extract.registered(sheet.world, again)
    former = extract.candidate_ids(sheet.world, state["candidate"][again].astype(np.int64))
    for number, first, created in zip(_application_ids(sheet, again), former, registered, strict=True):
        new = number_of(name, number)
        for row in rows.get(number, ()):
            sheet.plant(name, "ats_application", row, candidate_id=new)
        for row in candidates.get(first, ()):
            sheet.copy("ats_candidate", row, candidate_id=new, created_ts=created)


def purged(sheet: Sheet, name: str) -> None:
    """Candidates of whom nothing is kept once they are made anonymous, not even what is kept to monitor equality."""
    table = sheet["ats_candidate"]
    rows = [row for row in sheet.rows("ats_candidate") if table["anonymised_ts"][row]]
    for row in sheet.chosen(name, "ats_candidate", rows):
        sheet.plant(name, "ats_candidate", row, **dict.fromkeys((*extract.MONITORED, "home_postcode"), ""))


def overturned(sheet: Sheet, name: str) -> None:
    """Failures overturned on appeal: the same event again a month later, passed, and its application open again."""
    world = sheet.world
    log = world.outcomes
    failed = np.flatnonzero(
        (log["outcome"] == t.FAIL) & (log["again"] == 0) & (log["day"] + OVERTURNED_AFTER <= sheet.day)
    )
    events = text.uuids(log["id_high"][failed], log["id_low"][failed])
    failed = failed[np.array(sheet.befalls(name, events), dtype=np.bool_)] if len(failed) else failed
    rows, applications = sheet.groups("ats_stage_event", "event_id"), sheet.groups("ats_application", "application_id")
    days = log["day"][failed].astype(np.int64) + OVERTURNED_AFTER
    told = _rows_of(extract.stage_event(world, failed))
    again = {number: row[0] for number, row in applications.items()}
    fresh = np.unique(log["application"][failed[days > sheet.since]]).astype(np.int64)
    missing = [
        position
        for position, number in zip(fresh.tolist(), _application_ids(sheet, fresh), strict=True)
        if number not in again
    ]
    for one in _rows_of(extract.application(world, np.array(missing, dtype=np.int64), sheet.day)) if missing else []:
        again[one["application_id"]] = sheet.add("ats_application", one)
    for event, day in zip(told, days.tolist(), strict=True):
        if day > sheet.since:
            event |= {"outcome": "PASS", "last_modified_ts": _moment(day)}
            found = rows.get(event["event_id"], [])
            row = found[0] if found else sheet.add("ats_stage_event", event)
            sheet.plant(name, "ats_stage_event", row, **event)
        application = again.get(event["application_id"])
        if application is not None and sheet["ats_application"]["current_status"][application] == "REJECTED":
            modified = max(_moment(day), sheet["ats_application"]["last_modified_ts"][application])
            sheet.change("ats_application", application, current_status="OPEN", last_modified_ts=modified)


def start_moved(sheet: Sheet, name: str) -> None:
    """Start dates told at the offer and moved twice before the actual start."""
    world = sheet.world
    state = world.applications
    offered = np.flatnonzero((state["offer"] <= sheet.day) & (state["start"] > sheet.day))
    offered = _befallen(sheet, name, offered)
    if len(offered) == 0:
        return
    _, status, _ = extract.standing(world, offered, sheet.day)
    rows = sheet.groups("ats_application", "application_id")
    offered = offered[status == extract.OFFERED]
    if len(offered) == 0:
        return
    told = _rows_of(extract.application(world, offered, sheet.day))
    for one, offer in zip(told, state["offer"][offered].tolist(), strict=True):
        days = [offer + after for after in ANNOUNCED_AFTER if offer + after <= sheet.day]
        planned = date_of(offer + 21 + 14 * (len(days) - 1)).isoformat()
        there = rows.get(one["application_id"], [])
        if there:
            sheet.plant(name, "ats_application", there[0], start_date=planned)
        elif days[-1] > sheet.since:
            one |= {"last_modified_ts": _moment(days[-1])}
            sheet.plant(name, "ats_application", sheet.add("ats_application", one), start_date=planned)


# Life that is there already, counted


def _where(table: str, fits: Callable[[text.Table, int], bool], change: Callable[[str], dict[str, str]]) -> Planter:
    """A planter for untouched rows that fit, whose cells follow from nothing but the row's key."""

    def plant(sheet: Sheet, name: str) -> None:
        columns = sheet[table]
        rows = [row for row in sheet.rows(table) if fits(columns, row)]
        for row in sheet.chosen(name, table, rows):
            sheet.plant(name, table, row, **change(sheet.key(table, row)))

    return plant


def _as_they_are(_: str) -> dict[str, str]:
    return {}


def several_applications(sheet: Sheet, name: str) -> None:
    """Applications of candidates who applied before."""
    state = sheet.world.applications
    seen = np.flatnonzero(state["day"] <= sheet.day)
    again = seen[extract.first_applications(sheet.world)[state["candidate"][seen]] != seen]
    rows = sheet.groups("ats_application", "application_id")
    for number in _application_ids(sheet, _befallen(sheet, name, again)):
        for row in rows.get(number, ()):
            if sheet.is_free("ats_application", row):
                sheet.plant(name, "ats_application", row)


# Bad cells


def stage_missing(sheet: Sheet, name: str) -> None:
    """Assessments passed at the first attempt that never come."""
    table = sheet["ats_stage_event"]
    rows = [
        row
        for row in sheet.rows("ats_stage_event")
        if (table["stage_code"][row], table["outcome"][row], table["attempt_no"][row]) == ("ASSESS", "PASS", "1")
    ]
    for row in sheet.chosen(name, "ats_stage_event", rows):
        sheet.drop("ats_stage_event", row, name)


def stage_out_of_order(sheet: Sheet, name: str) -> None:
    """Vetting dated with the year before."""
    table = sheet["ats_stage_event"]
    rows = [
        row
        for row in sheet.rows("ats_stage_event")
        if (table["stage_code"][row], table["attempt_no"][row]) == ("VET", "1")
    ]
    for row in sheet.chosen(name, "ats_stage_event", rows):
        sheet.plant(name, "ats_stage_event", row, event_ts=later(table["event_ts"][row], -365))


def clock_back(sheet: Sheet, name: str) -> None:
    """Events of the Monday after the clocks go back, put into the hour that comes twice."""
    table = sheet["ats_stage_event"]
    rows = [
        row
        for row in sheet.rows("ats_stage_event")
        if table["attempt_no"][row] == "1" and _is_monday_after(day_in(table["event_ts"][row]))
    ]
    for row in sheet.chosen(name, "ats_stage_event", rows):
        moved = later(table["event_ts"][row], -1)
        sheet.plant(name, "ats_stage_event", row, event_ts=f"{moved[:10]}T01{moved[13:]}")


def _is_monday_after(day: int) -> bool:
    """Whether the day follows the last Sunday of October."""
    sunday = date_of(day - 1)
    return sunday.weekday() == 6 and sunday.month == 10 and sunday.day > 24


def stage_unknown(sheet: Sheet, name: str) -> None:
    """A stage that the vendor added: one more event beside the second day."""
    rows = [row for row in sheet.rows("ats_stage_event") if sheet["ats_stage_event"]["stage_code"][row] == "D2"]
    for row in sheet.chosen(name, "ats_stage_event", rows):
        number = number_of(name, sheet.key("ats_stage_event", row))
        added = sheet.copy("ats_stage_event", row, event_id=number, stage_code="PSYCH", score="")
        sheet.plant(name, "ats_stage_event", added)


def ethnicity_differs(sheet: Sheet, name: str) -> None:
    """Candidates who told the ATS another group than HR."""
    table = sheet["ats_candidate"]
    rows = [row for row in sheet.rows("ats_candidate") if table["ethnicity_code"][row] not in ("", "NS")]
    for row in sheet.chosen(name, "ats_candidate", rows):
        code = table["ethnicity_code"][row]
        sheet.plant(name, "ats_candidate", row, ethnicity_code=_ANOTHER_GROUP[code[0]])


def residency_misdated(sheet: Sheet, name: str) -> None:
    """Officers' applications to which the residency rule was applied when it was not in force, or not when it was."""
    table = sheet["ats_application"]
    rows = [row for row in sheet.rows("ats_application") if table["workforce_group"][row] == "OFF"]
    for row in sheet.chosen(name, "ats_application", rows):
        basis = table["lrc_basis"][row] or "LIVED"
        applied = "" if table["lrc_pass"][row] else ("N" if basis == "NONE" else "Y")
        sheet.plant(name, "ats_application", row, lrc_basis=basis, lrc_pass=applied)


def _is(column: str, *values: str) -> Callable[[text.Table, int], bool]:
    return lambda table, row: table[column][row] in values


def _to(**cells: str) -> Callable[[str], dict[str, str]]:
    return lambda _: cells


def _filled(columns: Iterable[str]) -> Callable[[text.Table, int], bool]:
    names = tuple(columns)
    return lambda table, row: all(table[column][row] for column in names)


PLANTERS: dict[str, Planter] = {
    "candidate_twice": candidate_twice,
    "purged": purged,
    "overturned": overturned,
    "start_moved": start_moved,
    "stage_missing": stage_missing,
    "stage_out_of_order": stage_out_of_order,
    "clock_back": clock_back,
    "stage_unknown": stage_unknown,
    "candidate_birth_date_1900": _where("ats_candidate", _filled(["date_of_birth"]), _to(date_of_birth="1900-01-01")),
    "candidate_ethnicity_word": _where("ats_candidate", _is("ethnicity_scheme", "18+1"), _to(ethnicity_code="Black")),
    "candidate_ethnicity_o1": _where("ats_candidate", _is("ethnicity_scheme", "18+1"), _to(ethnicity_code="O1")),
    "ethnicity_differs": ethnicity_differs,
    "residency_misdated": residency_misdated,
    "source_conflict": _where("ats_application", _filled(["referral_event_id"]), _to(source_code="JOB_BOARD")),
    # counted last, so that they stand on rows as they are
    "several_applications": several_applications,
    "resit": _where("ats_stage_event", _is("attempt_no", "2"), _as_they_are),
    "not_stated": _where("ats_candidate", _is("ethnicity_code", "", "NS"), _as_they_are),
}
"""Every kind by name, in the order in which they are planted."""
