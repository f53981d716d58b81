"""Which kinds of dirt there are: the rows of ``tables/dirt.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peel.errors import PeelError
from peel.simulate import tables as t
from peel.simulate.draws import MILLION

Rates = Mapping[str, int]

KEYS: dict[str, tuple[str, ...]] = {
    "hr_person": ("person_id", "person_type", "effective_start_date"),
    "hr_assignment": ("assignment_id", "effective_start_date"),
    "hr_org_unit": ("org_unit_id", "effective_start_date"),
    "hr_service_event": ("event_id",),
    "hr_sensitive": ("person_id", "attribute", "declared_ts"),
    "hr_position": ("position_id",),
    "hr_training": ("person_id", "course_code", "event_date"),
    "hr_promotion_board": ("board_id", "person_id"),
    "ats_candidate": ("candidate_id",),
    "ats_application": ("application_id",),
    "ats_stage_event": ("event_id",),
    "ats_campaign": ("campaign_id",),
    "ats_source": ("source_code",),
    "census_ethnic_group": ("census_year", "area_code", "category_code"),
    "census_sex": ("census_year", "area_code", "category_code"),
    "census_ethnic_group_by_sex": ("census_year", "area_code", "sex", "category_code"),
    "census_ethnic_group_by_age": ("census_year", "area_code", "age", "category_code"),
}
"""The key columns of each table."""


@dataclass(frozen=True)
class Dirt:
    """One kind of dirt.

    Attributes:
        name: what it is switched on by.
        feed, table: where its entries in the ledger are.
        default_rate: how many of a million rows that it could befall it does, where somebody asks for the usual.
        expected: what is to become of a planted row, in a word.
        rule: label of the contract's rule that names it; empty where none does.
        what: what is planted.
        shown_by: what shows that it was dealt with.
        provenance: which row of the domain reference it stands for.
    """

    name: str
    feed: str
    table: str
    default_rate: int
    expected: str
    rule: str
    what: str
    shown_by: str
    provenance: str


def _load() -> dict[str, Dirt]:
    return {
        row["name"]: Dirt(
            row["name"],
            row["feed"],
            row["table"],
            int(row["default_rate_ppm"]),
            row["expected"],
            row["rule"],
            row["what"],
            row["shown_by"],
            row["provenance"],
        )
        for row in t.rows("dirt")
    }


CATALOGUE = _load()
"""Every kind of dirt by name."""


def check_rates(rates: Rates | None) -> Rates:
    """The rates, none for ``None``.

    Raises:
        PeelError: a name is not in the catalogue or not of a delivered feed, or a rate is no whole number from 0 to
            a million.
    """
    for name, rate in (rates or {}).items():
        if name not in CATALOGUE or CATALOGUE[name].feed == "census":
            raise PeelError(
                "there is no such kind of dirt in what the simulated force delivers.",
                rule=name,
                do="Name one of the kinds in docs/simulation.md, section Dirt.",
            )
        if isinstance(rate, bool) or not isinstance(rate, int) or not 0 <= rate <= MILLION:
            raise PeelError(
                "the rate of a kind of dirt is not a whole number from 0 to 1000000.",
                rule=name,
                do="Give how many of a million rows it shall befall.",
            )
    return dict(rates or {})


def usual_rates(feed: str) -> dict[str, int]:
    """The default rates of a feed's dirt, by name."""
    return {name: dirt.default_rate for name, dirt in CATALOGUE.items() if dirt.feed == feed}
