"""Shared by all tests: one PostgreSQL for the session, a database and a folder of its own for each test."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from peel import night, warehouse
from peel.local import postgres
from peel.settings import Settings

HOME = Path(__file__).resolve().parents[1]
SHARED = HOME.parent / "shared" / "data"

TEST_KEYS = json.dumps(
    {
        name: [{"epoch": 1, "since": "2026-01-01", "until": None, "key": digit * 64}]
        for name, digit in (("land", "1"), ("warehouse", "2"))
    }
)
os.environ["PEEL_SECRET_HMAC_KEYS"] = TEST_KEYS
os.environ["GX_ANALYTICS_ENABLED"] = "false"

_numbers = itertools.count(1)
_COPIED = f"night_{os.getpid()}"
"""The database nights are run in, and that each copy of one is: under one name dbt need not parse the project again."""


LONGEST = (
    "warehouse/test_sixty_nights.py",
    "warehouse/test_switch_back.py",
    "warehouse/test_nights.py",
    "warehouse/test_star_recruitment.py",
    "warehouse/test_as_it_was.py",
    "property/test_any_order.py",
    "end_to_end/test_airflow_nights.py",
    "warehouse/test_star_workforce.py",
    "faults/test_build_kills.py",
    "unit/test_truths.py",
    "privacy/test_erasure_in_the_star.py",
    "warehouse/test_desk.py",
    "privacy/test_canaries.py",
    "faults/test_kills.py",
    "end_to_end/test_local_services.py",
    "warehouse/test_dbt.py",
    "warehouse/test_readers_during_a_switch.py",
)
"""Files that take longest, the longest first; files that are not here come after them, as they were collected."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that nobody waits for one of them at the end."""
    tests = HOME / "tests"
    places = {tests / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real public data for tests, where it stands beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the public data for tests (../shared/data) is not beside the project")
    return SHARED


@pytest.fixture(scope="session")
def server() -> Iterator[Settings]:
    """A PostgreSQL of Peel's own, with an empty bootstrapped warehouse that others are copied from."""
    folder = Path(tempfile.mkdtemp(prefix="peel-server-"))
    folder.chmod(0o755)
    settings = Settings(HOME, folder / "var", folder / "var" / "sources", folder / "var" / "landing")
    try:
        postgres.up(settings, lambda _: None)
        # What tests write need not survive a power cut; tests that crash a server start one of their own. Nor need its
        # passwords be costly to guess: whoever connects, as dbt does for each model, derives a key from them.
        with _maintenance(settings) as connection:
            for setting in (
                "fsync = off",
                "synchronous_commit = off",
                "full_page_writes = off",
                "scram_iterations = 1",
            ):
                connection.execute(f"alter system set {setting}")
            connection.execute("select pg_reload_conf()")
            connection.execute("set scram_iterations = 1")
            password = warehouse.parameters(settings, "owner")["password"]
            connection.pgconn.change_password(warehouse.OWNER.encode(), password.encode())
        warehouse.bootstrap(settings)
        yield settings
    finally:
        postgres.remove(settings)
        shutil.rmtree(folder, ignore_errors=True)


def copy_warehouse(server: Settings, var: Path, home: Path = HOME, name: str | None = None) -> Settings:
    """A fresh warehouse: a database of its own on the session's server, everything else below ``var``."""
    owner = warehouse.parameters(server, "owner")
    name = name or f"test_{os.getpid()}_{next(_numbers)}"
    with _maintenance(server) as connection:
        connection.execute(f"create database {name} template peel")
        connection.execute(f"revoke connect on database {name} from public")
    settings = Settings(
        home,
        var,
        var / "sources",
        var / "landing",
        warehouse_dsn=conninfo.make_conninfo(**{**owner, "dbname": name}),
        scale=0.02,
    )
    settings.secrets.mkdir(parents=True, exist_ok=True)
    for secret in server.secrets.iterdir():
        if secret.name.startswith("peel_"):
            shutil.copy2(secret, settings.secrets / secret.name)
    warehouse.bootstrap(settings)
    return settings


def _maintenance(server: Settings) -> psycopg.Connection:
    """The session's server, at a database nobody copies."""
    owner = warehouse.parameters(server, "owner")
    return psycopg.connect(**{**owner, "dbname": "postgres"}, autocommit=True)


def drop_warehouse(server: Settings, settings: Settings) -> None:
    """Remove a warehouse made by :func:`copy_warehouse`."""
    name = conninfo.conninfo_to_dict(settings.warehouse_dsn or "")["dbname"]
    with _maintenance(server) as connection:
        connection.execute(f"drop database if exists {name} with (force)")


def point_environment_at(patch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Let everything that loads its own settings find this installation."""
    patch.setenv("PEEL_HOME", str(settings.home))
    patch.setenv("PEEL_VAR", str(settings.var))
    patch.setenv("PEEL_SOURCES", str(settings.sources))
    patch.setenv("PEEL_LANDING", str(settings.landing))
    patch.setenv("PEEL_WAREHOUSE_DSN", settings.warehouse_dsn or "")
    patch.setenv("SCALE", str(settings.scale))


@pytest.fixture
def here(server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation of this repository with an empty warehouse of its own."""
    settings = copy_warehouse(server, tmp_path / "var")
    point_environment_at(monkeypatch, settings)
    yield settings
    drop_warehouse(server, settings)


@pytest.fixture
def with_contracts(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], Settings]:
    """Give the installation other contracts: a file name below ``expectations/`` and its text, for each."""

    def make(contracts: dict[str, str]) -> Settings:
        home = tmp_path / "home"
        for name, text in contracts.items():
            path = home / "expectations" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (home / "dbt_project").mkdir(exist_ok=True)
        monkeypatch.setenv("PEEL_HOME", str(home))
        return dataclasses.replace(here, home=home)

    return make


NIGHT = "2026-03-10"  # a Tuesday in the middle of a month and of a financial year's last quarter


@pytest.fixture(scope="session")
def london_night(server: Settings) -> Iterator[Settings]:
    """One whole night of a small simulated force, run in this process; tests only read it."""
    folder = Path(tempfile.mkdtemp(prefix="peel-night-"))
    folder.chmod(0o755)
    settings = copy_warehouse(server, folder / "var", name=_COPIED)
    with pytest.MonkeyPatch.context() as patch:
        point_environment_at(patch, settings)
        night.run_direct(dt.date.fromisoformat(NIGHT), lambda _: None)
    settings = keep(server, settings, "template")
    yield settings
    drop_warehouse(server, settings)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def night_copy(
    server: Settings, london_night: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A copy of that night that a test may change."""
    settings = copy_night(server, london_night, tmp_path / "var")
    point_environment_at(monkeypatch, settings)
    yield settings
    drop_warehouse(server, settings)


def keep(server: Settings, settings: Settings, what: str) -> Settings:
    """Put a warehouse in which a night was run aside under another name, to be copied by :func:`copy_night`."""
    name = f"{_COPIED}_{what}"
    with _maintenance(server) as connection:
        connection.execute(f"alter database {_COPIED} rename to {name}")
    owner = warehouse.parameters(server, "owner")
    return dataclasses.replace(settings, warehouse_dsn=conninfo.make_conninfo(**{**owner, "dbname": name}))


def copy_night(server: Settings, kept: Settings, var: Path) -> Settings:
    """A copy of a night that was kept, database and files."""
    shutil.copytree(kept.var, var, symlinks=True)
    owner = warehouse.parameters(server, "owner")
    template = conninfo.conninfo_to_dict(kept.warehouse_dsn or "")["dbname"]
    with _maintenance(server) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (template,))
        # Copied as files: the other strategy writes every page to the log first.
        connection.execute(f"create database {_COPIED} template {template} strategy file_copy")
        connection.execute(f"revoke connect on database {_COPIED} from public")
    settings = Settings(
        HOME,
        var,
        var / "sources",
        var / "landing",
        warehouse_dsn=conninfo.make_conninfo(**{**owner, "dbname": _COPIED}),
        scale=kept.scale,
    )
    warehouse.bootstrap(settings)
    return settings


def dump(settings: Settings, *schemas: str) -> dict[str, list[str]]:
    """Every row of every table of some schemas as text, ordered under ``collate "C"``.

    Quarantine and history say which delivery a row came from; audit times are in no schema dumped here. Delivery
    tables are working copies, in whatever schema.
    """
    with warehouse.connect(settings, "owner") as connection:
        return {
            name: [row[0] for row in connection.execute(f'select t::text collate "C" from {table} t order by 1')]
            for name, table in _dumped(connection, schemas)
        }


def digest(settings: Settings, *schemas: str) -> dict[str, tuple[int, Decimal]]:
    """How many rows each table of the same dump has, and the sum of their hashes: who compares need not fetch them."""
    with warehouse.connect(settings, "owner") as connection:
        hashed = " union all ".join(
            f"select '{name}', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from {table} t"
            for name, table in _dumped(connection, schemas)
        )
        return {name: (rows, total) for name, rows, total in connection.execute(hashed.encode())}


def _dumped(connection: psycopg.Connection, schemas: Iterable[str]) -> list[tuple[str, str]]:
    """The tables to dump: by what name, and as SQL names them."""
    rows = connection.execute(
        "select relnamespace::regnamespace::text, relname from pg_class where relkind = 'r'"
        " and relnamespace::regnamespace::text = any(%s)"
        " and not (relnamespace = 'sensitive'::regnamespace and starts_with(relname, 'delivery_')) order by 1, 2",
        (list(schemas),),
    )
    return [(f"{schema}.{table}", f'{schema}."{table}"') for schema, table in rows]
