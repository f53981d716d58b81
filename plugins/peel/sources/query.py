"""A database as a source: one delivery for a business date, made by queries, all from one snapshot.

The manifest must name every file's sha256 and rows before a file is read, and nothing may be written to disk or
held in memory as a whole. So every table is read twice in one transaction that sees one state of the database: once
to hash and count, once to hand on. Rows come in a full order, so that both times give the same bytes.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import decimal
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa
from sqlalchemy import exc as sa_exc

from peel import london
from peel.contracts import Contract, Feed
from peel.feeds.manifest import MANIFEST, ManifestFile
from peel.sources import generated
from peel.sources.base import FileAbsent, Known, Offer, SourceUnavailable
from peel.sources.streams import BUFFER, Blocks

_ROWS = 2_000  # fetched at a time from a database without COPY
_ISOLATION = {"mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ", "mssql": "SNAPSHOT"}


@dataclass
class QuerySource:
    """Tables or views of a database, of the names and columns that the contracts declare.

    Attributes:
        url: a SQLAlchemy URL; any PostgreSQL URL is opened by psycopg.
        schema: the schema the tables are in, ``None`` for the user's own.
        watermark_column: in delta mode, the column that says when a row was last changed.
        lag: in delta mode, rows changed less than this long ago are left for the next delivery.
        zone: where a timestamp without offset was written down.
        isolation: the isolation level that gives one state of the database, where Peel does not know it.
        business_date: the date there is a delivery for.
    """

    url: str | sa.URL = field(repr=False)
    schema: str | None = None
    watermark_column: str = "last_modified_ts"
    lag: dt.timedelta = dt.timedelta(0)
    zone: str = "Europe/London"
    isolation: str | None = None
    business_date: Callable[[], dt.date] = field(default=london.yesterday, repr=False)
    _extract: _Extract | None = field(default=None, init=False, repr=False)

    def offers(self, feed: Feed, known: Known) -> Iterator[Offer]:
        """One delivery for the business date, unless there is one already.

        The database is read once here. The offer's files can be opened until the next call, or :meth:`close`.

        Raises:
            SourceUnavailable: the database refused, or has not the tables and columns of the contracts.
        """
        self.close()
        date = self.business_date()
        if date in known.dates:
            return
        self._extract = extract = _Extract(self, feed, date)
        try:
            offer = extract.offer(known)
        except BaseException:
            self.close()
            raise
        if offer.unchanged:
            self.close()
        yield offer

    def open(self, offer: Offer, file: str) -> BinaryIO:
        """The manifest, or a table as CSV; one at a time, read once more from the same snapshot."""
        if not isinstance(offer.handle, _Extract):
            raise FileAbsent(file)
        return offer.handle.open(file)

    def close(self) -> None:
        """Give the snapshot back."""
        if self._extract is not None:
            self._extract.close()
            self._extract = None


@dataclass(frozen=True)
class _Table:
    contract: Contract
    columns: tuple[sa.ColumnElement[Any], ...]
    order: tuple[sa.ColumnElement[Any], ...]
    watermark: sa.ColumnElement[Any] | None
    selectable: sa.TableClause

    def query(self, start: Any, end: Any) -> sa.Select[Any]:
        query = sa.select(*self.columns).select_from(self.selectable).order_by(*self.order)
        if self.watermark is None:
            return query
        due = self.watermark <= end
        if start is not None:
            due = sa.and_(self.watermark > start, due)
        # A row that does not say when it was changed would never be delivered: it is in every delivery.
        return query.where(sa.or_(due, self.watermark.is_(None)))


class _Extract:
    """One state of the database, held in one transaction, and what a delivery takes from it."""

    def __init__(self, source: QuerySource, feed: Feed, business_date: dt.date) -> None:
        self._source, self._feed, self._date = source, feed, business_date
        self._zone = ZoneInfo(source.zone)
        self._stack = contextlib.ExitStack()
        self._reading = False
        self._queries: dict[str, tuple[Contract, sa.Select[Any]]] = {}
        self._manifest = b""
        self._connection: sa.Connection | None = None

    def close(self) -> None:
        self._connection = None
        with contextlib.suppress(Exception):  # the snapshot is gone one way or another
            self._stack.close()

    def offer(self, known: Known) -> Offer:
        extract_ts = london.now()
        with self._faults():
            self._connect()
            tables = [self._table(contract) for contract in self._feed.contracts]
            start = end = None
            newer = True
            if self._feed.mode == "delta":
                start = known.watermark
                end, newer = self._watermark(tables, start, extract_ts)
            if not newer or (self._feed.mode == "delta" and end is None):
                return self._offer(generated.fingerprint([], start), unchanged=True)
            bounds = [self._typed(table, value) for table in tables for value in (start, end)]
            files = []
            for place, table in enumerate(tables):
                name = generated.file_name(table.contract.name, self._date)
                query = table.query(bounds[2 * place], bounds[2 * place + 1])
                self._queries[name] = (table.contract, query)
                with self._faults(table.contract):
                    files.append(self._measure(name, table.contract, query))
        self._manifest = generated.manifest(self._feed, self._date, extract_ts, files, (start, end))
        return self._offer(generated.fingerprint(files, end))

    def _offer(self, fingerprint: str, *, unchanged: bool = False) -> Offer:
        return Offer(
            name=f"{self._date}/{generated.SEQ}",
            business_date=self._date,
            seq=generated.SEQ,
            is_complete=True,
            fingerprint=fingerprint,
            unchanged=unchanged,
            handle=None if unchanged else self,
        )

    def open(self, file: str) -> BinaryIO:
        if file == MANIFEST and self._manifest:
            return io.BytesIO(self._manifest)
        if file not in self._queries:
            raise FileAbsent(file)
        contract, query = self._queries[file]
        if self._connection is None:
            raise self._unavailable("its snapshot was given back; the next look makes a new one.", contract)
        if self._reading:
            raise self._unavailable("another of its tables is still being read.", contract)
        self._reading = True

        def release() -> None:
            self._reading = False

        blocks = self._guarded(self._blocks(query, [0]), contract)
        return cast(BinaryIO, io.BufferedReader(Blocks(blocks, release), BUFFER))

    def _guarded(self, blocks: Iterator[bytes], contract: Contract) -> Iterator[bytes]:
        with self._faults(contract):
            try:
                yield from blocks
            finally:
                blocks.close()  # type: ignore[attr-defined]

    def _measure(self, name: str, contract: Contract, query: sa.Select[Any]) -> ManifestFile:
        digest, count = hashlib.sha256(), [0]
        for block in self._blocks(query, count):
            digest.update(block)
        return ManifestFile(name, contract.name, digest.hexdigest(), count[0])

    # The database ----------------------------------------------------------------------------------------------

    @property
    def _is_postgres(self) -> bool:
        return self._held.dialect.name == "postgresql"

    @property
    def _held(self) -> sa.Connection:
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        url = sa.make_url(self._source.url)
        name = url.get_backend_name()
        options: dict[str, Any] = {}
        arguments: dict[str, Any] = {}
        if name in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
            arguments = {"connect_timeout": 15, "application_name": "peel source"}
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        elif name != "sqlite":
            options = {"isolation_level": self._source.isolation or _ISOLATION.get(name, "SERIALIZABLE")}
        engine = sa.create_engine(
            url, poolclass=sa.pool.NullPool, hide_parameters=True, connect_args=arguments, execution_options=options
        )
        self._stack.callback(engine.dispose)
        connection = self._stack.enter_context(engine.connect())
        if name == "sqlite":
            connection.exec_driver_sql("begin")  # Python's driver begins with the first write only
        elif connection.dialect.name == "postgresql":
            for setting in (
                "timezone = 'UTC'",
                "datestyle = 'ISO, YMD'",
                "intervalstyle = 'iso_8601'",
                "client_encoding = 'UTF8'",
                "idle_in_transaction_session_timeout = 0",
            ):
                connection.exec_driver_sql(f"set local {setting}")
        self._connection = connection

    def _table(self, contract: Contract) -> _Table:
        inspector = sa.inspect(self._held)
        try:
            types = {
                column["name"]: column["type"]
                for column in inspector.get_columns(contract.name, schema=self._source.schema)
            }
        except sa_exc.NoSuchTableError:
            types = {}
        if not types:
            raise self._unavailable("the table is not there, or may not be read.", contract)
        keyed = [column.source for column in contract.key]
        wanted = list(dict.fromkeys(contract.read_from))
        watermark = self._source.watermark_column if contract.mode == "delta" else None
        for name in (*wanted, *([watermark] if watermark else [])):
            if name not in types:
                raise self._unavailable("the table has no such column.", contract, name)
        table = sa.table(
            contract.name, *(sa.column(name, type_) for name, type_ in types.items()), schema=self._source.schema
        )
        ordered = [*keyed, *(name for name in wanted if name not in keyed)]
        return _Table(
            contract=contract,
            columns=tuple(self._expression(table.c[name]).label(name) for name in wanted),
            order=tuple(self._sort(table.c[name]) for name in ordered if self._sortable(types[name])),
            watermark=table.c[watermark] if watermark else None,
            selectable=table,
        )

    def _expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """In PostgreSQL, the column so that COPY writes it as Peel documents it."""
        if self._is_postgres and isinstance(column.type, sa.DateTime) and not column.type.timezone:
            return sa.func.timezone(self._source.zone, column)
        if self._is_postgres and isinstance(column.type, sa.Boolean):
            return sa.cast(column, sa.Text)
        return column

    def _sort(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if self._is_postgres:
            return sa.cast(column, sa.Text).collate("C")
        if self._held.dialect.name == "sqlite":
            return sa.type_coerce(column, sa.String).collate("BINARY")
        return column

    def _sortable(self, type_: sa.types.TypeEngine[Any]) -> bool:
        return self._is_postgres or not isinstance(type_, sa.LargeBinary | sa.Text | sa.JSON)

    # Watermarks ------------------------------------------------------------------------------------------------

    def _watermark(self, tables: list[_Table], start: str | None, extract_ts: dt.datetime) -> tuple[str | None, bool]:
        """The newest change in any of the feed's tables, as exact text, and whether it is newer than the last."""
        columns = [table.watermark for table in tables if table.watermark is not None]
        if len({str(column.type) for column in columns}) > 1:
            raise self._unavailable(f"{self._source.watermark_column} is of different types in its tables.")
        newest = [
            self._before(sa.select(sa.func.max(column)).select_from(table.selectable), column, extract_ts)
            for table, column in zip(tables, columns, strict=True)
        ]
        if self._is_postgres:
            greatest = sa.func.greatest(*(query.scalar_subquery() for query in newest), type_=columns[0].type)
            newer = greatest > self._typed(tables[0], start) if start is not None else sa.literal(True)
            text, later = self._held.execute(sa.select(sa.cast(greatest, sa.Text), newer)).one()
            return text, bool(later)
        values = [value for value in (self._held.execute(query).scalar() for query in newest) if value is not None]
        if not values:
            return None, False
        latest = max(values)
        return _exact(latest), start is None or bool(latest > _parsed(start, type(latest)))

    def _before(self, query: sa.Select[Any], column: sa.ColumnElement[Any], now: dt.datetime) -> sa.Select[Any]:
        """Only rows changed before the lag, in delta mode with one."""
        if not self._source.lag:
            return query
        if not isinstance(column.type, sa.DateTime):
            raise self._unavailable(f"a lag needs {self._source.watermark_column} to be a timestamp.")
        limit: Any = now - self._source.lag
        if not column.type.timezone:
            limit = limit.astimezone(self._zone).replace(tzinfo=None)
        return query.where(column <= sa.literal(limit, column.type))

    def _typed(self, table: _Table, text: str | None) -> Any:
        """A watermark's text as a value of the table's column, to compare with."""
        if text is None or table.watermark is None:
            return None
        type_ = table.watermark.type
        if self._is_postgres:
            return sa.cast(sa.literal(text, sa.Text), type_)
        return sa.literal(_parsed(text, type_.python_type), type_)

    # Bytes -----------------------------------------------------------------------------------------------------

    def _blocks(self, query: sa.Select[Any], count: list[int]) -> Iterator[bytes]:
        return self._copied(query, count) if self._is_postgres else self._fetched(query, count)

    def _copied(self, query: sa.Select[Any], count: list[int]) -> Iterator[bytes]:
        compiled = query.compile(dialect=self._held.dialect)
        connection = cast("psycopg.Connection[Any]", self._held.connection.driver_connection)
        parameters = compiled.construct_params()
        statement = f"copy ({compiled}) to stdout (format csv, header)"
        # a savepoint, so that a table left half read does not end the snapshot
        with connection.transaction(force_rollback=True), connection.cursor() as cursor:
            held = bytearray()
            with cursor.copy(cast(Any, statement), parameters) as copy:
                for row in copy:
                    held += row
                    if len(held) >= BUFFER:
                        yield bytes(held)
                        held.clear()
            if held:
                yield bytes(held)
            count[0] = cursor.rowcount

    def _fetched(self, query: sa.Select[Any], count: list[int]) -> Iterator[bytes]:
        options = {"stream_results": True, "yield_per": _ROWS}
        with self._held.execute(query, execution_options=options) as result:
            text = io.StringIO()
            writer = csv.writer(text)  # CRLF, as RFC 4180 has it: so a lone CR or LF in a field is quoted
            writer.writerow(result.keys())
            for rows in result.partitions(_ROWS):
                writer.writerows([[self._text(value) for value in row] for row in rows])
                count[0] += len(rows)
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
            if text.tell():
                yield text.getvalue().encode()

    def _text(self, value: Any) -> str:
        if isinstance(value, dt.datetime):
            local = value if value.tzinfo else value.replace(tzinfo=self._zone)
            return local.astimezone(dt.UTC).isoformat()
        return "" if value is None else _plain(value)

    # Errors ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _faults(self, contract: Contract | None = None) -> Iterator[None]:
        """A driver's error by its type and SQLSTATE only: its text holds values, and the URL with its password."""
        try:
            yield
        except SourceUnavailable:
            raise
        except Exception as error:
            origin = error.orig if isinstance(error, sa_exc.DBAPIError) and error.orig else error
            state = getattr(origin, "sqlstate", None)
            named = f", SQLSTATE {state}" if isinstance(state, str) else ""
            what = f"the database refused ({type(origin).__name__}{named})."
            raise self._unavailable(what, contract) from None

    def _unavailable(self, what: str, contract: Contract | None = None, column: str | None = None) -> SourceUnavailable:
        table = f"table {contract.name}: " if contract else ""
        return SourceUnavailable(
            f"the source cannot be read: {table}{what}",
            feed=self._feed.name,
            column=column,
            do="Put the source or its connection right; the next look tries again.",
        )


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    return str(value)


def _exact(watermark: Any) -> str:
    return watermark.isoformat() if isinstance(watermark, dt.datetime) else _plain(watermark)


def _parsed(text: str, type_: Any) -> Any:
    if issubclass(type_, dt.date):
        return type_.fromisoformat(text)
    return type_(text)
