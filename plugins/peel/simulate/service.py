"""Joining and leaving: the opening stock, joiners, leavers, and the events and records of both."""

from __future__ import annotations

import datetime as dt

import numpy as np

from peel.simulate import people, units
from peel.simulate import tables as t
from peel.simulate.days import OPEN, YEAR_DAYS, day_of
from peel.simulate.draws import MILLION, Bools, Draws, Ints
from peel.simulate.world import World

ACTIVE, TERMINATED = t.STATUSES.index("ACTIVE"), t.STATUSES.index("TERMINATED")
SUBSTANTIVE = t.BASES.index("SUB")
STANDARD, DIRECT_ENTRY, TRANSFER, REJOINER, WAS_SPECIAL, WAS_STAFF = range(1, 7)
_FIRST_DECLARATIONS = day_of(dt.date(2003, 4, 1))
_ROUTE_JOINERS = {
    "DE_INS": DIRECT_ENTRY,
    "DE_SUP": DIRECT_ENTRY,
    "TRF_IN": TRANSFER,
    "REJ": REJOINER,
    "SC2PC": WAS_SPECIAL,
    "STAFF2PC": WAS_STAFF,
}
JOINER_BY_ROUTE = np.array([_ROUTE_JOINERS.get(route, STANDARD) for route in t.ROUTES])
_TRAINED = [t.ROUTES.index(route) for route in ("TRF_IN", "REJ", "DE_INS", "DE_SUP")]
_EVENT_BY_JOINER = np.array(
    [t.EVENTS.index({TRANSFER: "TRANSFER_IN", REJOINER: "REJOIN"}.get(k, "JOIN")) for k in range(7)]
)


def record(world: World, spells: Ints, days: Ints, action: str) -> None:
    """Log the spells' present state as a new version from the given days on."""
    state = world.spells
    world.versions.append(
        len(spells),
        spell=spells,
        day=days,
        action=t.ACTIONS.index(action),
        status=TERMINATED if action == "TERM" else state["status"][spells],
        unit=world.units.at(state["place"][spells], days),
        **{name: state[name][spells] for name in ("rank", "held_rank", "basis", "band", "fte")},
    )
    state["changed"][spells] = world.month


def open_stock(world: World) -> None:
    """Add everyone who serves when the history begins."""
    for group in range(len(t.GROUPS)):
        draws = world.draws(f"stock {t.GROUPS[group]}")
        heads = world.target(group, t.FIRST_MONTH - 1) // 1000
        if world.tables.groups[group].in_fte:
            heads = heads * 1000 // world.tables.groups[group].fte_per_head
        if group == t.OFF:
            for rank, count in enumerate(rank_targets(world, heads)):
                _open_segment(world, draws, group, world.tables.rank_segment[rank], rank, int(count))
        else:
            _open_segment(world, draws, group, "", 0, heads)


def rank_targets(world: World, officers: int) -> Ints:
    """How many of the officers shall hold each rank; constables are the rest."""
    shares = t.in_force(world.tables.rank_shares, world.month)
    targets = (officers * shares + 50_000) // 100_000
    targets[-1] = 1
    targets[t.CON] = max(officers - int(targets.sum()), 0)
    return targets


def _open_segment(world: World, draws: Draws, group: int, segment: str, rank: int, count: int) -> None:
    if count <= 0:
        return
    tables = world.tables
    spans, mixes = tables.service[group, segment], tables.mixes[group, "stock", segment]
    span = spans[draws.spread(count, spans[:, 2])]
    served = span[:, 0] * YEAR_DAYS + draws.below(count, (span[:, 1] - span[:, 0]) * YEAR_DAYS)
    since = t.STOCK_DAY - 1 - served
    births = people.draw_stock_births(world, draws, group, since)
    five = draws.spread(count, mixes[0][1].five)
    outside = tables.groups[group].outside_london
    humans = people.add_humans(world, draws, births, five, mixes[0][1].women, outside)
    persons = _add_persons(world, humans, since)
    fte = stock_fte(world, draws, group, world.humans["sex"][humans].astype(np.int64))
    spells = _add_spells(world, draws, persons, group, np.full(count, t.STOCK_DAY), fte, "stock")
    state = world.spells
    state["service"][spells] = since
    state["rank"][spells] = state["held_rank"][spells] = rank
    state["rank_since"][spells] = t.STOCK_DAY - draws.below(count, 1 + served // 2)
    record(world, spells, np.full(count, t.STOCK_DAY), "HIRE")
    said = np.maximum(since, _FIRST_DECLARATIONS) + draws.below(count, 180)
    _declare(world, persons, np.minimum(said, t.STOCK_DAY - 1), np.full(count, t.STOCK_DAY), migrated=True)


def stock_fte(world: World, draws: Draws, group: int, sex: Ints) -> Ints:
    """FTE in thousandths for people of the given sexes in the opening stock."""
    parameters = world.tables.groups[group]
    if parameters.volunteer:
        return np.full(len(sex), parameters.volunteer_fte, dtype=np.int64)
    part = draws.below(len(sex), 1000) < np.array(parameters.part_time)[sex]
    return np.where(part, draw_part_time(world, draws, len(sex)), 1000)


def draw_part_time(world: World, draws: Draws, count: int) -> Ints:
    """FTE in thousandths of people who work part time."""
    fte, weights = world.tables.part_time
    return np.asarray(fte[draws.choose(count, weights)])


def _add_persons(world: World, humans: Ints, hired: Ints) -> Ints:
    persons = world.persons.append(len(humans), human=humans, hired=hired, earlier_service=0, open_spells=0)
    world.humans["person"][humans] = persons
    return persons


def _add_spells(world: World, draws: Draws, persons: Ints, group: int, days: Ints, fte: Ints, kind: str) -> Ints:
    count = len(persons)
    weights = world.tables.band_weights.get(group)
    officer = group == t.OFF
    world.persons["open_spells"][persons] += 1
    return world.spells.append(
        count,
        person=persons,
        human=world.persons["human"][persons],
        group=group,
        join=days,
        leave=OPEN,
        service=days,
        rank=t.CON if officer else 0,
        held_rank=t.CON if officer else 0,
        basis=SUBSTANTIVE if officer else 0,
        band=0 if weights is None else draws.choose(count, weights),
        place=units.draw_places(draws, group, kind, count),
        status=ACTIVE,
        fte=fte,
        rank_since=days,
        changed=world.month,
        absent_until=0,
        temporary_until=0,
        post_in=0,
        bound=0,
        reason=0,
    )


def _declare(
    world: World, persons: Ints, days: Ints, recorded: Ints, *, migrated: bool = False, from_ats: bool = False
) -> None:
    """Log the ethnicity that people declare: their own, not stated, or nothing at all."""
    humans = world.persons["human"][persons]
    says = world.humans["declares"][humans]
    asked = says < 2
    leaves = np.where(says == 0, world.humans["leaf"][humans], t.NOT_STATED)
    world.declarations.append(
        int(asked.sum()),
        person=persons[asked],
        leaf=leaves[asked],
        migrated=int(migrated),
        from_ats=int(from_ats),
        day=days[asked],
        recorded=recorded[asked],
    )


def join(
    world: World,
    draws: Draws,
    humans: Ints,
    days: Ints,
    group: int,
    *,
    route: Ints | int = 0,
    applied: Ints | None = None,
    anew: bool = False,
) -> Ints:
    """Let humans join a group.

    Args:
        world: where it happens.
        draws: where chance comes from.
        humans: who joins; those with an HR record keep it unless `anew`.
        days: first days of service.
        group: the group joined.
        route: entry route, one for all or one each; officers only.
        applied: the day each applied, when they come through the applicant tracking system.
        anew: give everyone a new HR record, as rejoiners have.

    Returns:
        The new spells.
    """
    count = len(humans)
    unknown = np.full(count, True) if anew else world.humans["person"][humans] < 0
    _add_persons(world, humans[unknown], days[unknown])
    persons = world.humans["person"][humans].astype(np.int64)
    said = days if applied is None else applied
    if unknown.any():
        _declare(world, persons[unknown], said[unknown], days[unknown], from_ats=applied is not None)
    volunteer_fte = world.tables.groups[group].volunteer_fte
    fte = np.full(count, volunteer_fte or 1000, dtype=np.int64)
    spells = _add_spells(world, draws, persons, group, days, fte, "joiner")
    routes = np.broadcast_to(np.asarray(route, dtype=np.int64), count)
    if group == t.OFF:
        _start_officers(world, draws, spells, routes)
    record(world, spells, days, "HIRE")
    joiner = JOINER_BY_ROUTE[routes]
    world.events.append(
        count,
        person=persons,
        kind=_EVENT_BY_JOINER[joiner],
        group=group,
        day=days,
        joiner=joiner,
        route=routes,
        reason=0,
    )
    return spells


def _start_officers(world: World, draws: Draws, spells: Ints, routes: Ints) -> None:
    """Send recruits to training and give direct entrants their rank."""
    state = world.spells
    for route, rank in (("DE_INS", t.INS), ("DE_SUP", t.SUP)):
        chosen = spells[routes == t.ROUTES.index(route)]
        state["rank"][chosen] = state["held_rank"][chosen] = rank
    recruits = spells[~np.isin(routes, _TRAINED)]
    least, spread = (world.tables.settings[name] for name in ("training_months", "training_months_spread"))
    state["place"][recruits] = units.RECRUIT_TRAINING
    state["post_in"][recruits] = world.month + least + draws.below(len(recruits), spread)


def leave(world: World, spells: Ints, days: Ints, reasons: Ints | int) -> None:
    """End spells; the day given is the first on which the person serves no more."""
    state, count = world.spells, len(spells)
    reason = np.broadcast_to(np.asarray(reasons, dtype=np.int64), count)
    state["leave"][spells] = days
    state["bound"][spells] = 0
    state["reason"][spells] = reason
    np.subtract.at(world.persons["open_spells"], state["person"][spells], 1)
    record(world, spells, days, "TERM")
    transferred = reason == t.REASONS.index("TRF_OUT")
    world.events.append(
        count,
        person=state["person"][spells],
        kind=np.where(transferred, t.EVENTS.index("TRANSFER_OUT"), t.EVENTS.index("LEAVE")),
        group=state["group"][spells],
        day=days,
        joiner=0,
        route=0,
        reason=reason,
    )


def leave_of_themselves(world: World) -> None:
    """Let people of all groups leave at the rates of the tables, cadets also on becoming 18."""
    for group in range(len(t.GROUPS)):
        draws = world.draws(f"leavers {t.GROUPS[group]}")
        serving = world.open_spells(group)
        serving = serving[world.spells["bound"][serving] == 0]
        reasons = _draw_reasons(world, draws, group, serving)
        days = world.random_days(draws, len(serving))
        if group == t.VPC:
            birthdays = _eighteenth_birthdays(world.humans["birth"][world.spells["human"][serving]])
            adult = birthdays <= world.last_day
            days = np.where(adult, birthdays, np.minimum(days, birthdays))
            reasons = np.where(adult, t.REASONS.index("RES"), reasons)
        gone = (reasons > 0) & (days > world.spells["join"][serving])
        leave(world, serving[gone], days[gone], reasons[gone])
        world.leavers[group].append(int(gone.sum()))


def _draw_reasons(world: World, draws: Draws, group: int, serving: Ints) -> Ints:
    """For each spell a leaving reason, or 0 for staying this month; as many leave as are due."""
    tables, humans = world.tables, world.spells["human"][serving]
    served = (world.first_day - world.spells["service"][serving].astype(np.int64)) // YEAR_DAYS
    age = people.age_in_years(world.humans["birth"][humans], world.first_day)
    five = tables.leaf_five[world.humans["leaf"][humans]]
    drawn = draws.evenly(len(serving), MILLION)
    reached = np.zeros(len(serving), dtype=np.int64)
    reasons = np.zeros(len(serving), dtype=np.int64)
    for row in tables.leaving.get(group, []):
        applies = _between(served, row.years) & _between(age, row.ages)
        rate = row.rate * t.in_force(tables.leaving_years.get((group, row.reason), [(0, 1000)]), world.month)
        ratio = np.full(len(serving), 1000, dtype=np.int64)
        for years, ratios in tables.effects.leaving.get((group, row.reason), []):
            ratio = np.where(_between(served, years), ratios[five], ratio)
        rates = rate * ratio // MILLION
        before, reached = reached, reached + np.where(applies, rates, 0)
        reasons[(drawn >= before) & (drawn < reached)] = row.reason
    return reasons


def _between(values: Ints, limits: tuple[int, int]) -> Bools:
    return np.asarray((values >= limits[0]) & (values < limits[1]))


def _eighteenth_birthdays(births: Ints) -> Ints:
    dates = births.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    moved = (months + 18 * 12).astype("datetime64[D]") + (dates - months.astype("datetime64[D]"))
    return np.asarray(moved.astype(np.int64))


def let_go(world: World, group: int, count: int) -> None:
    """End the spells of some who would have stayed: the group shrinks faster than people leave."""
    draws = world.draws(f"let go {t.GROUPS[group]}")
    state, serving = world.spells, world.open_spells(group)
    free = serving[(state["bound"][serving] == 0) & (state["join"][serving] < world.first_day)]
    chosen = draws.sample(free, count)
    reason = "EOC" if group in (t.STAFF, t.DESIG) else "RES"
    leave(world, chosen, world.random_days(draws, len(chosen)), t.REASONS.index(reason))
    world.leavers[group][-1] += len(chosen)


def move_to_officers(world: World, humans: Ints, days: Ints) -> None:
    """End the other service of people who become officers, on the day they do."""
    state = world.spells
    who = np.flatnonzero((state["leave"] == OPEN) & np.isin(state["human"], humans))
    order = np.argsort(humans, kind="stable")
    position = order[np.searchsorted(humans[order], state["human"][who])]
    leave(world, who, days[position], t.REASONS.index("SC2PC_OUT"))
    for group in range(len(t.GROUPS)):
        world.leavers[group][-1] += int((state["group"][who] == group).sum())


def rejoin(world: World) -> None:
    """Let some officers who resigned or transferred some years ago come back."""
    draws, settings = world.draws("rejoiners"), world.tables.settings
    state = world.spells
    wanted = int((draws.evenly(len(world.open_spells(t.OFF)), MILLION) < world.tables.groups[t.OFF].rejoin).sum())
    away = world.first_day - state["leave"].astype(np.int64)
    latest = world.humans["person"][state["human"]] == state["person"]
    young = people.age_in_years(world.humans["birth"][state["human"]], world.first_day) < settings["rejoin_oldest"]
    away_for = (settings["rejoin_after_years"] * YEAR_DAYS, settings["rejoin_within_years"] * YEAR_DAYS)
    could = (state["group"] == t.OFF) & _between(away, away_for) & latest & young
    could &= np.isin(state["reason"], [t.REASONS.index("RES"), t.REASONS.index("TRF_OUT")])
    could &= world.persons["open_spells"][state["person"]] == 0
    chosen = draws.sample(np.flatnonzero(could), wanted)
    if len(chosen) == 0:
        return
    former, humans = state["person"][chosen], state["human"][chosen].astype(np.int64)
    served = state["leave"][chosen] - state["service"][chosen]
    hired = world.persons["hired"][former]
    days = world.random_days(draws, len(chosen))
    join(world, draws, humans, days, t.OFF, route=t.ROUTES.index("REJ"), anew=True)
    persons = world.humans["person"][humans]
    world.persons["hired"][persons] = hired
    world.persons["earlier_service"][persons] = served
