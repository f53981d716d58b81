"""The page and the dictionary as HTML: one file each, no script, nothing fetched from elsewhere.

The page is given figures only, which hold no hidden value, so no sentence, label or mark can give one away.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from peel.releases import charts
from peel.releases.compose import AMBITION, FIVE, LABELS, Composition, Period
from peel.releases.dictionary import LAYERS, Table
from peel.releases.figures import HIDDEN, Figure
from peel.releases.read import LONDON, MET, Area, AsOf, Mart

_GROUPS = (*FIVE, "minority")


@dataclass(frozen=True)
class Outline:
    """What the page is about, without a single count.

    Args:
        as_of: the build.
        officers_on: the day officers are counted on.
        bcus: each command with its boroughs, in order of name.
        areas: London's 33 areas in order of name.
        censuses: census years, oldest first.
        joining: the periods of joiners, the last of them all together.
        applying: the financial years of applicants.
    """

    as_of: AsOf
    officers_on: dt.date
    bcus: tuple[tuple[Area, tuple[str, ...]], ...]
    areas: tuple[Area, ...]
    censuses: tuple[int, ...]
    joining: tuple[Period, ...]
    applying: tuple[Period, ...]


@dataclass(frozen=True)
class Card:
    """A headline figure, what it is, and of whom."""

    figure: Figure
    name: str
    note: str


def outline(mart: Mart, composition: Composition) -> Outline:
    """Take from the snapshot what is no count."""
    bcus = tuple(
        (mart.areas[code], tuple(mart.areas[borough].name for borough in mart.boroughs(bcu=code)))
        for code in mart.bcus()
    )
    return Outline(
        as_of=mart.as_of,
        officers_on=mart.officers_on,
        bcus=bcus,
        areas=tuple(mart.areas[code] for code in mart.boroughs()),
        censuses=composition.censuses,
        joining=composition.joining,
        applying=composition.applying,
    )


def headline(figures: Mapping[str, Figure], about: Outline) -> list[str]:
    """The two or three sentences that matter most, for the page and the terminal.

    Args:
        figures: after protection, by id.
        about: what they are about.
    """
    year = about.censuses[-1]
    residents = figures[f"residents/{year}/{LONDON}/minority/share"]
    officers = figures["officers/met/minority/share"]
    force = _force(about)
    sentences = [f"In {year}, {residents.text} of Londoners were from an ethnic minority (excluding White minorities)."]
    if officers.value is None:
        why = "so that nobody can be recognised" if officers.status == HIDDEN else "because they are too few"
        sentences.append(f"The share of {force} officers is not shown, {why}.")
    else:
        sentences.append(f"On {_day(about.officers_on)}, {officers.text} of {force} officers were.")
    if about.joining:
        joined = figures[f"joiners/{about.joining[-1].key}/standard/minority/share"]
        if joined.value is not None:
            sentences.append(
                f"Of the officers who have joined since 1 January 2022, transfers excluded, {joined.text} were;"
                f" the ambition is {AMBITION}%."
            )
    return sentences


def render_page(figures: Mapping[str, Figure], about: Outline) -> str:
    """The release page.

    Args:
        figures: after protection, by id.
        about: what they are about.

    Returns:
        HTML; the same for the same figures.
    """
    year = about.censuses[-1]
    simulated = about.as_of.police_source_kind != "real"

    def f(*parts: object) -> Figure:
        return figures["/".join(str(part) for part in parts)]

    def of_residents(*parts: object) -> Figure:
        return f("residents", year, *parts)

    both = [
        (
            LABELS[group] if group != "minority" else "Ethnic minorities together",
            [
                ("Residents", "residents", of_residents(MET, group, "share")),
                ("Officers", "officers", f("officers/met", group, "share")),
            ],
        )
        for group in _GROUPS
    ]
    joined = [
        (
            "Since 1 January 2022" if together else period.name,
            [
                ("Joiners excluding transfers", "officers", f("joiners", period.key, "standard/minority/share")),
                *([("All joiners", "residents", f("joiners", period.key, "all/minority/share"))] if together else []),
            ],
        )
        for period in about.joining
        for together in (period is about.joining[-1],)
    ]
    applied = [
        (period.name, [("Applicants", "officers", f("applicants", period.key, "minority/share"))])
        for period in about.applying
    ]
    beside = of_residents(MET, "minority/share")
    return _environment().get_template("page.html.j2").render(
        f=f,
        about=about,
        year=year,
        day=_day,
        simulated=simulated,
        force=_force(about),
        headline=headline(figures, about),
        cards=_cards(figures, about),
        groups=_GROUPS,
        five=FIVE,
        labels=LABELS,
        ambition=AMBITION,
        london=LONDON,
        met=MET,
        rows_of_areas=[
            ("London (33 areas)", LONDON, None),
            ("The Met’s area", MET, "met"),
            *((f"{bcu.name} ({bcu.code})", bcu.code, bcu.code) for bcu, _ in about.bcus),
            ("Posted to no command", None, "none"),
        ],
        both=charts.bars(both, full=125),
        places=charts.pairs(
            [
                (area.name, f("officers", area.code, "minority/share"), of_residents(area.code, "minority/share"))
                for area, _ in about.bcus
            ],
            full=85,
        ),
        tiles=charts.tiles([(a.code, a.name, of_residents(a.code, "minority/share")) for a in about.areas]),
        legend=charts.legend(),
        joined=charts.bars(joined, full=85, mark=Decimal(AMBITION), mark_label=f"Ambition {AMBITION}%"),
        applied=charts.bars(applied, full=85, mark=beside.value, mark_label=f"Residents {beside.text}"),
        has_sexes=f"residents/{year}/{MET}/sex-F" in figures,
    )  # fmt: skip


def render_dictionary(tables: Sequence[Table], about: Outline) -> str:
    """The data dictionary as a page.

    Args:
        tables: of the warehouse, in order.
        about: the release they are described for.
    """
    layers: dict[str, list[Table]] = {}
    for table in tables:
        layers.setdefault(table.layer, []).append(table)
    named = [(LAYERS.get(layer, layer or "Other"), listed) for layer, listed in layers.items()]
    return (
        _environment()
        .get_template("dictionary.html.j2")
        .render(about=about, day=_day, layers=named, simulated=about.as_of.police_source_kind != "real")
    )


def _cards(figures: Mapping[str, Figure], about: Outline) -> list[Card]:
    year, on = about.censuses[-1], _day(about.officers_on)
    officers, residents = "officers/met", f"residents/{year}/{MET}"
    black = figures[f"{residents}/black/share"]
    women, basis = figures[f"{officers}/sex-F/share"], "of women and men"
    if women.value is None:
        women, basis = figures[f"{officers}/sex-F/share-of-all"], "of all officers"
    beside = figures.get(f"{residents}/sex-F/share")
    cards = [
        Card(
            figures[f"{residents}/minority/share"],
            "Residents from ethnic minorities",
            f"the Met’s area: 32 boroughs, Census {year}, all ages",
        ),
        Card(
            figures[f"{officers}/minority/share"],
            "Officers from ethnic minorities",
            f"of those who stated their ethnicity, {on}",
        ),
        Card(
            figures[f"{officers}/black/share"],
            "Black officers",
            f"of those who stated their ethnicity; residents of the Met’s area: {black.text}",
        ),
        Card(
            women,
            "Women officers",
            basis + (f"; residents of the Met’s area: {beside.text}" if beside else ""),
        ),
    ]
    if about.joining:
        cards.append(
            Card(
                figures[f"joiners/{about.joining[-1].key}/standard/minority/share"],
                "New officers from ethnic minorities",
                f"joined since 1 January 2022, transfers excluded; the ambition is {AMBITION}%",
            )
        )
    whole = [period for period in about.applying if period.whole]
    if whole:
        cards.append(
            Card(
                figures[f"applicants/{whole[-1].key}/minority/share"],
                "Applicants from ethnic minorities",
                f"people who applied to be officers in {whole[-1].name}, of those who stated",
            )
        )
    return cards


def _force(about: Outline) -> str:
    return "the Met’s" if about.as_of.police_source_kind == "real" else "the simulated force’s"


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"


def _numbers(sentence: str) -> Markup:
    """Set the percentages of a sentence in bold."""
    return Markup(re.sub(r"(\d[\d.]*%)", r"<strong>\1</strong>", str(escape(sentence))))  # noqa: S704 escaped


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("peel.releases"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["numbers"] = _numbers
    return environment
