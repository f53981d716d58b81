"""Two nights through a real Airflow, with canaries planted in what is delivered."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from peel.local import airflow
from peel.local.night import run_night
from peel.settings import Settings
from peel.warehouse import connect
from tests.canaries import (
    IDENTIFIERS,
    WORD,
    database_dump,
    edit,
    files,
    plant_in_candidates,
    plant_in_persons,
    raw_names,
)

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

DATE = dt.date(2026, 3, 10)
INGESTS = {f"ingest_{feed}" for feed in ("hr", "recruitment", "census", "postcode")}
DAGS = {"simulate_deliveries", *INGESTS, "build_warehouse", "publish_release"}


@pytest.fixture(scope="module")
def two_nights(services: Settings) -> tuple[Settings, list[str], list[str]]:
    """A night with canaries, planted between delivery and landing, and the night after it."""
    from peel import contracts
    from peel.feeds.reference import deliver_reference
    from peel.simulate import deliver_missing

    deliver_missing(services.sources, DATE, scale=services.scale, seed=services.seed)
    deliver_reference(services, contracts.feed(services.contracts, "census"), DATE)
    edit(services.sources / "hr" / DATE.isoformat() / "1", "hr_person", plant_in_persons)
    edit(services.sources / "recruitment" / DATE.isoformat() / "1", "ats_candidate", plant_in_candidates)
    first: list[str] = []
    run_night(services, DATE, first.append)
    second: list[str] = []
    run_night(services, DATE + dt.timedelta(days=1), second.append)
    return services, first, second


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(settings, "owner") as connection:
        return connection.execute(query.encode()).fetchall()


def test_both_nights_reached_readers(two_nights: tuple[Settings, list[str], list[str]]) -> None:
    settings, first, second = two_nights
    switched = rows(settings, "select b.business_date from audit.switch join audit.build b using (build_id) order by 1")
    assert switched[0] == (DATE,)
    assert switched[-1] == (DATE + dt.timedelta(days=1),)
    assert rows(settings, "select count(*) > 300 from core.fct_workforce_snapshot where month_end = '2026-03-31'") == [
        (True,)
    ]
    for told in (first, second):
        assert 5 <= len(told) < 40  # progress, never a wall of logs
    assert (settings.drafts / "latest" / "index.html").is_file()
    assert not settings.published.exists() or not list(settings.published.iterdir())


def test_every_run_is_green(two_nights: tuple[Settings, list[str], list[str]]) -> None:
    settings, _, _ = two_nights
    api = airflow.api(settings)
    seen = set()
    for run in api.runs(DAGS):
        assert run.state == "success", run
        seen.add(run.dag_id)
    assert seen == DAGS


def test_the_command_line_shows_the_night(two_nights: tuple[Settings, list[str], list[str]]) -> None:
    settings, _, _ = two_nights
    environment = os.environ | {"PEEL_HOME": str(settings.home), "PEEL_VAR": str(settings.var)}
    peel = shutil.which("peel", path=str(settings.home / ".venv" / "bin"))
    assert peel is not None

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([peel, *arguments], env=environment, capture_output=True, text=True, check=False)

    status = json.loads(run("status", "--json").stdout)
    assert status["night"]["business_date"] == (DATE + dt.timedelta(days=1)).isoformat()
    shown = run("sql", "--role", "bi", "-At", "-c", "select statement from mart.as_of")
    assert shown.stdout.strip() == "Police and applicant figures: simulated force, not real. Residents: ONS Census."
    assert run("sql", "--role", "bi", "-c", "select * from core.dim_sex").returncode == 1
    dsn = run("dsn", "--role", "bi").stdout.strip()
    import sqlalchemy

    engine = sqlalchemy.create_engine(dsn.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select count(*) from mart.workforce_month")).scalar_one() > 1000
    engine.dispose()


def test_no_canary_is_anywhere_airflow_or_the_warehouse_wrote(
    two_nights: tuple[Settings, list[str], list[str]],
) -> None:
    settings, first, second = two_nights
    written = files(settings.logs) | files(settings.landing) | files(settings.drafts)
    written |= files(settings.var / "airflow")
    written |= {f"database {name}": database_dump(settings, name) for name in ("peel", "airflow")}
    written |= {"terminal": "\n".join([*first, *second]).encode()}
    assert any("task_id=gate" in name or "gate" in name for name in written)
    assert b"ingest_hr" in written["database airflow"]
    names = raw_names(settings, DATE.isoformat())
    for place, data in written.items():
        assert not IDENTIFIERS.search(data), place
        if place != "database peel" and "/landing/" not in place:  # a declared column's text is landed
            assert WORD.encode() not in data, place
        if "drafts" not in place:
            assert not [name for name in names if name in data], place
