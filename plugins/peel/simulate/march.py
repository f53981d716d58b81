"""The march of the world from month to month."""

from __future__ import annotations

import datetime as dt

from peel.simulate import applying, careers, outreach, service, starting
from peel.simulate.days import month_of
from peel.simulate.world import World


def world_until(seed: int, scale: float, date: dt.date, without: frozenset[str] = frozenset()) -> World:
    """The world of a seed and scale, without the planted effects named, simulated to the end of a date's month.

    Raises:
        PeelError: nothing is planted under one of the names.
    """
    world = World(seed, scale, without)
    service.open_stock(world)
    advance(world, date)
    return world


def advance(world: World, date: dt.date) -> None:
    """Simulate further, to the end of a date's month."""
    while world.month <= month_of(date):
        _live_a_month(world)
        world.month += 1


def _live_a_month(world: World) -> None:
    outreach.train_ambassadors(world)
    applying.anonymise(world)
    applying.take_applications(world)
    service.leave_of_themselves(world)
    starting.lose_waiting(world)
    starting.start(world)
    careers.live(world)
