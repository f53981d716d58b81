"""From an offer to a start: who withdraws while waiting, and who starts to keep up strength."""

from __future__ import annotations

import numpy as np

from peel.simulate import people, service
from peel.simulate import tables as t
from peel.simulate.applying import OFF_EXT, OFF_INT, PCSO, SC, STAFF, insiders, starts_share, supply
from peel.simulate.days import mondays, on_weekdays
from peel.simulate.draws import Draws, Ints
from peel.simulate.stages import add_outcomes
from peel.simulate.world import World

_START = t.STAGES.index("START")
_TIME_TAKEN = t.WITHDRAWALS.index("TIME_TAKEN")


def _release(world: World, applications: Ints) -> None:
    human = world.candidates["human"][world.applications["candidate"][applications]]
    world.spells["bound"][np.isin(world.spells["human"], human)] = 0


def lose_waiting(world: World) -> None:
    """Let some who wait for a start withdraw, and offers that waited too long expire."""
    draws, settings, state = world.draws("waiting"), world.tables.settings, world.applications
    waiting = np.flatnonzero((state["waiting"] == 1) & (state["offer"] < world.first_day))
    old = state["offer"][waiting] + settings["expire_after_days"] < world.first_day
    gone = old | draws.chance(len(waiting), settings["withdraw_per_million_a_month"])
    lost, expired = waiting[gone], old[gone]
    days = on_weekdays(world.random_days(draws, len(lost)))
    reasons = np.where(expired, _TIME_TAKEN, draws.choose(len(lost), world.tables.withdrawals))
    outcome = np.where(expired, t.EXPIRED, t.WITHDRAWN)
    add_outcomes(world, draws, lost, _START, outcome, days)
    state["waiting"][lost] = 0
    state["reason"][lost] = reasons
    world.candidates["closed"][state["candidate"][lost]] = days
    _release(world, lost)


def start(world: World) -> None:
    """Fill every group to its strength: from those with an offer, or directly where none apply."""
    service.rejoin(world)
    _start_officers(world)
    for line in (STAFF, PCSO, SC):
        group = world.tables.lines[line].group
        need = _need(world, group)
        if group == t.SC:
            need -= _specials_from_staff(world, need)
        need -= _start_from(world, line, need)
        if world.month < world.tables.lines[line].direct_until:
            _start_directly(world, group, need)
        _shrink(world, group)
    for group in (t.DESIG, t.PSV, t.VPC):
        _start_directly(world, group, _need(world, group))
        _shrink(world, group)


def _need(world: World, group: int) -> int:
    """Heads that a group lacks for its strength at the month's end; none if it has too many."""
    return max(world.target(group, world.month) - world.strength(group) + 500, 0) // 1000


def _shrink(world: World, group: int) -> None:
    surplus = (world.strength(group) - world.target(group, world.month)) // 1000
    if surplus > 0:
        service.let_go(world, group, surplus)


def _start_officers(world: World) -> None:
    need = _need(world, t.OFF)
    internal = world.draws("internal share").portion(need, starts_share(world, OFF_INT))
    started = _start_from(world, OFF_INT, internal)
    started += _start_from(world, OFF_EXT, need - started)
    started += _start_from(world, OFF_INT, need - started, turn="second")
    if world.month < world.tables.lines[OFF_INT].direct_until:
        draws = world.draws("direct officers")
        humans = insiders(world, draws, (t.SC,), need - started, supply(world, OFF_INT).five)
        days = _start_days(world, draws, len(humans))
        service.move_to_officers(world, humans, days)
        service.join(world, draws, humans, days, t.OFF, route=t.ROUTES.index("SC2PC"))


def _start_days(world: World, draws: Draws, count: int) -> Ints:
    starts = mondays(world.month)
    return np.asarray(starts[draws.below(count, len(starts))])


def _start_from(world: World, line: int, need: int, turn: str = "first") -> int:
    """Start those who have waited longest; returns how many. Each turn in a month has its own name."""
    state = world.applications
    notice = world.tables.settings["notice_days"]
    ready = (state["line"] == line) & (state["waiting"] == 1) & (state["offer"] + notice < world.first_day)
    pool = np.flatnonzero(ready)
    chosen = pool[np.argsort(state["offer"][pool], kind="stable")][: max(need, 0)]
    if len(chosen) == 0:
        return 0
    draws = world.draws(f"starts {t.LINES[line]} {turn}")
    days = _start_days(world, draws, len(chosen))
    humans = world.candidates["human"][state["candidate"][chosen]].astype(np.int64)
    group = world.tables.lines[line].group
    if group == t.OFF:
        service.move_to_officers(world, humans, days)
    routes = state["route"][chosen].astype(np.int64)
    applied = state["day"][chosen].astype(np.int64)
    spells = service.join(world, draws, humans, days, group, route=routes, applied=applied)
    state["waiting"][chosen] = 0
    state["start"][chosen] = days
    state["spell"][chosen] = spells
    state["person"][chosen] = world.spells["person"][spells]
    world.candidates["closed"][state["candidate"][chosen]] = days
    world.candidates["hired"][state["candidate"][chosen]] = 1
    add_outcomes(world, draws, chosen, _START, t.PASS, days)
    return len(chosen)


def _start_directly(world: World, group: int, need: int) -> None:
    """Let people join a group without an application on record."""
    if need <= 0:
        return
    draws = world.draws(f"direct {t.GROUPS[group]}")
    mix = t.in_force(world.tables.mixes[group, "joiner", ""], world.month)
    days = np.sort(world.random_days(draws, need))
    births = people.draw_births(world, draws, group, days)
    outside = world.tables.groups[group].outside_london
    humans = people.add_humans(world, draws, births, draws.spread(need, mix.five), mix.women, outside)
    service.join(world, draws, humans, days, group)


def _specials_from_staff(world: World, need: int) -> int:
    """Let some staff become specials beside their work; returns how many."""
    draws = world.draws("specials from staff")
    count = draws.portion(need, world.tables.settings["specials_from_staff_per_mille"])
    state, serving = world.spells, world.open_spells(t.STAFF)
    free = (state["bound"][serving] == 0) & (world.persons["open_spells"][state["person"][serving]] == 1)
    free &= state["join"][serving] < world.first_day
    chosen = draws.sample(serving[free], count)
    humans = state["human"][chosen].astype(np.int64)
    service.join(world, draws, humans, np.sort(world.random_days(draws, len(humans))), t.SC)
    return len(chosen)
