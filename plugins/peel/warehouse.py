"""The warehouse: connections by role, errors without values, and the schemas everything stands on.

A failed cast puts the value into PostgreSQL's message, ``DETAIL`` and ``CONTEXT``. So every
connection is made here, and every database error leaves here with its SQLSTATE and nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from urllib.parse import quote

import psycopg
from psycopg import conninfo, pq, sql

from peel import moments
from peel.errors import ConfigurationError, PeelError
from peel.secrets import secret
from peel.settings import Settings

# The driver logs errors that it does not raise in full, the server's CONTEXT with a row's text included.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

OWNER = "peel_owner"
ROLES = ("peel_ingest", "peel_gate", "peel_transform", "peel_publish", "peel_analyst", "peel_bi")
DATABASE = "peel"


def parameters(settings: Settings, role: str) -> dict[str, str]:
    """Connection parameters for a role.

    Args:
        settings: the installation.
        role: with or without the prefix ``peel_``, such as ``bi``.

    Returns:
        libpq keywords: host, port, dbname, user, password and what one's own DSN adds.

    Raises:
        ConfigurationError: the role is unknown, or the server has never been started.
    """
    user = role if role.startswith("peel_") else f"peel_{role}"
    if user not in (OWNER, *ROLES):
        known = ", ".join(name.removeprefix("peel_") for name in (OWNER, *ROLES))
        raise ConfigurationError(f"There is no role {role}.", do=f"Roles are {known}.")
    if settings.warehouse_dsn:
        try:
            base = {k: str(v) for k, v in conninfo.conninfo_to_dict(settings.warehouse_dsn).items()}
        except psycopg.Error:
            raise ConfigurationError("PEEL_WAREHOUSE_DSN is no PostgreSQL connection string.") from None
        if user != OWNER:
            base |= {"user": user, "password": secret(settings, user)}
        return base
    state = settings.var / "postgres" / "server.json"
    if not state.exists():
        raise ConfigurationError("PostgreSQL has not been started here.", do="Run `peel up` (or `make run`).")
    server = json.loads(state.read_text("utf-8"))
    return {
        "host": server["host"],
        "port": str(server["port"]),
        "dbname": DATABASE,
        "user": user,
        "password": secret(settings, user),
    }


def dsn(settings: Settings, role: str, driver: str = "postgresql") -> str:
    """A URL for a role, as BI tools, SQLAlchemy and psql take it; holds the password."""
    return url(parameters(settings, role), driver)


def url(p: dict[str, str], driver: str = "postgresql") -> str:
    """Connection parameters as a URL; holds the password."""
    credentials = f"{quote(p['user'], safe='')}:{quote(p.get('password', ''), safe='')}"
    extra = {k: v for k, v in p.items() if k not in ("user", "password", "host", "port", "dbname")}
    query = "?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in extra.items()) if extra else ""
    host = p.get("host", "localhost")
    return f"{driver}://{credentials}@{host}:{p.get('port', '5432')}/{p.get('dbname', DATABASE)}{query}"


class _Connection(psycopg.Connection):
    """A connection each of whose commits is a moment at which the process may be killed."""

    def commit(self) -> None:
        """Commit; where no transaction is open there is nothing to commit, and no moment either."""
        if self.info.transaction_status == pq.TransactionStatus.IDLE:
            super().commit()
            return
        name = f"commit as {self.info.user.removeprefix('peel_')}"
        moments.before(name)
        super().commit()
        moments.after(name)


@contextmanager
def connect(settings: Settings, role: str, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
    """Open a connection as a role; commit at the end, roll back on any error.

    Raises:
        PeelError: any database error, by SQLSTATE only.
    """
    with (
        value_free(role),
        _Connection.connect(
            **parameters(settings, role),  # type: ignore[arg-type]
            autocommit=autocommit,
            application_name=f"peel {role.removeprefix('peel_')}",
            options="-c timezone=UTC -c datestyle=ISO,YMD -c client_min_messages=error",
            connect_timeout=15,
        ) as connection,
    ):
        yield connection


@contextmanager
def value_free(what: str) -> Iterator[None]:
    """Re-raise database errors with SQLSTATE and relation names, never a message, detail or context."""
    try:
        yield
    except psycopg.Error as error:
        raise database_error(error, what) from None


def database_error(error: psycopg.Error, what: str) -> PeelError:
    """Turn a database error into one line without values."""
    diagnostic = error.diag
    where = [
        f"{label} {name}"
        for label, name in (
            ("schema", diagnostic.schema_name),
            ("table", diagnostic.table_name),
            ("column", diagnostic.column_name),
            ("constraint", diagnostic.constraint_name),
        )
        if name
    ]
    state = error.sqlstate or "connection"
    place = f" ({', '.join(where)})" if where else ""
    advice = {
        "connection": "Check that the server runs: `peel status`.",
        "28P01": "The role's password does not match; restore `var/secrets` or run `peel up`.",
        "53100": "The disk is full: free space and run the step again.",
        "57P01": "The server was stopped; run the step again.",
    }.get(state, "Nothing was changed; run the step again, or look up the SQLSTATE.")
    return PeelError(f"the database refused, SQLSTATE {state} {type(error).__name__}{place}, as {what}.", do=advice)


def bootstrap(settings: Settings) -> None:
    """Make roles, schemas and audit tables, or bring them up to date; safe to repeat.

    Raises:
        ConfigurationError: the administrator's connection may not create roles.
        PeelError: any database error.
    """
    script = files("peel").joinpath("warehouse.sql").read_text("utf-8")
    with connect(settings, OWNER) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('peel bootstrap'))")
        row = connection.execute("select current_setting('server_version_num')::int").fetchone()
        if row is None or row[0] < 180000:
            raise ConfigurationError("The warehouse needs PostgreSQL 18 or newer.")
        for role in ROLES:
            exists = connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone()
            # Only a superuser may alter a role's privileges, even to take away what it never had.
            verb = (
                "alter role {} login password {}"
                if exists
                else ("create role {} login nosuperuser nocreatedb nocreaterole password {}")
            )
            # The server is told a verifier: a password never travels in a statement.
            verifier = connection.pgconn.encrypt_password(
                secret(settings, role).encode(), role.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(sql.SQL(verb).format(sql.Identifier(role), sql.Literal(verifier)))
        connection.execute(script.encode("utf-8"))
