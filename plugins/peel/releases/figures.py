"""Figures: what a reader is given, one by one, after protection; and the tidy CSV they stand in.

A ``Figure`` never holds a hidden value: from here on nothing can print one.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from peel.releases.cells import FEWEST, Share, percent_units

HIDDEN = "[c]"
"""Confidential: hidden so that nobody can be recognised."""
LOW = "[low]"
"""A share of fewer than 30 people: not calculated."""

Unit = Literal["people", "percent", "ratio"]


@dataclass(frozen=True)
class About:
    """What a figure is about; every field is a column of the CSV.

    Args:
        indicator_id: of the indicator catalogue, such as K01; ``RESIDENTS`` for the census's own counts.
        period_start: first day covered; for a figure of one day, that day.
        period_end: last day covered.
        area_code: ONS code or command code of the area.
        area_name: its name.
        workforce_group: OFF for officers, ``RESIDENTS`` for the people who live in the area.
        rank_group: always ALL here.
        ethnic_group: label of the ethnic group, or ``All``.
        ethnic_group_code: its code.
        sex: F, M, U or All.
        dimension: what else narrows the figure down; empty if nothing does.
        measure: what is counted or calculated.
        basis: how it is counted, or of what it is a share.
        source_kind: simulated or real.
        source: who collected it.
        provisional: whether the period is not over yet.
    """

    indicator_id: str
    period_start: dt.date
    period_end: dt.date
    area_code: str
    area_name: str
    workforce_group: str
    rank_group: str
    ethnic_group: str
    ethnic_group_code: str
    sex: str
    dimension: str
    measure: str
    basis: str
    source_kind: str
    source: str
    provisional: bool = False


@dataclass(frozen=True)
class Plan:
    """A figure to be: a count of one cell, a share of two, or the ratio of two shares' figures."""

    figure_id: str
    about: About
    cell: str | None = None
    share: Share | None = None
    ratio: tuple[str, str] | None = None


@dataclass(frozen=True)
class Figure:
    """A figure as printed.

    Args:
        figure_id: its name, the same wherever it is shown.
        about: what it is about.
        unit: people, percent or ratio.
        value: exactly as printed in the CSV; ``None`` if it is not shown.
        numerator: people above the line of a share.
        denominator: people below it.
        status: empty, ``[c]`` or ``[low]``.
    """

    figure_id: str
    about: About = field(repr=False)
    unit: Unit
    value: Decimal | None
    numerator: int | None = None
    denominator: int | None = None
    status: str = ""

    @property
    def text(self) -> str:
        """The figure as it stands in a table: ``1,234``, ``46.2%``, ``0.39``, ``[c]``."""
        if self.value is None:
            return self.status
        return f"{self.value:,}{'%' if self.unit == 'percent' else ''}"


def resolve(plans: Iterable[Plan], cells: Mapping[str, int], hidden: frozenset[str]) -> dict[str, Figure]:
    """Make the figures from the counts that may be shown.

    Args:
        plans: the figures to be; a ratio comes after the shares it is made of.
        cells: every shown count by key, and none of the hidden ones.
        hidden: keys of the hidden counts.

    Returns:
        Figures by id, in the order of the plans.
    """
    figures: dict[str, Figure] = {}
    for plan in plans:
        if plan.cell is not None:
            value = cells.get(plan.cell)
            figure = Figure(
                plan.figure_id,
                plan.about,
                "people",
                None if value is None else Decimal(value),
                status=HIDDEN if value is None else "",
            )
        elif plan.share is not None:
            figure = _share(plan, plan.share, cells, hidden)
        else:
            figure = _ratio(plan, figures)
        figures[plan.figure_id] = figure
    return figures


def _share(plan: Plan, share: Share, cells: Mapping[str, int], hidden: frozenset[str]) -> Figure:
    empty = Figure(plan.figure_id, plan.about, "percent", None, status=HIDDEN)
    numerator, denominator = cells.get(share.numerator), cells.get(share.denominator)
    if numerator is None or denominator is None or share.rest in hidden:
        return empty
    if denominator < FEWEST:
        return replace(empty, status=LOW)
    value = Decimal(percent_units(numerator, denominator, share.decimals)).scaleb(-share.decimals)
    return replace(empty, value=value, numerator=numerator, denominator=denominator, status="")


def _ratio(plan: Plan, figures: Mapping[str, Figure]) -> Figure:
    empty = Figure(plan.figure_id, plan.about, "ratio", None)
    above, below = (figures[key] for key in plan.ratio or ())
    for part in (above, below):
        if part.value is None:
            return replace(empty, status=part.status)
    if not (above.denominator and below.denominator and below.numerator):
        return replace(empty, status=LOW)
    units = percent_units((above.numerator or 0) * below.denominator, above.denominator * below.numerator, decimals=0)
    return replace(empty, value=Decimal(units).scaleb(-2))


COLUMNS = (
    "figure_id",
    "release_status",
    "indicator_id",
    "period_start",
    "period_end",
    "area_code",
    "area_name",
    "workforce_group",
    "rank_group",
    "ethnic_group",
    "ethnic_group_code",
    "sex",
    "dimension",
    "measure",
    "unit",
    "value",
    "numerator",
    "denominator",
    "obs_status",
    "is_provisional",
    "basis",
    "source_kind",
    "source",
    "statement",
    "build_id",
)


def to_csv(figures: Iterable[Figure], *, build_id: str, statement: str) -> str:
    """The figures as tidy CSV: one row each, in order, UTF-8, lines ending in LF.

    Args:
        figures: after protection.
        build_id: the build they were made from.
        statement: what is simulated and what is not, repeated on every row.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for figure in figures:
        about = figure.about
        writer.writerow(
            [
                figure.figure_id,
                "DRAFT",
                about.indicator_id,
                about.period_start,
                about.period_end,
                about.area_code,
                about.area_name,
                about.workforce_group,
                about.rank_group,
                about.ethnic_group,
                about.ethnic_group_code,
                about.sex,
                about.dimension,
                about.measure,
                figure.unit,
                "" if figure.value is None else figure.value,
                "" if figure.numerator is None else figure.numerator,
                "" if figure.denominator is None else figure.denominator,
                figure.status,
                "true" if about.provisional else "false",
                about.basis,
                about.source_kind,
                about.source,
                statement,
                build_id,
            ]
        )
    return out.getvalue()


def read_back(text: str) -> tuple[dict[str, int], frozenset[str]]:
    """What a reader of the CSV knows of people.

    Args:
        text: the CSV.

    Returns:
        The printed counts by figure id, and the ids of the hidden ones.
    """
    counts: dict[str, int] = {}
    hidden: set[str] = set()
    for row in csv.DictReader(io.StringIO(text)):
        if row["unit"] != "people":
            continue
        if row["obs_status"] == HIDDEN:
            hidden.add(row["figure_id"])
        else:
            counts[row["figure_id"]] = int(row["value"])
    return counts, frozenset(hidden)
