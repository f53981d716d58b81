"""Killed at any moment and run again, build, build gate and switch leave what an undisturbed night leaves.

A night of the small simulated force is followed by a second one in which something changed. Its build, gate and
switch run once undisturbed; then each is killed at its moments, from a copy of the state before it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from peel import night, warehouse
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import TEST_KEYS, point_environment_at
from tests.deliveries import deliver
from tests.faults.steps import KILLED, Answer, Steps, environment_of
from tests.faults.test_kills import Copies, name_of
from tests.toys import FULL, row
from tests.warehouse.test_nights import FIRST, day, redeliver

pytestmark = pytest.mark.slow


def seen_by_readers(settings: Settings, *schemas: str) -> dict[str, Any]:
    """Of every table a hash of its rows in order, and the ledger of builds without times."""
    found: dict[str, Any] = {}
    with connect(settings, "owner") as connection:
        for schema, table in connection.execute(
            "select relnamespace::regnamespace::text, relname from pg_class where relkind in ('r', 'v')"
            " and relnamespace::regnamespace::text = any(%s) order by 1, 2",
            (list(schemas),),
        ).fetchall():
            if (schema, table) in (("mart", "as_of"), ("mart", "restatement"), ("mart", "switch")):
                continue  # say when the switch was, or its number
            rows = f'select t::text from {schema}."{table}" t'
            if table.endswith("_as_seen"):  # the night in place of the switch's number
                rows = (
                    "select concat(f.build_id, u.build_id, to_jsonb(t) - 'seen_from' - 'seen_until')"
                    f' from {schema}."{table}" t join audit.switch f on t.seen_from = f.switch_id'
                    " left join audit.switch u on t.seen_until = u.switch_id"
                )
            found[f"{schema}.{table}"] = connection.execute(
                "select count(*), md5(string_agg(md5(line), '' order by md5(line)))"
                f" from ({rows}) as of_table (line)".encode()
            ).fetchone()
        found["build"] = connection.execute(
            "select build_id, business_date, deliveries, months, state, reason from audit.build order by 1"
        ).fetchall()
        found["gate"] = connection.execute("select * from audit.build_gate_result order by 1, 2, 3, 4").fetchall()
        found["restated"] = connection.execute(
            "select table_name, cell::text, measure, before, after from audit.restatement order by 1, 2, 3"
        ).fetchall()
        found["switch"] = connection.execute("select build_id, rows from audit.switch order by switch_id").fetchall()
    return found


SCHEMAS = {"build": ("next", "next_mart"), "gate_build": ("next",), "switch": ("core", "mart")}


@dataclasses.dataclass
class SecondNight:
    """A second night that is in history, with the state before each step of its build."""

    settings: Settings
    copies: Copies
    steps: Steps
    build_id: str
    before: dict[str, str]
    moments: dict[str, list[str]]
    after: dict[str, dict[str, Any]]

    def back_to(self, step: str) -> None:
        """Under the same name: dbt compiles a database's name into what the switch makes of it."""
        name = name_of(self.settings)
        self.copies.drop(name)
        self.copies.make(self.before[step], name)
        warehouse.bootstrap(self.settings)  # rights on a database are not copied with it

    def kill(self, step: str, moment: str) -> None:
        killed = self._run(step, {"PEEL_KILL_AT": moment})
        assert killed.signal == KILLED, (moment, killed.error)

    def ends_well(self, step: str) -> None:
        again = self._run(step, {})
        assert (again.signal, again.error) == (None, None)
        assert seen_by_readers(self.settings, *SCHEMAS[step]) == self.after[step]

    def _run(self, step: str, more: dict[str, str]) -> Answer:
        subject = "" if step == "build" else self.build_id
        return self.steps.run(environment_of(self.settings) | more, step, subject)


@pytest.fixture(scope="module")
def second_night(server: Settings, london_night: Settings) -> Iterator[SecondNight]:
    folder = Path(tempfile.mkdtemp(prefix="peel-kills-"))
    folder.chmod(0o755)
    copies = Copies(server)
    steps = Steps({"PEEL_SECRET_HMAC_KEYS": TEST_KEYS})
    var = folder / "var"
    shutil.copytree(london_night.var, var, symlinks=True)
    with connect(london_night, "owner") as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
    settings = dataclasses.replace(
        london_night,
        var=var,
        sources=var / "sources",
        landing=var / "landing",
        warehouse_dsn=copies.dsn(copies.make(name_of(london_night))),
    )

    def leave(members: list[dict[str, str]]) -> None:
        for member in members[:5]:
            member["sex"] = "F" if member["sex"] == "M" else "M"

    try:
        warehouse.bootstrap(settings)
        with pytest.MonkeyPatch.context() as patch:
            point_environment_at(patch, settings)
            redeliver(settings, day(1), {"hr_person": leave})
            for feed in ("hr", "recruitment"):
                night.land(feed, day(1))
                night.gate(feed)
                night.apply(feed, [])
        before, moments, after, build_id = {}, {}, {}, ""
        for step in ("build", "gate_build", "switch"):
            before[step] = copies.make(name_of(settings))
            record = folder / step
            answer = steps.run(environment_of(settings) | {"PEEL_MOMENTS": str(record)}, step, build_id)
            assert (answer.signal, answer.error) == (None, None)
            build_id = build_id or answer.summary["build_id"]
            moments[step] = record.read_text("ascii").splitlines()
            after[step] = seen_by_readers(settings, *SCHEMAS[step])
        yield SecondNight(settings, copies, steps, build_id, before, moments, after)
    finally:
        steps.close()
        copies.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_build_killed_when_it_has_begun_and_again_before_it_is_recorded_is_built_again(
    second_night: SecondNight,
) -> None:
    moments = second_night.moments["build"]
    begun = next(moment for moment in moments if moment.startswith("after:commit as transform"))
    built = next(moment for moment in reversed(moments) if moment.startswith("before:commit as transform"))
    assert moments.index(begun) < moments.index("before:dbt manifest kept:1") < moments.index(built)
    second_night.back_to("build")
    second_night.kill("build", begun)
    second_night.kill("build", built)
    second_night.ends_well("build")


@pytest.mark.parametrize("step", ["gate_build", "switch"])
def test_a_build_gate_or_switch_killed_at_any_moment_ends_as_if_nothing_had_been(
    second_night: SecondNight, step: str
) -> None:
    assert second_night.moments[step]
    for moment in second_night.moments[step]:
        second_night.back_to(step)
        second_night.kill(step, moment)
        second_night.ends_well(step)


def test_readers_see_last_night_until_the_switch_commits(second_night: SecondNight) -> None:
    def stand() -> dict[str, Any]:
        found = seen_by_readers(second_night.settings, "core")
        return {name: found[name] for name in found if name.startswith("core.")}

    second_night.back_to("switch")
    last_night = stand()
    (moment,) = [moment for moment in second_night.moments["switch"] if moment.startswith("before:")]
    second_night.kill("switch", moment)
    assert stand() == last_night
    differ = [name for name in last_night if last_night[name] != second_night.after["switch"][name]]
    assert "core.fct_workforce_snapshot" in differ


def test_dbt_does_not_outlive_a_killed_build(
    with_contracts: Callable[[dict[str, str]], Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write into the schema that the next build has just made."""
    here = with_contracts(FULL)
    for folder in ("models", "seeds", "macros"):
        (here.home / "dbt_project" / folder).mkdir()
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1)]})
    night.land("toy", FIRST)
    night.gate("toy")
    night.apply("toy", [])
    dbt, mark = tmp_path / "dbt", tmp_path / "pid"
    dbt.write_text(f"#!/bin/sh\necho $$ > {mark}.new; mv {mark}.new {mark}\nexec sleep 60\n")
    dbt.chmod(0o755)
    monkeypatch.setenv("PEEL_DBT", str(dbt))
    build = os.fork()
    if build == 0:
        try:
            night.build()
        finally:
            os._exit(1)
    until = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process = psutil.Process(int(mark.read_text()))
    os.kill(build, signal.SIGKILL)
    os.waitpid(build, 0)
    assert psutil.wait_procs([process], timeout=10)[0], "dbt is still running"
