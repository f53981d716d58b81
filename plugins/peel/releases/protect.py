"""Cell suppression: which counts to hide so that no small one can be worked out.

**Primary.** A count from 1 to 9 is hidden, and a zero like it unless nobody at all is in its row. If what is
left of a share's denominator is such a count, the share's numerator is hidden too (98 of 100 tells of the
two). Counts that are never printed but follow by subtraction are held to the same rule.

**Secondary.** A hidden count is worked out from a total and the other parts, so others are hidden with it:
for every hidden count two tables of whole, non-negative numbers must exist that agree with everything shown
and differ in it by at least ``WIDTH``. The cheapest cells that make room for one count are found by a
mixed-integer program (two flows of people along the sums, a price for each cell they pass; Fischetti and
Salazar's model for one cell with a sliding protection level). Cells hidden for it need room themselves and
join the queue. Tables found on the way are kept: a table that agrees with what is shown still does when more is
hidden, so it serves every later count. At the end each secondary cell is shown again if the others keep their
room without it.

Shares never help the reader: one is shown only if its numerator, its denominator and the rest are.
Systems that share no sum are solved apart.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from peel.releases.cells import WIDTH, Cell, System, UnsafeError

_FLOW = 4 * WIDTH
"""The most by which one table may differ from the truth in a cell: enough room, and a tight program."""
_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Protection:
    """What is hidden, and why.

    Args:
        primary: hidden for what it is.
        secondary: hidden so that the primary (and each other) cannot be worked out.
    """

    primary: frozenset[str]
    secondary: frozenset[str]

    @property
    def hidden(self) -> frozenset[str]:
        """Every cell that is printed as [c]."""
        return self.primary | self.secondary


def protect(system: System, width: int = WIDTH) -> Protection:
    """Choose the cells to hide.

    Args:
        system: every cell, sum and share that readers see or can work out.
        width: how far apart the least and the greatest possible value of each must be.

    Returns:
        The primary and the secondary cells; the same for the same system.

    Raises:
        UnsafeError: no choice is safe, because of cells that may not be hidden.
    """
    primary = _primary(system)
    must = primary | system.unprinted()
    secondary: set[str] = set()
    for keys in _components(system):
        if must & keys:
            component = _Component(system, sorted(keys), must & keys, width)
            secondary |= component.solve() - primary
    return Protection(primary, frozenset(secondary))


def _primary(system: System) -> frozenset[str]:
    cells = system.cells
    hidden = {key for key, cell in cells.items() if cell.shown and cell.sensitive}
    for share in system.shares:
        numerator = cells[share.numerator]
        if cells[share.rest].sensitive and numerator.shown and not numerator.exact:
            hidden.add(share.numerator)
    return frozenset(hidden)


def _components(system: System) -> list[set[str]]:
    group = {key: {key} for key in system.cells}
    for relation in system.relations():
        merged = group[relation.total]
        for part in relation.parts:
            other = group[part]
            if other is not merged:
                small, merged = sorted((merged, other), key=len)
                merged |= small
                for key in small:
                    group[key] = merged
    return list({id(keys): keys for keys in group.values()}.values())


@dataclass(frozen=True)
class _Room:
    """Cells to hide, and tables that a reader could then imagine."""

    hidden: list[int]
    tables: list[_Integers]


class _Component:
    """One system of cells that hang together, being protected."""

    def __init__(self, system: System, keys: list[str], must: frozenset[str] | set[str], width: int) -> None:
        self.keys = keys
        self.width = width
        self.cells: list[Cell] = [system.cells[key] for key in keys]
        place = {key: number for number, key in enumerate(keys)}
        self.truth: _Integers = np.array([cell.value for cell in self.cells], dtype=np.int64)
        self.cost = np.array([cell.cost for cell in self.cells])
        relations = [relation for relation in system.relations() if relation.total in place]
        matrix = sparse.lil_array((len(relations), len(keys)))
        for row, relation in enumerate(relations):
            matrix[row, place[relation.total]] = -1
            for part in relation.parts:
                matrix[row, place[part]] += 1
        self.matrix = matrix.tocsr()
        # a structural zero is printed, as a zero that everybody knows
        self.fixed = np.array([c.exact or (c.shown and c.structural and c.value == 0) for c in self.cells])
        self.unknown = np.array([not cell.shown or cell.key in must for cell in self.cells])
        self.targets = deque(sorted(place[key] for key in must))
        self.tables: list[_Integers] = [self.truth]
        self.primary = self.unknown.copy()

    def solve(self) -> set[str]:
        """Hide until every target has room; return the keys of the printed cells that are hidden."""
        asked = list(self.targets)
        while self.targets:
            target = self.targets.popleft()
            if not self._has_room(target, self.tables):
                for cell in self._make_room(target):
                    self.unknown[cell] = True
                    self.targets.append(cell)
                    asked.append(cell)
        self._show_again(asked)
        return {c.key for c, unknown in zip(self.cells, self.unknown, strict=True) if unknown and c.shown}

    def _has_room(self, target: int, tables: list[_Integers]) -> bool:
        values = [table[target] for table in tables]
        return bool(max(values) - min(values) >= self.width)

    def _make_room(self, target: int) -> list[int]:
        """Find the cheapest cells to hide besides, so that the target has room; keep the tables that show it."""
        as_it_is = self._room_as_it_is(target)
        if as_it_is is not None:
            self.tables += as_it_is
            return []
        movable = np.flatnonzero(~self.fixed)
        found = [self._shift(target, change, movable) for change in (self.width, -self.width)]
        possible = [shift for shift in found if shift is not None] or [self._spread(target)]
        best = min(possible, key=lambda shift: float(self.cost[shift.hidden].sum()))
        self.tables += best.tables
        return best.hidden

    def _shift(self, target: int, change: int, open_cells: _Integers) -> _Room | None:
        """The cheapest way to a table that differs from the truth by ``change`` in the target.

        Args:
            target: the cell that needs room.
            change: people, the width or its negative.
            open_cells: the cells that may move, in ascending order.

        A flow of people along the sums, up in some cells and down in others; each printed cell it passes has its
        price, and a little besides for every person moved, so that tables touch few cells. No cell moves by more
        than the width, which keeps the program tight; ``None`` where that is too little.
        """
        reach = self.width
        priced = open_cells[~self.unknown[open_cells]]
        cells, prices = len(open_cells), len(priced)
        sums = sparse.csr_array(self.matrix[:, open_cells])
        up = np.full(cells, reach)
        down = np.minimum(self.truth[open_cells], reach)
        at = np.searchsorted(open_cells, priced)
        pick = sparse.csr_array((np.ones(prices), (np.arange(prices), at)), shape=(prices, cells))
        price_up, price_down = (_diagonal(-limit[at]) for limit in (up, down))
        blocks = [[sums, -sums, None], [pick, None, price_up], [None, pick, price_down]]
        lowest, highest = np.zeros(2 * cells + prices), np.concatenate([up, down, np.ones(prices)])
        place = int(np.searchsorted(open_cells, target))
        forced, barred = (place, cells + place) if change > 0 else (cells + place, place)
        if highest[forced] < abs(change):
            return None  # fewer people than that are in it
        lowest[forced] = highest[forced] = abs(change)
        highest[barred] = 0
        little = 1e-4 * float(self.cost.min())
        result = milp(
            np.concatenate([np.full(2 * cells, little), self.cost[priced]]),
            integrality=np.concatenate([np.zeros(2 * cells, dtype=int), np.ones(prices, dtype=int)]),
            bounds=Bounds(lowest, highest),
            constraints=LinearConstraint(
                sparse.block_array(blocks, format="csr"),
                np.concatenate([np.zeros(sums.shape[0]), np.full(2 * prices, -np.inf)]),
                np.zeros(sums.shape[0] + 2 * prices),
            ),
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            return None
        table = self.truth.copy()
        table[open_cells] += np.rint(result.x[:cells] - result.x[cells : 2 * cells]).astype(np.int64)
        hidden = [int(cell) for cell in priced[result.x[2 * cells :] > 0.5]]
        return _Room(hidden, [table]) if self._agree([table], hidden) else None

    def _spread(self, target: int) -> _Room:
        """Hide whatever is needed, by the cells that two tables far apart in the target touch.

        For the few counts that cannot move far enough one way from the truth.

        Raises:
            UnsafeError: no two such tables exist, because of cells that may not be hidden.
        """
        open_cells = np.flatnonzero(~self.fixed)
        tables = self._two_tables(target, open_cells)
        if tables is None:
            raise UnsafeError(
                "a count cannot be protected: too much around it may not be hidden.",
                column=self.keys[target],
                rule="protection",
                do="Show less beside it.",
            )
        touched = np.any([table != self.truth for table in tables], axis=0)
        return _Room([int(cell) for cell in np.flatnonzero(touched & ~self.unknown)], tables)

    def _agree(self, tables: list[_Integers], added: list[int]) -> bool:
        """Whether the tables, rounded to whole people, are tables the reader could imagine."""
        hidden = self.unknown.copy()
        hidden[added] = True
        return all(
            bool(np.all(table >= 0))
            and bool(np.all(table[~hidden] == self.truth[~hidden]))
            and not np.any(self.matrix @ table)
            for table in tables
        )

    def _show_again(self, asked: list[int]) -> None:
        """Show each secondary cell again, the dearest first, if the others keep their room."""
        secondary = [cell for cell in asked if not self.primary[cell]]
        for cell in sorted(secondary, key=lambda number: (-self.cost[number], self.keys[number])):
            kept = [table for table in self.tables if table[cell] == self.truth[cell]]
            lost = [t for t in asked if self.unknown[t] and t != cell and not self._has_room(t, kept)]
            self.unknown[cell] = False
            for target in lost:
                if not self._has_room(target, kept):
                    more = self._room_as_it_is(target)
                    if more is None:
                        self.unknown[cell] = True
                        break
                    kept += more
            else:
                self.tables = kept

    def _room_as_it_is(self, target: int) -> list[_Integers] | None:
        """Tables that show the target's room with nothing more hidden, or ``None``."""
        movable = np.flatnonzero(self.unknown & ~self.fixed)
        for change in (self.width, -self.width):
            found = self._shift(target, change, movable)
            if found is not None:
                return found.tables
        return self._two_tables(target, movable)

    def _two_tables(self, target: int, open_cells: _Integers) -> list[_Integers] | None:
        """The tables that have most and least in the target while only these cells move, if far enough apart."""
        tables = []
        for sign in (1, -1):
            objective = np.zeros(len(open_cells))
            objective[np.searchsorted(open_cells, target)] = sign
            result = milp(
                objective,
                integrality=np.ones(len(open_cells), dtype=int),
                bounds=Bounds(-np.minimum(self.truth[open_cells], _FLOW), _FLOW),
                constraints=LinearConstraint(self.matrix[:, open_cells], 0, 0),
                options={"mip_rel_gap": 0.0},
            )
            if result.x is None:
                return None
            table = self.truth.copy()
            table[open_cells] += np.rint(result.x).astype(np.int64)
            tables.append(table)
        moved = [int(cell) for cell in open_cells]
        return tables if self._agree(tables, moved) and self._has_room(target, tables) else None


def _diagonal(values: _Integers) -> sparse.csr_array:
    places = np.arange(len(values))
    return sparse.csr_array((values.astype(float), (places, places)), shape=(len(values), len(values)))
