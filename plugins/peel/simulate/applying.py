"""Who applies each month: how many of each line, who they are, on what grounds, by which way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peel.simulate import people
from peel.simulate import tables as t
from peel.simulate.days import OPEN
from peel.simulate.draws import MILLION, Draws, Ints
from peel.simulate.outreach import sources
from peel.simulate.stages import add_outcomes, go_through, stages_of, survival
from peel.simulate.world import World

OFF_EXT, OFF_INT, STAFF, PCSO, SC = range(len(t.LINES))
_LIVED, _STUDIED, _EXEMPT, _NONE = (t.RESIDENCY_BASES.index(b) for b in ("LIVED", "STUDIED", "EXEMPT", "NONE"))
_YES, _NO = t.RESIDENCY_PASSES.index("Y"), t.RESIDENCY_PASSES.index("N")
_REG = t.STAGES.index("REG")
_ROUTE_GROUPS = {"SC2PC": (t.SC,), "STAFF2PC": (t.PCSO, t.STAFF)}


@dataclass
class Supply:
    """What the applications of a line in a month come to.

    Attributes:
        five: the share of each five-group among applicants, per million.
        women: the share of women among them, per million.
        passing: the share of applicants who get an offer, per million.
    """

    five: Ints
    women: int
    passing: int


def supply(world: World, line: int) -> Supply:
    """Applicants such that those who start are the mix that the tables want."""
    group = world.tables.lines[line].group
    mix = t.in_force(world.tables.mixes[group, "joiner", ""], world.month + world.tables.settings["lead_months"])
    share = np.maximum(survival(stages_of(world, line)), 1)
    sexes = np.array([MILLION - mix.women, mix.women])
    by_five = (share * sexes[:, None]).sum(axis=0) // MILLION
    applicants = mix.five * MILLION // np.maximum(by_five, 1)
    five = applicants * MILLION // int(applicants.sum())
    men, women = sexes * MILLION // np.maximum((share * five).sum(axis=1) // MILLION, 1)
    passing = int((five * by_five).sum()) // MILLION
    return Supply(five, int(women * MILLION // (men + women)), passing * _resident_enough(world, line) // 1000)


def _resident_enough(world: World, line: int) -> int:
    """The share of a line's applicants, per mille, whom the residency rule does not keep out."""
    if line != OFF_EXT:
        return 1000
    rule = _rule_of(world, world.first_day)
    if not rule.in_force:
        return 1000
    routes = t.in_force(world.tables.routes[line], world.month)
    bound = 1000 - 1000 * int(routes[list(world.tables.exempt_routes)].sum()) // int(routes.sum())
    outside = _outside_share(rule, world.tables.effects.deterred)
    kept_out = (1000 - rule.lived_outside) * (1000 - rule.studied) // 1000
    return 1000 - bound * outside // 1000 * kept_out // 1000


def _rule_of(world: World, day: int) -> t.Residency:
    (rule,) = (rule for rule in world.tables.residency if rule.from_day <= day <= rule.to_day)
    return rule


def _outside_share(rule: t.Residency, ratio: int) -> int:
    """The share of applicants from outside London, per mille, their odds changed by a ratio per mille."""
    outside = rule.outside_london * ratio
    return 1000 * outside // (outside + (1000 - rule.outside_london) * 1000)


def starts_share(world: World, line: int) -> int:
    """The share of a group's starts that a line supplies, per mille."""
    internal = t.in_force(world.tables.internal_share, world.month)
    return {OFF_INT: internal, OFF_EXT: 1000 - internal}.get(line, 1000)


def take_applications(world: World) -> None:
    """Open the month's applications of every line and draw their way to an offer or an end."""
    for line in range(len(t.LINES)):
        draws = world.draws(f"applications {t.LINES[line]}")
        wanted = supply(world, line)
        count = _how_many(world, line, wanted)
        if world.tables.lines[line].internal:
            _apply_internally(world, draws, line, count, wanted)
        else:
            _apply_from_outside(world, draws, line, count, wanted)


def anonymise(world: World) -> None:
    """Take the identity of those whose last application ended without success long enough ago."""
    candidates = world.candidates
    due = candidates["closed"].astype(np.int64) + world.tables.settings["anonymised_after_days"]
    gone = (due >= world.first_day) & (due <= world.last_day)
    gone &= (candidates["hired"] == 0) & (candidates["anonymised"] == OPEN)
    candidates["anonymised"][gone] = due[gone]


def _how_many(world: World, line: int, wanted: Supply) -> int:
    """Applications to attract: what strength will lack beyond those already on their way."""
    parameters = world.tables.lines[line]
    group, horizon = parameters.group, parameters.horizon
    growth = world.target(group, world.month + horizon) - world.strength(group)
    need = (growth + horizon * world.expected_leavers(group)) // 1000
    need = need * starts_share(world, line) // 1000
    applications = world.applications
    coming = int(((applications["line"] == line) & (applications["waiting"] == 1)).sum())
    lacking = max(need - coming, 0)
    floor = parameters.floor * world.scale // MILLION
    return max(lacking * MILLION // max(wanted.passing, 1) // world.tables.settings["smoothing_months"], floor)


def _draw_routes(world: World, draws: Draws, line: int, count: int) -> Ints:
    if line not in world.tables.routes:
        return np.zeros(count, dtype=np.int64)
    return draws.choose(count, t.in_force(world.tables.routes[line], world.month))


def _apply_from_outside(world: World, draws: Draws, line: int, count: int, wanted: Supply) -> None:
    days = np.sort(world.random_days(draws, count))
    routes = _draw_routes(world, draws, line, count)
    candidates = _new_or_former(world, draws, line, days, routes, wanted)
    _enter(world, draws, line, candidates, routes, days)


def _new_or_former(world: World, draws: Draws, line: int, days: Ints, routes: Ints, wanted: Supply) -> Ints:
    """A candidate for each application: some were unsuccessful before, the others are new."""
    count, candidates = len(days), world.candidates
    settled = (candidates["line"] == line) & (
        candidates["closed"] + world.tables.settings["again_after_days"] < world.first_day
    )
    settled &= (world.humans["person"][candidates["human"]] < 0) & (candidates["anonymised"] == OPEN)
    again = draws.sample(np.flatnonzero(settled), draws.portion(count, world.tables.lines[line].again))
    fresh = count - len(again)
    humans = _outsiders(world, draws, line, days[len(again) :], routes[len(again) :], wanted)
    new = world.candidates.append(fresh, human=humans, line=line, closed=OPEN, hired=0, anonymised=OPEN)
    world.humans["candidate"][humans] = new
    return np.concatenate([again, new])


def _outsiders(world: World, draws: Draws, line: int, days: Ints, routes: Ints, wanted: Supply) -> Ints:
    group = world.tables.lines[line].group
    five = draws.spread(len(days), wanted.five)
    outside: Ints | int = world.tables.groups[group].outside_london
    if group == t.OFF:
        exempt = np.isin(routes, list(world.tables.exempt_routes))
        outside = np.zeros(len(days), dtype=np.int64)
        for rule in world.tables.residency:
            deterred = world.tables.effects.deterred if rule.in_force else 1000
            share = np.where(exempt, rule.outside_london, _outside_share(rule, deterred))
            outside = np.where((days >= rule.from_day) & (days <= rule.to_day), share, outside)
    births = people.draw_births(world, draws, group, days)
    return people.add_humans(world, draws, births, five, wanted.women, outside, external=line == OFF_EXT)


def _apply_internally(world: World, draws: Draws, line: int, count: int, wanted: Supply) -> None:
    """Let specials, PCSOs and staff apply to become officers; and officers of other forces."""
    routes = np.sort(_draw_routes(world, draws, line, count))
    candidates: list[Ints] = []
    kept: list[Ints] = []
    for name in ("TRF_IN", "SC2PC", "STAFF2PC"):
        number = int((routes == t.ROUTES.index(name)).sum())
        if name == "TRF_IN":
            days = world.random_days(draws, number)
            humans = _outsiders(world, draws, line, days, np.full(number, t.ROUTES.index(name)), wanted)
        else:
            humans = insiders(world, draws, _ROUTE_GROUPS[name], number, wanted.five)
        candidates.append(_as_candidates(world, line, humans))
        kept.append(np.full(len(humans), t.ROUTES.index(name)))
    order = draws.shuffled(np.arange(sum(len(part) for part in kept)))
    days = np.sort(world.random_days(draws, len(order)))
    _enter(world, draws, line, np.concatenate(candidates)[order], np.concatenate(kept)[order], days)


def insiders(world: World, draws: Draws, groups: tuple[int, ...], count: int, five_shares: Ints) -> Ints:
    """Serving people for each five-group as many as wanted, or as there are."""
    found: list[Ints] = []
    portions = [world.tables.settings["pcso_per_mille_of_staff_route"], 1000] if len(groups) > 1 else [1000]
    for group, portion in zip(groups, portions, strict=True):
        able = _may_apply(world, group)
        five = world.tables.leaf_five[world.humans["leaf"][able]]
        missing = (count - sum(len(part) for part in found)) * portion // 1000
        for code, number in enumerate(people.quotas(missing, five_shares)):
            found.append(draws.sample(able[five == code], int(number)))
    return np.concatenate(found)


def _may_apply(world: World, group: int) -> Ints:
    """Humans serving in a group only, for a year, under 45, with no application open or just closed."""
    state, humans = world.spells, world.humans
    serving = world.open_spells(group)
    human = state["human"][serving].astype(np.int64)
    free = (state["bound"][serving] == 0) & (world.persons["open_spells"][state["person"][serving]] == 1)
    free &= state["service"][serving] < world.first_day - world.tables.settings["insider_service_days"]
    free &= people.age_in_years(humans["birth"][human], world.first_day) < world.tables.settings["insider_oldest"]
    candidate = humans["candidate"][human]
    closed = world.candidates["closed"]
    if len(closed):
        settled = closed[candidate] + world.tables.settings["again_after_days"] < world.first_day
        free &= (candidate < 0) | settled
    return np.asarray(human[free])


def _as_candidates(world: World, line: int, humans: Ints) -> Ints:
    """The candidates that humans are; those who never applied, or whose record is anonymous, become new ones."""
    known = world.humans["candidate"][humans].astype(np.int64)
    gone = known >= 0
    gone[gone] = world.candidates["anonymised"][known[gone]] < OPEN
    new = humans[(known < 0) | gone]
    world.humans["candidate"][new] = world.candidates.append(
        len(new), human=new, line=line, closed=OPEN, hired=0, anonymised=OPEN
    )
    candidates = world.humans["candidate"][humans].astype(np.int64)
    world.candidates["line"][candidates] = line
    return candidates


def _enter(world: World, draws: Draws, line: int, candidates: Ints, routes: Ints, days: Ints) -> None:
    """Record applications and everything that will come of them up to an offer."""
    count = len(candidates)
    if count == 0:
        return
    registered = days - draws.below(count, world.tables.settings["registered_before_days"])
    basis, passes = _residency(world, draws, line, candidates, routes, registered, days)
    source, referral, ambassador = sources(world, draws, candidates, registered, external=line == OFF_EXT)
    applications = world.applications.append(
        count,
        candidate=candidates,
        line=line,
        route=routes,
        month=world.month,
        day=days,
        registered=registered,
        basis=basis,
        passes=passes,
        source=source,
        referral=referral,
        ambassador=ambassador,
        reason=0,
        offer=OPEN,
        waiting=0,
        spell=-1,
        person=-1,
        start=OPEN,
        id_high=draws.raw(count),
        id_low=draws.raw(count),
    )
    world.candidates["closed"][candidates] = OPEN
    add_outcomes(world, draws, applications, _REG, t.PASS, days)
    go_through(world, line, applications)


def _residency(
    world: World, draws: Draws, line: int, candidates: Ints, routes: Ints, registered: Ints, days: Ints
) -> tuple[Ints, Ints]:
    """On what ground each application meets the London residency rule, and whether it does.

    The rule that counts is the one in force when interest was registered; whether the form asks at
    all depends on the day of the application. Grounds and passes are positions in `tables.RESIDENCY_BASES` and
    `tables.RESIDENCY_PASSES`.
    """
    count, settings = len(candidates), world.tables.settings
    basis, passes = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    if world.tables.lines[line].group != t.OFF:
        return basis, passes
    human = world.candidates["human"][candidates]
    in_london = world.humans["district"][human] > 0
    lived, studied = draws.below(count, 1000), draws.below(count, 1000)
    exempt = np.isin(routes, list(world.tables.exempt_routes))
    exempt |= draws.below(count, 1000) < settings["military_per_mille"]
    for rule in world.tables.residency:
        asked = rule.asked & (days >= rule.from_day) & (days <= rule.to_day)
        ground = np.where(
            in_london | (lived < rule.lived_outside), _LIVED, np.where(studied < rule.studied, _STUDIED, _NONE)
        )
        required = rule.in_force & (registered >= rule.from_day)
        ground = np.where(rule.in_force & (exempt | ~required), _EXEMPT, ground)
        basis = np.where(asked, ground, basis)
        passes = np.where(asked & rule.in_force, np.where(ground == _NONE, _NO, _YES), passes)
    return basis, passes
