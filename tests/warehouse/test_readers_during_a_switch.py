"""Sixteen clients read while a night is switched: each sees one whole night or the other, and is not kept waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from peel.builds.build import build
from peel.builds.gate import gate_build
from peel.builds.switch import switch
from peel.local import postgres
from peel.settings import Settings
from peel.warehouse import parameters
from tests.warehouse.test_nights import Rows, day, redeliver, rows
from tests.warehouse.test_sixty_nights import take_in

pytestmark = pytest.mark.slow

CLIENTS = 16
MONTH = "month_end = date '2026-03-31' and workforce_group = 'OFF'"
# What one client reads in several statements, and the arithmetic that fails where they are not of one whole night.
READS = f"""\
begin isolation level repeatable read;
select sum(headcount) as heads from mart.workforce_month where {MONTH} \\gset
select sum(closing) as closing from mart.roll_forward where {MONTH} and count_basis = 'HO_HEADCOUNT' \\gset
select numerator + 0 as numerator, denominator + 0 as denominator from mart.indicator_observation
where indicator_id = 'K05' and period_end = date '2026-03-31' and area_code = 'E23000001' and rank_group = 'all' \\gset
select (business_date = date '2026-03-11')::integer as is_new from mart.as_of \\gset
select 1 / (:heads = :closing and :denominator <= :heads)::integer;
select 1 / (:heads = case :is_new when 1 then :new else :old end)::integer;
commit;
"""


def test_readers_see_the_old_night_or_the_new_one_whole(night_copy: Settings, tmp_path: Path) -> None:
    def leave_out_officers(members: Rows) -> None:
        for row in members:
            ends = row["effective_end_date"] == "4712-12-31"
            if ends and row["workforce_group"] == "OFF" and int(row["assignment_id"]) % 50 == 0:
                row["assignment_status"] = "SECONDED_OUT"

    redeliver(night_copy, day(1), {"hr_assignment": leave_out_officers})
    take_in(night_copy, day(1))
    build_id = build(night_copy)
    assert build_id is not None
    gate_build(night_copy, build_id)
    (old,) = rows(night_copy, f"select sum(headcount) from mart.workforce_month where {MONTH}")[0]
    (new,) = rows(night_copy, f"select sum(headcount) from next.workforce_month where {MONTH}")[0]
    assert 0 < new < old

    script = tmp_path / "reads.sql"
    script.write_text(READS, "utf-8")
    p = parameters(night_copy, "bi")
    command = [str(postgres.programs() / "pgbench"), "--no-vacuum", "--file", str(script), "--time", "120"]
    command += ["--client", str(CLIENTS), "--jobs", "1", "-D", f"old={old}", "-D", f"new={new}"]
    command += ["--log", "--log-prefix", str(tmp_path / "log"), "--exit-on-abort"]
    clients = subprocess.Popen(
        [*command, p["dbname"]],
        env={
            "PATH": os.environ["PATH"],
            "PGHOST": p["host"],
            "PGPORT": p["port"],
            "PGUSER": p["user"],
            "PGPASSWORD": p["password"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        time.sleep(4)
        assert clients.poll() is None, clients.stdout.read() if clients.stdout else ""
        switched = switch(night_copy, build_id)
        time.sleep(4)
        assert clients.poll() is None, "the readers were there before the switch and after it"
        clients.send_signal(signal.SIGALRM)  # as when their time is up: each ends what it is reading
        told, _ = clients.communicate(timeout=90)
    finally:
        clients.kill()
    assert switched["workforce_month"] > 0
    assert clients.returncode == 0, told
    assert "number of failed transactions: 0" in told
    assert rows(night_copy, f"select sum(headcount) from mart.workforce_month where {MONTH}") == [(new,)]
    (log,) = tmp_path.glob("log.*")
    assert len(log.read_text().splitlines()) > 10 * CLIENTS
