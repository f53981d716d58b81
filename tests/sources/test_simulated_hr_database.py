"""The simulated force's HR system as files and as a database: the warehouse learns the same from both."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from peel import contracts, london, night, warehouse
from peel.errors import PeelError
from peel.settings import Settings
from peel.simulate import deliver_nights
from tests.conftest import point_environment_at

SCALE, SEED = 0.01, 1829


def versions(settings: Settings) -> dict[str, list[tuple[bytes, bytes]]]:
    """Key and hash of every row of history that stands, by table."""
    with psycopg.connect(**warehouse.parameters(settings, "owner")) as connection:
        return {
            contract.name: connection.execute(
                f"select row_key, row_hash from {contract.relation('history')} order by row_key".encode()
            ).fetchall()
            for contract in contracts.feed(settings.contracts, "hr").contracts
        }


def test_what_comes_by_sql_is_what_comes_as_files(
    here: Settings, server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = {**warehouse.parameters(server, "owner"), "dbname": "postgres"}
    until = london.yesterday()
    with psycopg.connect(**owner, autocommit=True) as admin:
        admin.execute("create database simulated_hr")
    try:
        url = f"postgresql://{owner['user']}:{owner['password']}@{owner['host']}:{owner['port']}/simulated_hr"
        folder = tmp_path / "force"
        deliver_nights(folder, until, since=None, scale=SCALE, seed=SEED, database=url)
        monkeypatch.setenv("PEEL_SOURCE_HR", f"sql+{url}?peel_schema=hr")
        night.land("hr", until)
        night.gate("hr")
        night.apply("hr", [])
        by_sql = versions(here)
        assert all(by_sql.values())
        monkeypatch.delenv("PEEL_SOURCE_HR")
        other = tmp_path / "other"
        from tests.conftest import copy_warehouse, drop_warehouse

        settings = copy_warehouse(server, other)
        try:
            shutil.copytree(folder, settings.sources)
            point_environment_at(monkeypatch, settings)
            night.land("hr", until)
            night.gate("hr")
            night.apply("hr", [])
            assert versions(settings) == by_sql
        finally:
            drop_warehouse(server, settings)
    finally:
        with psycopg.connect(**owner, autocommit=True) as admin:
            admin.execute("drop database simulated_hr with (force)")


def test_a_database_out_of_reach_is_said_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://nobody:secret-word@127.0.0.1:1/none"
    with pytest.raises(PeelError) as error:
        deliver_nights(tmp_path, london.yesterday(), since=None, scale=SCALE, seed=SEED, database=url)
    assert "the HR database could not be written" in str(error.value)
    assert "secret-word" not in str(error.value)
