"""A person's request, from landing to the star: erased everywhere, and closed months still add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from peel.builds import keyless
from peel.deliveries.decisions import Signed
from peel.deliveries.tombstones import Kind
from peel.history import erasure
from peel.history.erasure import ErasureReport, Request
from peel.settings import Settings
from peel.warehouse import connect


def erase_person(
    settings: Settings, identifiers: Sequence[tuple[str, str]], signed: Signed, kind: Kind = "erasure"
) -> ErasureReport:
    """Erase a person or honour their objection; what closed months count of somebody erased stays, under no key.

    Readers lose the person with the next build. No build runs meanwhile.

    Args:
        settings: the installation.
        identifiers: what is known of the person, as (kind, raw identifier).
        signed: who asks and why.
        kind: erasure or objection. After an objection nothing is kept: the person is not stated in every month.

    Raises:
        PeelError: the person cannot be told apart, or person keys have changed since the last switch.
    """
    kept = 0

    def before_commit(request: Request) -> None:
        nonlocal kept
        kept = keyless.keep(connection, request)

    with _no_build(settings) as connection:
        keyless.settle(connection)
        if kind == "erasure":
            keyless.require_todays_keys(connection)
        connection.commit()
        report = erasure.erase(settings, identifiers, signed, kind, before_commit)
        keyless.settle(connection)
    report.kept = kept
    return report


def resume(settings: Settings) -> list[ErasureReport]:
    """Finish requests that were interrupted."""
    with _no_build(settings) as connection:
        keyless.settle(connection)
        return erasure.resume(settings)


@contextmanager
def _no_build(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection that holds the lock of builds; taken before any feed's, as nothing else holds both."""
    with connect(settings, "transform") as connection:
        connection.execute("select pg_advisory_lock(hashtext('peel build'))")
        connection.commit()
        yield connection
