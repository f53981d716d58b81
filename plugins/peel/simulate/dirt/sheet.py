"""A feed's extracted tables while dirt is planted in them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from peel.simulate.days import EPOCH, date_of
from peel.simulate.dirt.catalogue import CATALOGUE, KEYS, Rates
from peel.simulate.dirt.ledger import Entry
from peel.simulate.draws import MILLION, scatter_below
from peel.simulate.text import Table
from peel.simulate.world import World

END_OF_TIME = "4712-12-31"


class Sheet:
    """Tables, what was planted in them, and which of their rows are taken.

    A row that one kind of dirt has touched is left alone by all that come after it, so that a row's fate has one
    cause. Rows are added at the end of a table, so no other row moves for it.

    Attributes:
        world: the force.
        since, day: days of the previous delivery and of this one.
    """

    def __init__(self, world: World, tables: dict[str, Table], since: int, day: int, rates: Rates) -> None:
        self.world, self.since, self.day = world, since, day
        self._rates = rates
        self._tables = {
            name: {column: list(cells) for column, cells in table.items()} for name, table in tables.items()
        }
        self._extracted = {name: len(next(iter(table.values()))) for name, table in tables.items()}
        self._taken: set[tuple[str, int]] = set()
        self._dropped: dict[str, set[int]] = {name: set() for name in tables}
        self._planted: list[tuple[str, str, int, str, str, str]] = []
        self._groups: dict[tuple[str, str], dict[str, list[int]]] = {}

    def __getitem__(self, table: str) -> Table:
        """A table's columns: what is assigned into them stays."""
        return self._tables[table]

    def key(self, table: str, row: int) -> str:
        """A row's key, as delivered."""
        return "|".join(self._tables[table][column][row] for column in KEYS[table])

    def rows(self, table: str) -> list[int]:
        """The extracted rows that no dirt has touched."""
        return [row for row in range(self._extracted[table]) if self.is_free(table, row)]

    def is_free(self, table: str, row: int) -> bool:
        """Whether no dirt has touched a row."""
        return (table, row) not in self._taken

    def groups(self, table: str, column: str) -> dict[str, list[int]]:
        """The extracted rows of a table by a column's value, touched or not, in their order."""
        if (table, column) not in self._groups:
            found: dict[str, list[int]] = {}
            for row, value in enumerate(self._tables[table][column][: self._extracted[table]]):
                found.setdefault(value, []).append(row)
            self._groups[table, column] = found
        return self._groups[table, column]

    def befalls(self, name: str, keys: Sequence[str]) -> list[bool]:
        """For each key whether a kind of dirt befalls it: by seed, kind, key and rate only."""
        digests = [int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) for key in keys]
        drawn = scatter_below(self.world.seed, f"dirt {name}", np.array(digests, dtype=np.uint64), MILLION)
        return [bool(one) for one in (drawn < self._rates[name]).tolist()]

    def chosen(self, name: str, table: str, rows: Iterable[int], column: str | None = None) -> list[int]:
        """Those of the rows that a kind of dirt befalls, by their keys, or by one column of them."""
        candidates = list(rows)
        of = self._tables[table][column] if column else None
        keys = [self.key(table, row) if of is None else of[row] for row in candidates]
        return [row for row, hit in zip(candidates, self.befalls(name, keys), strict=True) if hit]

    def chosen_keys(self, name: str, keys: Iterable[str]) -> list[str]:
        """Those of the keys that a kind of dirt befalls."""
        candidates = list(keys)
        return [key for key, hit in zip(candidates, self.befalls(name, candidates), strict=True) if hit]

    def take(self, table: str, row: int) -> None:
        """Keep other dirt from a row."""
        self._taken.add((table, row))

    def plant(
        self, name: str, table: str, row: int, *, also: str = "", expected: str | None = None, **cells: str
    ) -> None:
        """Change cells of a row and write it down.

        Args:
            name: the kind of dirt.
            table: the table.
            row: the row.
            also: labels of further rules that it breaks.
            expected: what is to become of it, where that is not what the catalogue says.
            cells: the new values by column; none for a row that is as it should be.
        """
        self.change(table, row, **cells)
        self._planted.append((name, table, row, self.key(table, row), expected or CATALOGUE[name].expected, also))

    def change(self, table: str, row: int, **cells: str) -> None:
        """Change cells of a row without writing it down: a consequence."""
        for column, value in cells.items():
            self._tables[table][column][row] = value
        self.take(table, row)

    def copy(self, table: str, row: int, **cells: str) -> int:
        """Add a row like another but for some cells; its place."""
        columns = self._tables[table]
        return self.add(table, {column: columns[column][row] for column in columns} | cells)

    def add(self, table: str, cells: dict[str, str]) -> int:
        """Add a row; its place."""
        columns = self._tables[table]
        for column, values in columns.items():
            values.append(cells[column])
        row = len(next(iter(columns.values()))) - 1
        self.take(table, row)
        return row

    def drop(self, table: str, row: int, name: str | None = None) -> None:
        """Keep a row out of the file; written down as one that is not there where a kind is named."""
        if name is not None:
            self._planted.append((name, table, row, self.key(table, row), CATALOGUE[name].expected, ""))
        self.take(table, row)
        self._dropped[table].add(row)

    def tables(self) -> dict[str, Table]:
        """The tables with what was planted."""
        found: dict[str, Table] = {}
        for name, table in self._tables.items():
            gone = self._dropped[name]
            found[name] = {
                column: [cell for row, cell in enumerate(cells) if row not in gone] if gone else cells
                for column, cells in table.items()
            }
        return found

    def entries(self) -> list[Entry]:
        """What was planted, in the order of the files."""
        places: dict[str, dict[int, int]] = {}
        for name, table in self._tables.items():
            kept = (row for row in range(len(next(iter(table.values())))) if row not in self._dropped[name])
            places[name] = {row: place for place, row in enumerate(kept, 1)}
        order = {name: place for place, name in enumerate(self._tables)}
        entries = [
            (
                (order[table], row),
                Entry(
                    dirt=name,
                    feed=CATALOGUE[name].feed,
                    business_date=date_of(self.day).isoformat(),
                    table=table,
                    key_columns="|".join(KEYS[table]),
                    key=key,
                    row=str(places[table].get(row, "")),
                    expected=expected,
                    rule=CATALOGUE[name].rule if row in places[table] else "",
                    also=also,
                ),
            )
            for name, table, row, key, expected, also in self._planted
        ]
        return [entry for _, entry in sorted(entries, key=lambda pair: (pair[0], pair[1].dirt))]


def day_in(text: str) -> int:
    """The day number of an ISO date, or of a timestamp's date."""
    return dt.date.fromisoformat(text[:10]).toordinal() - EPOCH


def later(text: str, days: int) -> str:
    """An ISO date or timestamp some days later, the end of time left as it is."""
    if text[:10] == END_OF_TIME:
        return text
    return date_of(day_in(text) + days).isoformat() + text[10:]


def number_of(name: str, key: str) -> str:
    """An identifier in the form of a version 4 UUID that follows from a kind of dirt and a key."""
    digits = hashlib.blake2b(f"{name} {key}".encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
