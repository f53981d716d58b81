"""An application's way through the stages of its line's process, up to an offer or an end.

All of it is drawn when the application is made, with the day of each outcome.
"""

from __future__ import annotations

import numpy as np

from peel.simulate import tables as t
from peel.simulate.days import OPEN, on_weekdays
from peel.simulate.draws import MILLION, Bools, Draws, Ints
from peel.simulate.outreach import was_referred
from peel.simulate.world import World

_ELIG, _OFFER = t.STAGES.index("ELIG"), t.STAGES.index("OFFER")
_NOT_GIVEN = t.WITHDRAWALS.index("NOT_GIVEN")


def stages_of(world: World, line: int) -> tuple[t.Stage, ...]:
    """The stages of the process that a line follows this month."""
    return world.tables.stages[t.in_force(world.tables.processes[line], world.month)]


def survival(stages: tuple[t.Stage, ...]) -> Ints:
    """The share of applicants who get an offer by sex and five-group, per million; not those referred."""
    share = np.full((len(t.SEXES), len(t.FIVE)), MILLION, dtype=np.int64)
    for stage in stages:
        stay = MILLION - stage.withdraw - stage.no_show
        passed = np.minimum(stage.passes, MILLION)
        passed = passed + (MILLION - passed) * stage.again // MILLION * passed // MILLION
        share = share * stay // MILLION * passed // MILLION
    return share


def add_outcomes(
    world: World,
    draws: Draws,
    applications: Ints,
    stage: int,
    outcome: Ints | int,
    days: Ints,
    *,
    attempt: int = 1,
    again: Bools | bool = False,
    score: Ints | int = -1,
    panel: Ints | int = 0,
) -> None:
    """Log outcomes of a stage.

    Args:
        world: gains the outcomes.
        draws: gives their identifiers.
        applications: whose they are.
        stage: position in `tables.STAGES`.
        outcome: position in `tables.OUTCOMES`.
        days: when the stage ended.
        attempt: 1 for the first attempt.
        again: whether a failure will be followed by a second attempt.
        score: hundredths, -1 for none.
        panel: number of the panel, 0 for none.
    """
    count = len(applications)
    world.outcomes.append(
        count,
        application=applications,
        stage=stage,
        outcome=outcome,
        day=days,
        attempt=attempt,
        again=again,
        score=score,
        panel=panel,
        id_high=draws.raw(count),
        id_low=draws.raw(count),
    )


def go_through(world: World, line: int, applications: Ints) -> None:
    """Draw the outcomes of all stages up to the offer; those who get one wait for a start."""
    count, state = len(applications), world.applications
    sex, five = _sex_and_five(world, applications)
    alive = np.full(count, True)
    entrants, base = alive.copy(), state["day"][applications].astype(np.int64)
    ready, closed = base.copy(), np.full(count, OPEN, dtype=np.int64)
    reason = np.zeros(count, dtype=np.int64)
    first_outcome = len(world.outcomes)
    referred = was_referred(world, applications)
    for stage in stages_of(world, line):
        draws = world.draws(f"stage {t.LINES[line]} {t.STAGES[stage.code]}")
        if not stage.parallel:
            entrants, base = alive.copy(), ready.copy()
        able = np.minimum(stage.passes[sex, five] * np.where(referred, stage.referred_passes, 1000) // 1000, MILLION)
        withdraws = stage.withdraw * np.where(referred, stage.referred_withdraws, 1000) // 1000
        passed, day, ended = _take_stage(world, draws, stage, applications, (able, withdraws), entrants, base)
        ready = np.maximum(ready, np.where(passed, day, 0))
        lost = entrants & ~passed
        alive &= ~lost
        closed = np.where(lost, np.minimum(closed, day), closed)
        drawn = draws.choose(count, world.tables.withdrawals)
        why = np.where(ended == t.WITHDRAWN, drawn, np.where(ended == t.NO_SHOW, _NOT_GIVEN, 0))
        reason = np.where(lost & (closed == day), why, reason)
        if stage.code == _OFFER:
            state["offer"][applications] = np.where(passed, day, OPEN)
    _drop_after_end(world, first_outcome, applications, closed)
    state["reason"][applications] = reason
    state["waiting"][applications] = alive
    world.candidates["closed"][state["candidate"][applications]] = closed
    _bind(world, line, applications[alive])


def _sex_and_five(world: World, applications: Ints) -> tuple[Ints, Ints]:
    human = world.candidates["human"][world.applications["candidate"][applications]]
    sex = world.humans["sex"][human].astype(np.int64)
    return sex, np.asarray(world.tables.leaf_five[world.humans["leaf"][human]])


def _take_stage(
    world: World,
    draws: Draws,
    stage: t.Stage,
    applications: Ints,
    rates: tuple[Ints, Ints],
    entrants: Bools,
    base: Ints,
) -> tuple[Bools, Ints, Ints]:
    """Draw one stage: who passed, the day it was settled, and the outcome that settled it.

    The rates are those of passing and of withdrawing, per million. All arrays are as long as
    ``applications``; what they hold for those who do not enter is idle.
    """
    outcome, day = np.full(len(applications), t.PASS), base.copy()
    who = np.flatnonzero(entrants)
    entering, able = applications[who], rates[0][who]
    if stage.code == _ELIG:
        able = np.where(world.applications["passes"][entering] == t.RESIDENCY_PASSES.index("N"), 0, able)
    outcome[who] = _first_outcome(draws, rates[1][who], stage.no_show, able)
    day[who] = on_weekdays(base[who] + stage.days_from + draws.below(len(who), stage.days_spread))
    tries = np.full(len(applications), False)
    if stage.again:
        tries[who] = (outcome[who] == t.FAIL) & draws.chance(len(who), stage.again)
    _add_marked(world, draws, stage, entering, outcome[who], day[who], again=tries[who])
    who = np.flatnonzero(tries)
    if len(who):
        outcome[who] = np.where(draws.chance(len(who), rates[0][who]), t.PASS, t.FAIL)
        day[who] = on_weekdays(
            day[who] + stage.again_days + draws.below(len(who), world.tables.settings["second_attempt_spread_days"])
        )
        _add_marked(world, draws, stage, applications[who], outcome[who], day[who], attempt=2)
    return entrants & (outcome == t.PASS), day, outcome


def _first_outcome(draws: Draws, withdraws: Ints, no_show: int, able: Ints) -> Ints:
    """The outcomes of a first attempt, for given chances to withdraw, not to come and to pass, per million."""
    stays = draws.below(len(able), MILLION)
    outcome = np.where(draws.chance(len(able), able), t.PASS, t.FAIL)
    outcome = np.where(stays < withdraws + no_show, t.NO_SHOW, outcome)
    return np.where(stays < withdraws, t.WITHDRAWN, outcome)


def _add_marked(
    world: World,
    draws: Draws,
    stage: t.Stage,
    applications: Ints,
    outcome: Ints,
    days: Ints,
    *,
    attempt: int = 1,
    again: Bools | bool = False,
) -> None:
    """Log outcomes of a stage, with scores and panels where it gives any."""
    score, panel = (_marks(world, draws, outcome)) if stage.scored else (-1, 0)
    add_outcomes(
        world,
        draws,
        applications,
        stage.code,
        outcome,
        days,
        attempt=attempt,
        again=again,
        score=score,
        panel=panel,
    )


def _marks(world: World, draws: Draws, outcome: Ints) -> tuple[Ints, Ints]:
    """Scores in hundredths and panel numbers; -1 and 0 for those who did not come."""
    count, settings = len(outcome), world.tables.settings
    low, high = settings["lowest_mark"], settings["pass_mark"]
    mark = np.where(outcome == t.PASS, high, low) + draws.below(count, settings["marks_spread"])
    marked = outcome <= t.FAIL
    return np.where(marked, mark, -1), np.where(marked, 1 + draws.below(count, settings["panels"]), 0)


def _drop_after_end(world: World, first: int, applications: Ints, closed: Ints) -> None:
    """Take back outcomes of parallel stages that would come after an application's end."""
    if len(applications) == 0:
        return
    outcomes = world.outcomes
    position = outcomes["application"][first:].astype(np.int64) - int(applications[0])
    outcomes["day"][first:][outcomes["day"][first:] > closed[position]] = OPEN


def _bind(world: World, line: int, applications: Ints) -> None:
    """Keep those serving people from leaving who will get an offer to become officers."""
    if not world.tables.lines[line].internal:
        return
    human = world.candidates["human"][world.applications["candidate"][applications]]
    state = world.spells
    serving = np.flatnonzero((state["leave"] == OPEN) & np.isin(state["human"], human))
    state["bound"][serving] = 1
