"""Humans: how old, of which sex and ethnicity, living where."""

from __future__ import annotations

import numpy as np

from peel.simulate import tables as t
from peel.simulate.days import YEAR_DAYS
from peel.simulate.draws import MILLION, Draws, Ints
from peel.simulate.world import World


def years(count: int | Ints) -> Ints:
    """Days that are at least this many years."""
    days: Ints = np.asarray(count, dtype=np.int64) * 1461 // 4 + 1
    return days


def draw_births(world: World, draws: Draws, group: int, joining: Ints) -> Ints:
    """Birth days of people who join a group on the given days."""
    ages = world.tables.ages[group]
    row = draws.choose(len(joining), ages[:, 2])
    youngest, oldest = ages[row, 0], ages[row, 1]
    return joining - years(youngest) - draws.below(len(joining), (oldest - youngest) * YEAR_DAYS)


def draw_stock_births(world: World, draws: Draws, group: int, service: Ints) -> Ints:
    """Birth days of people in the opening stock who have served since the given days."""
    births = draw_births(world, draws, group, service)
    oldest = t.STOCK_DAY - world.tables.groups[group].stock_oldest * YEAR_DAYS - draws.below(len(service), YEAR_DAYS)
    youngest = service - years(int(world.tables.ages[group][:, 0].min()))
    stock: Ints = np.minimum(np.maximum(births, oldest), youngest)
    return stock


def add_humans(
    world: World, draws: Draws, births: Ints, five: Ints, women: int, outside: int | Ints, *, external: bool = False
) -> Ints:
    """Add humans of the given births and five-groups.

    Args:
        world: gains the humans.
        draws: where chance comes from.
        births: birth days.
        five: positions in `tables.FIVE`.
        women: share of women per million.
        outside: share who live outside London, per mille; one for all or one each.
        external: whether they apply from outside to be officers, as the ambassador programme wants.

    Returns:
        The humans' positions.
    """
    tables, count = world.tables, len(births)
    sex = draws.spread(count, np.array([MILLION - women, women]))
    residents = t.in_force(tables.borough_residents, world.month)
    ratios = np.full((len(t.SEXES) * len(t.FIVE), len(tables.boroughs)), 1000, dtype=np.int64)
    if external and tables.programme_days[0] <= world.first_day <= tables.programme_days[1]:
        more = tables.effects.programme.reshape(-1, 1)
        ratios = np.where(tables.programme_districts[1:] > 0, more, ratios)
    weights = np.concatenate([residents, residents]) * ratios // 10  # rows stay below 2**31
    districts = draws.choose_by_row(weights, sex * len(t.FIVE) + five) + 1
    outsiders = draws.below(count, 1000) < outside
    return world.humans.append(
        count,
        birth=births,
        sex=sex,
        leaf=draws.choose_by_row(tables.leaf_weights, five),
        district=np.where(outsiders, 0, districts),
        declares=draws.spread(count, tables.declared),
        candidate=-1,
        person=-1,
    )


def quotas(total: int, weights: Ints) -> Ints:
    """Split a total in proportion to weights, the largest remainders rounded up."""
    exact = total * weights.astype(np.int64)
    whole = int(weights.sum())
    parts = exact // whole
    order = np.argsort(-(exact % whole), kind="stable")
    parts[order[: total - int(parts.sum())]] += 1
    return parts


def age_in_years(births: Ints, day: int) -> Ints:
    """Ages in completed years of 365.25 days."""
    return (day - births.astype(np.int64)) * 4 // 1461
