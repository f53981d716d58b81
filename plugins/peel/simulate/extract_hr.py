"""What the HR system shows of the world at the end of a day: eight tables, whole.

Every table shows the rows recorded by that day, with ends open that had not come by then. How much
further the world has been simulated makes no difference.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peel.simulate import identities, text
from peel.simulate import tables as t
from peel.simulate.days import OPEN, YEAR_DAYS, date_of, day_of
from peel.simulate.draws import Bools, Ints, scatter_below
from peel.simulate.text import Table
from peel.simulate.world import World

FIRST_ASSIGNMENT_ID = 500_001
FIRST_SECOND_ASSIGNMENT_ID = 90_000_001
FIRST_EVENT_ID = 1_000_001
PERSON_TYPES = ("EMP", "VOL", "EX_EMP")
_EMP, _VOL, _EX_EMP = range(3)
_HOURS = ("FT", "PT")
_SHIFT_UNITS = (22, 24, 25, 26, 27, 32, 33)
_ROLES_A_UNIT = 100
_VERSIONS = 1000  # more than a spell can have
_DECLARATION_SOURCES = ("SELF_SERVICE", "ATS", "MIGRATED")
_SCHEMES = ("18+1", "16+1")
_TRAINING_OUTCOMES = ("PASS", "FAIL", "ATTENDED", "NO_SHOW")
_BOARD_OUTCOMES = ("", "PASS", "FAIL")


def tables(world: World, day: int) -> Iterator[tuple[str, Table]]:
    """The eight tables with their names, made one at a time."""
    yield "hr_person", person(world, day)
    yield "hr_assignment", assignment(world, day)
    yield "hr_org_unit", org_unit(world, day)
    yield "hr_service_event", service_event(world, day)
    yield "hr_sensitive", sensitive(world, day)
    yield "hr_position", position(world, day)
    yield "hr_training", training(world, day)
    yield "hr_promotion_board", promotion_board(world, day)


@cache
def _systems() -> tuple[tuple[int, int, int], ...]:
    """First day, first number and step between numbers of each HR system, in order of days."""
    return tuple(
        (day_of(dt.date.fromisoformat(row["from_day"])), int(row["first_person_id"]), int(row["step"]))
        for row in t.rows("hr_systems")
    )


def change_of_system() -> int:
    """The day from which the present HR system numbers everyone anew and calls what it took over migrated."""
    return _systems()[-1][0]


def person_ids(persons: NDArray[Any], day: int) -> list[str]:
    """The numbers of persons in the HR system of a day."""
    _, first, step = [system for system in _systems() if system[0] <= day][-1]
    return text.numbers(persons.astype(np.int64) * step + first)


def _seconds(world: World, salt: str, keys: NDArray[Any]) -> Ints:
    return scatter_below(world.seed, salt, keys, text.WORKING_SECONDS)


def person(world: World, day: int) -> Table:
    """One row per person, person type and period."""
    periods = [_periods(world, day, kind) for kind in (_EMP, _VOL, _EX_EMP)]
    who, kind, start, end, since = (np.concatenate(parts) for parts in zip(*periods, strict=True))
    order = np.lexsort((kind, who))
    who, kind, start, end, since = (part[order] for part in (who, kind, start, end, since))
    row, start, end, home = _split_at_moves(world, day, who, start, end)
    who, kind, since = who[row], kind[row], since[row]
    human = world.persons["human"][who].astype(np.int64)
    cadet = _only_cadets(world, day)[who]
    service = since - world.persons["earlier_service"][who]
    births = world.humans["birth"][human]
    return {
        "person_id": person_ids(who, day),
        "person_number": _person_numbers(world, who),
        "full_name": identities.full_names(world, human),
        "national_insurance_number": identities.national_insurance_numbers(world, human),
        "email": identities.emails(world, human),
        "phone": identities.phones(world, human),
        "date_of_birth": text.days(births),
        "sex": text.codes(t.SEXES, world.humans["sex"][human]),
        "home_postcode": identities.postcodes(world, human, home),
        "original_hire_date": text.days(world.persons["hired"][who], show=~cadet),
        "adjusted_service_date": text.days(service, show=~cadet),
        "person_type": text.codes(PERSON_TYPES, kind),
        "effective_start_date": text.days(start),
        "effective_end_date": text.days(end),
        "last_update_ts": text.moments(np.where(end < OPEN, end + 1, start), _seconds(world, "person", who * 4 + kind)),
    }


def _periods(world: World, day: int, kind: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Persons, kinds, first days, last days and first days of service of one person type."""
    state, count = world.spells, len(world.persons)
    seen = state["join"] <= day
    volunteers = np.array([group.volunteer for group in world.tables.groups])[state["group"]]
    if kind != _EX_EMP:
        seen &= volunteers == (kind == _VOL)
    who = state["person"][seen]
    start = _least(count, who, state["join"][seen])
    since = _least(count, who, state["service"][seen])
    gone = np.full(count, -OPEN, dtype=np.int64)
    np.maximum.at(gone, who, np.where(state["leave"][seen] <= day, state["leave"][seen], OPEN))
    if kind == _EX_EMP:
        persons = np.flatnonzero((start < OPEN) & (gone < OPEN))
        employed = _least(count, who[~volunteers[seen]], state["service"][seen][~volunteers[seen]])
        since = np.where(employed < OPEN, employed, since)
        start, end = gone, np.full(count, OPEN, dtype=np.int64)
    else:
        persons = np.flatnonzero(start < OPEN)
        end = np.where(gone < OPEN, gone - 1, OPEN)
    kinds = np.full(len(persons), kind, dtype=np.int64)
    return persons, kinds, start[persons], end[persons], since[persons]


def _split_at_moves(world: World, day: int, who: Ints, start: Ints, end: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Split periods where the person moved home.

    Returns:
        Of every part: the period it is of, its first and last day, and the latest move before it (-1 for none).
    """
    moves = world.moves
    known = np.flatnonzero(moves["day"] <= day)
    known = known[np.lexsort((moves["day"][known], moves["person"][known]))]
    span = np.int64(OPEN + 2)
    keys = moves["person"][known].astype(np.int64) * span + moves["day"][known]
    before = np.searchsorted(keys, who * span + start, side="right")
    within = np.searchsorted(keys, who * span + end, side="right") - before
    parts = within + 1
    row = np.repeat(np.arange(len(who)), parts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    latest = before[row] + place - 1
    moved = np.append(moves["day"][known].astype(np.int64), OPEN)
    first = np.where(place == 0, start[row], moved[latest])
    last = np.where(place == within[row], end[row], moved[np.minimum(latest + 1, len(known))] - 1)
    mine = latest >= np.searchsorted(keys, who * span, side="left")[row]
    home = np.where(mine, np.append(known, -1)[latest], -1)
    return row, first, last, home


def _person_numbers(world: World, persons: Ints) -> list[str]:
    """Warrant or pay numbers; who comes back gets a new one."""
    human = world.persons["human"].astype(np.int64)
    first = np.full(len(world.humans), len(human), dtype=np.int64)
    np.minimum.at(first, human, np.arange(len(human)))
    return identities.person_numbers(human[persons], persons, again=first[human[persons]] != persons)


def _least(count: int, who: NDArray[Any], values: NDArray[Any]) -> Ints:
    least = np.full(count, OPEN, dtype=np.int64)
    np.minimum.at(least, who, values.astype(np.int64))
    return least


def _only_cadets(world: World, day: int) -> Bools:
    """By person: whether all their service so far is as a cadet, who is not hired."""
    state = world.spells
    other = (state["join"] <= day) & (state["group"] != t.VPC)
    cadets = np.full(len(world.persons), True)
    cadets[state["person"][other]] = False
    return cadets


def assignment(world: World, day: int) -> Table:
    """One row per assignment and state of it."""
    log = world.versions
    seen = np.flatnonzero(log["day"] <= day)
    seen = seen[np.lexsort((log["day"][seen], log["spell"][seen]))]
    spell, start = log["spell"][seen].astype(np.int64), log["day"][seen].astype(np.int64)
    followed = np.zeros(len(seen), dtype=np.bool_)
    followed[:-1] = spell[1:] == spell[:-1]
    end = np.full(len(seen), OPEN, dtype=np.int64)
    end[:-1][followed[:-1]] = start[1:][followed[:-1]] - 1
    who = world.spells["person"][spell]
    position = np.arange(len(seen)) - np.searchsorted(spell, spell, side="left")
    fte, unit = log["fte"][seen], log["unit"][seen].astype(np.int64)
    group = world.spells["group"][spell]
    main: Table = {
        "assignment_id": text.numbers(spell + FIRST_ASSIGNMENT_ID),
        "person_id": person_ids(who, day),
        "assignment_number": _assignment_numbers(world, spell),
        "primary_flag": ["Y"] * len(seen),
        "assignment_status": text.codes(t.STATUSES, log["status"][seen]),
        "workforce_group": text.codes(t.GROUPS, group),
        "rank_code": text.codes(t.RANKS, log["rank"][seen]),
        "substantive_rank_code": text.codes(t.RANKS, log["held_rank"][seen]),
        "rank_basis": text.codes(t.BASES, log["basis"][seen]),
        "band": text.codes(world.tables.band_codes, log["band"][seen]),
        "position_id": text.numbers(_positions(world, seen)),
        "org_unit_id": text.numbers(unit),
        "home_force": [""] * len(seen),
        "location_code": [f"SITE-{number}" for number in (unit * 3 + spell % 3).tolist()],
        "fte": text.thousandths(fte),
        "hours_basis": text.codes(_HOURS, (fte < 1000).astype(np.int64)),
        "working_pattern": _patterns(fte, unit),
        "effective_start_date": text.days(start),
        "effective_end_date": text.days(end),
        "action_code": text.codes(t.ACTIONS, log["action"][seen]),
        "last_update_ts": text.moments(
            np.where(followed, end + 1, start), _seconds(world, "assignment", spell * _VERSIONS + position)
        ),
    }
    second = _second_assignments(world, day)
    return {name: column + second[name] for name, column in main.items()}


def _seconds_seen(world: World, day: int) -> tuple[Ints, Ints]:
    """The second assignments that began by a day, and the last day of each."""
    log, leave = world.seconds, world.spells["leave"]
    seen = np.flatnonzero((log["day"] <= day) & (log["day"] < leave[log["spell"]]))
    return seen, np.minimum(log["until"][seen].astype(np.int64), leave[log["spell"][seen]]) - 1


def _second_assignments(world: World, day: int) -> Table:
    """One row per second paid assignment in the same workforce group; it ends with the first at the latest."""
    log, spells = world.seconds, world.spells
    seen, end = _seconds_seen(world, day)
    spell, start = log["spell"][seen].astype(np.int64), log["day"][seen].astype(np.int64)
    ended = end < day
    who, unit, fte = spells["person"][spell].astype(np.int64), log["unit"][seen].astype(np.int64), log["fte"][seen]
    group = spells["group"][spell].astype(np.int64)
    count = len(seen)
    return {
        "assignment_id": text.numbers(seen + FIRST_SECOND_ASSIGNMENT_ID),
        "person_id": person_ids(who, day),
        "assignment_number": [f"{number}-S{n}" for number, n in zip(_person_numbers(world, who), seen, strict=True)],
        "primary_flag": ["N"] * count,
        "assignment_status": ["ACTIVE"] * count,
        "workforce_group": text.codes(t.GROUPS, group),
        "rank_code": [""] * count,
        "substantive_rank_code": [""] * count,
        "rank_basis": [""] * count,
        "band": text.codes(world.tables.band_codes, log["band"][seen]),
        "position_id": text.numbers(_second_posts(world, seen)),
        "org_unit_id": text.numbers(unit),
        "home_force": [""] * count,
        "location_code": [f"SITE-{number}" for number in (unit * 3).tolist()],
        "fte": text.thousandths(fte),
        "hours_basis": ["PT"] * count,
        "working_pattern": ["FLEX"] * count,
        "effective_start_date": text.days(start),
        "effective_end_date": text.days(np.where(ended, end, OPEN)),
        "action_code": ["HIRE"] * count,
        "last_update_ts": text.moments(np.where(ended, end + 1, start), _seconds(world, "second", seen)),
    }


def _assignment_numbers(world: World, spell: Ints) -> list[str]:
    """The person's number, with -2 and so on for further assignments of the same record."""
    person = world.spells["person"].astype(np.int64)
    order = np.argsort(person, kind="stable")
    ordered = person[order]
    first = np.searchsorted(ordered, ordered, side="left")
    position = np.empty(len(person), dtype=np.int64)
    position[order] = np.arange(len(person)) - first
    numbers = _person_numbers(world, person[spell])
    return [
        number if place == 0 else f"{number}-{place + 1}"
        for number, place in zip(numbers, position[spell].tolist(), strict=True)
    ]


def _positions(world: World, versions: Ints) -> Ints:
    """The post of each version: one for each rank, or workforce group and band, of a unit."""
    log = world.versions
    group = world.spells["group"][log["spell"][versions]].astype(np.int64)
    role = np.where(group == t.OFF, log["rank"][versions], 10 * (group + 1) + log["band"][versions])
    return np.asarray(log["unit"][versions].astype(np.int64) * _ROLES_A_UNIT + role)


def _second_posts(world: World, seconds: Ints) -> Ints:
    """The post of each second assignment, which only those without a rank have."""
    log = world.seconds
    group = world.spells["group"][log["spell"][seconds]].astype(np.int64)
    return np.asarray(log["unit"][seconds].astype(np.int64) * _ROLES_A_UNIT + 10 * (group + 1) + log["band"][seconds])


def position(world: World, day: int) -> Table:
    """One row per post ever filled, with the establishment set on 1 April of the budget year."""
    log, others = world.versions, world.seconds
    seen = np.flatnonzero(log["day"] <= day)
    beside, last_day = _seconds_seen(world, day)
    filled_by = np.concatenate([_positions(world, seen), _second_posts(world, beside)])
    number, which = np.unique(filled_by, return_inverse=True)
    first = np.full(len(number), OPEN, dtype=np.int64)
    np.minimum.at(first, which, np.concatenate([log["day"][seen], others["day"][beside]]).astype(np.int64))
    today = date_of(day)
    year = today.year - (today.month < 4)
    april = day_of(dt.date(year, 4, 1))
    # the version in force on 1 April of every assignment
    then = seen[log["day"][seen] <= april]
    then = then[np.lexsort((log["day"][then], log["spell"][then]))]
    last = np.append(log["spell"][then][1:] != log["spell"][then][:-1], True)[: len(then)]
    then = then[last]
    then = then[t.STATUSES.index("TERMINATED") != log["status"][then]]
    filled = np.zeros(len(number), dtype=np.int64)
    np.add.at(filled, np.searchsorted(number, _positions(world, then)), log["fte"][then].astype(np.int64))
    held = beside[(others["day"][beside] <= april) & (last_day >= april)]
    np.add.at(filled, np.searchsorted(number, _second_posts(world, held)), others["fte"][held].astype(np.int64))
    above = 1000 + world.tables.settings["posts_above_strength_per_mille"]
    established = -(-filled * above // 1_000_000)  # whole posts, rounded up
    established = np.where(first > april, 1, established)
    titles = {row["code"]: row["title"] for row in t.rows("posts")}
    return {
        "position_id": text.numbers(number),
        "title": [_title(world, titles, role) for role in (number % _ROLES_A_UNIT).tolist()],
        "establishment_fte": text.thousandths(established * 1000),
        "budget_year": [f"{year}/{(year + 1) % 100:02d}"] * len(number),
        "org_unit_id": text.numbers(number // _ROLES_A_UNIT),
        "last_update_ts": text.moments(np.maximum(first, april), _seconds(world, "position", number)),
    }


def _title(world: World, titles: dict[str, str], role: int) -> str:
    if role < len(t.RANKS):
        return titles[t.RANKS[role]]
    band = world.tables.band_codes[role % 10]
    title = titles[t.GROUPS[role // 10 - 1]]
    return f"{title} band {band}" if band else title


def _patterns(fte: NDArray[Any], unit: Ints) -> list[str]:
    """Flexible for part time, shifts in response and operational units, days elsewhere."""
    shifts = np.isin(unit, _SHIFT_UNITS) | (unit // 1000 == 1) | ((unit // 1000 == 2) & (unit % 10 == 1))
    return text.codes(("DAY", "SHIFT", "FLEX"), np.where(fte < 1000, 2, shifts.astype(np.int64)))


def training(world: World, day: int) -> Table:
    """One row per place on a course: those of joiners, and the yearly ones."""
    spells, settings = world.spells, world.tables.settings
    parts: list[tuple[Ints, Ints, Ints]] = []  # course, spell, day
    courses = t.rows("courses")
    for number, course in enumerate(courses):
        of_group = np.flatnonzero(spells["group"] == t.GROUPS.index(course["group_code"]))
        start = day_of(dt.date.fromisoformat(course["from_day"]))
        offset = 1 + scatter_below(world.seed, f"course {number}", of_group, settings["training_within_days"])
        join = spells["join"][of_group].astype(np.int64)
        every = int(course["every_years"]) * YEAR_DAYS
        # who served when the history begins was trained before it
        rounds = [np.where(join > t.STOCK_DAY, join + offset, join - offset)]
        rounds += [join + n * every + offset for n in range(1, (day - t.STOCK_DAY) // every + 1 if every else 0)]
        for when in rounds:
            held = (when <= day) & (when >= start) & (when < spells["leave"][of_group])
            parts.append((np.full(int(held.sum()), number), of_group[held], when[held]))
    which, who, when = (np.concatenate(part) for part in zip(*parts, strict=True))
    key = (who * len(courses) + which) * 1000 + (when - t.STOCK_DAY) // YEAR_DAYS
    drawn = scatter_below(world.seed, "training", key, 1000)
    missed = drawn < settings["training_missed_per_mille"]
    assessed = np.array([course["assessed"] == "1" for course in courses])[which]
    failed = assessed & ~missed & (drawn >= 1000 - settings["training_failed_per_mille"])
    hours = np.array([int(course["hours_tenths"]) for course in courses])[which]
    outcome = np.where(missed, 3, np.where(failed, 1, np.where(assessed, 0, 2)))
    return {
        "person_id": person_ids(spells["person"][who], day),
        "course_code": text.codes([course["course_code"] for course in courses], which),
        "event_date": text.days(when),
        "outcome": text.codes(_TRAINING_OUTCOMES, outcome),
        "hours": [f"{n // 10}.{n % 10}" for n in np.where(missed, 0, hours).tolist()],
        "last_update_ts": text.moments(when, _seconds(world, "training", key)),
    }


def promotion_board(world: World, day: int) -> Table:
    """One row per person and board, as it stands: a rise in rank shows from its day on."""
    log = world.boards
    held = (log["month"].astype(np.int64) - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    seen = np.flatnonzero(held <= day)
    month, rank, promoted = log["month"][seen].tolist(), log["rank"][seen].tolist(), log["promoted"][seen]
    risen = promoted <= day
    return {
        "board_id": [
            f"{'T-' if n else ''}{t.RANKS[r]}-{m // 12}-{m % 12 + 1:02d}"
            for r, m, n in zip(rank, month, log["temporary"][seen].tolist(), strict=True)
        ],
        "rank_to": text.codes(t.RANKS, log["rank"][seen]),
        "process_type": text.codes(("SUBSTANTIVE", "TEMPORARY"), log["temporary"][seen]),
        "person_id": person_ids(log["person"][seen], day),
        "eligible_flag": ["Y"] * len(seen),
        "applied_flag": text.codes(("N", "Y"), log["applied"][seen]),
        "exam_outcome": text.codes(_BOARD_OUTCOMES, log["exam"][seen]),
        "board_outcome": text.codes(_BOARD_OUTCOMES, log["outcome"][seen]),
        "promoted_date": text.days(promoted, show=risen),
        "last_update_ts": text.moments(np.where(risen, promoted, held[seen]), _seconds(world, "board", seen)),
    }


def org_unit(world: World, day: int) -> Table:
    """One row per unit."""
    units = [unit for unit in world.units.listing if int(unit["start"]) <= day]
    start = np.array([int(unit["start"]) for unit in units], dtype=np.int64)
    ended = np.array([int(unit["end"]) for unit in units], dtype=np.int64)
    known = ended <= day
    number = np.array([int(unit["number"]) for unit in units], dtype=np.int64)
    return {
        "org_unit_id": text.numbers(number),
        "parent_org_unit_id": [str(unit["parent"]) for unit in units],
        "org_name": [str(unit["name"]) for unit in units],
        "org_type": [str(unit["kind"]) for unit in units],
        "bcu_code": [str(unit["bcu"]) for unit in units],
        "borough_code": [str(unit["borough"]) for unit in units],
        "effective_start_date": text.days(start),
        "effective_end_date": text.days(np.where(known, ended - 1, OPEN)),
        "last_update_ts": text.moments(np.where(known, ended, start), _seconds(world, "unit", number)),
    }


def service_event(world: World, day: int) -> Table:
    """One row per joining, leaving and rise in rank."""
    log = world.events
    seen = np.flatnonzero(log["day"] <= day)
    return {
        "event_id": text.numbers(seen + FIRST_EVENT_ID),
        "person_id": person_ids(log["person"][seen], day),
        "event_type": text.codes(t.EVENTS, log["kind"][seen]),
        "workforce_group": text.codes(t.GROUPS, log["group"][seen]),
        "event_date": text.days(log["day"][seen]),
        "joiner_type": text.codes(t.JOINERS, log["joiner"][seen]),
        "entry_route": text.codes(t.ROUTES, log["route"][seen]),
        "leaving_reason_code": text.codes(t.REASONS, log["reason"][seen]),
        "recorded_ts": text.moments(log["day"][seen], _seconds(world, "event", seen)),
    }


def sensitive(world: World, day: int) -> Table:
    """One row per declaration of ethnicity, the replaced ones closed."""
    log = world.declarations
    seen = np.flatnonzero(log["recorded"] <= day)
    seen = seen[np.lexsort((log["day"][seen], log["person"][seen]))]
    who, leaf = log["person"][seen], log["leaf"][seen].astype(np.int64)
    declared = log["day"][seen].astype(np.int64)
    replaced = np.zeros(len(seen), dtype=np.bool_)
    replaced[:-1] = who[1:] == who[:-1]
    following = np.append(declared[1:], 0)
    migrated, seconds = log["migrated"][seen], _seconds(world, "declaration", seen)
    modern = text.codes((*world.tables.leaf_code_18, "NS"), leaf)
    former = text.codes((*world.tables.leaf_code_16, "NS"), leaf)
    carried_over = (migrated > 0) | ((log["recorded"][seen] < change_of_system()) & (day >= change_of_system()))
    source = np.where(carried_over, 2, log["from_ats"][seen])
    return {
        "person_id": person_ids(who, day),
        "attribute": ["ETHNICITY"] * len(seen),
        "value_code": [b if m else a for a, b, m in zip(modern, former, migrated.tolist(), strict=True)],
        "scheme": text.codes(_SCHEMES, migrated),
        "source": text.codes(_DECLARATION_SOURCES, source),
        "declared_ts": text.moments(declared, seconds),
        "superseded_ts": text.moments(following, np.append(seconds[1:], 0), show=replaced),
    }
