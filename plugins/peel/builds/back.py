"""Taking readers back to the night before, and holding them there until a person lets builds go on."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from peel import moments
from peel.builds import dbt, past, restatement, undo
from peel.builds.switch import begin, drop_orphans, end, give_up, prove_keys, publish, readable
from peel.deliveries.decisions import Signed
from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect


@dataclass(frozen=True)
class TakenBack:
    """What readers see after a switch was taken back.

    Attributes:
        build_id: the build.
        business_date: its night, in ISO form.
        rows: rows put back or taken away, by table.
    """

    build_id: str
    business_date: str
    rows: dict[str, int]


def switch_back(settings: Settings, signed: Signed) -> TakenBack:
    """Take back the last switch in one transaction, and set a hold: nothing is built until it is lifted.

    Args:
        settings: the installation.
        signed: who decides, and why.

    Raises:
        PeelError: there is no switch to take back, or what it replaced is not kept; nothing is changed.
    """
    with connect(settings, "transform") as connection:
        connection.execute("select pg_advisory_lock(hashtext('peel build'))")
        connection.rollback()  # the lock is the session's: there is nothing to commit
        last, how, previous = _last(connection)
        manifest = dbt.manifest(settings, previous)
        members, mart, asked = readable(manifest)
        switch_id = begin(connection, previous, {}, undoes=last, who=signed.who)
        past.take_back(connection, switch_id, last, how)
        rows = undo.restore(connection, last, how, {table.name: table.key for table in members})
        prove_keys(connection, members, {table.name for table in members})
        drop_orphans(connection, members, mart, asked, None)
        past.settle_back(connection, switch_id, members, how)
        publish(connection, members, mart, asked, remake=True)
        restatement.take_back(connection, switch_id, last)
        end(connection, switch_id, rows, None)
        give_up(connection, "readers were taken back")
        connection.execute("insert into audit.hold (who, reason) values (%s, %s)", (signed.who, signed.reason))
        found = connection.execute("select build_id, business_date from audit.switched_build").fetchone()
        assert found is not None
        moments.before("switch back commit")
        connection.commit()
        moments.after("switch back commit")
    return TakenBack(found[0], found[1].isoformat(), rows)


def lift_hold(settings: Settings, signed: Signed) -> int:
    """Let builds go on; how many holds were lifted.

    Raises:
        PeelError: there is none.
    """
    with connect(settings, "transform") as connection:
        lifted = connection.execute(
            "update audit.hold set lifted_by = %s, lifted_because = %s, lifted_at = clock_timestamp()"
            " where lifted_at is null",
            (signed.who, signed.reason),
        ).rowcount
        connection.commit()
    if not lifted:
        raise PeelError("There is no hold to lift.", rule="hold")
    return lifted


def _last(connection: psycopg.Connection) -> tuple[int, dict[str, str], str]:
    """The last switch that stands, how it replaced each table, and the build that readers saw before it."""
    standing = undo.standing(connection, 2)
    if len(standing) < 2:
        raise PeelError("There is no earlier night to go back to.", rule="switch_back")
    found = connection.execute(
        "select last.undo, exists (select from audit.erasure where requested_at > last.switched_at), before.build_id"
        " from audit.switch last cross join audit.switch before where last.switch_id = %s and before.switch_id = %s",
        standing,
    ).fetchone()
    assert found is not None
    switch_id, (how, is_asked_since, previous) = standing[0], found
    if how is None or is_asked_since:
        raise PeelError(
            "A person was erased, or keys were changed, since the night before: it is not brought back.",
            rule="switch_back",
        )
    there = connection.execute(
        "select count(*) from unnest(%s::text[]) as t (name) where to_regclass(t.name) is null",
        ([undo.source_of(name, switch_id) for name, kind in how.items() if kind != undo.NEW],),
    ).fetchone()
    if there is None or there[0]:
        raise PeelError(
            f"Only the last {undo.KEPT} switches can be taken back; what this one replaced is gone.", rule="switch_back"
        )
    return switch_id, how, previous
