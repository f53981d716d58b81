"""Who may read ``core``: named persons, each approved by somebody until a day; and who read what of it.

A grant is a login of one person with the rights of ``peel_analyst``. Its password is shown once and kept nowhere; the
server is told a verifier. Whatever an analyst reads of a table of ``core`` leaves a line in the server's log with the
person and the table, and nothing of the statement or of what was read: see ``core.read_is_logged``.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from peel.errors import ConfigurationError, PeelError
from peel.london import LONDON, now
from peel.settings import Settings
from peel.warehouse import OWNER, connect

Rows = list[dict[str, Any]]

_LOGIN = re.compile(r"[a-z][a-z0-9_]{1,39}")
_RESERVED = ("peel_", "pg_")
# What continues a message is indented, and analysts may not make code: nobody else writes such a line.
_READ = re.compile(r"([\d-]{10}) [\d:.]+ UTC \[\d+\] LOG:  peel core read: role=([a-z0-9_]+) table=core\.([a-z0-9_]+)")


def grant(settings: Settings, login: str, approver: str, until: dt.date) -> str:
    """Let a person read ``core`` under a login of their own, or extend their grant; their password.

    Args:
        settings: the installation.
        login: the person's login: small letters, digits and underscores.
        approver: who approves it, shown in the audit.
        until: the last day in London on which they may log in.

    Raises:
        ConfigurationError: the name cannot be a login, or the day has passed.
        PeelError: a role of that name exists that no grant made.
    """
    if not _LOGIN.fullmatch(login) or login.startswith(_RESERVED):
        raise ConfigurationError(
            "This cannot be a login.", do="Use 2 to 40 small letters, digits and underscores; not peel_ or pg_ first."
        )
    if not approver.strip():
        raise ConfigurationError("A grant names who approves it.", do="Give --approver.")
    if until < now().date():
        raise ConfigurationError("The last day of a grant has passed.", do="Give a later --until.")
    password = secrets.token_urlsafe(32)
    ends = dt.datetime.combine(until + dt.timedelta(days=1), dt.time(), LONDON)
    with connect(settings, OWNER) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('peel grants'))")
        exists = connection.execute("select 1 from pg_roles where rolname = %s", (login,)).fetchone()
        if exists and not _standing(connection, login):
            raise PeelError("a role of that name exists that is no grant.", rule="grant", do="Choose another login.")
        verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
        verb = "alter role {}" if exists else "create role {} login nosuperuser nocreatedb nocreaterole"
        connection.execute(
            sql.SQL(verb + " password {} valid until {}").format(
                sql.Identifier(login), sql.Literal(verifier), sql.Literal(ends.isoformat())
            )
        )
        if not exists:
            connection.execute(
                sql.SQL("grant peel_analyst to {} with inherit true, set false").format(sql.Identifier(login))
            )
        connection.execute(
            "update audit.analyst set ended_at = clock_timestamp(), ended_by = %s"
            " where login = %s and ended_at is null",
            (approver, login),
        )
        connection.execute(
            "insert into audit.analyst (login, approver, valid_until) values (%s, %s, %s)", (login, approver, until)
        )
    return password


def revoke(settings: Settings, login: str, who: str) -> int:
    """End a grant at once: the login is gone, and whatever it was doing; how many sessions were ended.

    Args:
        settings: the installation.
        login: the person's login.
        who: who decides, shown in the audit.

    Raises:
        PeelError: there is no such grant.
    """
    with connect(settings, OWNER) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('peel grants'))")
        if not _standing(connection, login):
            raise PeelError("there is no such grant.", rule="grant", do="See `peel grant list`.")
        number = connection.execute("select oid from pg_roles where rolname = %s", (login,)).fetchone()
        connection.execute(
            "update audit.analyst set ended_at = clock_timestamp(), ended_by = %s"
            " where login = %s and ended_at is null",
            (who, login),
        )
        connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(login)))
        connection.commit()
        # Nobody can log in any more; who is still there goes.
        row = connection.execute(
            "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity where usesysid = %s",
            number or (None,),
        ).fetchone()
    return int(row[0]) if row else 0


def grants(settings: Settings, *, ended: bool = False) -> Rows:
    """Who may read ``core``, by login: approver, since when, until when; those that have ended too where asked for."""
    with connect(settings, "ingest") as connection:
        return (
            connection.cursor(row_factory=dict_row)
            .execute(
                "select login, approver, granted_at, valid_until, ended_at, ended_by, ended_at is null and"
                " valid_until >= (clock_timestamp() at time zone 'Europe/London')::date as stands"
                " from audit.analyst where %s or ended_at is null order by login, grant_id",
                (ended,),
            )
            .fetchall()
        )


def reads(settings: Settings, since: dt.date | None = None) -> Rows:
    """What was read of ``core``, from the log of Peel's own server: day (UTC), login, table, reads.

    Args:
        settings: the installation.
        since: from this day on.

    Raises:
        ConfigurationError: the warehouse is one's own server, whose log is elsewhere.
    """
    if settings.warehouse_dsn:
        raise ConfigurationError(
            "The log of your own server is not here.", do="Look there for lines with `peel core read:`."
        )
    return read_lines(settings.logs / "postgres.log", since)


def read_lines(log: Path, since: dt.date | None = None) -> Rows:
    """The same from a log file."""
    found: Counter[tuple[str, str, str]] = Counter()
    if log.exists():
        with log.open(encoding="utf-8", errors="replace") as lines:
            found.update((m[1], m[2], m[3]) for line in lines if (m := _READ.fullmatch(line.rstrip("\n"))))
    first = since.isoformat() if since else ""
    return [
        {"day": day, "login": login, "table_name": table, "reads": count}
        for (day, login, table), count in sorted(found.items())
        if day >= first
    ]


def _standing(connection: psycopg.Connection, login: str) -> bool:
    row = connection.execute("select 1 from audit.analyst where login = %s and ended_at is null", (login,)).fetchone()
    return row is not None
