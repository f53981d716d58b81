"""From the landing store into a delivery table: all text, landing tokens turned into person keys."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from peel.contracts import Contract
from peel.deliveries.pseudonyms import Keys, remembering
from peel.errors import PeelError

_CHUNK = 5_000


def load_table(connection: psycopg.Connection, contract: Contract, path: Path, delivery_id: str, keys: Keys) -> int:
    """Make ``delivery.<table>__<delivery_id>`` from a landed file, in the caller's transaction.

    Args:
        connection: as ``peel_ingest``.
        contract: the table's contract.
        path: the landed ``<table>.csv.gz``.
        delivery_id: 12 hex digits.
        keys: for the second layer of pseudonym.

    Returns:
        Rows loaded; ``_row`` numbers them from 1 in the file's order.

    Raises:
        PeelError: the landed file is damaged.
    """
    relation = contract.relation("delivery", delivery_id)
    columns = ", ".join(f'"{column.name}" text' for column in contract.columns)
    connection.execute(f"drop table if exists {relation} cascade".encode())
    connection.execute(f"create table {relation} (_row bigint primary key, {columns})".encode())
    copy_sql = f"copy {relation} from stdin with (format csv)".encode()
    person_key = remembering(keys.person_key)
    convert: list[tuple[int, Callable[[str], str]]] = [
        (place, person_key) for place, column in enumerate(contract.columns) if column.identifier
    ]
    rows = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="") as packed,
            connection.cursor().copy(copy_sql) as copy,
        ):
            reader = csv.reader(packed, strict=True)
            if next(reader, None) != [column.name for column in contract.columns]:
                raise PeelError("the landed file's header is not the contract's.", rule="landing_header")
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator="\n")
            for rows, row in enumerate(reader, start=1):
                for place, function in convert:
                    row[place] = function(row[place])
                writer.writerow((rows, *row))
                if rows % _CHUNK == 0:
                    copy.write(buffer.getvalue())
                    buffer.seek(0)
                    buffer.truncate()
            copy.write(buffer.getvalue())
    except (OSError, EOFError, csv.Error, UnicodeDecodeError) as error:
        raise PeelError(
            f"the landed file cannot be read ({type(error).__name__}).",
            feed=contract.feed,
            delivery=delivery_id,
            file=path.name,
            rule="landing_intact",
            do="Remove the delivery's landing folder and its source folder's record, and land it again.",
        ) from None
    connection.execute(f"analyze {relation}".encode())
    return rows


def gate_view(
    connection: psycopg.Connection, contract: Contract, delivery_id: str, relations: Mapping[str, str]
) -> str:
    """Make the view the gate looks through: raw text, typed values, and a column for each row rule.

    ``typed_<column>`` is the value under its type, or null where it has none; ``_type_<column>`` is 1
    where there is text without a value; ``_<rule>`` is 1 where the rule is broken.

    Args:
        connection: as ``peel_ingest``.
        contract: the table's contract.
        delivery_id: 12 hex digits.
        relations: the delivery's tables, by contract, all of them loaded: rules may look at each other's.

    Returns:
        The view's schema-qualified name.
    """
    table = contract.relation("delivery", delivery_id)
    view = f'{table[:-1]}_gate"'
    typed = [column for column in contract.columns if not column.is_text]
    raw = "".join(f', t."{column.name}"' for column in contract.columns)
    casts = "".join(
        f', case when pg_input_is_valid(t."{c.name}", \'{c.type}\') then t."{c.name}"::{c.type} end as "typed_{c.name}"'
        for c in typed
    )
    types = "".join(
        f', case when "{c.name}" is not null and "typed_{c.name}" is null then 1 end as "_type_{c.name}"' for c in typed
    )
    rules = "".join(
        f', case when {rule.unfit_sql(relations)} then 1 end as "_{rule.name}"'
        for rule in contract.rules
        if rule.unfit_when
    )
    connection.execute(f"drop view if exists {view}".encode())
    connection.execute(
        f"create view {view} as select s.*{types}{rules} from (select t._row{raw}{casts} from {table} t) s".encode()
    )
    grant = sql.SQL("grant select on {} to peel_gate")
    for relation in (table, view):
        connection.execute(grant.format(sql.SQL(relation)))
    return view
