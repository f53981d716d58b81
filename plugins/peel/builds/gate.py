"""The build gate: the tables readers will see must keep what they promise before anyone sees them."""

from __future__ import annotations

import psycopg

from peel.builds import dbt
from peel.builds.tables import Table, tables
from peel.contracts import mart_suites
from peel.errors import PeelError
from peel.gates.suite import run_suite
from peel.settings import Settings
from peel.warehouse import connect, dsn


def gate_build(settings: Settings, build_id: str) -> dict[str, int]:
    """Gate a build in ``next``.

    Args:
        settings: the installation.
        build_id: a build in state ``built``.

    Returns:
        Rules passed and failed.

    Raises:
        PeelError: a critical rule failed; the build is marked failed and last night stands.
    """
    manifest = dbt.manifest(settings, build_id)
    with connect(settings, "transform") as connection:
        row = connection.execute("select state from audit.build where build_id = %s", (build_id,)).fetchone()
        if row is not None and row[0] in ("gated", "switched"):
            return {"passed": 0, "failed": 0}
        if row is None or row[0] != "built":
            raise PeelError("the build is not finished.", rule="build_built", do="Build again.")
        connection.execute("delete from audit.build_gate_result where build_id = %s", (build_id,))
        missing = _missing_keys(connection, tables(manifest))
        for table, key, column in missing:
            _record(connection, build_id, table, column, key, "critical", None, 1)
        failed = [f"{table}.{column}: {key}" for table, key, column in missing]
        passed = 0
        url = dsn(settings, "transform", "postgresql+psycopg2")
        never_empty = _never_empty(connection)
        for table_name, suite in mart_suites(settings.contracts).items():
            kept = [rule for rule in suite if rule.name == "required" and (table_name, rule.subject) in never_empty]
            for rule in kept:  # by a constraint that stands: no row need be looked at
                _record(connection, build_id, table_name, rule.subject or "", rule.name, "critical", None, 0)
            passed += len(kept)
            asked = [rule for rule in suite if rule not in kept]
            for outcome in run_suite(url, "next", table_name, asked, find_rows=False):
                critical = outcome.rule.on_failure == "refuse"
                _record(
                    connection,
                    build_id,
                    table_name,
                    outcome.rule.subject or "",
                    outcome.rule.name,
                    "critical" if critical else "warning",
                    outcome.checked,
                    0 if outcome.passed else outcome.failed,
                )
                passed += outcome.passed
                if not outcome.passed and critical:
                    failed.append(f"{table_name}: {outcome.rule.label} ({outcome.failed})")
        connection.execute(
            "update audit.build set state = %s, reason = %s where build_id = %s and state = 'built'",
            ("failed" if failed else "gated", "; ".join(failed) or None, build_id),
        )
        connection.commit()
    if failed:
        raise PeelError(
            f"the build gate failed: {'; '.join(failed[:3])}; last night stands.",
            rule="build_gate",
            count=len(failed),
            do="See audit.build_gate_result.",
        )
    return {"passed": passed, "failed": 0}


def _missing_keys(connection: psycopg.Connection, members: list[Table]) -> list[tuple[str, str, str]]:
    """Keys the manifest declares and ``next`` has not: dbt drops foreign keys without a word."""
    standing = {
        (row[0], row[1])
        for row in connection.execute(
            "select conrelid::regclass::text, a.attname from pg_constraint"
            " join pg_attribute a on a.attrelid = conrelid and a.attnum = any(conkey)"
            " where connamespace = 'next'::regnamespace and contype = 'f'"
        )
    }
    primary = {
        row[0]
        for row in connection.execute(
            "select conrelid::regclass::text from pg_constraint"
            " where connamespace = 'next'::regnamespace and contype = 'p'"
        )
    }
    missing = [
        (table.name, "foreign_key_stands", column.name)
        for table in members
        for column in table.columns
        if column.references and (f"next.{table.name}", column.name) not in standing
    ]
    return missing + [
        (table.name, "primary_key_stands", ", ".join(table.key))
        for table in members
        if f"next.{table.name}" not in primary
    ]


def _never_empty(connection: psycopg.Connection) -> set[tuple[str, str]]:
    """Columns of ``next`` that a constraint keeps from being empty."""
    rows = connection.execute(
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relnamespace = 'next'::regnamespace and c.relkind = 'r' and a.attnum > 0 and a.attnotnull"
    )
    return {(row[0], row[1]) for row in rows}


def _record(
    connection: psycopg.Connection,
    build_id: str,
    table: str,
    column: str,
    rule: str,
    severity: str,
    checked: int | None,
    failed: int,
) -> None:
    connection.execute(
        "insert into audit.build_gate_result (build_id, table_name, column_name, rule, severity, outcome,"
        " checked, failed) values (%s, %s, %s, %s, %s, %s, %s, %s)",
        (build_id, table, column, rule, severity, "failed" if failed else "passed", checked, failed),
    )
