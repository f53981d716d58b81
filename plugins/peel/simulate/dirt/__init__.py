"""Dirt by name: faults planted in the simulated force's deliveries, each written down in a ledger.

`catalogue` says which kinds there are, `hr` and `recruitment` plant them in the extracted tables, `census` spoils
the published tables, `sheet` is what they work on and `ledger` is where every planted row is written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from peel.simulate.dirt import hr, recruitment
from peel.simulate.dirt.catalogue import CATALOGUE, Rates, check_rates
from peel.simulate.dirt.ledger import LEDGER, Entry, read_ledger, write_ledger
from peel.simulate.dirt.sheet import Sheet
from peel.simulate.text import Table
from peel.simulate.world import World

__all__ = ["CATALOGUE", "LEDGER", "Entry", "Rates", "check_rates", "dirty", "read_ledger", "write_ledger"]

PLANTERS = {"hr": hr.PLANTERS, "recruitment": recruitment.PLANTERS}


def dirty(
    feed: str, tables: Iterable[tuple[str, Table]], world: World, since: int, day: int, rates: Rates
) -> tuple[Iterator[tuple[str, Table]], list[Entry]]:
    """Plant the dirt that is switched on in a feed's extracted tables.

    Args:
        feed: the feed's name.
        tables: names and tables as extracted.
        world: the force they were extracted from.
        since: day of the previous delivery; a feed delivered whole does not look at it.
        day: the day of this one.
        rates: how many of a million rows each kind of dirt befalls, by name; checked by `check_rates`.

    Returns:
        The tables in their order, and an entry for each planted row.
    """
    wanted = {name: rate for name, rate in rates.items() if rate > 0 and CATALOGUE[name].feed == feed}
    if not wanted:
        return iter(tables), []
    sheet = Sheet(world, dict(tables), since, day, wanted)
    for name, plant in PLANTERS[feed].items():
        if name in wanted:
            plant(sheet, name)
    return iter(sheet.tables().items()), sheet.entries()
