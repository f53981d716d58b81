"""The data model of disclosure control: counts of people, the sums that join them, and what is shown.

Everything a reader can see of people is a set of **cells**, each a whole number of people, joined by
**sums** (a total and its parts) and by **shares** (a percentage rounded to some decimals). Cells that are
never printed but follow from printed ones (transferees = all joiners - joiners excluding transfers; officers
of a command without a borough = command - its boroughs) are cells too: a reader subtracts as well as we do.

``protect`` decides on a ``System`` which cells to hide. ``attack`` is given a ``Shown``, which holds no
hidden value, and finds what each hidden cell can still be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peel.errors import PeelError

SMALL = 9
"""The largest count that is hidden for being small: 1 to 9."""
WIDTH = 5
"""How far apart the least and the greatest possible value of a hidden count must be."""
FEWEST = 30
"""The smallest denominator of which a share is shown."""


class UnsafeError(PeelError):
    """Something would be given away; nothing is written."""


@dataclass(frozen=True)
class Cell:
    """One count of people.

    Args:
        key: its name, the same wherever the count appears.
        value: people, 0 or more.
        shown: whether it is printed when it is not hidden; ``False`` for what only follows from others.
        cost: what hiding it costs, above 0; the dearer, the later it is chosen.
        structural: a zero that tells nothing, because nobody at all is in its row.
        exact: never hidden, whatever its value (a census count, a margin already published).
    """

    key: str
    value: int
    shown: bool = True
    cost: float = 1.0
    structural: bool = False
    exact: bool = False

    @property
    def sensitive(self) -> bool:
        """Whether the count itself must not be known: 1 to 9, or a zero that could tell something."""
        if self.exact or self.value > SMALL:
            return False
        return self.value > 0 or not self.structural


@dataclass(frozen=True)
class Sum:
    """``total`` is the sum of ``parts``: true of every table the reader could imagine."""

    total: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """``numerator`` as a percentage of ``denominator``; ``rest`` is the people of one not in the other."""

    key: str
    numerator: str
    denominator: str
    rest: str
    decimals: int = 1


@dataclass(frozen=True)
class System:
    """Every cell with its true value, the sums and the shares.

    Raises:
        PeelError: a sum does not hold, a cell is negative or missing: the figures contradict each other.
    """

    cells: Mapping[str, Cell]
    sums: tuple[Sum, ...]
    shares: tuple[Share, ...] = ()

    def __post_init__(self) -> None:
        for cell in self.cells.values():
            if cell.value < 0:
                raise _contradiction("a count below zero", cell.key)
        for relation in self.relations():
            for key in (relation.total, *relation.parts):
                if key not in self.cells:
                    raise _contradiction("a sum over a count that does not exist", key)
            if self.cells[relation.total].value != sum(self.cells[part].value for part in relation.parts):
                raise _contradiction("parts that do not add up to their total", relation.total)

    def relations(self) -> tuple[Sum, ...]:
        """Every sum, those that the shares imply (numerator + rest = denominator) included."""
        implied = (Sum(share.denominator, (share.numerator, share.rest)) for share in self.shares)
        return tuple(dict.fromkeys((*self.sums, *implied)))

    def shown(self, hidden: frozenset[str]) -> Shown:
        """What a reader holds when these cells are hidden, with every share that may be shown."""
        values = {key: c.value for key, c in self.cells.items() if c.shown and key not in hidden}
        shares = tuple(
            ShownShare(s.numerator, s.denominator, percent_units(n, d, s.decimals), s.decimals)
            for s in self.shares
            if (n := values.get(s.numerator)) is not None
            and (d := values.get(s.denominator)) is not None
            and s.rest not in hidden
            and d >= FEWEST
        )
        return Shown(tuple(self.cells), values, self.relations(), shares)

    def unprinted(self) -> frozenset[str]:
        """Cells that are never printed and must not be worked out either."""
        return frozenset(key for key, cell in self.cells.items() if not cell.shown and cell.sensitive)


@dataclass(frozen=True)
class ShownShare:
    """A percentage as printed.

    Args:
        numerator: key of the cell above the line.
        denominator: key of the cell below it.
        units: the printed percentage in units of its last decimal: 46.2 is 462.
        decimals: how many decimals are printed.
    """

    numerator: str
    denominator: str
    units: int
    decimals: int = 1


@dataclass(frozen=True)
class Shown:
    """What a reader holds: names of all cells, the printed counts and shares, and how cells add up."""

    cells: tuple[str, ...]
    values: Mapping[str, int]
    sums: tuple[Sum, ...]
    shares: tuple[ShownShare, ...] = ()


def percent_units(numerator: int, denominator: int, decimals: int = 1) -> int:
    """A percentage rounded half up, exactly, in units of its last decimal: 462 for 46.2%.

    Args:
        numerator: people, 0 or more.
        denominator: people, above 0.
        decimals: decimals of the percentage.
    """
    scale: int = 100 * 10**decimals
    return (2 * scale * numerator + denominator) // (2 * denominator)


def _contradiction(what: str, key: str) -> PeelError:
    return PeelError(
        f"the warehouse's figures contradict each other: {what}.",
        column=key,
        rule="figures add up",
        do="Look at the build's gate results; the draft was not made.",
    )
