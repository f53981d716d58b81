"""The parameters of the simulated force, read from the CSV files in ``tables/``.

Shares are held per million, rates per million a month, strengths in thousandths of a head or FTE:
integers throughout. Every row of every file says where its figure comes from.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeVar

import numpy as np

from peel.simulate.days import day_of, parse_month
from peel.simulate.draws import MILLION, Ints

GROUPS = ("OFF", "STAFF", "PCSO", "DESIG", "SC", "PSV", "VPC")
OFF, STAFF, PCSO, DESIG, SC, PSV, VPC = range(7)
FIVE = ("WHITE", "MIXED", "ASIAN", "BLACK", "OTHER")
SEXES = ("M", "F")
RANKS = ("", "CON", "SGT", "INS", "CIN", "SUP", "CSU", "CMD", "DAC", "ACO", "DCO", "COM")
CON, SGT, INS, CIN, SUP = 1, 2, 3, 4, 5
BASES = ("", "SUB", "TEMP", "ACT")
STATUSES = (
    "ACTIVE",
    "SUSPENDED",
    "CAREER_BREAK",
    "MATERNITY",
    "SECONDED_OUT",
    "SECONDED_IN",
    "UNPAID_LEAVE",
    "TERMINATED",
)
ACTIONS = ("HIRE", "PROMO", "TEMP_PROMO", "TRANSFER", "FTE_CHG", "LOA", "TERM", "CORR")
EVENTS = ("JOIN", "LEAVE", "PROMOTE", "DEMOTE", "TRANSFER_IN", "TRANSFER_OUT", "REJOIN")
JOINERS = (
    "",
    "STANDARD",
    "DIRECT_ENTRY",
    "TRANSFER",
    "REJOINER",
    "PREVIOUSLY_SPECIAL",
    "PREVIOUSLY_STAFF",
)
ROUTES = (
    "",
    "PCDA",
    "DHEP",
    "DDHEP",
    "IPLDP",
    "PCEP",
    "PNOW",
    "PNOWD",
    "PLPC",
    "DE_INS",
    "DE_SUP",
    "TRF_IN",
    "REJ",
    "SC2PC",
    "STAFF2PC",
)
REASONS = ("", "RES", "RET", "MED", "DIS", "TRF_OUT", "DTH", "EOC", "SC2PC_OUT", "UNK")
STAGES = ("REG", "ELIG", "SIFT", "ASSESS", "D2", "MED", "FIT", "VET", "REF", "OFFER", "START")
OUTCOMES = ("PASS", "FAIL", "WITHDRAWN", "NO_SHOW", "DEFERRED", "EXPIRED")
PASS, FAIL, WITHDRAWN, NO_SHOW, DEFERRED, EXPIRED = range(6)
LINES = ("OFF_EXT", "OFF_INT", "STAFF", "PCSO", "SC")
RESIDENCY_BASES = ("", "LIVED", "STUDIED", "EXEMPT", "NONE")
RESIDENCY_PASSES = ("", "Y", "N")
WITHDRAWALS = ("", "OTHER_JOB", "PERSONAL", "TIME_TAKEN", "NOT_GIVEN")
NOT_STATED = -1
"""In place of an ethnicity leaf: asked and declined."""

FIRST_MONTH = parse_month("2012-04")
STOCK_DAY = day_of(dt.date(2012, 3, 31))
"""The day of the opening balance: who serves then has no joining event."""

Value = TypeVar("Value")
Steps = list[tuple[int, Value]]
"""Values in force from a month on, in order of months."""


def in_force(steps: Steps[Value], month: int) -> Value:
    """The value in force in a month; the first one before its time."""
    found = steps[0][1]
    for start, value in steps:
        if start > month:
            break
        found = value
    return found


@dataclass(frozen=True)
class Group:
    """A workforce group: how its strength is given and how its people are."""

    code: str
    series: str
    in_fte: bool
    volunteer: bool
    fte_per_head: int
    part_time: tuple[int, int]
    volunteer_fte: int
    outside_london: int
    stock_oldest: int
    rejoin: int
    redeclare: int


@dataclass(frozen=True)
class Mix:
    """Who people are: the five groups (5 shares) and women, per million."""

    five: Ints
    women: int


@dataclass(frozen=True)
class Leaving:
    """One row of leaving rates: years of service and of age it holds for, per million a month."""

    reason: int
    years: tuple[int, int]
    ages: tuple[int, int]
    rate: int


@dataclass(frozen=True)
class Career:
    """One row of an event's rates in a group: whom it can befall, how often, for how many months."""

    sex: int | None
    ages: tuple[int, int]
    rate: int
    months: tuple[int, int]


@dataclass(frozen=True)
class Line:
    """A line of recruitment: who may apply and how far ahead it looks."""

    code: str
    group: int
    internal: bool
    horizon: int
    floor: int
    direct_until: int
    again: int


@dataclass(frozen=True)
class Stage:
    """A stage of a recruitment process; rates per million of those who reach it, times in days.

    `passes` is by sex and five-group; the rates of applicants who were referred differ by ratios per mille.
    """

    code: int
    passes: Ints
    withdraw: int
    no_show: int
    days_from: int
    days_spread: int
    parallel: bool
    again: int
    again_days: int
    scored: bool
    referred_passes: int = 1000
    referred_withdraws: int = 1000


@dataclass(frozen=True)
class Effects:
    """Ratios, per mille, by which something is more or less frequent for some: `truths` plants them.

    Attributes:
        leaving: by workforce group and reason: spans of years of service and ratios by five-group.
        board_applies: to apply to a promotion board, by five-group.
        board_passes: to pass it, by five-group.
        programme: to apply from a borough of the ambassador programme, by sex and five-group.
        deterred: to apply from outside London under the residency rule.
    """

    leaving: dict[tuple[int, int], list[tuple[tuple[int, int], Ints]]]
    board_applies: Ints
    board_passes: Ints
    programme: Ints
    deterred: int


@dataclass(frozen=True)
class Residency:
    """The London residency rule over a span of days; shares per mille."""

    from_day: int
    to_day: int
    asked: bool
    in_force: bool
    lived_outside: int
    studied: int
    outside_london: int


@dataclass(frozen=True)
class Tables:
    """All parameters; arrays are indexed by the positions of the tuples above."""

    groups: tuple[Group, ...]
    leaf_code_18: tuple[str, ...]
    leaf_code_16: tuple[str, ...]
    leaf_five: Ints
    leaf_weights: Ints
    declared: Ints
    mixes: dict[tuple[int, str, str], Steps[Mix]]
    ages: dict[int, Ints]
    service: dict[tuple[int, str], Ints]
    rank_segment: tuple[str, ...]
    rank_shares: Steps[Ints]
    rank_years_below: tuple[int, ...]
    band_codes: tuple[str, ...]
    band_weights: dict[int, Ints]
    leaving: dict[int, list[Leaving]]
    leaving_years: dict[tuple[int, int], Steps[int]]
    effects: Effects
    careers: dict[tuple[str, int], list[Career]]
    part_time: Ints
    units: list[dict[str, str]]
    place_codes: dict[int, Ints]
    place_weights: dict[tuple[int, str], Ints]
    boroughs: list[dict[str, str]]
    borough_posting: Ints
    borough_residents: Steps[Ints]
    bcus: list[dict[str, str]]
    strength: dict[str, list[tuple[int, int]]]
    lines: tuple[Line, ...]
    internal_share: Steps[int]
    routes: dict[int, Steps[Ints]]
    processes: dict[int, Steps[str]]
    stages: dict[str, tuple[Stage, ...]]
    residency: tuple[Residency, ...]
    exempt_routes: frozenset[int]
    programme_days: tuple[int, int]
    programme_districts: Ints
    source_codes: tuple[str, ...]
    source_weights: Ints
    source_referred: Ints
    withdrawals: Ints
    settings: dict[str, int]
    names: dict[str, tuple[str, ...]]


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one CSV file of ``tables/``."""
    text = (resources.files(__package__) / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _ints(values: Iterable[str | int]) -> Ints:
    return np.array([int(value) for value in values], dtype=np.int64)


def _collect(pairs: Iterable[tuple[int, Value]]) -> Steps[Value]:
    return sorted(pairs, key=lambda pair: pair[0])


def _groups() -> tuple[Group, ...]:
    return tuple(
        Group(
            code=row["group_code"],
            series=row["series"],
            in_fte=row["basis"] == "fte",
            volunteer=row["person_type"] == "VOL",
            fte_per_head=int(row["fte_per_head"]),
            part_time=(int(row["part_time_men"]), int(row["part_time_women"])),
            volunteer_fte=int(row["volunteer_fte"]),
            outside_london=int(row["outside_london"]),
            stock_oldest=int(row["stock_oldest"]),
            rejoin=int(row["rejoin_per_million"]),
            redeclare=int(row["redeclare_per_million"]),
        )
        for row in rows("groups")
    )


def _mixes(declared_share: int) -> dict[tuple[int, str, str], Steps[Mix]]:
    """The mixes; a share of all people becomes a share of those who declare."""
    found: dict[tuple[int, str, str], Steps[Mix]] = defaultdict(list)
    for row in rows("mixes"):
        minorities = [int(row[name.lower()]) * 1000 for name in FIVE[1:]]
        if row["basis"] == "all":
            minorities = [share * MILLION // declared_share for share in minorities]
        mix = Mix(_ints([MILLION - sum(minorities), *minorities]), int(row["women"]) * 1000)
        key = (GROUPS.index(row["group_code"]), row["kind"], row["segment"])
        found[key].append((parse_month(row["from_month"]), mix))
    return {key: _collect(steps) for key, steps in found.items()}


def _by_group(name: str, *columns: str) -> dict[int, Ints]:
    found: dict[int, list[list[int]]] = defaultdict(list)
    for row in rows(name):
        found[GROUPS.index(row["group_code"])].append([int(row[column]) for column in columns])
    return {group: np.array(values, dtype=np.int64) for group, values in found.items()}


def _service() -> dict[tuple[int, str], Ints]:
    found: dict[tuple[int, str], list[list[int]]] = defaultdict(list)
    for row in rows("service"):
        values = [int(row[column]) for column in ("years_from", "years_to", "weight")]
        found[GROUPS.index(row["group_code"]), row["segment"]].append(values)
    return {key: np.array(values, dtype=np.int64) for key, values in found.items()}


def _leaving() -> dict[int, list[Leaving]]:
    found: dict[int, list[Leaving]] = defaultdict(list)
    for row in rows("leaving"):
        found[GROUPS.index(row["group_code"])].append(
            Leaving(
                reason=REASONS.index(row["reason_code"]),
                years=(int(row["years_from"]), int(row["years_to"])),
                ages=(int(row["age_from"]), int(row["age_to"])),
                rate=int(row["per_million_a_month"]),
            )
        )
    return found


def _leaving_years() -> dict[tuple[int, int], Steps[int]]:
    found: dict[tuple[int, int], Steps[int]] = defaultdict(list)
    for row in rows("leaving_years"):
        key = (GROUPS.index(row["group_code"]), REASONS.index(row["reason_code"]))
        found[key].append((parse_month(row["from_month"]), int(row["per_mille"])))
    return {key: _collect(steps) for key, steps in found.items()}


def _no_effects() -> Effects:
    even = np.full((len(SEXES), len(FIVE)), 1000, dtype=np.int64)
    return Effects(leaving={}, board_applies=even[0], board_passes=even[0], programme=even, deterred=1000)


def _careers() -> dict[tuple[str, int], list[Career]]:
    """Career events by event and group."""
    found: dict[tuple[str, int], list[Career]] = defaultdict(list)
    for row in rows("careers"):
        career = Career(
            sex=SEXES.index(row["sex"]) if row["sex"] else None,
            ages=(int(row["age_from"]), int(row["age_to"])),
            rate=int(row["per_million_a_month"]),
            months=(int(row["months_from"]), int(row["months_to"])),
        )
        found[row["event"], GROUPS.index(row["group_code"])].append(career)
    return dict(found)


def _places() -> tuple[dict[int, Ints], dict[tuple[int, str], Ints]]:
    kinds = {"NEIGHBOURHOOD": 1000, "RESPONSE": 1001, "INVESTIGATION": 1002}
    codes: dict[int, list[int]] = defaultdict(list)
    weights: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row in rows("places"):
        group = GROUPS.index(row["group_code"])
        codes[group].append(kinds[row["place"]] if row["place"] in kinds else int(row["place"]))
        for kind in ("stock", "joiner", "transfer"):
            weights[group, kind].append(int(row[f"{kind}_weight"]))
    return (
        {group: _ints(values) for group, values in codes.items()},
        {key: _ints(values) for key, values in weights.items()},
    )


def _residents(boroughs: list[dict[str, str]]) -> Steps[Ints]:
    """Weights of home boroughs by five-group (5 x 33), by the census nearer in time."""

    def table(year: int) -> Ints:
        return np.array([[int(row[f"{name.lower()}_{year}"]) for row in boroughs] for name in FIVE])

    return [(0, table(2011)), (parse_month("2016-07"), table(2021))]


def _strength() -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in rows("strength"):
        found[row["series"]].append((parse_month(row["as_at"]), int(row["value"])))
    return {series: sorted(points) for series, points in found.items()}


def _lines() -> tuple[Line, ...]:
    return tuple(
        Line(
            code=row["line"],
            group=GROUPS.index(row["group_code"]),
            internal=row["internal"] == "1",
            horizon=int(row["horizon_months"]),
            floor=int(row["floor_a_month"]),
            direct_until=parse_month(row["direct_until"]),
            again=int(row["people_again"]),
        )
        for row in rows("lines")
    )


def _routes() -> dict[int, Steps[Ints]]:
    weights: dict[int, dict[int, Ints]] = defaultdict(dict)
    for row in rows("routes"):
        line, month = LINES.index(row["line"]), parse_month(row["from_month"])
        by_route = weights[line].setdefault(month, np.zeros(len(ROUTES), dtype=np.int64))
        by_route[ROUTES.index(row["route"])] = int(row["weight"])
    return {line: _collect(by_month.items()) for line, by_month in weights.items()}


def _processes() -> dict[int, Steps[str]]:
    found: dict[int, Steps[str]] = defaultdict(list)
    for row in rows("processes"):
        found[LINES.index(row["line"])].append((parse_month(row["from_month"]), row["process"]))
    return {line: _collect(steps) for line, steps in found.items()}


def _stages() -> dict[str, tuple[Stage, ...]]:
    found: dict[str, list[tuple[int, Stage]]] = defaultdict(list)
    for row in rows("stages"):
        stage = Stage(
            code=STAGES.index(row["stage_code"]),
            passes=np.full((len(SEXES), len(FIVE)), int(row["pass"]) * 1000, dtype=np.int64),
            withdraw=int(row["withdraw"]) * 1000,
            no_show=int(row["no_show"]) * 1000,
            days_from=int(row["days_from"]),
            days_spread=int(row["days_spread"]),
            parallel=row["parallel"] == "1",
            again=int(row["again"]) * 1000,
            again_days=int(row["again_days"]),
            scored=row["scored"] == "1",
        )
        found[row["process"]].append((int(row["order"]), stage))
    return {process: tuple(stage for _, stage in _collect(stages)) for process, stages in found.items()}


def _residency() -> tuple[Residency, ...]:
    return tuple(
        Residency(
            from_day=day_of(dt.date.fromisoformat(row["from_day"])),
            to_day=day_of(dt.date.fromisoformat(row["to_day"])),
            asked=row["asked"] == "1",
            in_force=row["in_force"] == "1",
            lived_outside=int(row["lived_outside"]),
            studied=int(row["studied"]),
            outside_london=int(row["outside_london"]),
        )
        for row in rows("residency")
    )


def _programme_days() -> tuple[int, int]:
    """The first and the last day of the ambassador programme."""
    (row,) = (row for row in rows("truths") if row["name"] == "ambassador_programme")
    first, last = (day_of(dt.date.fromisoformat(row[name])) for name in ("from_day", "to_day"))
    return first, last


def _programme_districts(boroughs: list[dict[str, str]]) -> Ints:
    """1 for the districts of the ambassador programme, by district; 0 is outside London."""
    codes = {row["borough_code"] for row in rows("programme_boroughs")}
    return _ints([0, *(row["borough_code"] in codes for row in boroughs)])


def _withdrawals() -> Ints:
    """Weights of the reasons for withdrawing, by `WITHDRAWALS`."""
    weights = {row["reason"]: row["weight"] for row in rows("withdrawals")}
    return _ints(weights.get(reason, 0) for reason in WITHDRAWALS)


def _names() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows("names"):
        found[row["part"]].append(row["name"])
    return {part: tuple(names) for part, names in found.items()}


@cache
def load() -> Tables:
    """Read all parameters, once; no effect is planted yet."""
    ethnicity, ranks, bands = rows("ethnicity"), rows("ranks"), rows("bands")
    boroughs, sources = rows("boroughs"), rows("sources")
    leaf_five = _ints(FIVE.index(row["five_group"]) for row in ethnicity)
    leaf_weights = np.zeros((len(FIVE), len(ethnicity)), dtype=np.int64)
    leaf_weights[leaf_five, np.arange(len(ethnicity))] = _ints(row["weight"] for row in ethnicity)
    declared = _ints(row["weight"] for row in rows("declarations"))
    band_codes = ("", *sorted({row["band"] for row in bands}))
    band_weights = {
        group: _ints(
            sum(int(row["weight"]) for row in bands if (row["group_code"], row["band"]) == (code, band))
            for band in band_codes
        )
        for group, code in enumerate(GROUPS)
        if any(row["group_code"] == code for row in bands)
    }
    place_codes, place_weights = _places()
    return Tables(
        groups=_groups(),
        leaf_code_18=tuple(row["code_18"] for row in ethnicity),
        leaf_code_16=tuple(row["code_16"] for row in ethnicity),
        leaf_five=leaf_five,
        leaf_weights=leaf_weights,
        declared=declared,
        mixes=_mixes(int(declared[0]) * MILLION // int(declared.sum())),
        ages=_by_group("ages", "age_from", "age_to", "weight"),
        service=_service(),
        rank_segment=("", *(row["stock_segment"] for row in ranks)),
        rank_shares=[
            (parse_month(f"{year}-04"), _ints([0, *(row[f"share_{year}"] for row in ranks)]))
            for year in (2012, 2016, 2020, 2026)
        ],
        rank_years_below=(0, *(int(row["years_below"]) for row in ranks)),
        band_codes=band_codes,
        band_weights=band_weights,
        leaving=_leaving(),
        leaving_years=_leaving_years(),
        effects=_no_effects(),
        careers=_careers(),
        part_time=_by_column("part_time", "fte_thousandths", "weight"),
        units=rows("units"),
        place_codes=place_codes,
        place_weights=place_weights,
        boroughs=boroughs,
        borough_posting=_ints(row["posting_weight"] for row in boroughs),
        borough_residents=_residents(boroughs),
        bcus=rows("bcus"),
        strength=_strength(),
        lines=_lines(),
        internal_share=_collect((parse_month(row["from_month"]), int(row["per_mille"])) for row in rows("line_shares")),
        routes=_routes(),
        processes=_processes(),
        stages=_stages(),
        residency=_residency(),
        exempt_routes=frozenset(ROUTES.index(row["route"]) for row in rows("residency_exempt")),
        programme_days=_programme_days(),
        programme_districts=_programme_districts(boroughs),
        source_codes=tuple(row["source_code"] for row in sources),
        source_weights=_ints(row["weight"] for row in sources),
        source_referred=_ints(row["referred"] for row in sources),
        withdrawals=_withdrawals(),
        settings={row["name"]: int(row["value"]) for row in rows("settings")},
        names=_names(),
    )


def _by_column(name: str, *columns: str) -> Ints:
    table = rows(name)
    return np.array([[int(row[column]) for row in table] for column in columns], dtype=np.int64)


def strength_at(tables: Tables, series: str, month: int) -> int:
    """The strength of a series at a month's end at full size, in thousandths, between its points linear."""
    points = tables.strength[series]
    earlier, later = points[0], points[-1]
    for point in points:
        if point[0] <= month:
            earlier = point
        else:
            later = point
            break
    (start, low), (end, high) = earlier, later
    if month <= start or end <= start:
        return low * 1000
    return low * 1000 + (high - low) * 1000 * (month - start) // (end - start)
