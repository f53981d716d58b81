"""Writing rows of history or quarantine anew: values changed, keys and hashes made as loading makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv

from peel.contracts import Contract
from peel.deliveries import store
from peel.deliveries.loading import row_key_and_hash
from peel.history.tables import indexes

Change = Callable[[pa.RecordBatch], tuple[pa.RecordBatch, int]]
"""From a batch of a contract's columns as text to what they become, and how many rows changed."""

_FIXED = {"history": ("known_from", "known_to", "delivery_id"), "quarantine": ("delivery_id", "_row")}


def rewrite(
    connection: psycopg.Connection,
    contract: Contract,
    change: Change,
    step: Literal["history", "quarantine"] = "history",
) -> int:
    """Change values of every row of a table, in the caller's transaction; how many rows changed.

    Row keys and row hashes follow the values. Versions of history that have become the same and follow one
    another become one.
    """
    names = [column.name for column in contract.columns]
    everything = [*_FIXED[step], *names]
    columns = ", ".join(f'"{name}" text' for name in everything)
    connection.execute(b"drop table if exists pg_temp.rewritten")
    connection.execute(f"create temporary table rewritten (row_key bytea, row_hash bytea, {columns})".encode())
    changed = 0
    whole = _out(connection, contract.relation(step), everything)
    with connection.cursor().copy(b"copy pg_temp.rewritten from stdin (format csv)") as into:
        for batch in _batches(whole, everything):
            values = pa.RecordBatch.from_arrays(batch.columns[-len(names) :], names=names)
            values, count = change(values)
            changed += count
            key, digest = row_key_and_hash(contract, dict(zip(names, values.columns, strict=True)))
            arrays = [key, digest, *batch.columns[: -len(names)], *values.columns]
            into.write(
                store.rows_as_csv(pa.RecordBatch.from_arrays(arrays, names=["row_key", "row_hash", *everything]))
            )
    if changed:
        (_put_history if step == "history" else _put_quarantine)(connection, contract)
    connection.execute(b"drop table pg_temp.rewritten")
    return changed


def _out(connection: psycopg.Connection, relation: str, names: list[str]) -> pa.Buffer | None:
    """A table's rows as compressed CSV, ``None`` where there are none: a connection copies one way at a time."""
    texts = ", ".join(f'"{name}"::text' for name in names)
    sink = pa.BufferOutputStream()
    packed = pa.CompressedOutputStream(sink, "zstd")
    some = False
    with connection.cursor().copy(f"copy (select {texts} from {relation}) to stdout (format csv)".encode()) as copy:
        for block in copy:
            packed.write(bytes(block))
            some = True
    packed.close()
    return sink.getvalue() if some else None


def _batches(data: pa.Buffer | None, names: list[str]) -> Iterator[pa.RecordBatch]:
    if data is not None:
        yield from pacsv.open_csv(
            pa.CompressedInputStream(pa.BufferReader(data), "zstd"),
            pacsv.ReadOptions(block_size=4 << 20, use_threads=False, column_names=names),
            pacsv.ParseOptions(newlines_in_values=True),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )


def _put_history(connection: psycopg.Connection, contract: Contract) -> None:
    history = contract.relation("history")
    for name in indexes(contract):
        connection.execute(f"drop index if exists {name}".encode())
    connection.execute(f"delete from {history}".encode())
    typed = ", ".join(f'(array_agg("{c.name}"::{c.type} order by since))[1]' for c in contract.columns)
    quoted = ", ".join(f'"{column.name}"' for column in contract.columns)
    connection.execute(
        f"""
        insert into {history} (row_key, row_hash, known_from, known_to, delivery_id, {quoted})
        with
        dated as (
            select *, known_from::date as since, known_to::date as until from pg_temp.rewritten
        ),
        marked as (
            select
                *,
                coalesce(lag(row_hash) over one = row_hash and lag(until) over one = since, false) as goes_on
            from dated
            window one as (partition by row_key order by since)
        ),
        numbered as (
            select *, count(*) filter (where not goes_on) over (partition by row_key order by since) as run from marked
        )
        select
            row_key,
            (array_agg(row_hash))[1],
            min(since),
            (array_agg(until order by since desc))[1],
            (array_agg(delivery_id order by since))[1],
            {typed}
        from numbered
        group by row_key, run""".encode()
    )
    for statement in indexes(contract).values():
        connection.execute(statement.encode())


def _put_quarantine(connection: psycopg.Connection, contract: Contract) -> None:
    values = ", ".join(f'"{column.name}" = r."{column.name}"' for column in contract.columns)
    connection.execute(
        f"update {contract.relation('quarantine')} q set row_key = r.row_key, {values} from pg_temp.rewritten r"
        f" where q.delivery_id = r.delivery_id and q._row = r._row::bigint".encode()
    )
