"""The planted effects: each is found where it was planted, and not where it was left out."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact

from peel.errors import PeelError
from peel.simulate import tables as t
from peel.simulate import truths
from peel.simulate.days import OPEN, YEAR_DAYS, day_of
from peel.simulate.march import world_until
from peel.simulate.outreach import was_referred

SEED = 1829
WHITE, MIXED, ASIAN, BLACK, OTHER = range(5)
ALL = frozenset(truths.names())
SURE = 3.89
"""Standard errors of a 99.99% interval: of the hundred estimates here, one in a hundred runs of luck is outside."""
FEW = 5
"""Of fewer than so many who passed, or who did not, in the group looked at, no interval is said."""
Estimate = tuple[float, float, float]
"""A ratio with the lower and the upper end of its interval."""


def _interval(ratio: float, variance: float, z: float) -> Estimate:
    if not (ratio > 0 and math.isfinite(ratio) and variance > 0):
        return math.nan, math.nan, math.nan
    width = math.exp(z * math.sqrt(variance))
    return ratio, ratio / width, ratio * width


def rate_ratio(hit: Any, exposed: Any, strata: Any, z: float) -> Estimate:
    """The Mantel-Haenszel risk ratio over strata, with the variance of Greenland and Robins."""
    top = bottom = spread = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        one, two = here & exposed, here & ~exposed
        n1, n0, a, b = one.sum(), two.sum(), (one & hit).sum(), (two & hit).sum()
        n = n1 + n0
        top, bottom = top + a * n0 / n, bottom + b * n1 / n
        spread += (n1 * n0 * (a + b) - a * b * n) / n**2
    if top * bottom == 0 or min((exposed & hit).sum(), (exposed & ~hit).sum()) < FEW:
        return math.nan, math.nan, math.nan
    return _interval(top / bottom, spread / (top * bottom), z)


def odds_ratio(hit: Any, exposed: Any, strata: Any, z: float) -> Estimate:
    """The Mantel-Haenszel odds ratio over strata, with the variance of Robins, Breslow and Greenland."""
    r = s = pr = ps_qr = qs = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        a, b = (here & exposed & hit).sum(), (here & exposed & ~hit).sum()
        c, d = (here & ~exposed & hit).sum(), (here & ~exposed & ~hit).sum()
        n = a + b + c + d
        p, q = (a + d) / n, (b + c) / n
        r, s = r + a * d / n, s + b * c / n
        pr, ps_qr, qs = pr + p * a * d / n, ps_qr + (p * b * c + q * a * d) / n, qs + q * b * c / n
    return _interval(r / s, pr / (2 * r * r) + ps_qr / (2 * r * s) + qs / (2 * s * s), z)


def person_time_ratio(events: Any, days: Any, exposed: Any, strata: Any, z: float) -> Estimate:
    """The Mantel-Haenszel ratio of rates per day over strata."""
    top = bottom = spread = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        one, two = here & exposed, here & ~exposed
        t1, t0, a, b = days[one].sum(), days[two].sum(), events[one].sum(), events[two].sum()
        if t1 + t0 == 0:
            continue
        top, bottom = top + a * t0 / (t1 + t0), bottom + b * t1 / (t1 + t0)
        spread += (a + b) * t1 * t0 / (t1 + t0) ** 2
    if top * bottom == 0:
        return math.nan, math.nan, math.nan
    return _interval(top / bottom, spread / (top * bottom), z)


class Applications:
    """Who applied, row by row."""

    def __init__(self, world: Any, rows: Any) -> None:
        state = world.applications
        human = world.candidates["human"][state["candidate"][rows]]
        self.five = world.tables.leaf_five[world.humans["leaf"][human]]
        self.woman = world.humans["sex"][human] == 1
        self.district = world.humans["district"][human].astype(np.int64)
        self.line, self.route = state["line"][rows], state["route"][rows]
        self.day, self.month = state["day"][rows], state["month"][rows].astype(np.int64)
        self.referred = was_referred(world, rows)
        self.process = np.zeros(len(rows), dtype=np.int64)
        for line, steps in world.tables.processes.items():
            turns = np.searchsorted([month for month, _ in steps], self.month, side="right")
            self.process = np.where(self.line == line, 10 * line + turns, self.process)
        self.kept_out = state["passes"][rows] == t.RESIDENCY_PASSES.index("N")


def stage_results(world: Any, *codes: str) -> tuple[Applications, Any, Any]:
    """First attempts at stages that ended in a pass or a failure: the applications, the stages, who passed."""
    log = world.outcomes
    wanted = [t.STAGES.index(code) for code in codes]
    seen = (log["attempt"] == 1) & (log["outcome"] <= t.FAIL) & (log["day"] < OPEN) & np.isin(log["stage"], wanted)
    rows = np.flatnonzero(seen)
    return (
        Applications(world, log["application"][rows].astype(np.int64)),
        log["stage"][rows].astype(np.int64),
        log["outcome"][rows] == t.PASS,
    )


def stage_by_group(world: Any, z: float, code: str = "SIFT", five: int = BLACK) -> Estimate:
    applied, _, passed = stage_results(world, code)
    both = np.isin(applied.five, [WHITE, five]) & ~applied.kept_out
    if code == "D2":
        both &= applied.line == 0
    strata = (applied.process * 2 + applied.referred) * 2 + applied.woman
    return rate_ratio(passed[both], (applied.five == five)[both], strata[both], z)


def fitness_by_sex(world: Any, z: float) -> Estimate:
    applied, _, passed = stage_results(world, "FIT")
    return rate_ratio(passed, applied.woman, applied.process, z)


def sift_by_sex(world: Any, z: float, lines: tuple[int, ...] = (0, 2), *, crude: bool = False) -> Estimate:
    applied, _, passed = stage_results(world, "SIFT")
    here = np.isin(applied.line, lines)
    strata = np.zeros_like(applied.process) if crude else applied.process * 10 + applied.five * 2 + applied.referred
    return rate_ratio(passed[here], applied.woman[here], strata[here], z)


def interview_of_the_few(world: Any, z: float, years: tuple[int, int] = (2012, 2100)) -> Estimate:
    applied, _, passed = stage_results(world, "D2")
    year = applied.month // 12
    here = (applied.line == 1) & np.isin(applied.five, [WHITE, OTHER]) & (year >= years[0]) & (year < years[1])
    return rate_ratio(passed[here], (applied.five == OTHER)[here], applied.process[here], z)


def board_applicants(world: Any, z: float, five: int = BLACK) -> Estimate:
    groups, log = _board_groups(world), world.boards
    both = np.isin(groups, [WHITE, five]) & (log["temporary"] == 0)
    return rate_ratio((log["applied"] > 0)[both], (groups == five)[both], log["rank"][both], z)


def board_passes(world: Any, z: float, five: int = BLACK) -> Estimate:
    groups, log = _board_groups(world), world.boards
    both = np.isin(groups, [WHITE, five]) & (log["applied"] > 0) & (log["temporary"] == 0)
    return rate_ratio((log["promoted"] < OPEN)[both], (groups == five)[both], log["rank"][both], z)


def _board_groups(world: Any) -> Any:
    human = world.persons["human"][world.boards["person"]]
    return world.tables.leaf_five[world.humans["leaf"][human]]


def leaving(world: Any, z: float, reason: str = "RES", five: int = BLACK, years: tuple[int, int] = (0, 2)) -> Estimate:
    """Leaving of officers by person-days in single years of service and calendar years."""
    state = world.spells
    groups = world.tables.leaf_five[world.humans["leaf"][state["human"]]]
    rows = np.flatnonzero((state["group"] == t.OFF) & np.isin(groups, [WHITE, five]))
    join, end = state["join"][rows].astype(np.int64), np.minimum(state["leave"][rows], world.first_day)
    service, left = state["service"][rows].astype(np.int64), state["reason"][rows] == t.REASONS.index(reason)
    events, days, exposed, strata = [], [], [], []
    for calendar in range(2012, world.month // 12 + 1):
        first, last = day_of(dt.date(calendar, 1, 1)), day_of(dt.date(calendar + 1, 1, 1))
        for year in range(*years):
            start = np.maximum(np.maximum(service + year * YEAR_DAYS, join), first)
            stop = np.minimum(np.minimum(service + (year + 1) * YEAR_DAYS, end), last)
            there = stop >= start
            events.append((left & (end >= start) & (end < np.minimum(service + (year + 1) * YEAR_DAYS, last)))[there])
            days.append((stop - start)[there])
            exposed.append((groups[rows] == five)[there])
            strata.append(np.full(there.sum(), calendar * 100 + year))
    return person_time_ratio(*(np.concatenate(part) for part in (events, days, exposed, strata)), z)


def _newcomers(world: Any) -> Applications:
    """First applications from outside to be officers."""
    rows = np.flatnonzero(world.applications["line"] == 0)
    _, first = np.unique(world.applications["candidate"][rows], return_index=True)
    return Applications(world, rows[first])


def programme(world: Any, z: float, *, whom: str = "meant", since: dt.date | None = None) -> Estimate:
    """Homes in the twelve boroughs against the others, during the programme against before it."""
    applied, (first, last) = _newcomers(world), world.tables.programme_days
    last = first - 1 if since else last
    turn = day_of(since) if since else first
    group = applied.five * 2 + applied.woman
    here = (applied.district > 0) & (applied.day <= last) & ((group > 0) == (whom == "meant"))
    twelve = world.tables.programme_districts[applied.district] > 0
    return odds_ratio(twelve[here], (applied.day >= turn)[here], group[here], z)


def referral_pass(world: Any, z: float) -> Estimate:
    applied, stage, passed = stage_results(world, "SIFT", "ASSESS")
    strata = (applied.process * 20 + stage) * 10 + applied.five * 2 + applied.woman
    return rate_ratio(passed, applied.referred, strata, z)


def referral_withdrawal(world: Any, z: float) -> Estimate:
    log = world.outcomes
    between = (log["stage"] != t.STAGES.index("REG")) & (log["stage"] != t.STAGES.index("START"))
    rows = np.flatnonzero((log["attempt"] == 1) & (log["day"] < OPEN) & between)
    applied = Applications(world, log["application"][rows].astype(np.int64))
    strata = applied.process * 20 + log["stage"][rows]
    return rate_ratio(log["outcome"][rows] == t.WITHDRAWN, applied.referred, strata, z)


def residency(world: Any, z: float, *, exempt: bool = False) -> Estimate:
    applied = _newcomers(world)
    here = np.isin(applied.route, list(world.tables.exempt_routes)) == exempt
    ruled = np.zeros(len(applied.day), dtype=bool)
    for rule in world.tables.residency:
        ruled |= rule.in_force & (applied.day >= rule.from_day) & (applied.day <= rule.to_day)
    return odds_ratio((applied.district == 0)[here], ruled[here], np.zeros(int(here.sum())), z)


Finder = Callable[..., Estimate]
FINDERS: dict[str, tuple[Finder, float]] = {
    "stage_pass_by_group": (stage_by_group, 0.79),
    "fitness_pass_by_sex": (fitness_by_sex, 0.96),
    "sift_pass_by_sex": (sift_by_sex, 1.06),
    "small_group_interview": (interview_of_the_few, 0.70),
    "promotion_application_by_group": (board_applicants, 0.85),
    "promotion_pass_by_group": (board_passes, 0.89),
    "resignation_by_group": (leaving, 1.30),
    "dismissal_by_group": (lambda world, z: leaving(world, z, "DIS", BLACK, (0, 40)), 2.10),
    "ambassador_programme": (programme, 1.30),
    "referral_pass": (referral_pass, 1.12),
    "referral_withdrawal": (referral_withdrawal, 0.70),
    "residency_rule": (residency, 0.35),
}


@pytest.fixture(scope="module")
def force() -> Any:
    """The force at full size with every effect planted."""
    return world_until(SEED, 1.0, dt.date(2026, 3, 10))


@pytest.fixture(scope="module")
def even_force() -> Any:
    """The same with none."""
    return world_until(SEED, 1.0, dt.date(2026, 3, 10), ALL)


def _holds(estimate: Estimate, value: float) -> bool:
    return estimate[1] < value < estimate[2]


@pytest.mark.slow
class TestFound:
    """Each effect in its interval, and nothing where nothing is planted."""

    Z = SURE

    @pytest.mark.parametrize("name", FINDERS)
    def test_an_effect_is_found_as_it_was_planted(self, force: Any, name: str) -> None:
        find, true = FINDERS[name]
        estimate = find(force, self.Z)
        assert _holds(estimate, true), estimate
        assert not _holds(find(force, 1.96), 1.0), estimate

    @pytest.mark.parametrize("name", FINDERS)
    def test_nothing_is_found_where_it_was_left_out(self, even_force: Any, name: str) -> None:
        estimate = FINDERS[name][0](even_force, self.Z)
        assert _holds(estimate, 1.0), estimate

    def test_every_stage_and_group_has_its_own_ratio(self, force: Any, even_force: Any) -> None:
        for value in t.rows("truth_values"):
            if value["name"] == "stage_pass_by_group":
                for five in (MIXED, ASIAN, BLACK, OTHER):
                    true = int(value[t.FIVE[five].lower()]) / 1000
                    assert _holds(stage_by_group(force, self.Z, value["code"], five), true), (value["code"], five)
                    assert _holds(stage_by_group(even_force, self.Z, value["code"], five), 1.0), (value["code"], five)

    def test_resignations_differ_more_in_the_first_years(self, force: Any) -> None:
        for years, five, true in (((0, 2), ASIAN, 1.3), ((2, 5), ASIAN, 1.2), ((5, 35), ASIAN, 1.1)):
            assert _holds(leaving(force, self.Z, "RES", five, years), true), years

    def test_the_sift_reverses_when_the_lines_are_put_together(self, force: Any, even_force: Any) -> None:
        for line in (0, 2):
            within = sift_by_sex(force, 1.96, (line,))
            assert within[1] > 1, (line, within)
            assert _holds(within, 1.06)
        crude = sift_by_sex(force, 1.96, crude=True)
        assert crude[2] < 1
        # without the effect women still apply more where fewer pass, and within the lines nothing is there
        assert sift_by_sex(even_force, 1.96, crude=True)[2] < 1

    def test_the_boroughs_were_level_before_the_programme_and_white_men_always(self, force: Any) -> None:
        assert _holds(programme(force, self.Z, since=dt.date(2013, 8, 1)), 1.0)
        assert _holds(programme(force, self.Z, whom="others"), 1.0)

    def test_the_residency_rule_does_not_touch_exempt_routes(self, force: Any) -> None:
        assert _holds(residency(force, self.Z, exempt=True), 1.0)


@pytest.mark.slow
def test_four_fifths_can_fail_without_anything_to_be_told() -> None:
    world = world_until(SEED, 0.25, dt.date(2026, 3, 10))
    applied, _, passed = stage_results(world, "D2")
    chances = []
    for year in range(2013, 2025):
        here = (applied.line == 1) & (applied.month // 12 == year)
        few, most = (passed[here & (applied.five == five)] for five in (OTHER, WHITE))
        if len(few) and few.mean() / most.mean() < 0.8:
            table = [[few.sum(), (~few).sum()], [most.sum(), (~most).sum()]]
            chances.append(float(fisher_exact(table).pvalue))
    assert len(chances) >= 3, chances
    assert sum(p > 0.05 for p in chances) >= len(chances) - 1, chances


@pytest.mark.slow
@pytest.mark.parametrize("name", FINDERS)
def test_each_effect_can_be_left_out_alone(name: str) -> None:
    world = world_until(SEED, 0.3, dt.date(2020, 3, 10), frozenset({name}))
    estimate = FINDERS[name][0](world, SURE)
    assert _holds(estimate, 1.0), estimate


@pytest.mark.slow
def test_nothing_is_found_more_often_than_chance_has_it() -> None:
    found = tried = 0
    for seed in range(20):
        world = world_until(seed, 0.06, dt.date(2019, 3, 10), ALL)
        for find, _ in FINDERS.values():
            estimate = find(world, 1.96)
            if all(map(math.isfinite, estimate)):
                tried += 1
                found += not _holds(estimate, 1.0)
    # a 95% interval misses one time in twenty; three standard errors on top
    assert tried > 180
    assert found <= 0.05 * tried + 3 * math.sqrt(0.05 * 0.95 * tried), (found, tried)


def test_an_unknown_effect_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peel.simulate.march.service", None)
    with pytest.raises(PeelError, match="no effect is planted under the name nothing"):
        world_until(SEED, 1.0, dt.date(2026, 3, 10), frozenset({"nothing", "referral_pass"}))
    with pytest.raises(PeelError, match="nothing"):
        truths.document(SEED, 1.0, ["nothing"])


def test_the_document_names_every_effect_and_its_true_values() -> None:
    document = truths.document(7, 0.25, {"referral_pass"})
    assert (document["seed"], document["scale"], document["without"]) == (7, 0.25, ["referral_pass"])
    by_name = {truth["name"]: truth for truth in document["truths"]}
    assert by_name.keys() == set(truths.names()) == FINDERS.keys()
    assert [name for name, truth in by_name.items() if not truth["on"]] == ["referral_pass"]
    assert {cell["numerator"] for cell in by_name["referral_pass"]["values"]} == {1000}
    assert len(by_name["ambassador_programme"]["boroughs"]) == 12
    sift = [cell for cell in by_name["stage_pass_by_group"]["values"] if cell["code"] == "SIFT"]
    assert {cell["group"]: cell["numerator"] for cell in sift}["BLACK"] == 790
    assert {cell["denominator"] for truth in by_name.values() for cell in truth["values"]} == {1000}
    assert json.loads(json.dumps(document)) == document


def test_a_world_without_an_effect_differs_in_its_parameters_there_only() -> None:
    whole = truths.planted()
    bare = truths.planted(ALL)
    assert all((stage.passes == stage.passes[0, 0]).all() for stages in bare.stages.values() for stage in stages)
    assert not bare.effects.leaving
    for name in truths.names():
        tables = truths.planted(frozenset({name}))
        changed = [
            field
            for field in ("leaving", "board_applies", "board_passes", "programme", "deterred")
            if str(getattr(tables.effects, field)) != str(getattr(whole.effects, field))
        ]
        stages = str(tables.stages) != str(whole.stages)
        assert len(changed) + stages == 1, name


def test_ambassadors_bring_people_of_their_borough_while_they_are_active() -> None:
    world = world_until(SEED, 0.1, dt.date(2018, 3, 10))
    state, known = world.applications, world.ambassadors
    brought = np.flatnonzero(state["ambassador"] >= 0)
    who = state["ambassador"][brought]
    home = world.humans["district"][world.candidates["human"][state["candidate"][brought]]]
    assert len(brought) > 30
    assert (home == known["district"][who]).all()
    assert (state["registered"][brought] > known["trained"][who]).all()
    assert (state["registered"][brought] <= known["until"][who]).all()
    codes = np.array(world.tables.source_codes)[state["source"]]
    assert (np.flatnonzero(codes == "AMBASSADOR") == brought).all()
    assert len(known) == 12 * 2
    assert (world.tables.programme_districts[known["district"]] == 1).all()
