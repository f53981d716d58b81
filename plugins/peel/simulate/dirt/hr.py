"""Dirt in the HR system's tables.

The feed is delivered whole every night, so what befalls a row must follow from what never changes about it: its
key, or the first period of a person. Life that the tables would show in several places is shown in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from peel.simulate.dirt.sheet import END_OF_TIME, Sheet, day_in, later

Planter = Callable[[Sheet, str], None]

RECORDED_AFTER = 93
"""Days after which a late promotion is recorded."""
STARTS_AFTER = 180
"""Days from the recording of a future starter to their first day."""
CANCELLED_AFTER = 14
"""Days after which a hire is cancelled."""
REGRADED_AFTER = 500
"""Days of service after which a PCSO is re-graded."""
HOME_FORCE = "E23000032"
_ANOTHER = 100_000_000
_ABSENT = ("MATERNITY", "SUSPENDED", "CAREER_BREAK", "UNPAID_LEAVE", "SECONDED_OUT")
_JOINING = ("JOIN", "TRANSFER_IN", "REJOIN")
_NOBODY = ("ZZTEST Record", "Mickey Mouse")


# Life


def _first_spells(sheet: Sheet, group: str) -> dict[str, list[int]]:
    """The rows of each person's first assignment, of those who began in a workforce group, by person."""
    table = sheet["hr_assignment"]
    spells: dict[str, list[list[int]]] = {}
    for rows in sheet.groups("hr_assignment", "assignment_id").values():
        spells.setdefault(table["person_id"][rows[0]], []).append(rows)
    found = {}
    for person, theirs in spells.items():
        first = min(theirs, key=lambda rows: (table["effective_start_date"][rows[0]], rows[0]))
        if table["workforce_group"][first[0]] == group:
            found[person] = first
    return found


def _last_day(sheet: Sheet, spell: list[int]) -> str:
    """The last day of an assignment, the end of time while it is open."""
    table = sheet["hr_assignment"]
    if table["assignment_status"][spell[-1]] == "TERMINATED":
        return later(table["effective_start_date"][spell[-1]], -1)
    return table["effective_end_date"][spell[-1]]


def _groups_of(sheet: Sheet, person: str) -> set[str]:
    """The workforce groups of a person's extracted assignments."""
    groups = sheet["hr_assignment"]["workforce_group"]
    return {groups[row] for row in sheet.groups("hr_assignment", "person_id")[person]}


def _another(number: str, series: int) -> str:
    """A number of a series that the force never reaches."""
    return str(int(number) + series * _ANOTHER)


def _new_person(
    sheet: Sheet, person: str, series: int, letter: str, start: str, end: str, kind: str, hired: str
) -> str:
    """Add somebody made after a person, with their declaration if there is one; the new number."""
    number = _another(person, series)
    row = sheet.groups("hr_person", "person_id")[person][0]
    insured = sheet["hr_person"]["national_insurance_number"][row]
    sheet.copy(
        "hr_person",
        row,
        person_id=number,
        person_number=f"P{int(number) % 10**9}",
        national_insurance_number=insured[:-1] + letter,
        email=f"person{number}@example.invalid",
        person_type=kind,
        original_hire_date=hired,
        adjusted_service_date=hired,
        effective_start_date=start,
        effective_end_date=end,
    )
    declared = sheet.groups("hr_sensitive", "person_id").get(person)
    if declared:
        sheet.copy("hr_sensitive", declared[0], person_id=number, superseded_ts="")
    return number


def person_twice(sheet: Sheet, name: str) -> None:
    """Second records of officers: another number, the same NI number, hired a month later, the same assignment."""
    spells = _first_spells(sheet, "OFF")
    for person in sheet.chosen_keys(name, spells):
        number = _another(person, 1)
        for row in sheet.groups("hr_person", "person_id")[person]:
            hired = sheet["hr_person"]["original_hire_date"][row]
            copied = sheet.copy(
                "hr_person",
                row,
                person_id=number,
                person_number=f"P{int(number) % 10**9}",
                original_hire_date=later(hired, 30),
                adjusted_service_date=later(hired, 30),
            )
            sheet.plant(name, "hr_person", copied)
        for row in spells[person]:
            assignment = _another(sheet["hr_assignment"]["assignment_id"][row], 1)
            sheet.copy("hr_assignment", row, assignment_id=assignment, person_id=number)
        for row in sheet.groups("hr_sensitive", "person_id").get(person, ()):
            sheet.copy("hr_sensitive", row, person_id=number)


def seconded_in(sheet: Sheet, name: str) -> None:
    """Officers of another force who serve here for a time."""
    spells = _first_spells(sheet, "OFF")
    for person in sheet.chosen_keys(name, spells):
        spell, table = spells[person], sheet["hr_assignment"]
        start, end = table["effective_start_date"][spell[0]], _last_day(sheet, spell)
        hired = sheet["hr_person"]["original_hire_date"][sheet.groups("hr_person", "person_id")[person][0]]
        number = _new_person(sheet, person, 2, "B", start, end, "EMP", hired)
        row = sheet.copy(
            "hr_assignment",
            spell[0],
            assignment_id=_another(table["assignment_id"][spell[0]], 2),
            person_id=number,
            assignment_status="SECONDED_IN",
            home_force=HOME_FORCE,
            effective_end_date=end,
        )
        sheet.plant(name, "hr_assignment", row)


def _joined(sheet: Sheet, group: str) -> dict[str, tuple[int, int]]:
    """The first joining of each person who began in a group, and the first row of that assignment, by person."""
    events, table = sheet["hr_service_event"], sheet["hr_assignment"]
    found = {}
    for person, spell in _first_spells(sheet, group).items():
        for event in sheet.groups("hr_service_event", "person_id").get(person, ()):
            begins = table["effective_start_date"][spell[0]] == events["event_date"][event]
            if begins and events["event_type"][event] == "JOIN" and events["workforce_group"][event] == group:
                found[person] = (event, spell[0])
    return found


def starter_in_future(sheet: Sheet, name: str) -> None:
    """Starters entered half a year before their first day."""
    joined = _joined(sheet, "STAFF")
    for person in sheet.chosen_keys(name, joined):
        event, row = joined[person]
        start = later(sheet["hr_service_event"]["event_date"][event], STARTS_AFTER)
        number = _new_person(sheet, person, 3, "C", start, END_OF_TIME, "EMP", start)
        assignment = _another(sheet["hr_assignment"]["assignment_id"][row], 3)
        sheet.copy(
            "hr_assignment",
            row,
            assignment_id=assignment,
            person_id=number,
            effective_start_date=start,
            effective_end_date=END_OF_TIME,
        )
        added = sheet.copy(
            "hr_service_event",
            event,
            event_id=_another(sheet["hr_service_event"]["event_id"][event], 3),
            person_id=number,
            event_date=start,
        )
        sheet.plant(name, "hr_service_event", added, expected="pending" if day_in(start) > sheet.day else "counted")


def hire_cancelled(sheet: Sheet, name: str) -> None:
    """Hires that are taken back two weeks later: the joining goes, a CORR row stands where the hire stood."""
    joined = _joined(sheet, "STAFF")
    for person in sheet.chosen_keys(name, joined):
        event, row = joined[person]
        start = sheet["hr_service_event"]["event_date"][event]
        cancelled = day_in(start) + CANCELLED_AFTER <= sheet.day
        kind = "EX_EMP" if cancelled else "EMP"
        number = _new_person(sheet, person, 4, "D", start, END_OF_TIME, kind, start)
        added = sheet.copy(
            "hr_assignment",
            row,
            assignment_id=_another(sheet["hr_assignment"]["assignment_id"][row], 4),
            person_id=number,
            assignment_status="TERMINATED" if cancelled else sheet["hr_assignment"]["assignment_status"][row],
            action_code="CORR" if cancelled else "HIRE",
            effective_end_date=END_OF_TIME,
        )
        sheet.plant(name, "hr_assignment", added, expected=None if cancelled else "counted")
        if not cancelled:
            joining = _another(sheet["hr_service_event"]["event_id"][event], 4)
            sheet.copy("hr_service_event", event, event_id=joining, person_id=number)


def _mirror(sheet: Sheet, spell: list[int], series: int, **cells: str) -> list[int]:
    """Copies of all rows of an assignment under another number."""
    number = _another(sheet["hr_assignment"]["assignment_id"][spell[0]], series)
    return [sheet.copy("hr_assignment", row, assignment_id=number, **cells) for row in spell]


def staff_and_special(sheet: Sheet, name: str) -> None:
    """Staff who are specials besides: a second assignment in another group, with its events and person type.

    Who becomes a special in truth has one assignment as such, that one.
    """
    spells, events = _first_spells(sheet, "STAFF"), sheet["hr_service_event"]
    for person in sheet.chosen_keys(name, spells):
        spell = spells[person]
        if "SC" in _groups_of(sheet, person):
            continue
        mirrored = _mirror(
            sheet, spell, 5, workforce_group="SC", band="", position_id="", fte="0.100", hours_basis="PT"
        )
        for row in mirrored:
            sheet.plant(name, "hr_assignment", row)
        days = {sheet["hr_assignment"]["effective_start_date"][row] for row in (spell[0], spell[-1])}
        for event in sheet.groups("hr_service_event", "person_id").get(person, ()):
            if events["event_date"][event] in days and events["workforce_group"][event] == "STAFF":
                number = _another(events["event_id"][event], 5)
                sheet.copy("hr_service_event", event, event_id=number, workforce_group="SC")
        records = sheet.groups("hr_person", "person_id")[person]
        if all(sheet["hr_person"]["person_type"][row] != "VOL" for row in records):
            start, end = sheet["hr_assignment"]["effective_start_date"][spell[0]], _last_day(sheet, spell)
            sheet.copy("hr_person", records[0], person_type="VOL", effective_start_date=start, effective_end_date=end)


def second_post(sheet: Sheet, name: str) -> None:
    """Staff with a second, lesser post in the same group: over one FTE when summed."""
    spells = _first_spells(sheet, "STAFF")
    for person in sheet.chosen_keys(name, spells):
        for row in _mirror(sheet, spells[person], 6, primary_flag="N", fte="0.500", hours_basis="PT"):
            sheet.plant(name, "hr_assignment", row)


def promotion_late(sheet: Sheet, name: str) -> None:
    """Promotions recorded three months late: until then no table shows them, from then on all do."""
    events, table, boards = sheet["hr_service_event"], sheet["hr_assignment"], sheet["hr_promotion_board"]
    posts = set(sheet["hr_position"]["position_id"])
    by_spell = sheet.groups("hr_assignment", "assignment_id")
    promoted = [row for row in sheet.rows("hr_service_event") if events["event_type"][row] == "PROMOTE"]
    for event in sheet.chosen(name, "hr_service_event", promoted):
        person, date = events["person_id"][event], events["event_date"][event]
        risen = [
            row
            for row in sheet.groups("hr_assignment", "person_id").get(person, ())
            if table["effective_start_date"][row] == date and table["action_code"][row] == "PROMO"
        ]
        if not risen:
            continue
        spell = by_spell[table["assignment_id"][risen[0]]]
        place = spell.index(risen[0])
        if place == 0 or not all(sheet.is_free("hr_assignment", row) for row in spell):
            continue
        told = later(events["recorded_ts"][event], RECORDED_AFTER)
        listed = [
            row
            for row in sheet.groups("hr_promotion_board", "person_id").get(person, ())
            if boards["promoted_date"][row] == date
        ]
        if day_in(told) <= sheet.day:
            sheet.plant(name, "hr_service_event", event, recorded_ts=told)
            for row in (spell[place - 1], spell[place]):
                sheet.change("hr_assignment", row, last_update_ts=max(told, table["last_update_ts"][row]))
            for row in listed:
                sheet.change("hr_promotion_board", row, last_update_ts=told)
            continue
        before = spell[place - 1]
        held = {column: table[column][before] for column in ("rank_code", "substantive_rank_code", "rank_basis")}
        new_rank = table["substantive_rank_code"][risen[0]]
        since = f"{table['effective_start_date'][before]}T09:00:00+00:00"
        is_open = table["effective_end_date"][risen[0]] == END_OF_TIME
        sheet.change(
            "hr_assignment",
            before,
            effective_end_date=table["effective_end_date"][risen[0]],
            last_update_ts=since if is_open else table["last_update_ts"][risen[0]],
        )
        for row in spell[place + 1 :]:
            own = table["position_id"][before]
            if table["substantive_rank_code"][row] == new_rank:
                sheet.change("hr_assignment", row, substantive_rank_code=held["substantive_rank_code"])
            if table["rank_basis"][row] == "SUB" and table["rank_code"][row] == new_rank:
                post = table["org_unit_id"][row].lstrip("0") + own[-2:]
                sheet.change("hr_assignment", row, **held, position_id=post if post in posts else "")
        for row in listed:
            held_in = "-".join(boards["board_id"][row].rsplit("-", 2)[1:])
            sheet.change("hr_promotion_board", row, promoted_date="", last_update_ts=f"{held_in}-01T09:00:00+00:00")
        sheet.drop("hr_assignment", risen[0])
        sheet.drop("hr_service_event", event, name)


def pcso_regraded(sheet: Sheet, name: str) -> None:
    """PCSOs whose post is re-graded to staff: the same assignment in another group from a day on."""
    table, events = sheet["hr_assignment"], sheet["hr_service_event"]
    spells = _first_spells(sheet, "PCSO")
    for person in sheet.chosen_keys(name, spells):
        spell = spells[person]
        date = later(table["effective_start_date"][spell[0]], REGRADED_AFTER)
        serving = [
            row for row in spell if table["effective_start_date"][row] < date <= table["effective_end_date"][row]
        ]
        free = all(sheet.is_free("hr_assignment", row) for row in spell)
        if day_in(date) > sheet.day or not serving or not free or date > _last_day(sheet, spell):
            continue
        if "STAFF" in _groups_of(sheet, person):
            continue
        row = sheet.copy(
            "hr_assignment", serving[0], workforce_group="STAFF", effective_start_date=date, action_code="TRANSFER"
        )
        sheet.plant(name, "hr_assignment", row)
        sheet.change("hr_assignment", serving[0], effective_end_date=later(date, -1))
        for later_row in spell:
            if table["effective_start_date"][later_row] >= date:
                sheet.change("hr_assignment", later_row, workforce_group="STAFF")
        ended = table["effective_start_date"][spell[-1]]
        for event in sheet.groups("hr_service_event", "person_id").get(person, ()):
            leaves = events["event_type"][event] not in _JOINING and events["workforce_group"][event] == "PCSO"
            if leaves and events["event_date"][event] == ended:
                sheet.change("hr_service_event", event, workforce_group="STAFF")


def unit_closed(sheet: Sheet, name: str) -> None:
    """Assignments still under the borough command unit that a BCU took over."""
    units, table = sheet["hr_org_unit"], sheet["hr_assignment"]
    closed: dict[str, tuple[str, str]] = {}
    code_of: dict[str, str] = {}
    for number, code, end in zip(units["org_unit_id"], units["bcu_code"], units["effective_end_date"], strict=True):
        code_of[number] = code
        if code and end != END_OF_TIME:
            closed.setdefault(code, (number, end))
    rows = []
    for row in sheet.rows("hr_assignment"):
        old = closed.get(code_of[table["org_unit_id"][row]])
        if old and table["org_unit_id"][row] != old[0] and table["effective_start_date"][row] > old[1]:
            rows.append(row)
    for row in sheet.chosen(name, "hr_assignment", rows):
        sheet.plant(name, "hr_assignment", row, org_unit_id=closed[code_of[table["org_unit_id"][row]]][0])


def rejoiner_renumbered(sheet: Sheet, name: str) -> None:
    """Rejoiners, whose second record has a warrant number of another series."""
    events, people = sheet["hr_service_event"], sheet["hr_person"]
    back = {
        person
        for person, kind in zip(events["person_id"], events["event_type"], strict=True)
        if kind == "REJOIN" and person in sheet.groups("hr_person", "person_id")
    }
    for person in sheet.chosen_keys(name, sorted(back)):
        for row in sheet.groups("hr_person", "person_id")[person]:
            if sheet.is_free("hr_person", row):
                sheet.plant(name, "hr_person", row, person_number="R" + people["person_number"][row][1:])


def test_record(sheet: Sheet, name: str) -> None:
    """Records of nobody, under names that testers use."""
    people = sheet.groups("hr_person", "person_id")
    for place, person in enumerate(sheet.chosen_keys(name, people)):
        row = people[person][0]
        number = _another(person, 7)
        added = sheet.copy(
            "hr_person",
            row,
            person_id=number,
            person_number=f"P{int(number) % 10**9}",
            full_name=_NOBODY[place % len(_NOBODY)],
            national_insurance_number="",
            email="",
        )
        sheet.plant(name, "hr_person", added)


# Life that is there already, counted


def absent(sheet: Sheet, name: str) -> None:
    """Who is on maternity leave, suspended, on a break, on unpaid leave or away at another body."""
    table = sheet["hr_assignment"]
    rows = [row for row in sheet.rows("hr_assignment") if table["assignment_status"][row] in _ABSENT]
    for row in sheet.chosen(name, "hr_assignment", rows):
        sheet.plant(name, "hr_assignment", row)


def declaration_changed(sheet: Sheet, name: str) -> None:
    """Declarations that another has replaced."""
    rows = [row for row in sheet.rows("hr_sensitive") if sheet["hr_sensitive"]["superseded_ts"][row]]
    for row in sheet.chosen(name, "hr_sensitive", rows):
        sheet.plant(name, "hr_sensitive", row)


def ethnicity_o1_in_16(sheet: Sheet, name: str) -> None:
    """Chinese in the older scheme, which calls it O1."""
    table = sheet["hr_sensitive"]
    rows = [r for r in sheet.rows("hr_sensitive") if (table["scheme"][r], table["value_code"][r]) == ("16+1", "O1")]
    for row in sheet.chosen(name, "hr_sensitive", rows):
        sheet.plant(name, "hr_sensitive", row)


# Bad cells


def _of_a_person(sheet: Sheet, name: str, column: str, value: Callable[[int], tuple[str, str]]) -> None:
    """A column of all rows of the persons befallen: the new value and further labels, by row."""
    people = sheet.groups("hr_person", "person_id")
    for person in sheet.chosen_keys(name, people):
        if all(sheet.is_free("hr_person", row) for row in people[person]):
            for row in people[person]:
                new, also = value(row)
                sheet.plant(name, "hr_person", row, also=also, **{column: new})


def birth_date_1900(sheet: Sheet, name: str) -> None:
    """The date of birth that a form fills in."""
    hired = sheet["hr_person"]["original_hire_date"]
    _of_a_person(
        sheet, name, "date_of_birth", lambda row: ("1900-01-01", "age_at_hire" if hired[row] >= "1976" else "")
    )


def birth_date_1970(sheet: Sheet, name: str) -> None:
    """The date of birth that a computer fills in, of people old enough when hired."""
    people, table = sheet.groups("hr_person", "person_id"), sheet["hr_person"]
    could = [
        person
        for person, rows in people.items()
        if table["original_hire_date"][rows[0]] >= "1988" and all(sheet.is_free("hr_person", row) for row in rows)
    ]
    for person in sheet.chosen_keys(name, could):
        for row in people[person]:
            sheet.plant(name, "hr_person", row, date_of_birth="1970-01-01")


def sex_word(sheet: Sheet, name: str) -> None:
    """Sex as a word."""
    sex = sheet["hr_person"]["sex"]
    _of_a_person(sheet, name, "sex", lambda row: ("Male" if sex[row] == "M" else "Female", ""))


def sex_digit(sheet: Sheet, name: str) -> None:
    """Sex as a digit."""
    sex = sheet["hr_person"]["sex"]
    _of_a_person(sheet, name, "sex", lambda row: ("1" if sex[row] == "M" else "2", ""))


def sex_unlisted(sheet: Sheet, name: str) -> None:
    """Sex under a letter that is not in the list."""
    _of_a_person(sheet, name, "sex", lambda _: ("X", ""))


def _cells(table: str, also: str = "", **cells: str) -> Planter:
    """A planter that puts the same values into the rows befallen."""

    def plant(sheet: Sheet, name: str) -> None:
        for row in sheet.chosen(name, table, sheet.rows(table)):
            sheet.plant(name, table, row, also=also, **cells)

    return plant


def _declared(*schemes: str, also: str = "", only_known: bool = False, **cells: str) -> Planter:
    """A planter that spoils open declarations of ethnicity under one of the schemes."""

    def plant(sheet: Sheet, name: str) -> None:
        table = sheet["hr_sensitive"]
        rows = [
            row
            for row in sheet.rows("hr_sensitive")
            if table["scheme"][row] in schemes
            and not table["superseded_ts"][row]
            and not (only_known and table["value_code"][row] == "NS")
        ]
        for row in sheet.chosen(name, "hr_sensitive", rows):
            sheet.plant(name, "hr_sensitive", row, also=also, **cells)

    return plant


def two_primaries(sheet: Sheet, name: str) -> None:
    """A second open primary assignment in the same group: nothing tells which is right, so both are held."""
    table = sheet["hr_assignment"]
    open_rows = {
        number: rows[-1]
        for number, rows in sheet.groups("hr_assignment", "assignment_id").items()
        if table["assignment_status"][rows[-1]] != "TERMINATED" and sheet.is_free("hr_assignment", rows[-1])
    }
    for number in sheet.chosen_keys(name, open_rows):
        row = open_rows[number]
        sheet.plant(name, "hr_assignment", row)
        sheet.plant(name, "hr_assignment", sheet.copy("hr_assignment", row, assignment_id=_another(number, 8)))


def _followed(sheet: Sheet) -> dict[int, int]:
    """Assignment rows that are longer than a day and that another of the same assignment follows, both untouched."""
    table = sheet["hr_assignment"]
    return {
        first: second
        for rows in sheet.groups("hr_assignment", "assignment_id").values()
        for first, second in pairwise(rows)
        if table["effective_start_date"][first] < table["effective_end_date"][first]
        and sheet.is_free("hr_assignment", first)
        and sheet.is_free("hr_assignment", second)
    }


def periods_gap(sheet: Sheet, name: str) -> None:
    """Periods that end a day before the next begins after them."""
    ends, pairs = sheet["hr_assignment"]["effective_end_date"], _followed(sheet)
    for row in sheet.chosen(name, "hr_assignment", pairs):
        if sheet.is_free("hr_assignment", row) and sheet.is_free("hr_assignment", pairs[row]):
            sheet.change("hr_assignment", row, effective_end_date=later(ends[row], -1))
            sheet.plant(name, "hr_assignment", pairs[row])


def periods_overlap(sheet: Sheet, name: str) -> None:
    """Periods that last into the next: both are held."""
    ends, pairs = sheet["hr_assignment"]["effective_end_date"], _followed(sheet)
    for row in sheet.chosen(name, "hr_assignment", pairs):
        if sheet.is_free("hr_assignment", row) and sheet.is_free("hr_assignment", pairs[row]):
            sheet.plant(name, "hr_assignment", row, effective_end_date=later(ends[row], 1))
            sheet.plant(name, "hr_assignment", pairs[row])


def leave_before_join(sheet: Sheet, name: str) -> None:
    """Leaving before joining."""
    events, people = sheet["hr_service_event"], sheet["hr_person"]
    by_person = sheet.groups("hr_service_event", "person_id")
    rows = []
    for row in sheet.rows("hr_service_event"):
        theirs = by_person[events["person_id"][row]]
        joins = [r for r in theirs if events["event_type"][r] in ("JOIN", "TRANSFER_IN")]
        if events["event_type"][row] == "LEAVE" and joins:
            rows.append(row)
    for row in sheet.chosen(name, "hr_service_event", rows):
        person = events["person_id"][row]
        records = sheet.groups("hr_person", "person_id")[person]
        first = min(
            date
            for record in records
            for date in (people["original_hire_date"][record], people["effective_start_date"][record])
            if date
        )
        joined = min(events["event_date"][r] for r in by_person[person] if events["event_type"][r] in _JOINING)
        sheet.plant(name, "hr_service_event", row, event_date=later(min(first, joined), -30))


def training_twice(sheet: Sheet, name: str) -> None:
    """Rows that are there twice: both are held."""
    for row in sheet.chosen(name, "hr_training", sheet.rows("hr_training")):
        sheet.plant(name, "hr_training", row)
        sheet.plant(name, "hr_training", sheet.copy("hr_training", row))


_UNFIT = "value_code:pattern"

PLANTERS: dict[str, Planter] = {
    "person_twice": person_twice,
    "seconded_in": seconded_in,
    "starter_in_future": starter_in_future,
    "hire_cancelled": hire_cancelled,
    "staff_and_special": staff_and_special,
    "second_post": second_post,
    "promotion_late": promotion_late,
    "pcso_regraded": pcso_regraded,
    "rejoiner_renumbered": rejoiner_renumbered,
    "test_record": test_record,
    "birth_date_1900": birth_date_1900,
    "birth_date_1970": birth_date_1970,
    "sex_word": sex_word,
    "sex_digit": sex_digit,
    "sex_unlisted": sex_unlisted,
    "two_primaries": two_primaries,
    "periods_gap": periods_gap,
    "periods_overlap": periods_overlap,
    "fte_zero": _cells("hr_assignment", fte="0.000"),
    "fte_hours": _cells("hr_assignment", fte="37.000"),
    "fte_percent": _cells("hr_assignment", fte="100"),
    "unit_unknown": _cells("hr_assignment", org_unit_id="999999"),
    "unit_closed": unit_closed,
    "leave_before_join": leave_before_join,
    "training_twice": training_twice,
    "ethnicity_ic_code": _declared("16+1", "18+1", value_code="IC3"),
    "ethnicity_digit": _declared("16+1", "18+1", value_code="3"),
    "ethnicity_letter": _declared("16+1", "18+1", value_code="B"),
    "ethnicity_word": _declared("16+1", "18+1", also=_UNFIT, value_code="Black"),
    "ethnicity_words": _declared("16+1", "18+1", also=_UNFIT, value_code="BLACK BRITISH"),
    "ethnicity_o1_in_18": _declared("18+1", value_code="O1"),
    "ethnicity_blank": _declared("16+1", "18+1", also="ethnicity_code_fits_scheme", value_code=""),
    "ethnicity_lost": _declared("16+1", "18+1", only_known=True, value_code="NS", source="MIGRATED"),
    # counted last, so that they stand on rows as they are
    "absent": absent,
    "declaration_changed": declaration_changed,
    "ethnicity_o1_in_16": ethnicity_o1_in_16,
}
"""Every kind by name, in the order in which they are planted."""
