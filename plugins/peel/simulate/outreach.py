"""The Community Ambassador Programme: its ambassadors, and whom they and outreach events brought.

An event is known by the month in which it was held and its number: up to the number of boroughs it
was held in that district, above it for all of London. Interest follows an event of the month before.
"""

from __future__ import annotations

import numpy as np

from peel.simulate.draws import MILLION, Bools, Draws, Ints
from peel.simulate.world import World

_AMBASSADOR = "AMBASSADOR"


def train_ambassadors(world: World) -> None:
    """Train the programme's ambassadors in its boroughs, in the month in which it begins."""
    first = world.tables.programme_days[0]
    if not world.first_day <= first <= world.last_day:
        return
    draws, settings = world.draws("ambassadors"), world.tables.settings
    each = max(settings["ambassadors_a_borough"] * world.scale // MILLION, 1)
    districts = np.repeat(np.flatnonzero(world.tables.programme_districts), each)
    trained = first + draws.below(len(districts), settings["ambassadors_trained_within_days"])
    active = settings["ambassadors_active_days"] + draws.below(
        len(districts), settings["ambassadors_active_days_spread"]
    )
    world.ambassadors.append(len(districts), district=districts, trained=trained, until=trained + active)


def sources(
    world: World, draws: Draws, candidates: Ints, registered: Ints, *, external: bool
) -> tuple[Ints, Ints, Ints]:
    """How candidates came to apply, and the outreach event and the ambassador that brought those who were referred.

    Returns:
        Positions in `tables.Tables.source_codes`, numbers of events (0 for none), positions of ambassadors (-1).
    """
    count, settings = len(candidates), world.tables.settings
    source = draws.choose(count, world.tables.source_weights)
    referred = world.tables.source_referred[source] > 0
    event = np.where(referred, 1 + draws.below(count, settings["outreach_events_a_month"]), 0)
    asked = draws.chance(count, settings["by_ambassador_per_mille"] * 1000)
    with_event = draws.below(count, 1000) < settings["ambassador_event_per_mille"]
    ambassador = np.full(count, -1)
    known = world.ambassadors
    if external and len(known):
        district = world.humans["district"][world.candidates["human"][candidates]].astype(np.int64)
        chosen = draws.below(count, 2**31 - 1)
        for place in np.unique(known["district"]):
            of_place = np.flatnonzero(known["district"] == place)
            here = np.flatnonzero(asked & (district == place))
            one = of_place[chosen[here] % len(of_place)]
            active = (known["trained"][one] < registered[here]) & (registered[here] <= known["until"][one])
            ambassador[here[active]] = one[active]
    brought = ambassador >= 0
    source = np.where(brought, world.tables.source_codes.index(_AMBASSADOR), source)
    event = np.where(brought, np.where(with_event, _own_event(world, candidates), 0), event)
    return source, event, ambassador


def _own_event(world: World, candidates: Ints) -> Ints:
    """The number of the event held where candidates live."""
    return np.asarray(world.humans["district"][world.candidates["human"][candidates]].astype(np.int64))


def was_referred(world: World, applications: Ints) -> Bools:
    """Whether an event or an ambassador brought the applications."""
    state = world.applications
    referred = (state["referral"][applications] > 0) | (state["ambassador"][applications] >= 0)
    return np.asarray(referred)
