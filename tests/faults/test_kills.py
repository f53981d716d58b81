"""Killed before or after any rename or commit and run again, a step leaves what an undisturbed run leaves.

Three nights of two toy feeds run once undisturbed, each step recording the moments it passes
(``peel.moments``); before each step database and landing store are kept as they are. Then each step is run
once for every moment it passed: from the kept state, killed there by SIGKILL, and run again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from peel import warehouse
from peel.settings import Settings
from tests.conftest import TEST_KEYS, copy_warehouse, drop_warehouse, dump
from tests.deliveries import csv_bytes, deliver, landed_text
from tests.faults.steps import KILLED, Steps, environment_of
from tests.toys import DELTA, FULL, row

pytestmark = pytest.mark.slow

NIGHTS = (1, 2, 3)
# Each of these runs; the first night of the second feed is killed nowhere, because it is the first feed's again.
STEPS = tuple((night, feed, step) for night in NIGHTS for feed in ("toy", "drip") for step in ("land", "gate", "apply"))

AUDIT = {
    "delivery": "delivery_id, state, reason, rows, landed_sha256, watermark_from, watermark_to",
    "delivery_table": "delivery_id, table_name, rows, landed_sha256, accepted, quarantined, refused_by, gate_input",
    "gate_result": "delivery_id, table_name, column_name, rule, severity, outcome, checked, failed",
    "applied": "table_name, position, apply_date, delivery_id, content",
    "source_folder": "feed, path, fingerprint, delivery_id",
    "unusable_folder": "feed, path, reason",
    "key_epoch": "key_name, epoch, fingerprint",
}


def _drop_night(sources: Path, night: int) -> None:
    """A quarantined row that mends, a deletion, an unreadable key, two refusals, a replacement, a delta gap."""
    fit = [row(n) for n in range(6)]

    def toy(date: str, seq: int, content: Any) -> None:
        deliver(sources, "toy", date, {"toy": content}, seq=seq)

    def drip(date: str, seq: int, start: str | None, end: str, content: Any) -> None:
        deliver(sources, "drip", date, {"drip": content}, seq=seq, mode="delta", watermarks=(start, end))

    if night == 1:
        toy("2026-01-01", 1, fit)
        drip("2026-01-01", 1, None, "a", fit)
    if night == 2:
        toy("2026-01-02", 1, csv_bytes(fit)[:-20])
        toy("2026-01-02", 2, fit[:3])
        toy("2026-01-02", 3, [*fit[1:5], row(5, born="never")])
        drip("2026-01-03", 1, "b", "c", [row(1, amount="3.00"), row(2, code="Z")])
    if night == 3:
        toy("2026-01-03", 1, [row(n, code="Z") for n in range(6)])
        toy("2026-01-03", 2, [row(1), row("x"), row(5, amount="5.00"), row(7, note='a "quoted", note')])
        drip("2026-01-02", 1, "a", "b", [row(1, amount="2.00")])
        drip("2026-01-04", 1, "c", "d", [row(2, amount="4.00")])
        drip("2026-01-04", 2, "c", "d", [row(2, amount="5.00"), row(3, born="never")])


class Copies:
    """Copies of a database on the session's server."""

    def __init__(self, server: Settings) -> None:
        self._owner = warehouse.parameters(server, "owner")
        self._names: list[str] = []

    def make(self, template: str, name: str = "") -> str:
        name = name or f"kill_{os.getpid()}_{len(self._names)}"
        self._names.append(name)
        self._run(f"create database {name} template {template} strategy file_copy")
        return name

    def drop(self, name: str) -> None:
        self._run(f"drop database if exists {name} with (force)")

    def close(self) -> None:
        for name in self._names:
            self.drop(name)

    def dsn(self, name: str) -> str:
        return conninfo.make_conninfo(**{**self._owner, "dbname": name})

    def _run(self, statement: str) -> None:
        with psycopg.connect(**{**self._owner, "dbname": "postgres"}, autocommit=True) as connection:
            connection.execute(statement)


def name_of(settings: Settings) -> str:
    return str(conninfo.conninfo_to_dict(settings.warehouse_dsn or "")["dbname"])


def audit_of(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """The audit tables without times and running numbers."""
    with warehouse.connect(settings, "owner") as connection:
        return {
            table: sorted(connection.execute(f"select {columns} from audit.{table}".encode()).fetchall(), key=repr)
            for table, columns in AUDIT.items()
        }


def landing_of(settings: Settings) -> dict[str, str]:
    """Every file and folder of the landing store with what it holds, hidden ones included."""
    return {
        str(path.relative_to(settings.landing)): landed_text(path) if path.is_file() else ""
        for path in sorted(settings.landing.rglob("*"))
    }


def delivery_tables_of(settings: Settings) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, "owner") as connection:
        return connection.execute(
            "select relnamespace::regnamespace::text, relname from pg_class where relname like '%\\_\\_%'"
            " and relnamespace::regnamespace::text in ('delivery', 'sensitive') order by 1, 2"
        ).fetchall()


def all_of(settings: Settings) -> dict[str, Any]:
    return {
        "tables": dump(settings, "history", "quarantine", "sensitive"),
        "audit": audit_of(settings),
        "landing": landing_of(settings),
        "delivery tables": delivery_tables_of(settings),
    }


@dataclass
class Kept:
    """The state before and after one step, and the moments it passed."""

    date: str
    sources: Path
    database: str
    landing: Path
    moments: list[str]
    after: dict[str, Any]


@dataclass
class Scenario:
    """Three undisturbed nights, kept step by step."""

    folder: Path
    settings: Settings
    copies: Copies
    steps: Steps
    kept: dict[tuple[int, str, str], Kept]

    def again_from(self, kept: Kept) -> Settings:
        """The installation as it was before a step, on copies."""
        database = self.copies.make(kept.database)
        landing = self.folder / database
        shutil.copytree(kept.landing, landing)
        return dataclasses.replace(
            self.settings, sources=kept.sources, landing=landing, warehouse_dsn=self.copies.dsn(database)
        )

    def forget(self, settings: Settings) -> None:
        self.copies.drop(name_of(settings))
        shutil.rmtree(settings.landing)


@pytest.fixture(scope="module")
def scenario(server: Settings) -> Iterator[Scenario]:
    folder = Path(tempfile.mkdtemp(prefix="peel-kills-"))
    for name, text in (FULL | DELTA).items():
        path = folder / "home" / "expectations" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (folder / "home" / "dbt_project").mkdir()
    settings = dataclasses.replace(copy_warehouse(server, folder / "var"), home=folder / "home")
    warm = dataclasses.replace(copy_warehouse(server, folder / "warm"), home=folder / "home")
    copies = Copies(server)
    steps = Steps({"PEEL_SECRET_HMAC_KEYS": TEST_KEYS})
    try:
        _drop_night(warm.sources, 1)
        steps.warm(environment_of(warm), "toy")
        drop_warehouse(server, warm)
        settings.landing.mkdir(parents=True)
        kept = {}
        for night in NIGHTS:
            sources = folder / f"sources {night}"
            if night > 1:
                shutil.copytree(folder / f"sources {night - 1}", sources)
            _drop_night(sources, night)
            now = dataclasses.replace(settings, sources=sources)
            for _, feed, step in [one for one in STEPS if one[0] == night]:
                before = copies.make(name_of(settings))
                landing = folder / f"landing {before}"
                shutil.copytree(settings.landing, landing)
                record = folder / f"moments {before}"
                answer = steps.run(environment_of(now) | {"PEEL_MOMENTS": str(record)}, step, feed, f"2026-01-0{night}")
                assert answer.signal is None
                assert (answer.error is None) == ((night, feed, step) != (3, "toy", "apply")), answer.error
                moments = record.read_text("ascii").splitlines()
                kept[night, feed, step] = Kept(f"2026-01-0{night}", sources, before, landing, moments, all_of(now))
        yield Scenario(folder, settings, copies, steps, kept)
    finally:
        steps.close()
        copies.close()
        drop_warehouse(server, settings)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_scenario_has_what_goes_wrong_in_it(scenario: Scenario) -> None:
    moments = [moment for kept in scenario.kept.values() for moment in kept.moments]
    assert len(moments) >= 25
    names = {moment.rsplit(":", 1)[0] for moment in moments}
    assert names == {
        f"{when}:{what}"
        for when in ("before", "after")
        for what in ("landing rename", "commit as ingest", "commit as gate")
    }
    last = scenario.kept[3, "drip", "apply"].after
    states = {state for _, state, *_ in last["audit"]["delivery"]}
    assert states == {"applied", "replaced", "refused"}
    waiting = scenario.kept[2, "drip", "apply"].after["audit"]["delivery"]
    assert "waiting" in {state for _, state, *_ in waiting}
    assert all(rows for name, rows in last["tables"].items() if name != "sensitive.crosswalk")  # no key has changed


@pytest.mark.parametrize(("night", "feed", "step"), [one for one in STEPS if one[:2] != (1, "drip")])
def test_a_step_killed_at_any_moment_and_run_again_ends_as_if_nothing_had_been(
    scenario: Scenario, night: int, feed: str, step: str
) -> None:
    kept = scenario.kept[night, feed, step]
    assert kept.moments
    for moment in kept.moments:
        here = scenario.again_from(kept)
        environment = environment_of(here)
        killed = scenario.steps.run(environment | {"PEEL_KILL_AT": moment}, step, feed, kept.date)
        assert killed.signal == KILLED, moment
        again = scenario.steps.run(environment, step, feed, kept.date)
        assert again.signal is None
        assert again.error is None or "rule quarantine_limit" in again.error, moment
        assert all_of(here) == kept.after, moment
        scenario.forget(here)
