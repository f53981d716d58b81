"""From the landing store into a delivery table: all text, landing tokens turned into person keys."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from peel.contracts import Column, Contract
from peel.deliveries import store, tombstones
from peel.deliveries.behind import one_behind
from peel.deliveries.forms import form, spelled

_FEW = 2048  # rows whose texts are held at a time: they stay in the processor's cache
_PIECE = 1 << 18  # bytes given to the driver at a time


@dataclass(frozen=True)
class Loaded:
    """A delivery table as it was loaded.

    Attributes:
        rows: rows.
        sure: typed columns of which every value plainly has its type, so that nobody need ask again.
    """

    rows: int
    sure: frozenset[str]


def load_table(
    connection: psycopg.Connection,
    contract: Contract,
    path: Path,
    delivery_id: str,
    person_keys: Callable[[pa.StringArray], pa.StringArray],
    stones: tombstones.Stones,
    mappings: Mapping[str, Mapping[str, str]],
    mapped: Counter[str] | None = None,
) -> Loaded:
    """Make ``delivery.<table>__<delivery_id>`` from a landed table, in the caller's transaction.

    Args:
        connection: as ``peel_ingest``.
        contract: the table's contract.
        path: the landed table.
        delivery_id: 12 hex digits.
        person_keys: the second layer of pseudonym.
        stones: whose rows must not be taken in, whatever the object holds.
        mappings: codes that a person decided are to be read as others, by column.
        mapped: takes the number of values so read, by column.

    Returns:
        What was loaded. ``_row`` numbers the rows from 1 in the file's order.

    Raises:
        PeelError: the landed table is damaged.
    """
    recorded = connection.execute(
        "select landed_sha256 from audit.delivery_table where delivery_id = %s and table_name = %s",
        (delivery_id, contract.name),
    ).fetchone()
    relation = contract.relation("delivery", delivery_id)
    names = [column.name for column in contract.columns]
    columns = ", ".join(f'"{name}" text' for name in names)
    connection.execute(f"drop table if exists {relation} cascade".encode())
    # A working copy that the landing store can make again needs no write-ahead log.
    connection.execute(
        f"create unlogged table {relation} (_row bigint not null, row_key bytea, row_hash bytea not null,"
        f" {columns})".encode()
    )
    rows = 0
    sure = {column.name for column in contract.columns if not column.is_text}
    with (
        store.opened(path, [store.ROW, *names], recorded[0] if recorded else None) as batches,
        connection.cursor().copy(f"copy {relation} from stdin (format csv, freeze)".encode()) as copy,
        one_behind(lambda batch: _write(copy, _with_hashes(contract, *batch))) as send,
    ):
        for landed in batches:
            batch = stones.removed_from(landed)
            if mapped is not None:
                mapped.update(_mapped(batch, mappings))
            values = {
                column.name: person_keys(array) if column.identifier else _read_as(array, mappings.get(column.name))
                for column, array in zip(contract.columns, batch.columns[1:], strict=True)
            }
            spellings = _spellings(contract, values)
            sure -= {name for name, (anyhow, fit) in spellings.items() if fit.null_count > anyhow.null_count}
            send((batch.column(0), spellings, values))
            rows += batch.num_rows
    return Loaded(rows, frozenset(sure))


def _write(copy: psycopg.Copy, batch: pa.RecordBatch) -> None:
    """A batch in pieces: of a large one the driver would keep copies."""
    data = memoryview(store.rows_as_csv(batch))
    for start in range(0, len(data), _PIECE):
        copy.write(data[start : start + _PIECE])


def _with_hashes(
    contract: Contract, numbers: pa.StringArray, spellings: Spellings, values: Mapping[str, pa.StringArray]
) -> pa.RecordBatch:
    arrays = [numbers, _row_key(contract, spellings), _row_hash(spellings), *values.values()]
    return pa.RecordBatch.from_arrays(arrays, names=[store.ROW, "row_key", "row_hash", *values])


def _read_as(values: pa.StringArray, codes: Mapping[str, str] | None) -> pa.StringArray:
    for old, new in (codes or {}).items():
        values = pc.if_else(pc.equal(values, old), new, values)
    return values


def _mapped(batch: pa.RecordBatch, mappings: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """How many values are read as another code, by column."""
    codes = {column: pa.array(list(of_column), pa.string()) for column, of_column in mappings.items()}
    names = [name for name in codes if name in batch.schema.names]
    return {name: pc.sum(pc.is_in(batch.column(name), value_set=codes[name])).as_py() or 0 for name in names}


Spellings = dict[str, tuple[pa.StringArray, pa.StringArray]]


def row_key_and_hash(contract: Contract, values: Mapping[str, pa.StringArray]) -> tuple[pa.StringArray, pa.StringArray]:
    """The key and the hash of rows of text, as PostgreSQL writes them out or a source did."""
    spellings = _spellings(contract, values)
    return _row_key(contract, spellings), _row_hash(spellings)


def _spellings(contract: Contract, values: Mapping[str, pa.StringArray]) -> Spellings:
    return {column.name: spelled(_written(column), values[column.name]) for column in contract.columns}


def _row_hash(spellings: Spellings) -> pa.StringArray:
    """The hash of each row: name=value of its non-null columns in name order, 16 bytes.

    An empty new column changes no hash, so it opens no version.
    """
    return _hashed([(name, spellings[name][0]) for name in sorted(spellings)])


def _row_key(contract: Contract, spellings: Spellings) -> pa.StringArray:
    """The hash of each row's key, 16 bytes; null where any part of the key cannot be read."""
    parts = [(column.name, spellings[column.name][1]) for column in contract.key]
    made = _hashed(parts)
    for _, values in parts:
        if values.null_count:
            made = pc.if_else(values.is_valid(), made, None)
    return made


def _hashed(parts: list[tuple[str, pa.StringArray]]) -> pa.StringArray:
    """The first 16 bytes of the SHA-256 of each row's parts that are not null, as PostgreSQL writes bytes."""
    sha256 = hashlib.sha256
    rows = len(parts[0][1])
    digests = b"".join(
        [
            sha256(text).digest()[:16]
            for start in range(0, rows, _FEW)
            for text in _texts([(name, values.slice(start, _FEW)) for name, values in parts])
        ]
    )
    written = np.empty((rows, 34), np.uint8)
    written[:, :2] = (ord("\\"), ord("x"))
    written[:, 2:] = np.frombuffer(digests.hex().encode(), np.uint8).reshape(-1, 32)
    offsets = np.arange(0, written.size + 1, 34, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(written))


def _texts(parts: list[tuple[str, pa.StringArray]]) -> list[bytes]:
    """Each row's parts that are not null, as name=value, each after a unit separator: no landed value holds one."""
    pieces: list[str | pa.StringArray] = [""]  # of one array alone, Arrow would leave the nulls out
    for name, values in parts:
        label = f"\x1f{name}="
        pieces += [pc.binary_join_element_wise(label, values, "")] if values.null_count else [label, values]
    texts: list[bytes] = pc.binary_join_element_wise(*pieces, "", null_handling="skip").cast(pa.binary()).to_pylist()
    return texts


def gate_view(
    connection: psycopg.Connection,
    contract: Contract,
    delivery_id: str,
    relations: Mapping[str, str],
    sure: frozenset[str] = frozenset(),
) -> str:
    """Make the view the gate looks through: raw text, typed values, and a column for each row rule.

    ``typed_<column>`` is the value under its type, or null where it has none; ``_type_<column>`` is 1
    where there is text without a value; ``_<rule>`` is 1 where the rule is broken.

    Args:
        connection: as ``peel_ingest``.
        contract: the table's contract.
        delivery_id: 12 hex digits.
        relations: tables of the same delivery that rules may refer to, by name.
        sure: columns known to hold no text without a value.

    Returns:
        The view's schema-qualified name.
    """
    table = contract.relation("delivery", delivery_id)
    view = f'{table[:-1]}_gate"'
    typed = [column for column in contract.columns if not column.is_text]
    raw = "".join(f', t."{column.name}"' for column in contract.columns)
    values = typed_values(contract, "t", sure)
    casts = "".join(f', {values[column.name]} as "typed_{column.name}"' for column in typed)
    types = "".join(f', {_untyped(column, column.name in sure)} as "_type_{column.name}"' for column in typed)
    rules = "".join(
        f', case when {rule.unfit_sql(relations)} then 1 end as "_{rule.name}"'
        for rule in contract.rules
        if rule.unfit_when
    )
    connection.execute(f"drop view if exists {view}".encode())
    connection.execute(
        f"create view {view} as select s.*{types}{rules}"
        f" from (select t._row, t.row_key, t.row_hash{raw}{casts} from {table} t) s".encode()
    )
    grant = sql.SQL("grant select on {} to peel_gate")
    for relation in (table, view):
        connection.execute(grant.format(sql.SQL(relation)))
    return view


def typed_values(contract: Contract, alias: str, sure: frozenset[str] = frozenset()) -> dict[str, str]:
    """SQL of each column's value under its type, null where the text has none.

    Args:
        contract: the table's contract.
        alias: of the delivery table.
        sure: columns known to hold no text without a value.
    """
    return {column.name: _cast(column, f'{alias}."{column.name}"', column.name in sure) for column in contract.columns}


def _written(column: Column) -> str:
    """The type a column's text is written in: a local time names no zone."""
    return "timestamp" if column.local_time else column.type


def _cast(column: Column, value: str, is_sure: bool) -> str:
    if column.is_text:
        return value
    typed = f"{value}::{_written(column)}"
    if column.local_time:
        # An hour that comes twice is taken for its second coming; one that never comes is no value.
        zone = f"'{column.local_time}'"
        there = f"({typed} at time zone {zone})"
        typed = f"case when {there} at time zone {zone} = {typed} then {there} end"
    if is_sure:
        return typed
    plain = form(_written(column))
    fits = f"{value} ~ '^({plain})$' and " if plain else ""
    return f"case when {fits}pg_input_is_valid({value}, '{_written(column)}') then {typed} end"


def _untyped(column: Column, is_sure: bool) -> str:
    if is_sure and not column.local_time:
        return "null::integer"
    return f'case when "{column.name}" is not null and "typed_{column.name}" is null then 1 end'
