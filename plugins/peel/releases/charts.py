"""Where the marks of the page's charts go; the templates draw them as inline SVG.

Horizontal places are percentages of the chart's width, so that text keeps its size on a phone. Every mark has
its figure written beside it: nothing is told by colour alone. A hidden figure has no mark, only its ``[c]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from peel.releases.figures import Figure

_LINE = 25
_BAR = 18
_PAIR = 54


@dataclass(frozen=True)
class Bar:
    """One bar.

    Args:
        name: of what it is; not written where the colours have a key, unless there is no bar to see.
        figure: how long it is, in per cent.
        css: its class.
        y: where its upper edge is, in pixels.
        length: per cent of the chart's width.
        inside: whether the figure stands inside its end, out of the way of a line across the chart.
        keyed: whether its colour has a key.
    """

    name: str
    figure: Figure
    css: str
    y: int
    length: str
    inside: bool
    keyed: bool

    @property
    def label(self) -> str:
        """What is written at its end."""
        if self.keyed and self.figure.value is not None:
            return self.figure.text
        return f"{self.name} {self.figure.text}".strip()


@dataclass(frozen=True)
class Block:
    """A heading and the bars under it."""

    name: str
    y: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class BarChart:
    """Blocks of bars, perhaps with one line across them all."""

    blocks: tuple[Block, ...]
    height: int
    mark: str | None = None
    mark_label: str = ""
    top: int = 0


def bars(
    blocks: Sequence[tuple[str, Sequence[tuple[str, str, Figure]]]],
    *,
    full: int,
    mark: Decimal | None = None,
    mark_label: str = "",
) -> BarChart:
    """Lay out horizontal bars.

    Args:
        blocks: for each its heading and its bars as (name, css class, figure in per cent).
        full: the percentage that would fill the chart's width.
        mark: a percentage to draw a line at.
        mark_label: what the line is.
    """
    top = 30 if mark is not None else 0
    y, made = top, []
    for name, rows in blocks:
        heading = y + 17
        y += _LINE
        drawn = []
        for bar_name, css, figure in rows:
            value = figure.value or Decimal(0)
            inside = mark is not None and value * 100 / full > 16
            drawn.append(Bar(bar_name, figure, css, y, _place(value, full), inside, mark is not None))
            y += _BAR + 5
        made.append(Block(name, heading, tuple(drawn)))
        y += 14
    return BarChart(tuple(made), y, None if mark is None else _place(mark, full), mark_label, top)


@dataclass(frozen=True)
class Pair:
    """Two figures of one place on one line; ``left`` and ``right`` are where the smaller and the larger stand."""

    name: str
    officers: Figure
    residents: Figure
    y: int
    officers_at: str | None
    residents_at: str | None

    @property
    def officers_first(self) -> bool:
        """Whether the officers' figure stands to the left."""
        return (self.officers.value or Decimal(0)) <= (self.residents.value or Decimal(0))


@dataclass(frozen=True)
class PairChart:
    """One line for each place."""

    pairs: tuple[Pair, ...]
    height: int


def pairs(rows: Sequence[tuple[str, Figure, Figure]], *, full: int) -> PairChart:
    """Lay out (name, officers' figure, residents' figure) as two marks joined by a line."""
    made = [
        Pair(name, officers, residents, _PAIR * number, _at(officers, full), _at(residents, full))
        for number, (name, officers, residents) in enumerate(rows)
    ]
    return PairChart(tuple(made), _PAIR * len(rows))


# Row and column of each area's tile: equal squares, roughly where the boroughs lie.
TILES: Mapping[str, tuple[int, int, str, tuple[str, ...]]] = {
    "E09000010": (0, 3, "ENF", ("Enfield",)),
    "E09000003": (1, 2, "BNT", ("Barnet",)),
    "E09000014": (1, 3, "HGY", ("Haringey",)),
    "E09000031": (1, 4, "WFO", ("Waltham", "Forest")),
    "E09000015": (2, 0, "HRW", ("Harrow",)),
    "E09000005": (2, 1, "BRE", ("Brent",)),
    "E09000007": (2, 2, "CMD", ("Camden",)),
    "E09000019": (2, 3, "ISL", ("Islington",)),
    "E09000012": (2, 4, "HCK", ("Hackney",)),
    "E09000026": (2, 5, "RDB", ("Redbridge",)),
    "E09000016": (2, 6, "HAV", ("Havering",)),
    "E09000017": (3, 0, "HIL", ("Hillingdon",)),
    "E09000009": (3, 1, "EAL", ("Ealing",)),
    "E09000020": (3, 2, "KEN", ("Kensington", "& Chelsea")),
    "E09000033": (3, 3, "WST", ("Westminster",)),
    "E09000030": (3, 4, "TOW", ("Tower", "Hamlets")),
    "E09000025": (3, 5, "NWM", ("Newham",)),
    "E09000002": (3, 6, "BAR", ("Barking &", "Dagenham")),
    "E09000018": (4, 0, "HNS", ("Hounslow",)),
    "E09000013": (4, 1, "HMF", ("Hammersmith", "& Fulham")),
    "E09000032": (4, 2, "WNS", ("Wandsworth",)),
    "E09000001": (4, 3, "CTY", ("City of", "London")),
    "E09000011": (4, 4, "GRN", ("Greenwich",)),
    "E09000004": (4, 5, "BXL", ("Bexley",)),
    "E09000027": (5, 1, "RCH", ("Richmond", "upon Thames")),
    "E09000024": (5, 2, "MRT", ("Merton",)),
    "E09000022": (5, 3, "LAM", ("Lambeth",)),
    "E09000028": (5, 4, "SWK", ("Southwark",)),
    "E09000023": (5, 5, "LEW", ("Lewisham",)),
    "E09000021": (6, 1, "KNG", ("Kingston", "upon Thames")),
    "E09000029": (6, 2, "STN", ("Sutton",)),
    "E09000008": (6, 3, "CRD", ("Croydon",)),
    "E09000006": (6, 4, "BRM", ("Bromley",)),
}

DARK, WHITE = "#0b0c0c", "#ffffff"
SHADES: tuple[tuple[int, str, str], ...] = (
    (25, "#eaf2f6", DARK),
    (35, "#c5dce8", DARK),
    (45, "#94c0d8", DARK),
    (55, "#5f9fc6", DARK),
    (65, "#245f8f", WHITE),
    (101, "#0d3558", WHITE),
)
"""Up to which percentage (exclusive) a tile has which colour, and its text which."""


@dataclass(frozen=True)
class Tile:
    """One area's square."""

    code: str
    name: str
    lines: tuple[str, ...]
    short: str
    figure: Figure
    row: int
    column: int
    fill: str
    ink: str


def tiles(areas: Sequence[tuple[str, str, Figure]]) -> tuple[Tile, ...]:
    """Colour and place (code, name, share of residents) of each area, from north-west to south-east."""
    made = []
    for code, name, figure in areas:
        if code in TILES:
            row, column, short, lines = TILES[code]
            _, fill, ink = next(shade for shade in SHADES if (figure.value or 0) < shade[0])
            made.append(Tile(code, name, lines, short, figure, row, column, fill, ink))
    return tuple(sorted(made, key=lambda tile: (tile.row, tile.column)))


def legend() -> list[tuple[str, str, str]]:
    """(label, fill, ink) of each shade."""
    labels, start = [], 0
    for end, fill, ink in SHADES:
        label = f"{start}.0% to {end - 1}.9%"
        if not start or end > 100:
            label = f"under {end}%" if not start else f"{start}% and over"
        labels.append((label, fill, ink))
        start = end
    return labels


def _at(figure: Figure, full: int) -> str | None:
    return None if figure.value is None else _place(figure.value, full)


def _place(percent: Decimal, full: int) -> str:
    return f"{percent * 100 / full:.2f}%"
