"""Where people are posted: abstract places, and the organisational unit a place is on a day.

A *place* is either a unit that covers no borough (its number below 1000) or a borough and a kind of
work there: ``1000 + 10 * district + kind``, kind 0 neighbourhood, 1 response, 2 investigation. Until
its BCU goes live, a borough's places are all its borough operational command unit; from then on the
neighbourhood teams keep their borough and the others belong to the BCU as a whole.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from peel.simulate import tables as t
from peel.simulate.days import OPEN, day_of
from peel.simulate.draws import Draws, Ints

RECRUIT_TRAINING = 51
TERRITORIAL = 1000
KINDS = 3
_KIND_NAMES = ("Response", "Investigation")
_UNITS_SINCE = day_of(dt.date(2010, 4, 1))


@dataclass(frozen=True)
class Units:
    """The units and the mapping of places to them.

    Attributes:
        before, after: unit number by place, until and from the day the place changes.
        changes: that day by place; `OPEN` where it never does.
        listing: one dict per unit: number, parent, name, type, BCU, borough, first day, end day
            (the first day it is no more, or `OPEN`).
    """

    before: Ints
    after: Ints
    changes: Ints
    listing: tuple[dict[str, str | int], ...]

    def at(self, places: NDArray[np.integer], days: Ints | int) -> Ints:
        """The unit of each place on each day."""
        units: Ints = np.where(days < self.changes[places], self.before[places], self.after[places])
        return units

    def go_live_days(self) -> list[int]:
        """The days on which places change their unit."""
        return sorted(set(self.changes[self.changes < OPEN].tolist()))


def place_of(district: Ints, kind: Ints) -> Ints:
    """The place of a kind of work in a borough."""
    return TERRITORIAL + 10 * district + kind


@cache
def load() -> Units:
    """The units of the tables, with each borough's before and after its BCU went live."""
    tables = t.load()
    size = TERRITORIAL + 10 * (len(tables.boroughs) + 1)
    before, changes = np.arange(size, dtype=np.int64), np.full(size, OPEN, dtype=np.int64)
    after = before.copy()
    listing: list[dict[str, str | int]] = [
        _unit(int(row["org_unit_id"]), row["parent_org_unit_id"], row["org_name"], row["org_type"])
        for row in tables.units
    ]
    live = {row["bcu_code"]: day_of(dt.date.fromisoformat(row["go_live"])) for row in tables.bcus}
    for number, bcu in enumerate(tables.bcus, 1):
        listing += _bcu_units(2000 + 10 * number, bcu["bcu_code"], bcu["bcu_name"], live[bcu["bcu_code"]])
    numbers = {bcu["bcu_code"]: 2000 + 10 * number for number, bcu in enumerate(tables.bcus, 1)}
    for district, borough in enumerate(tables.boroughs, 1):
        code = borough["bcu_code"]
        if not code:
            continue
        places = place_of(np.full(KINDS, district), np.arange(KINDS))
        before[places] = 1000 + district
        after[places] = [3000 + district, numbers[code] + 1, numbers[code] + 2]
        changes[places] = live[code]
        name, area = borough["borough_name"], (code, borough["borough_code"])
        listing.append(_unit(1000 + district, 10, f"{name} Borough", "BOCU", *area, end=live[code]))
        listing.append(_unit(3000 + district, numbers[code], f"{name} Neighbourhoods", "BCU", *area, start=live[code]))
    return Units(before, after, changes, tuple(sorted(listing, key=lambda unit: int(unit["number"]))))


def _unit(
    number: int,
    parent: int | str,
    name: str,
    kind: str,
    bcu: str = "",
    borough: str = "",
    start: int = _UNITS_SINCE,
    end: int = OPEN,
) -> dict[str, str | int]:
    return {
        "number": number,
        "parent": parent,
        "name": name,
        "kind": kind,
        "bcu": bcu,
        "borough": borough,
        "start": start,
        "end": end,
    }


def _bcu_units(number: int, code: str, name: str, start: int) -> list[dict[str, str | int]]:
    head = _unit(number, 10, f"{name} BCU", "BCU", code, start=start)
    parts = [
        _unit(number + kind, number, f"{name} BCU {part}", "BCU", code, start=start)
        for kind, part in enumerate(_KIND_NAMES, 1)
    ]
    return [head, *parts]


def draw_places(draws: Draws, group: int, kind: str, count: int) -> Ints:
    """Draw a place for each of ``count`` people of a group; kind is stock, joiner or transfer."""
    tables = t.load()
    codes = tables.place_codes[group][draws.choose(count, tables.place_weights[group, kind])]
    districts = draws.choose(count, tables.borough_posting) + 1
    return np.where(codes < TERRITORIAL, codes, place_of(districts, codes - TERRITORIAL))
