"""Changing the keys of the two layers of pseudonym, so that everyone stays joined to themselves.

k_wh: every person key in history and quarantine is made again from the landing tokens it came from, in one
transaction. Someone of whom no landing token is left (all they were lies before the baseline) keeps joins
among what is kept of them, under a key made from their old one.

k_land: a new key begins while the old one is still there. What lands in the overlap is landed under the new
one, and each token is noted beside the one the same person was first known by; person keys are made from that
first token, so nothing in the warehouse changes. When everyone who is still delivered has been seen, the
overlap is closed and the old key is gone; whoever was never seen in it stays as they are, and would be
somebody new if they came back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from peel.contracts import Contract, Feed
from peel.deliveries import decisions, ledger, pseudonyms, store
from peel.deliveries.pseudonyms import Keys
from peel.errors import PeelError
from peel.history.erasure import all_feeds_locked, drop_delivery_tables, landed_objects
from peel.history.rewrite import Change, rewrite
from peel.settings import Settings


@dataclass(frozen=True)
class Rotation:
    """What changing a key came to.

    Attributes:
        epoch: the new epoch.
        persons: tokens that new person keys were made from, or that are known in both epochs.
        left: keys in history of whom no token is left, or whom the overlap has not seen.
        rows: rows of history and quarantine written anew.
    """

    epoch: int
    persons: int
    left: int
    rows: int = 0


def rotate_warehouse_key(settings: Settings, signed: decisions.Signed) -> Rotation:
    """Give k_wh a new epoch and make every person key again.

    Raises:
        ConfigurationError: the keys are injected.
    """
    with all_feeds_locked(settings) as (connection, all_feeds, keys):
        document = pseudonyms.with_new_epoch(pseudonyms.document_of(settings), "warehouse", overlap=False)
        newest = max(document["warehouse"], key=lambda entry: entry["epoch"])
        new = Keys(keys.land, bytes.fromhex(newest["key"]), keys.land_epoch, newest["epoch"], keys.land_before)
        pseudonyms.write_keys(settings, document, pseudonyms.NEXT)
        crosswalk = ledger.crosswalk(connection)
        tokens = _tokens(settings, connection, all_feeds)
        became = dict(
            zip(
                keys.person_keys(crosswalk)(tokens).to_pylist(),
                new.person_keys(crosswalk)(tokens).to_pylist(),
                strict=True,
            )
        )
        left: set[str] = set()
        rows = 0
        for feed in all_feeds:
            decisions.record_rotation(connection, "k_wh", keys.warehouse_epoch, new.warehouse_epoch, signed, feed.name)
            for contract in feed.contracts:
                if any(column.identifier for column in contract.columns):
                    change = _changing(contract, became, new, left)
                    rows += rewrite(connection, contract, change) + rewrite(connection, contract, change, "quarantine")
                drop_delivery_tables(connection, contract)
        connection.execute(
            "insert into audit.key_epoch (key_name, epoch, fingerprint) values ('warehouse', %s, %s)",
            (new.warehouse_epoch, new.fingerprint("warehouse")),
        )
        connection.commit()
        pseudonyms.settle(settings, connection)
    return Rotation(new.warehouse_epoch, len(tokens), len(left), rows)


def begin_landing_key(settings: Settings, signed: decisions.Signed) -> Rotation:
    """Give k_land a new epoch that overlaps with the one in force; on record before the keys are written.

    Raises:
        ConfigurationError: the keys are injected.
        PeelError: an overlap is open already.
    """
    with all_feeds_locked(settings) as (connection, all_feeds, keys):
        if keys.land_before is not None:
            raise PeelError("k_land is changing already.", rule="rotation", do="Close that overlap first.")
        document = pseudonyms.with_new_epoch(pseudonyms.document_of(settings), "land", overlap=True)
        decisions.record_rotation(connection, "k_land", None, keys.land_epoch + 1, signed)
        connection.commit()
        pseudonyms.write_keys(settings, document)
        return Rotation(keys.land_epoch + 1, 0, len(_keys_in_history(connection, all_feeds)))


def overlap(settings: Settings) -> Rotation:
    """How far an open overlap has come.

    Raises:
        PeelError: no overlap is open.
    """
    with all_feeds_locked(settings) as (connection, all_feeds, keys):
        return _overlap(connection, all_feeds, keys)


def close_landing_key(settings: Settings, signed: decisions.Signed) -> Rotation:
    """Forget the epoch of k_land before; whoever the overlap has not seen can never be joined to again.

    It is on record before the key is gone.

    Raises:
        ConfigurationError: the keys are injected.
        PeelError: no overlap is open, or nothing has landed in it.
    """
    with all_feeds_locked(settings) as (connection, all_feeds, keys):
        found = _overlap(connection, all_feeds, keys)
        if not found.persons:
            raise PeelError("nothing has landed in the overlap yet.", rule="rotation", do="Wait for a full delivery.")
        document = pseudonyms.without_old_epochs(pseudonyms.document_of(settings), "land")
        decisions.record_rotation(connection, "k_land", keys.land_epoch - 1, keys.land_epoch, signed)
        connection.commit()
        pseudonyms.write_keys(settings, document)
    return found


def _overlap(connection: psycopg.Connection, all_feeds: list[Feed], keys: Keys) -> Rotation:
    if keys.land_before is None:
        raise PeelError("k_land is not changing.", rule="rotation")
    crosswalk = ledger.crosswalk(connection)
    seen = keys.person_keys(crosswalk)(pa.array(sorted(crosswalk), pa.string())).to_pylist()
    left = _keys_in_history(connection, all_feeds) - set(seen)
    return Rotation(keys.land_epoch, len(crosswalk), len(left))


def _keys_in_history(connection: psycopg.Connection, all_feeds: list[Feed]) -> set[str]:
    found: set[str] = set()
    for feed in all_feeds:
        for contract in feed.contracts:
            for column in contract.columns:
                if column.identifier is not None:
                    rows = connection.execute(
                        f'select distinct "{column.name}" from {contract.relation("history")}'
                        f' where known_to is null and "{column.name}" is not null'.encode()
                    )
                    found |= {row[0] for row in rows}
    return found


def _tokens(settings: Settings, connection: psycopg.Connection, all_feeds: list[Feed]) -> pa.StringArray:
    """Every landing token in the landing store."""
    found: set[str] = set()
    for feed in all_feeds:
        seen: set[tuple[str, str]] = set()
        for _, contract, sha256, path in landed_objects(settings, connection, feed):
            names = [column.name for column in contract.columns if column.identifier]
            if not names or (contract.name, sha256) in seen:
                continue
            seen.add((contract.name, sha256))
            with store.opened(path, names) as batches:
                for batch in batches:
                    for column in batch.columns:
                        found.update(pc.unique(column).to_pylist())
    found.discard(None)
    return pa.array(sorted(found), pa.string())


def _changing(contract: Contract, became: Mapping[str, str], new: Keys, left: set[str]) -> Change:
    """Replace person keys; one that no token is left of is made from the old one."""
    names = [column.name for column in contract.columns if column.identifier]
    chained = new.person_keys()

    def fresh(old: str | None) -> str | None:
        if old is None:
            return None
        made = became.get(old)
        if made is None:
            left.add(old)
            made = chained(pa.array([old], pa.string()))[0].as_py()
        return made

    def change(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        arrays = []
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            if name in names:
                different = array.dictionary_encode()
                made = pa.array([fresh(old) for old in different.dictionary.to_pylist()], pa.string())
                array = made.take(different.indices)
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), batch.num_rows

    return change
