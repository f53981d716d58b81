"""The attack: what a reader can still work out about each hidden count.

The attacker knows everything that is shown, that counts of people are whole and not negative, and how the
counts add up. For each target two integer programs (HiGHS) find the least and the greatest value that some
table in agreement with all of that gives it. Both tables are checked here in whole numbers, so a range that is
reported wide enough is wide enough whatever the solver's tolerances.

Nothing here is shared with ``protect`` but the data model: a mistake there is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from peel.releases.cells import WIDTH, Shown, UnsafeError

CEILING = 1_000_000
"""No count of police or applicants is larger; stands for "no upper limit" in a range."""


@dataclass(frozen=True)
class Range:
    """The least and the greatest number of people a count can be, both attained."""

    low: int
    high: int

    @property
    def width(self) -> int:
        """Greatest less least."""
        return self.high - self.low


@dataclass(frozen=True)
class _Row:
    """``low <= sum(factor * cell) <= high`` over cells whose value is not shown."""

    factors: dict[int, int]
    low: int | None
    high: int | None

    def holds(self, table: Mapping[int, int]) -> bool:
        total = sum(factor * table[cell] for cell, factor in self.factors.items())
        return (self.low is None or self.low <= total) and (self.high is None or total <= self.high)


def attack(shown: Shown, targets: Iterable[str]) -> dict[str, Range]:
    """Find what each target can still be.

    Args:
        shown: what the reader holds.
        targets: keys of the counts attacked; a shown one has the range of its one value.

    Returns:
        A range for each target, in people.

    Raises:
        UnsafeError: what is shown contradicts itself, or a table the solver gave did not stand the check.
    """
    index = {key: number for number, key in enumerate(shown.cells)}
    known = {index[key]: value for key, value in shown.values.items()}
    groups = _groups(len(index), _rows(shown, index, known))
    ranges: dict[str, Range] = {}
    for key in targets:
        cell = index[key]
        if cell in known:
            ranges[key] = Range(known[cell], known[cell])
        else:
            group = groups[cell]
            ranges[key] = Range(group.extreme(cell, lowest=True), group.extreme(cell, lowest=False))
    return ranges


def narrow(ranges: dict[str, Range], width: int = WIDTH) -> list[str]:
    """Keys whose range is narrower than ``width``."""
    return sorted(key for key, found in ranges.items() if found.width < width)


def _rows(shown: Shown, index: dict[str, int], known: dict[int, int]) -> list[_Row]:
    equations: list[tuple[dict[int, int], int | None, int | None]] = []
    for relation in shown.sums:
        factors: dict[int, int] = {index[relation.total]: -1}
        for part in relation.parts:
            factors[index[part]] = factors.get(index[part], 0) + 1
        equations.append((factors, 0, 0))
    for share in shown.shares:
        numerator, denominator = index[share.numerator], index[share.denominator]
        scale, units = 2 * 100 * 10**share.decimals, 2 * share.units
        equations.append(({numerator: scale, denominator: -(units - 1)}, 0, None))
        equations.append(({numerator: scale, denominator: -(units + 1)}, None, -1))
    rows = []
    for factors, low, high in equations:
        constant = sum(factor * known[cell] for cell, factor in factors.items() if cell in known)
        unknown = {cell: factor for cell, factor in factors.items() if cell not in known and factor}
        row = _Row(
            unknown,
            None if low is None else low - constant,
            None if high is None else high - constant,
        )
        if unknown:
            rows.append(row)
        elif not row.holds({}):
            raise UnsafeError("what is shown contradicts itself.", rule="attack")
    return rows


class _Group:
    """Hidden cells that hang together, and what is known of them."""

    def __init__(self, cells: list[int], rows: list[_Row]) -> None:
        self.cells = cells
        self.rows = rows
        self.tables: list[dict[int, int]] = []
        self.place = {cell: number for number, cell in enumerate(cells)}
        entries = [
            (number, self.place[cell], factor)
            for number, row in enumerate(rows)
            for cell, factor in row.factors.items()
        ]
        down, across, factors = zip(*entries, strict=True) if entries else ((), (), ())
        matrix = csr_array((np.array(factors, dtype=float), (down, across)), shape=(len(rows), len(cells)))
        lowest = [-np.inf if row.low is None else row.low for row in rows]
        highest = [np.inf if row.high is None else row.high for row in rows]
        self.constraints = LinearConstraint(matrix, lowest, highest)

    def extreme(self, cell: int, *, lowest: bool) -> int:
        """The least or the greatest value of a cell in any table."""
        limit = 0 if lowest else CEILING
        if not self.rows or any(table[cell] == limit for table in self.tables):
            return limit  # no table can go further
        objective = np.zeros(len(self.cells))
        objective[self.place[cell]] = 1 if lowest else -1
        # The least over all tables, fractions of people included, is the answer if its table is whole.
        for whole in (0, 1):
            result = milp(
                objective,
                integrality=np.full(len(self.cells), whole),
                bounds=Bounds(0, CEILING),
                constraints=self.constraints,
                options={"mip_rel_gap": 0.0},
            )
            if result.x is None:
                raise UnsafeError("no table agrees with what is shown.", rule="attack")
            rounded = np.rint(result.x)
            table = dict(zip(self.cells, (int(value) for value in rounded), strict=True))
            near = bool(np.all(np.abs(result.x - rounded) < 1e-6))
            if near and min(table.values()) >= 0 and all(row.holds(table) for row in self.rows):
                self.tables.append(table)
                return table[cell]
        raise UnsafeError("the solver's table does not agree with what is shown.", rule="attack")


def _groups(cells: int, rows: list[_Row]) -> dict[int, _Group]:
    """For every cell, the group it belongs to."""
    pairs = [(next(iter(row.factors)), cell) for row in rows for cell in row.factors]
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    graph = csr_array((np.ones(len(pairs)), (left, right)), shape=(cells, cells))
    labels = connected_components(graph, directed=False)[1].tolist()
    members: dict[int, list[int]] = {}
    for cell, label in enumerate(labels):
        members.setdefault(label, []).append(cell)
    known: dict[int, list[_Row]] = {label: [] for label in members}
    for row in rows:
        known[labels[next(iter(row.factors))]].append(row)
    groups = {label: _Group(members[label], known[label]) for label in members}
    return {cell: groups[label] for cell, label in enumerate(labels)}
