"""What published totals still count of people who were erased: rows of closed months under no key of theirs."""

from __future__ import annotations

from importlib.resources import files

import psycopg

from peel import moments
from peel.builds.switch import give_up
from peel.errors import PeelError
from peel.history.erasure import Request


def require_todays_keys(connection: psycopg.Connection) -> None:
    """Refuse while the star still stands under person keys of an earlier epoch: nobody would be found in it.

    Raises:
        PeelError: person keys have changed since the build readers see.
    """
    row = connection.execute(
        "select max(k.first_used_at) > b.started_at from audit.switched_build b"
        " join audit.key_epoch k on k.key_name = 'warehouse' group by b.started_at"
    ).fetchone()
    if row is not None and row[0]:
        raise PeelError(
            "person keys have changed since the build that readers see.", rule="erasure", do="Build first, then erase."
        )


def keep(connection: psycopg.Connection, request: Request) -> int:
    """Copy a person's rows of closed months from the star, just before their erasure is committed; how many.

    They count for nothing until :func:`settle` has seen the erasure. A build that is not switched yet stands on
    what is erased, and is given up.

    Args:
        connection: as ``transform``, holding the lock of builds.
        request: the erasure.
    """
    give_up(connection, "a request of a person came between")
    kept = 0
    if request.kind == "erasure" and connection.execute("select 1 from audit.switched_build").fetchone():
        query = files("peel.builds").joinpath("sql/keyless.sql").read_text("utf-8")
        kept = connection.execute(
            query.encode(),
            {
                "request_id": request.request_id,
                "person_keys": sorted(request.person_keys),
                "has_objected": request.has_objected,
            },
        ).rowcount
    moments.before("keyless commit")
    connection.commit()
    moments.after("keyless commit")
    return kept


def settle(connection: psycopg.Connection) -> None:
    """Let rows of committed erasures count, joined by nothing any more; drop those whose erasure never was.

    Args:
        connection: as ``transform``, holding the lock of builds: no erasure is on its way.
    """
    connection.execute(
        "update keyless.fact_row set request_id = null"
        " where request_id in (select request_id from audit.erasure where kind = 'erasure')"
    )
    connection.execute("delete from keyless.fact_row where request_id is not null")
    moments.before("keyless settled commit")
    connection.commit()
    moments.after("keyless settled commit")
