"""Every figure of the draft, and the system of counts they stand in.

Design first: few tables, nested in each other, so that little has to be hidden. The counts of officers on one
day (area by five ethnic groups; borough by three; sex), of joiners since January 2022 (financial year by three
groups; with transfers for all years together) and of applicants (financial year by five groups) are three systems that
share no sum; residents are a fourth, exact one.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peel.errors import PeelError
from peel.releases.cells import Cell, Share, Sum, System
from peel.releases.figures import About, Plan
from peel.releases.read import LONDON, MET, Mart

FIVE = ("white", "mixed", "asian", "black", "other")
MINORITY = FIVE[1:]
LABELS = {
    "white": "White",
    "mixed": "Mixed or multiple",
    "asian": "Asian",
    "black": "Black",
    "other": "Other",
    "minority": "Ethnic minorities (excluding White minorities)",
    "stated": "All who stated their ethnicity",
    "not_stated": "Not stated",
    "all": "All",
    "non_white_british": "All except White British",
}
MET_NAME = "Metropolitan Police area"
FIRST_JOINER = dt.date(2022, 1, 1)
"""The ambition is for officers recruited from 2022."""
AMBITION = 40
"""Per cent of officers recruited from 2022: an ambition (the Commissioner, November 2020)."""
JOINERS: Mapping[str, str | None] = {
    "standard": "joiners excluding transfers",
    "all": "all joiners",
    "transfers": None,  # never printed, but the other two give it
}
"""All joiners are shown for the whole time only: by year, the few who transfer would hide nearly everything."""
YEARS_OF_APPLICANTS = 10
HEADCOUNT = "headcount, Home Office counting rules (HO_HEADCOUNT)"
OF_STATED = "share of those who stated their ethnicity; " + HEADCOUNT
_ANY, _SOME = "*", "+"
_CENSUS = "Office for National Statistics, Census {} (Open Government Licence v3.0)"
_POLICE = {
    "simulated": "simulated force, not real",
    "real": "Metropolitan Police Service",
}


@dataclass(frozen=True)
class Period:
    """A financial year (April to March), or the part of it that is counted.

    Args:
        key: such as 2024-25.
        first: first day counted.
        last: last day counted.
        whole: whether all twelve months are counted.
        open: whether it is not over yet.
    """

    key: str
    first: dt.date
    last: dt.date
    whole: bool
    open: bool

    @property
    def name(self) -> str:
        """As it is written in a table: ``2024/25``, ``2021/22 (January to March)``."""
        name = self.key.replace("-", "/")
        if self.whole:
            return name
        return f"{name} ({self.first:%B} to {self.last:%B})" if not self.open else f"{name} to date"


@dataclass(frozen=True)
class Composition:
    """Everything that may be shown, before protection.

    Args:
        system: the counts, sums and shares.
        plans: the figures, in the order of the CSV.
        joining: the periods joiners are counted in.
        applying: the financial years of applicants.
        censuses: census years, oldest first.
    """

    system: System
    plans: tuple[Plan, ...]
    joining: tuple[Period, ...]
    applying: tuple[Period, ...]
    censuses: tuple[int, ...]


def compose(mart: Mart) -> Composition:
    """Compose the draft.

    Args:
        mart: the snapshot.

    Returns:
        The figures to be and the system to protect.

    Raises:
        PeelError: the mart lacks a code or an area, or its figures contradict each other.
    """
    return _Composer(mart).compose()


class _Composer:
    def __init__(self, mart: Mart) -> None:
        self.mart = mart
        self.cells: dict[str, Cell] = {}
        self.sums: list[Sum] = []
        self.shares: list[Share] = []
        self.plans: list[Plan] = []
        five = {group: code for code, group in zip(FIVE, ("White", "Mixed", "Asian", "Black", "Other"), strict=True)}
        self.group = {code: five.get(e.five_group, "not_stated") for code, e in mart.ethnicities.items()}
        self.police = _POLICE.get(mart.as_of.police_source_kind, mart.as_of.police_source_kind)

    def compose(self) -> Composition:
        censuses = tuple(sorted({year for year, _, _ in self.mart.residents}))
        for year in censuses:
            self._residents(year)
        self._officers()
        self._women()
        self._ratios(censuses[-1])
        joining = self._joiners()
        applying = self._applicants()
        system = System(self.cells, tuple(self.sums), tuple(self.shares))
        return Composition(system, tuple(self.plans), joining, applying, censuses)

    # --- the parts ---------------------------------------------------------------------------------------

    def _residents(self, year: int) -> None:
        mart = self.mart
        day = dt.date(2011, 3, 27) if year == 2011 else dt.date(2021, 3, 21)
        places = [(LONDON, "London", mart.boroughs()), (MET, MET_NAME, mart.boroughs(met=True))]
        places += [(code, mart.areas[code].name, mart.boroughs(bcu=code)) for code in mart.bcus()]
        places += [(code, mart.areas[code].name, [code]) for code in mart.boroughs()]
        leaves = [
            code for code in mart.ethnicities if any((year, area, code) in mart.residents for area in mart.boroughs())
        ]
        for area, name, members in places:
            about = About(
                "RESIDENTS", day, day, area, name, "RESIDENTS", "ALL", "", "", "All", "", "residents",
                "usual residents of all ages, exact census counts", mart.as_of.residents_source_kind,
                _CENSUS.format(year),
            )  # fmt: skip
            by_leaf = {leaf: sum(mart.residents.get((year, member, leaf), 0) for member in members) for leaf in leaves}
            counts = {group: sum(n for leaf, n in by_leaf.items() if self.group[leaf] == group) for group in FIVE}
            counts["minority"] = sum(counts[group] for group in MINORITY)
            counts["non_white_british"] = sum(
                n for leaf, n in by_leaf.items() if mart.ethnicities[leaf].non_white_british
            )
            counts["all"] = sum(by_leaf.values())
            prefix = f"residents/{year}/{area}"
            for group, people in counts.items():
                self._count(f"{prefix}/{group}", people, _of(about, group), exact=True)
            for group in counts:
                if group != "all":
                    self._exact_share(prefix, group, _of(about, group))
            if len(members) == 1:
                for leaf, people in by_leaf.items():
                    label = mart.ethnicities[leaf].label
                    leaf_about = replace(about, ethnic_group=label, ethnic_group_code=leaf)
                    self._count(f"{prefix}/{leaf}", people, leaf_about, exact=True)
            sexes = {sex: sum(mart.residents_by_sex.get((year, member, sex), 0) for member in members) for sex in "FM"}
            if any(sexes.values()):
                for sex, people in sexes.items():
                    sex_about = replace(_of(about, "all"), sex=sex)
                    self._count(f"{prefix}/sex-{sex}", people, sex_about, exact=True)
                both = replace(_of(about, "all"), sex="F and M")
                self._count(f"{prefix}/sexes", sum(sexes.values()), both, exact=True)
                share = replace(_of(about, "all"), sex="F", basis="share of residents, female and male together")
                self._share(f"{prefix}/sex-F", f"{prefix}/sexes", f"{prefix}/sex-M", share)

    def _officers(self) -> None:
        mart, met = self.mart, MET
        bcus = mart.bcus()

        def count(bcu: str | None = _ANY, borough: str | None = _ANY) -> dict[str, int]:
            counts = dict.fromkeys((*FIVE, "not_stated"), 0)
            for (of_bcu, of_borough, code), people in mart.officers.items():
                if _matches(bcu, of_bcu if of_bcu in bcus else None) and _matches(borough, of_borough):
                    counts[self._group(code)] += people
            return counts

        about = self._officer_about("K02")
        five, three = (*FIVE, "not_stated"), ("minority", "white", "not_stated")
        weights = {met: 1000.0, "none": 30.0, "posted": 60.0, "unposted": 60.0}
        self._row("officers/met", count(), five, about, weights[met])
        elsewhere = replace(about, dimension="posted to no command (BCU)")
        self._row("officers/none", count(bcu=None), five, elsewhere, weights["none"])
        for bcu in bcus:
            here = replace(about, area_code=bcu, area_name=mart.areas[bcu].name)
            self._row(f"officers/{bcu}", count(bcu=bcu), five, here, 100)
        self._add_up("officers/met", [*(f"officers/{bcu}" for bcu in bcus), "officers/none"], five)

        posted = replace(about, dimension="posted to a borough")
        self._row("officers/posted", count(borough=_SOME), three, posted, weights["posted"])
        unposted = replace(about, dimension="not posted to a borough")
        self._row("officers/unposted", count(borough=None), three, unposted, weights["unposted"])
        self._add_up("officers/met", ["officers/posted", "officers/unposted"], three)
        for bcu in bcus:
            boroughs = mart.boroughs(bcu=bcu)
            for code in boroughs:
                here = replace(about, area_code=code, area_name=mart.areas[code].name, dimension=posted.dimension)
                self._row(f"officers/{code}", count(borough=code), three, here, 10)
            rest = count(bcu=bcu, borough=None)
            self._row(f"officers/{bcu}-no-borough", rest, three, None, 1)
            parts = [*(f"officers/{code}" for code in boroughs), f"officers/{bcu}-no-borough"]
            self._add_up(f"officers/{bcu}", parts, three)
        self._add_up("officers/posted", [f"officers/{code}" for code in mart.boroughs(met=True)], three)
        share = replace(_of(posted, "all"), basis="share of all officers; " + HEADCOUNT)
        self._share("officers/posted/all", "officers/met/all", "officers/unposted/all", share)
        not_stated = replace(_of(about, "not_stated"), basis="share of all officers; " + HEADCOUNT)
        self._share("officers/met/not_stated", "officers/met/all", "officers/met/stated", not_stated)

    def _women(self) -> None:
        counts = {sex: self.mart.officers_by_sex.get(sex, 0) for sex in "FMU"}
        about = replace(_of(self._officer_about("K05"), "all"), basis="sex as recorded in HR; " + HEADCOUNT)
        nobody = not any(counts.values())
        for sex, cost in (("F", 5000.0), ("M", 300.0), ("U", 100.0)):
            # that nobody's sex is unrecorded tells nothing of anybody
            empty = nobody or sex == "U"
            self._count(f"officers/met/sex-{sex}", counts[sex], replace(about, sex=sex), cost=cost, empty=empty)
        self._count(
            "officers/met/sexes",
            counts["F"] + counts["M"],
            replace(about, sex="F and M"),
            cost=300,
            empty=nobody,
        )
        self._count("officers/met/not-women", counts["M"] + counts["U"], None, empty=nobody)
        self.sums += [
            Sum("officers/met/sexes", ("officers/met/sex-F", "officers/met/sex-M")),
            Sum("officers/met/not-women", ("officers/met/sex-M", "officers/met/sex-U")),
            Sum("officers/met/all", ("officers/met/sexes", "officers/met/sex-U")),
            Sum("officers/met/all", ("officers/met/sex-F", "officers/met/not-women")),
        ]
        women = replace(about, sex="F", basis="women as a share of women and men; " + about.basis)
        self._share("officers/met/sex-F", "officers/met/sexes", "officers/met/sex-M", women)
        of_all = replace(about, sex="F", basis="women as a share of all officers; " + about.basis)
        self._share(
            "officers/met/sex-F",
            "officers/met/all",
            "officers/met/not-women",
            of_all,
            "officers/met/sex-F/share-of-all",
        )

    def _ratios(self, year: int) -> None:
        about = self._officer_about("K03")
        basis = f"officers' share of those who stated, divided by the share of residents in {year}"
        for area in ("met", *self.mart.bcus()):
            code = MET if area == "met" else area
            name = self.mart.areas[code].name if code in self.mart.areas else about.area_name
            for group in (*FIVE, "minority"):
                self.plans.append(
                    Plan(
                        f"officers/{area}/{group}/ratio",
                        replace(_of(about, group), area_code=code, area_name=name, measure="ratio", basis=basis),
                        ratio=(f"officers/{area}/{group}/share", f"residents/{year}/{code}/{group}/share"),
                    )
                )

    def _joiners(self) -> tuple[Period, ...]:
        mart, three = self.mart, ("minority", "white", "not_stated")
        end = mart.as_of.business_date
        periods = _periods(FIRST_JOINER, end)
        if not periods:
            return ()
        since = Period("since-2022", FIRST_JOINER, end, whole=False, open=True)
        for period in (*periods, since):
            within = {
                key: people
                for key, people in mart.joiners.items()
                if period.first <= key[0].replace(day=1) and key[0].replace(day=1) <= period.last
            }
            about = replace(
                self._officer_about("K08"),
                period_start=period.first, period_end=period.last, measure="joiners", provisional=period.open,
                basis="people who joined as officers; share of those who stated their ethnicity",
            )  # fmt: skip
            for kind, dimension in JOINERS.items() if period is since else [("standard", JOINERS["standard"])]:
                counts = dict.fromkeys((*FIVE, "not_stated"), 0)
                for (_, transfer, code), people in within.items():
                    if kind == "all" or transfer == (kind == "transfers"):
                        counts[self._group(code)] += people
                shown = None if dimension is None else replace(about, dimension=dimension)
                weight = 60.0 if period is not since else 900.0 if kind == "standard" else 300.0
                self._row(f"joiners/{period.key}/{kind}", counts, three, shown, weight)
        together = f"joiners/{since.key}"
        self._add_up(f"{together}/standard", [f"joiners/{period.key}/standard" for period in periods], three)
        self._add_up(f"{together}/all", [f"{together}/standard", f"{together}/transfers"], three)
        return (*periods, since)

    def _applicants(self) -> tuple[Period, ...]:
        mart = self.mart
        years = sorted({(year_end, year) for year, year_end, _ in mart.applicants})[-YEARS_OF_APPLICANTS:]
        periods = []
        for year_end, year in years:
            first = dt.date(year_end.year - 1, 4, 1)
            still_open = year_end > mart.as_of.business_date
            last = min(year_end, mart.as_of.business_date)
            period = Period(year.replace("/", "-"), first, last, whole=not still_open, open=still_open)
            counts = dict.fromkeys((*FIVE, "not_stated"), 0)
            for (name, _, code), people in mart.applicants.items():
                if name == year:
                    counts[self._group(code)] += people
            about = replace(
                self._officer_about("K07"),
                period_start=first, period_end=last, measure="applicants", provisional=still_open,
                basis="distinct people who applied in the financial year; share of those who stated their ethnicity",
            )  # fmt: skip
            self._row(f"applicants/{period.key}", counts, (*FIVE, "not_stated"), about, 60)
            periods.append(period)
        return tuple(periods)

    # --- rows, counts and shares -------------------------------------------------------------------------

    def _row(
        self,
        prefix: str,
        counts: Mapping[str, int],
        groups: Sequence[str],
        about: About | None,
        weight: float,
    ) -> None:
        """One row of a table: groups, those who stated, all, and the shares among those who stated."""
        people = dict(counts)
        people["minority"] = sum(counts[group] for group in MINORITY)
        people["stated"] = people["minority"] + counts["white"]
        people["all"] = people["stated"] + counts["not_stated"]
        by_five = "mixed" in groups
        prices = {"minority": 4.0, "white": 3.0, "stated": 3.0, "all": 2.0, "not_stated": 0.5}
        prices |= {"black": 2.0, "asian": 1.5, "mixed": 1.2, "other": 1.0}
        for group in (*groups, *(("minority",) if by_five else ()), "stated", "all"):
            price = weight * prices[group]
            of = None if about is None else _of(about, group)
            self._count(f"{prefix}/{group}", people[group], of, cost=price, empty=people["all"] == 0)
        minority, white, stated = (f"{prefix}/{group}" for group in ("minority", "white", "stated"))
        self.sums += [Sum(stated, (minority, white)), Sum(f"{prefix}/all", (stated, f"{prefix}/not_stated"))]
        if by_five:
            self.sums.append(Sum(minority, tuple(f"{prefix}/{group}" for group in MINORITY)))
        if about is None:
            return
        share = replace(about, basis=OF_STATED if about.measure == "headcount" else about.basis)
        self._share(minority, stated, white, _of(share, "minority"))
        self._share(white, stated, minority, _of(share, "white"))
        for group in MINORITY if by_five else ():
            rest = f"{prefix}/{group}-rest"
            self._count(rest, people["stated"] - people[group], None, empty=people["all"] == 0)
            self._share(f"{prefix}/{group}", stated, rest, _of(share, group))

    def _add_up(self, total: str, parts: Iterable[str], groups: Sequence[str]) -> None:
        parts = list(parts)
        columns = dict.fromkeys((*groups, "minority", "stated", "all"))
        self.sums += [Sum(f"{total}/{column}", tuple(f"{part}/{column}" for part in parts)) for column in columns]

    def _count(
        self,
        key: str,
        people: int,
        about: About | None,
        *,
        cost: float = 1,
        empty: bool = False,
        exact: bool = False,
    ) -> None:
        # of two cells of one price the smaller is hidden
        cost *= 1 + math.log10(1 + people) / 100
        self.cells[key] = Cell(key, people, about is not None, cost, structural=empty, exact=exact)
        if about is not None:
            self.plans.append(Plan(key, about, cell=key))

    def _share(self, numerator: str, denominator: str, rest: str, about: About, figure_id: str | None = None) -> None:
        share = Share(figure_id or f"{numerator}/share", numerator, denominator, rest)
        self.shares.append(share)
        self.plans.append(Plan(share.key, replace(about, measure="share"), share=share))

    def _exact_share(self, prefix: str, group: str, about: About) -> None:
        numerator, denominator, rest = (f"{prefix}/{name}" for name in (group, "all", f"{group}-rest"))
        people = self.cells[denominator].value - self.cells[numerator].value
        self._count(rest, people, None, exact=True)
        share = replace(about, basis="share of usual residents of all ages")
        self._share(numerator, denominator, rest, share)

    def _officer_about(self, indicator: str) -> About:
        day = self.mart.officers_on
        return About(
            indicator, day, day, MET, MET_NAME, "OFF", "ALL", "", "", "All", "", "headcount",
            HEADCOUNT, self.mart.as_of.police_source_kind, self.police,
        )  # fmt: skip

    def _group(self, code: str) -> str:
        try:
            return self.group[code]
        except KeyError:
            raise PeelError(
                "an ethnicity code is not in mart.dim_ethnicity.",
                rule="known codes",
                do="Look at the build's gate.",
            ) from None


def _matches(wanted: str | None, found: str | None) -> bool:
    return wanted in (_ANY, found) or (wanted == _SOME and found is not None)


def _of(about: About, group: str) -> About:
    # the five groups are K02, ethnic minorities together K01
    indicator = "K01" if about.indicator_id == "K02" and group not in FIVE else about.indicator_id
    return replace(about, indicator_id=indicator, ethnic_group=LABELS[group], ethnic_group_code=group.upper())


def _periods(first: dt.date, end: dt.date) -> tuple[Period, ...]:
    """Financial years from the one that holds ``first``, of which only days from ``first`` to ``end`` count."""
    periods: list[Period] = []
    if end < first:
        return ()
    year = first.year if first.month >= 4 else first.year - 1
    while dt.date(year, 4, 1) <= end:
        begin, finish = max(first, dt.date(year, 4, 1)), min(end, dt.date(year + 1, 3, 31))
        still_open = dt.date(year + 1, 3, 31) > end
        whole = begin == dt.date(year, 4, 1) and not still_open
        periods.append(Period(f"{year}-{(year + 1) % 100:02d}", begin, finish, whole, still_open))
        year += 1
    return tuple(periods)
