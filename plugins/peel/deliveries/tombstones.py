"""Tombstones: how landing knows whom it must never take in again, without keeping who they were.

A stone is HMAC-SHA-256(k_land, "tombstone" ‖ 0x1f ‖ kind ‖ 0x1f ‖ landing token): it recognises a person
who is delivered again and joins to nothing else. Kinds that identify a person by themselves count
(``person_id``, ``candidate_id``, ``ni_number``); a pay number is given to another one day, and a family
shares a telephone. Rows that name no person but belong to one, such as the stages of an application, are known
by the key they refer to.

An *erasure* removes the person's rows. An *objection* (Data Protection Act 2018, Schedule 1 paragraph 8(5))
removes what is of a special category: the value, or the row where the value is all it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from peel.contracts import Contract, Feed
from peel.deliveries.pseudonyms import Keys

Kind = Literal["erasure", "objection"]
STRONG = ("person_id", "candidate_id", "ni_number")
"""Kinds of identifier that identify a person by themselves."""


def subjects(contract: Contract, feed: Feed) -> dict[str, str]:
    """The columns by which a table's rows are known to be a person's, and the kind each is matched by.

    A strong identifier of the row's own person; else a reference to the key of a table that has one.
    """
    found = {c.name: c.identifier for c in contract.columns if c.identifier in STRONG and not c.is_anothers}
    strong = {name: kind for name, kind in found.items() if kind is not None}
    if strong:
        return strong
    tables = {other.name: other for other in feed.contracts if other.name != contract.name}
    return {
        column.name: column.references
        for column in contract.columns
        if column.references is not None
        and column.references.split(".")[0] in tables
        and subjects(tables[column.references.split(".")[0]], feed)
    }


def keys_of(contract: Contract, feed: Feed) -> dict[str, str]:
    """Columns of a table by whose values rows of other tables belong to the same person, and their kind."""
    wanted = {column.references for other in feed.contracts for column in other.columns if column.references}
    return {
        column.name: f"{contract.name}.{column.name}"
        for column in contract.columns
        if column.identifier is None and f"{contract.name}.{column.name}" in wanted
    }


@dataclass(frozen=True)
class Stones:
    """The tombstones that concern one table.

    Attributes:
        columns: kind by column.
        others: identifier columns that name another person than the row's, and their kind.
        special: columns of a special category, and whether each is required.
        laid: stones by request kind and identifier kind.
        stone: makes a stone from kind and token.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    special: Mapping[str, bool] = field(default_factory=dict)
    laid: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    stone: Callable[[str, str], str] | None = None
    stone_before: Callable[[str, str], str] | None = None

    def removed_from(self, batch: pa.RecordBatch, overlap: Mapping[str, str] | None = None) -> pa.RecordBatch:
        """A batch of landed rows without what tombstones forbid.

        Args:
            batch: landed rows.
            overlap: tokens of the epoch before, by token, while k_land changes.
        """
        if not self.laid:
            return batch
        before = overlap or {}
        erased = self._marked(batch, "erasure", before)
        objected = self._marked(batch, "objection", before)
        if objected is not None and self.special:
            if any(self.special.values()):
                erased = objected if erased is None else pc.or_(erased, objected)
            else:
                batch = _blanked(batch, list(self.special), objected)
        for column, kind in self.others.items():
            laid = self.laid.get(("erasure", kind), frozenset())
            if laid:
                batch = _blanked(batch, [column], self._matches(batch, column, kind, laid, before))
        return batch if erased is None else batch.filter(pc.invert(erased))

    def _marked(self, batch: pa.RecordBatch, request: str, before: Mapping[str, str]) -> pa.Array | None:
        marked = None
        for column, kind in self.columns.items():
            laid = self.laid.get((request, kind), frozenset())
            if laid:
                mine = self._matches(batch, column, kind, laid, before)
                marked = mine if marked is None else pc.or_(marked, mine)
        return marked

    def _matches(
        self, batch: pa.RecordBatch, column: str, kind: str, laid: frozenset[str], before: Mapping[str, str]
    ) -> pa.Array:
        different = batch.column(batch.schema.names.index(column)).dictionary_encode()
        hits = [bool(token) and self._is_laid(kind, token, laid, before) for token in different.dictionary.to_pylist()]
        return pc.fill_null(pa.array(hits, pa.bool_()).take(different.indices), False)

    def _is_laid(self, kind: str, token: str, laid: frozenset[str], before: Mapping[str, str]) -> bool:
        assert self.stone is not None
        if self.stone(kind, token) in laid:
            return True
        old = before.get(token, token)  # a key of another table is no token and does not change
        return self.stone_before is not None and self.stone_before(kind, old) in laid


def stones(connection: psycopg.Connection, feed: Feed, contract: Contract, keys: Keys) -> Stones:
    """The tombstones that concern a table's rows; none where nobody was ever erased or objected."""
    laid: dict[tuple[str, str], set[str]] = {}
    for request, kind, stone in connection.execute(
        "select e.kind, t.identifier_kind, t.stone from audit.tombstone t join audit.erasure e using (request_id)"
    ):
        laid.setdefault((request, kind), set()).add(stone)
    if not laid:
        return Stones()
    return Stones(
        columns=subjects(contract, feed),
        others={c.name: c.identifier for c in contract.columns if c.identifier in STRONG and c.is_anothers},
        special={c.name: c.required for c in contract.columns if c.classification == "special"},
        laid={key: frozenset(value) for key, value in laid.items()},
        stone=keys.stone,
        stone_before=keys.before.stone if keys.before else None,
    )


def lay(connection: psycopg.Connection, request_id: int, tokens: Iterable[tuple[str, str]], keys: Keys) -> None:
    """Lay the stones of a request, by (kind, token)."""
    for kind, token in sorted(set(tokens)):
        connection.execute(
            "insert into audit.tombstone (request_id, identifier_kind, stone, land_epoch) values (%s, %s, %s, %s)"
            " on conflict do nothing",
            (request_id, kind, keys.stone(kind, token), keys.land_epoch),
        )


def carry_over(connection: psycopg.Connection, keys: Keys, overlap: Mapping[str, str]) -> None:
    """Lay stones of the new epoch of k_land beside those of the one before, for everyone seen in the overlap."""
    before = keys.before
    if before is None:
        return
    laid = connection.execute("select request_id, identifier_kind, stone from audit.tombstone").fetchall()
    for request_id, kind, stone in laid:
        for new, old in overlap.items() if kind in STRONG else ():
            if before.stone(kind, old) == stone:
                lay(connection, request_id, [(kind, new)], keys)


def _blanked(batch: pa.RecordBatch, columns: list[str], where: pa.Array) -> pa.RecordBatch:
    names = batch.schema.names
    none = pa.scalar(None, pa.string())
    arrays = [
        pc.if_else(where, none, array) if name in columns else array
        for name, array in zip(names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=names)
