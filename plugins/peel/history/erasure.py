"""Erasure and objection: a person's rows leave history at once and every landed object after it.

First one transaction: tombstones, history and quarantine without the person, the request. From then on nothing
that is loaded from landing brings them back. Then each landed object is written anew without their rows; a kill
in between is made good by the next run, which needs nothing but the tombstones. Who the person was is nowhere
kept. Readers lose them with the next build, which the request makes due.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from peel.contracts import Contract, Feed, feeds
from peel.deliveries import decisions, ledger, store, tombstones
from peel.deliveries.inputs import gate_input
from peel.deliveries.pseudonyms import Keys, keys_in_force
from peel.errors import PeelError
from peel.history.rewrite import Change, rewrite
from peel.history.tables import ensure_tables
from peel.settings import Settings
from peel.warehouse import connect


@dataclass
class ErasureReport:
    """What a request came to; counts only.

    Attributes:
        request_id: of the request in ``audit.erasure``.
        identifiers: identifiers found to be the person's, by kind.
        versions: rows of history removed or blanked, by table.
        quarantined: quarantined rows removed, by table.
        objects: landed tables written anew.
        rows: rows removed from them.
        kept: rows of facts kept under no key.
    """

    request_id: int = 0
    identifiers: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    rows: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Request:
    """A request just before it is committed; nothing of it is kept.

    Attributes:
        request_id: of the request in ``audit.erasure``.
        kind: erasure or objection.
        person_keys: every key the warehouse may know the person by.
        has_objected: they have objected to what is of a special category, now or before.
    """

    request_id: int
    kind: tombstones.Kind
    person_keys: frozenset[str]
    has_objected: bool


def erase(
    settings: Settings,
    identifiers: Sequence[tuple[str, str]],
    signed: decisions.Signed,
    kind: tombstones.Kind = "erasure",
    before_commit: Callable[[Request], None] | None = None,
) -> ErasureReport:
    """Erase a person, or honour their objection.

    Args:
        settings: the installation.
        identifiers: what is known of the person, as (kind, raw identifier); others are found from them.
        signed: who asks and why; without anything that says who the person is.
        kind: erasure or objection.
        before_commit: called when history no longer holds the person and nobody sees it yet.

    Raises:
        PeelError: no identifier was given that identifies a person by itself, or it has not its form.
    """
    report = ErasureReport()
    with all_feeds_locked(settings) as (connection, all_feeds, keys):
        tokens = set()
        for of_kind, raw in identifiers:
            token = keys.landing_token(of_kind, raw) if of_kind in tombstones.STRONG else ""
            if not token:
                raise PeelError(
                    f"an identifier is none of {', '.join(tombstones.STRONG)}, or has not its form.",
                    rule="erasure",
                    do="Give one that identifies a person by itself.",
                )
            tokens.add((of_kind, token))
        if not tokens:
            raise PeelError("there is nobody to erase.", rule="erasure", do="Give at least one identifier.")
        tokens = _closure(settings, connection, all_feeds, tokens)
        row = connection.execute(
            "insert into audit.erasure (kind, who, reason) values (%s, %s, %s) returning request_id",
            (kind, signed.who.strip(), signed.reason.strip()),
        ).fetchone()
        assert row is not None
        report.request_id = row[0]
        tombstones.lay(connection, row[0], tokens, keys)
        for of_kind, _ in tokens:
            report.identifiers[of_kind] = report.identifiers.get(of_kind, 0) + 1
        for feed in all_feeds:
            decisions.record_erasure(connection, feed.name, signed)
            for contract in feed.contracts:
                _from_history(connection, feed, contract, tokens, keys, kind, report)
                drop_delivery_tables(connection, contract)
        if before_commit is not None:
            before_commit(_request(connection, row[0], kind, tokens, keys))
        if kind == "erasure":
            connection.execute(
                "delete from sensitive.crosswalk where token = any(%(mine)s) or first_token = any(%(mine)s)",
                {"mine": [token for _, token in tokens]},
            )
        connection.commit()
        for feed in all_feeds:
            _from_landing(settings, connection, feed, keys, row[0], report)
        _finish(connection, row[0])
    return report


def resume(settings: Settings) -> list[ErasureReport]:
    """Finish requests that were interrupted; nothing but their tombstones is needed.

    Gate and apply begin with it: a landed table that was written anew and not recorded is not the one they know.
    """
    reports: list[ErasureReport] = []
    with connect(settings, "ingest") as connection:
        row = connection.execute("select exists (select from audit.erasure where finished_at is null)").fetchone()
    if row != (True,):
        return reports
    with all_feeds_locked(settings) as (connection, all_feeds, keys):
        open_requests = connection.execute(
            "select request_id from audit.erasure where finished_at is null order by request_id"
        ).fetchall()
        for (request_id,) in open_requests:
            report = ErasureReport(request_id=request_id)
            for feed in all_feeds:
                _from_landing(settings, connection, feed, keys, request_id, report)
            _finish(connection, request_id)
            reports.append(report)
    return reports


class all_feeds_locked:  # noqa: N801 (used as a statement)
    """A connection that holds every feed's lock, the feeds and the keys: nothing lands meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = ExitStack()

    def __enter__(self) -> tuple[psycopg.Connection, list[Feed], Keys]:
        all_feeds = feeds(self._settings.contracts)
        connection = self._stack.enter_context(connect(self._settings, "ingest"))
        for feed in all_feeds:
            self._stack.enter_context(ledger.feed_lock(connection, feed.name))
            ensure_tables(connection, feed.contracts)
        return connection, all_feeds, keys_in_force(self._settings, connection)

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]


def _request(
    connection: psycopg.Connection, request_id: int, kind: tombstones.Kind, tokens: set[tuple[str, str]], keys: Keys
) -> Request:
    stones = {made.stone(*token) for token in tokens for made in (keys, keys.before) if made is not None}
    objected = connection.execute(
        "select 1 from audit.tombstone join audit.erasure using (request_id) where kind = 'objection'"
        " and stone = any(%s) limit 1",
        (sorted(stones),),
    ).fetchone()
    person_keys = {
        key for of_kind in ("person_id", "candidate_id") for key in _values(connection, tokens, of_kind, keys)
    }
    return Request(request_id, kind, frozenset(person_keys), objected is not None)


def _finish(connection: psycopg.Connection, request_id: int) -> None:
    connection.execute("update audit.erasure set finished_at = clock_timestamp() where request_id = %s", (request_id,))
    connection.commit()


def landed_objects(
    settings: Settings, connection: psycopg.Connection, feed: Feed
) -> Iterator[tuple[str, Contract, str, Path]]:
    """Every landed table of a feed that stands in the store: delivery, contract, sha256, path."""
    contracts = {contract.name: contract for contract in feed.contracts}
    for delivery_id, date, seq, table, sha256 in connection.execute(
        "select d.delivery_id, d.business_date, d.seq, t.table_name, t.landed_sha256 from audit.delivery d"
        " join audit.delivery_table t using (delivery_id) where d.feed = %s"
        " order by d.business_date desc, d.seq desc, d.delivery_id, t.table_name",
        (feed.name,),
    ).fetchall():
        path = store.folder(settings, feed.name, date, seq, delivery_id) / f"{table}{store.SUFFIX}"
        if table in contracts and path.is_file():
            yield delivery_id, contracts[table], sha256, path


def _closure(
    settings: Settings, connection: psycopg.Connection, all_feeds: list[Feed], tokens: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """The person's other identifiers, and the keys of their rows, found in what has landed."""
    found = set(tokens)
    crosswalk = ledger.crosswalk(connection)
    same: dict[str, set[str]] = {}
    for token, first in crosswalk.items():
        same.setdefault(first, {first}).add(token)
    while True:
        before = len(found)
        # A person has a token for each epoch of k_land they were delivered in.
        found |= {(kind, other) for kind, token in set(found) for other in same.get(crosswalk.get(token, token), ())}
        for feed in all_feeds:
            seen: set[tuple[str, str]] = set()
            for _, contract, sha256, path in landed_objects(settings, connection, feed):
                if (contract.name, sha256) in seen:
                    continue
                seen.add((contract.name, sha256))
                columns = tombstones.subjects(contract, feed)
                if columns:
                    _look(path, contract, columns, tombstones.keys_of(contract, feed), found)
        if len(found) == before:
            return found


def _look(
    path: Path, contract: Contract, columns: dict[str, str], keys: dict[str, str], found: set[tuple[str, str]]
) -> None:
    names = [*columns, *(name for name in keys if name not in columns)]
    with store.opened(path, names) as batches:
        for batch in batches:
            mine = None
            for place, (_, kind) in enumerate(columns.items()):
                tokens = pa.array([token for of_kind, token in found if of_kind == kind], pa.string())
                hit = pc.is_in(batch.column(place), tokens) if len(tokens) else None
                if hit is not None:
                    mine = hit if mine is None else pc.or_(mine, hit)
            if mine is None:
                continue
            rows = batch.filter(mine)
            for name, kind in {**keys, **columns}.items():
                for value in pc.unique(rows.column(names.index(name))).to_pylist():
                    if value:
                        found.add((kind, value))


def _from_history(
    connection: psycopg.Connection,
    feed: Feed,
    contract: Contract,
    tokens: set[tuple[str, str]],
    keys: Keys,
    kind: str,
    report: ErasureReport,
) -> None:
    columns = tombstones.subjects(contract, feed)
    special = {column.name: column.required for column in contract.columns if column.classification == "special"}
    others = {c.name: c.identifier for c in contract.columns if c.identifier in tombstones.STRONG and c.is_anothers}
    values = {name: _values(connection, tokens, of_kind, keys) for name, of_kind in columns.items()}
    values = {name: mine for name, mine in values.items() if mine}
    if values and (kind == "erasure" or any(special.values())):
        whose = " or ".join(f'"{name}"::text = any(%({name})s)' for name in values)
        relation = contract.relation("history")
        count = connection.execute(f"delete from {relation} where {whose}".encode(), values).rowcount
        report.versions[contract.name] = report.versions.get(contract.name, 0) + count
    elif values and special:
        report.versions[contract.name] = rewrite(connection, contract, _blanking(values, list(special)))
    if values and (kind == "erasure" or special):
        whose = " or ".join(f'"{name}" = any(%({name})s)' for name in values)
        hit = connection.execute(
            f"delete from {contract.relation('quarantine')} where {whose} returning delivery_id".encode(), values
        ).fetchall()
        if hit:
            report.quarantined[contract.name] = len(hit)
            # Whatever else a row of theirs was quarantined with may be fit without it.
            connection.execute(
                "update audit.delivery d set state = 'landed' where d.delivery_id = any(%s) and d.business_date >"
                " coalesce((select b.business_date from audit.baseline b where b.feed = d.feed), '-infinity')",
                (sorted({row[0] for row in hit}),),
            )
    named = {name: _values(connection, tokens, str(of_kind), keys) for name, of_kind in others.items()}
    named = {name: mine for name, mine in named.items() if mine}
    if named and kind == "erasure":
        for name, mine in named.items():
            report.versions[contract.name] = report.versions.get(contract.name, 0) + rewrite(
                connection, contract, _blanking({name: mine}, [name])
            )
            connection.execute(
                f'update {contract.relation("quarantine")} set "{name}" = null where "{name}" = any(%s)'.encode(),
                (mine,),
            )


def _values(connection: psycopg.Connection, tokens: set[tuple[str, str]], kind: str, keys: Keys) -> list[str]:
    """What history holds of a kind: person keys of identifiers, keys of rows as they are."""
    mine = sorted(token for of_kind, token in tokens if of_kind == kind)
    if kind not in tombstones.STRONG or not mine:
        return mine
    made: list[str] = keys.person_keys(ledger.crosswalk(connection))(pa.array(mine, pa.string())).to_pylist()
    return made


def _blanking(values: dict[str, list[str]], columns: list[str]) -> Change:
    def change(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        names = batch.schema.names
        mine = None
        for name, keys in values.items():
            hit = pc.fill_null(pc.is_in(batch.column(names.index(name)), pa.array(keys, pa.string())), False)
            mine = hit if mine is None else pc.or_(mine, hit)
        none = pa.scalar(None, pa.string())
        arrays = [
            pc.if_else(mine, none, array) if name in columns else array
            for name, array in zip(names, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=names), int(pc.sum(mine).as_py() or 0)

    return change


def _from_landing(
    settings: Settings, connection: psycopg.Connection, feed: Feed, keys: Keys, request_id: int, report: ErasureReport
) -> None:
    """Write every landed table anew that holds a row tombstones forbid."""
    _drop_unrecorded(settings, connection, feed)
    _from_crosswalks(settings, connection, feed, keys)
    made: dict[tuple[str, str], tuple[Path, int, str] | None] = {}
    for delivery_id, contract, sha256, path in list(landed_objects(settings, connection, feed)):
        stones = tombstones.stones(connection, feed, contract, keys)
        if (contract.name, sha256) not in made:
            made[contract.name, sha256] = _redact(path, contract, stones)
        result = made[contract.name, sha256]
        if result is None:
            continue
        source, removed, new_sha256 = result
        if source != path:
            store.relink(source, path)
        if new_sha256 == sha256:
            continue
        connection.execute(
            "insert into audit.redaction (request_id, delivery_id, table_name, old_sha256, new_sha256, rows_removed)"
            " values (%s, %s, %s, %s, %s, %s)",
            (request_id, delivery_id, contract.name, sha256, new_sha256, removed),
        )
        connection.execute(
            "update audit.delivery_table set landed_sha256 = %s where delivery_id = %s and table_name = %s",
            (new_sha256, delivery_id, contract.name),
        )
        _carry(connection, feed, delivery_id)
        connection.commit()
        report.objects += 1
        report.rows += removed


def _drop_unrecorded(settings: Settings, connection: psycopg.Connection, feed: Feed) -> None:
    """Remove folders that a landing which was killed left behind: nobody would ever look into them again."""
    rows = connection.execute("select delivery_id from audit.delivery where feed = %s", (feed.name,))
    known = {row[0] for row in rows}
    for folder in (settings.landing / feed.name).glob("*/*/*"):
        if folder.name not in known:
            shutil.rmtree(folder)


def _from_crosswalks(settings: Settings, connection: psycopg.Connection, feed: Feed, keys: Keys) -> None:
    """Take tokens of the erased out of the crosswalks that stand beside tables landed in an overlap."""
    laid = connection.execute(
        "select t.identifier_kind, t.stone from audit.tombstone t join audit.erasure e using (request_id)"
        " where e.kind = 'erasure'"
    ).fetchall()
    stones = {(kind, stone) for kind, stone in laid}
    for path in sorted((settings.landing / feed.name).glob(f"*/*/*/{store.CROSSWALK}{store.SUFFIX}")):
        with store.opened(path, store.CROSSWALK_HEADER) as batches:
            rows = [
                row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            ]
        left = [row for row in rows if (row[0], keys.stone(row[0], row[1])) not in stones]
        if len(left) < len(rows):
            arrays = [pa.array([row[place] for row in left], pa.string()) for place in range(3)]
            batch = pa.RecordBatch.from_arrays(arrays, names=store.CROSSWALK_HEADER)
            store.replace(path, store.CROSSWALK_HEADER, iter([batch]))


def _redact(path: Path, contract: Contract, stones: tombstones.Stones) -> tuple[Path, int, str] | None:
    """Write one landed table without what tombstones forbid; where it stands, rows removed, sha256 as it is now."""
    names = store.header(path)
    rows = 0
    changed = False
    with store.opened(path, names) as batches:
        for batch in batches:
            rows += batch.num_rows
            left = stones.removed_from(batch)
            changed = changed or not left.equals(batch)
    if not changed:
        sha256 = store.content_sha256(path)
        return path, 0, sha256
    with store.opened(path, names) as batches:
        left_rows, sha256 = store.replace(path, names, (stones.removed_from(batch) for batch in batches))
    return path, rows - left_rows, sha256


def _carry(connection: psycopg.Connection, feed: Feed, delivery_id: str) -> None:
    """What was found in a table holds for what is left of it: a row that broke nothing is missed by no rule."""
    mappings = decisions.mappings(connection, feed.name)
    rows = connection.execute(
        "select table_name, landed_sha256, contract_checksum, gate_input from audit.delivery_table"
        " where delivery_id = %s",
        (delivery_id,),
    ).fetchall()
    landed = {row[0]: row[1] for row in rows}
    contracts = {contract.name: contract for contract in feed.contracts}
    for table, _, checksum, old in rows:
        if old is None or table not in contracts:
            continue
        new = gate_input(contracts[table], checksum, landed, mappings)
        if new != old:
            connection.execute(
                "update audit.delivery_table set gate_input = %s where delivery_id = %s and table_name = %s",
                (new, delivery_id, table),
            )
            connection.execute(
                "update audit.applied set content = replace(content, %s, %s)"
                " where delivery_id = %s and table_name = %s",
                (old, new, delivery_id, table),
            )


def drop_delivery_tables(connection: psycopg.Connection, contract: Contract) -> None:
    """Drop every working copy of a contract's deliveries; the landing store can make them again."""
    schema, name = contract.relation("delivery").replace('"', "").split(".")
    for (relation,) in connection.execute(
        "select format('%%I.%%I', relnamespace::regnamespace, relname) from pg_class where relkind = 'r'"
        " and relnamespace = %s::regnamespace and relname ~ %s",
        (schema, f"^{name}__[0-9a-f]{{12}}$"),
    ).fetchall():
        connection.execute(f"drop table {relation} cascade".encode())
