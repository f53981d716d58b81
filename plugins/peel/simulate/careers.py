"""What happens to people between joining and leaving.

A spell changes at most once a month, except that a BCU going live moves everyone in its boroughs:
so no two versions of a spell ever start on the same day.
"""

from __future__ import annotations

import numpy as np

from peel.simulate import people, units
from peel.simulate import tables as t
from peel.simulate.days import OPEN, YEAR_DAYS
from peel.simulate.draws import Draws, Ints
from peel.simulate.service import ACTIVE, SUBSTANTIVE, draw_part_time, rank_targets, record
from peel.simulate.world import World

_TEMPORARY, _ACTING = t.BASES.index("TEMP"), t.BASES.index("ACT")
_MATERNITY = t.STATUSES.index("MATERNITY")
_ABSENCES = ("MATERNITY", "CAREER_BREAK", "SECONDED_OUT", "SUSPENDED", "UNPAID_LEAVE")
_HIGHEST_TEMPORARY = t.SUP
BOARD_PASS, BOARD_FAIL = 1, 2
"""Outcomes of an exam or a board; 0 for none."""


def live(world: World) -> None:
    """Let a month of working life pass, leavers and joiners being known."""
    go_live(world)
    come_back(world)
    end_temporary_ranks(world)
    post_recruits(world)
    promote(world)
    for group in range(len(t.GROUPS)):
        transfer(world, group)
        go_absent(world, group)
        change_hours(world, group)
        change_band(world, group)
        take_second_assignment(world, group)
        move_home(world, group)
    raise_temporarily(world)
    declare_anew(world)


def _unchanged(world: World, spells: Ints) -> Ints:
    """Those of the spells that are open and have not changed this month."""
    state = world.spells
    return np.asarray(spells[(state["leave"][spells] == OPEN) & (state["changed"][spells] != world.month)])


def _record_some_day(world: World, draws: Draws, spells: Ints, action: str) -> Ints:
    """Record a change on some day of the month, though not before the new place's unit is there."""
    days = world.random_days(draws, len(spells))
    changes = world.units.changes[world.spells["place"][spells]]
    days = np.where(changes <= world.last_day, np.maximum(days, changes), days)
    record(world, spells, days, action)
    return days


def go_live(world: World) -> None:
    """Move everyone posted to the boroughs of a BCU that goes live to their new unit."""
    state = world.spells
    for day in world.units.go_live_days():
        if world.first_day <= day <= world.last_day:
            moved = world.units.changes[state["place"]] == day
            moved &= (state["join"] < day) & (state["leave"] > day)
            spells = np.flatnonzero(moved)
            record(world, spells, np.full(len(spells), day), "TRANSFER")


def come_back(world: World) -> None:
    """End absences that are due, some mothers coming back to part time."""
    draws, state = world.draws("come back"), world.spells
    due = _unchanged(world, np.flatnonzero((state["absent_until"] > 0) & (state["absent_until"] <= world.month)))
    mothers = due[state["status"][due] == _MATERNITY]
    part = mothers[draws.below(len(mothers), 1000) < world.tables.settings["mothers_to_part_time_per_mille"]]
    state["fte"][part] = draw_part_time(world, draws, len(part))
    state["status"][due] = ACTIVE
    state["absent_until"][due] = 0
    _record_some_day(world, draws, due, "LOA")


def end_temporary_ranks(world: World) -> None:
    """Take officers back to their substantive rank when temporary or acting rank ends."""
    draws, state = world.draws("temporary ends"), world.spells
    due = _unchanged(world, np.flatnonzero((state["temporary_until"] > 0) & (state["temporary_until"] <= world.month)))
    state["rank"][due] = state["held_rank"][due]
    state["basis"][due] = SUBSTANTIVE
    state["temporary_until"][due] = 0
    _record_some_day(world, draws, due, "TEMP_PROMO")


def post_recruits(world: World) -> None:
    """Give recruits whose training ends their first posting."""
    draws, state = world.draws("first postings"), world.spells
    due = _unchanged(world, np.flatnonzero((state["post_in"] > 0) & (state["post_in"] <= world.month)))
    state["place"][due] = units.draw_places(draws, t.OFF, "joiner", len(due))
    state["post_in"][due] = 0
    _record_some_day(world, draws, due, "TRANSFER")


def promote(world: World) -> None:
    """Fill the vacancies of each rank from the rank below, the highest first."""
    draws, state = world.draws("promotions"), world.spells
    officers = world.open_spells(t.OFF)
    targets = rank_targets(world, len(officers))
    for rank in range(len(t.RANKS) - 1, t.CON, -1):
        held = state["held_rank"][officers]
        vacant = int(targets[rank]) - int((held == rank).sum())
        if vacant <= 0:
            continue
        below = held[held < rank].max(initial=t.CON)  # a small force has gaps among the chiefs
        able = _unchanged(world, officers[held == below])
        able = able[(state["status"][able] == ACTIVE) & (state["post_in"][able] == 0)]
        waited = world.first_day - state["rank_since"][able].astype(np.int64)
        long_enough = world.tables.rank_years_below[rank] * YEAR_DAYS
        able = able[waited >= long_enough]
        _hold_board(world, draws, able, vacant, rank)


def _hold_board(world: World, draws: Draws, able: Ints, vacant: int, rank: int) -> None:
    """Ask the eligible one by one whether they apply, and judge who does, until the vacancies are filled."""
    settings, effects = world.tables.settings, world.tables.effects
    able = draws.shuffled(able)
    five = world.tables.leaf_five[world.humans["leaf"][world.spells["human"][able]]]
    applied = draws.chance(len(able), settings["board_applies_per_mille"] * effects.board_applies[five])
    passed = applied & draws.chance(len(able), settings["board_passes_per_mille"] * effects.board_passes[five])
    asked = np.cumsum(passed) - passed < vacant
    able, applied, passed = able[asked], applied[asked], passed[asked]
    days = np.full(len(able), OPEN)
    days[passed] = _raise(world, draws, able[passed], rank)
    examined = rank <= t.INS
    failed = applied & ~passed
    failed &= examined & (draws.below(len(able), 1000) < settings["exam_failed_per_mille"])
    exam = np.where(failed, BOARD_FAIL, BOARD_PASS if examined else 0)
    world.boards.append(
        len(able),
        person=world.spells["person"][able],
        rank=rank,
        month=world.month,
        temporary=0,
        applied=applied,
        exam=np.where(applied, exam, 0),
        outcome=np.where(passed, BOARD_PASS, np.where(applied & ~failed, BOARD_FAIL, 0)),
        promoted=days,
    )


def _raise(world: World, draws: Draws, spells: Ints, rank: int) -> Ints:
    state = world.spells
    state["rank"][spells] = state["held_rank"][spells] = rank
    state["basis"][spells] = SUBSTANTIVE
    state["temporary_until"][spells] = 0
    days = _record_some_day(world, draws, spells, "PROMO")
    state["rank_since"][spells] = days
    world.events.append(
        len(spells),
        person=state["person"][spells],
        kind=t.EVENTS.index("PROMOTE"),
        group=t.OFF,
        day=days,
        joiner=0,
        route=0,
        reason=0,
    )
    return days


def _befallen(world: World, draws: Draws, group: int, event: str, spells: Ints) -> tuple[Ints, Ints]:
    """Those of the spells whom a career event befalls this month, and for how many months."""
    humans = world.humans
    chosen: list[Ints] = []
    lasting: list[Ints] = []
    human = world.spells["human"][spells]
    age = people.age_in_years(humans["birth"][human], world.first_day)
    for row in world.tables.careers[event, group]:
        could = (age >= row.ages[0]) & (age < row.ages[1])
        if row.sex is not None:
            could &= humans["sex"][human] == row.sex
        befallen = spells[could & draws.chance(len(spells), row.rate)]
        chosen.append(befallen)
        lasting.append(row.months[0] + draws.below(len(befallen), row.months[1] - row.months[0] + 1))
    return np.concatenate(chosen), np.concatenate(lasting)


def _known(world: World, event: str, group: int) -> bool:
    """Whether an event can befall a group at all."""
    return (event, group) in world.tables.careers


def _at_work(world: World, group: int) -> Ints:
    state, serving = world.spells, _unchanged(world, world.open_spells(group))
    return np.asarray(serving[(state["status"][serving] == ACTIVE) & (state["post_in"][serving] == 0)])


def transfer(world: World, group: int) -> None:
    """Post some people elsewhere."""
    if not _known(world, "TRANSFER", group):
        return
    draws = world.draws(f"transfers {t.GROUPS[group]}")
    movers, _ = _befallen(world, draws, group, "TRANSFER", _at_work(world, group))
    destinations = units.draw_places(draws, group, "transfer", len(movers))
    elsewhere = destinations != world.spells["place"][movers]
    world.spells["place"][movers] = destinations
    _record_some_day(world, draws, movers[elsewhere], "TRANSFER")


def go_absent(world: World, group: int) -> None:
    """Let some go on maternity leave, career breaks, secondments, unpaid leave or be suspended."""
    draws = world.draws(f"absences {t.GROUPS[group]}")
    state = world.spells
    for absence in _ABSENCES:
        if not _known(world, absence, group):
            continue
        gone, months = _befallen(world, draws, group, absence, _at_work(world, group))
        state["status"][gone] = t.STATUSES.index(absence)
        state["absent_until"][gone] = world.month + months
        _record_some_day(world, draws, gone, "LOA")


def change_hours(world: World, group: int) -> None:
    """Let some go to part time and some come back to full time."""
    if not _known(world, "TO_PART_TIME", group):
        return
    draws = world.draws(f"hours {t.GROUPS[group]}")
    state, serving = world.spells, _at_work(world, group)
    fewer, _ = _befallen(world, draws, group, "TO_PART_TIME", serving[state["fte"][serving] == 1000])
    more, _ = _befallen(world, draws, group, "TO_FULL_TIME", serving[state["fte"][serving] < 1000])
    state["fte"][fewer] = draw_part_time(world, draws, len(fewer))
    state["fte"][more] = 1000
    _record_some_day(world, draws, np.concatenate([fewer, more]), "FTE_CHG")


def change_band(world: World, group: int) -> None:
    """Let some rise to the next band; A is the highest."""
    if not _known(world, "HIGHER_BAND", group):
        return
    draws, state = world.draws(f"bands {t.GROUPS[group]}"), world.spells
    lowest = int(np.flatnonzero(world.tables.band_weights[group])[0])
    serving = _at_work(world, group)
    risen, _ = _befallen(world, draws, group, "HIGHER_BAND", serving[state["band"][serving] > lowest])
    state["band"][risen] -= 1
    _record_some_day(world, draws, risen, "PROMO")


def take_second_assignment(world: World, group: int) -> None:
    """Let some take a second paid assignment in their group beside the first, for some months."""
    if not _known(world, "SECOND_ASSIGNMENT", group):
        return
    draws, state = world.draws(f"second assignments {t.GROUPS[group]}"), world.spells
    serving = _at_work(world, group)
    serving = serving[(state["join"][serving] < world.first_day) & (state["bound"][serving] == 0)]
    held = world.seconds
    busy = held["spell"][held["until"] > world.first_day]
    taken, months = _befallen(world, draws, group, "SECOND_ASSIGNMENT", serving[~np.isin(serving, busy)])
    days = world.random_days(draws, len(taken))
    places = units.draw_places(draws, group, "transfer", len(taken))
    # a unit that lasts: none of a borough whose command unit may end meanwhile
    places = np.where(places < units.TERRITORIAL, places, state["place"][taken])
    lasting = places < units.TERRITORIAL
    taken, months, days, places = taken[lasting], months[lasting], days[lasting], places[lasting]
    shares = world.tables.settings["second_assignment_fte"] + 100 * draws.below(len(taken), 3)
    held.append(
        len(taken),
        spell=taken,
        day=days,
        until=days + 30 * months,
        unit=world.units.at(places, days),
        band=state["band"][taken],
        fte=shares,
    )


def move_home(world: World, group: int) -> None:
    """Let some move home: within London, into it or out of it."""
    if not _known(world, "MOVE", group):
        return
    draws, state = world.draws(f"moves {t.GROUPS[group]}"), world.spells
    serving = world.open_spells(group)
    movers, _ = _befallen(world, draws, group, "MOVE", serving[state["join"][serving] < world.first_day])
    persons, first = np.unique(state["person"][movers], return_index=True)
    earlier = world.moves["person"][world.moves["day"] >= world.first_day]
    fresh = ~np.isin(persons, earlier)
    persons, human = persons[fresh], state["human"][movers[first[fresh]]].astype(np.int64)
    residents = t.in_force(world.tables.borough_residents, world.month)
    district = draws.choose_by_row(residents, world.tables.leaf_five[world.humans["leaf"][human]]) + 1
    outside = draws.below(len(persons), 1000) < world.tables.groups[group].outside_london
    days = world.random_days(draws, len(persons))
    world.moves.append(len(persons), person=persons, day=days, district=np.where(outside, 0, district))


def raise_temporarily(world: World) -> None:
    """Give some officers temporary or acting rank, one above their own."""
    draws, state = world.draws("temporary ranks"), world.spells
    for event, basis in (("TEMPORARY_RANK", _TEMPORARY), ("ACTING_RANK", _ACTING)):
        able = _at_work(world, t.OFF)
        own = state["held_rank"][able]
        long_enough = world.tables.settings["temporary_after_years"] * YEAR_DAYS
        served = world.first_day - state["rank_since"][able].astype(np.int64)
        able = able[(state["basis"][able] == SUBSTANTIVE) & (own < _HIGHEST_TEMPORARY) & (served > long_enough)]
        raised, months = _befallen(world, draws, t.OFF, event, able)
        state["rank"][raised] = state["held_rank"][raised] + 1
        state["basis"][raised] = basis
        state["temporary_until"][raised] = world.month + months
        if basis == _TEMPORARY:
            _hold_temporary_boards(world, draws, np.setdiff1d(able, raised), raised)
        _record_some_day(world, draws, raised, "TEMP_PROMO")


def _hold_temporary_boards(world: World, draws: Draws, others: Ints, raised: Ints) -> None:
    """Log the processes for temporary rank: who got it and some who did not; nobody is promoted by them."""
    state = world.spells
    vain = draws.sample(others, draws.portion(len(raised), world.tables.settings["temporary_in_vain_per_mille"]))
    passed = np.concatenate([np.full(len(raised), BOARD_PASS), np.full(len(vain), BOARD_FAIL)])
    rank = np.concatenate([state["held_rank"][raised], state["held_rank"][vain]]) + 1
    world.boards.append(
        len(passed),
        person=state["person"][np.concatenate([raised, vain])],
        rank=rank,
        month=world.month,
        temporary=1,
        applied=1,
        exam=0,
        outcome=passed,
        promoted=OPEN,
    )


def declare_anew(world: World) -> None:
    """Let some people declare their ethnicity anew, most of them what it is."""
    draws, state = world.draws("declarations"), world.spells
    serving = np.flatnonzero((state["leave"] == OPEN) & (state["join"] < world.first_day))
    rates = np.array([group.redeclare for group in world.tables.groups])[state["group"][serving]]
    chosen = serving[draws.chance(len(serving), rates)]
    persons, first = np.unique(state["person"][chosen], return_index=True)
    humans = state["human"][chosen[first]]
    kind = draws.below(len(persons), 100)
    leaves = world.humans["leaf"][humans].astype(np.int64)
    neighbour = draws.choose_by_row(world.tables.leaf_weights, world.tables.leaf_five[leaves])
    own = world.tables.settings["redeclare_own_percent"]
    near = own + world.tables.settings["redeclare_near_percent"]
    said = np.where(kind < own, leaves, np.where(kind < near, neighbour, t.NOT_STATED))
    days = world.random_days(draws, len(persons))
    world.declarations.append(
        len(persons),
        person=persons,
        leaf=said,
        migrated=0,
        from_ats=0,
        day=days,
        recorded=days,
    )
