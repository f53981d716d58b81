"""The server goes away: while rows are copied, between two steps, or in the middle of a gate.

Delivery tables are working copies without a write-ahead log: a crash empties them. Nothing may be taken from an
empty one, and the next step loads it again from the landing store.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from peel import contracts, night, warehouse
from peel.deliveries import loading, store
from peel.deliveries.landing import land_feed
from peel.errors import PeelError
from peel.gates import delivery as delivery_gate
from peel.gates.delivery import gate_feed
from peel.history.apply import apply_feed
from peel.local import postgres
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import HOME, dump, point_environment_at
from tests.deliveries import deliver
from tests.toys import FULL, contract, row

pytestmark = pytest.mark.slow

WithContracts = Callable[[dict[str, str]], Settings]
DATE = dt.date(2026, 1, 1)


def _drop_two_nights(here: Settings) -> None:
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(n) for n in range(5)]})
    deliver(here.sources, "toy", "2026-01-02", {"toy": [*[row(n) for n in range(1, 5)], row(9, born="never")]})


def _states(here: Settings) -> list[tuple[Any, ...]]:
    with connect(here, "owner") as connection:
        return connection.execute(
            "select d.state, t.accepted, t.quarantined from audit.delivery d join audit.delivery_table t"
            " using (delivery_id) order by d.business_date"
        ).fetchall()


def _versions(here: Settings) -> list[tuple[Any, ...]]:
    with connect(here, "owner") as connection:
        return connection.execute(
            "select toy_id, known_from::text, known_to::text from history.toy order by toy_id, known_from"
        ).fetchall()


APPLIED = [("applied", 5, 0), ("applied", 4, 1)]
HISTORY = [(0, "2026-01-01", "2026-01-02"), *[(n, "2026-01-01", None) for n in range(1, 5)]]


def test_a_server_gone_while_copying_costs_only_the_step(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = with_contracts(FULL)
    _drop_two_nights(here)
    night.land("toy", DATE)
    copied, as_csv = 0, store.rows_as_csv

    def end_the_server_process(batch: pa.RecordBatch) -> bytes:
        nonlocal copied
        copied += 1
        if copied == 2:  # the second delivery's
            with connect(here, "owner") as connection:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'peel_ingest'"
                    " and datname = current_database()"
                )
        return as_csv(batch)

    with monkeypatch.context() as patch:
        patch.setattr(loading.store, "rows_as_csv", end_the_server_process)
        with pytest.raises(PeelError) as error:
            night.gate("toy")
    line = str(error.value)
    assert "SQLSTATE" in line
    assert "CONTEXT" not in line + caplog.text  # where the server shows the line it was at
    assert _states(here) == [("gated", 5, 0), ("landed", None, None)]
    night.gate("toy")
    night.apply("toy", [])
    assert _states(here) == APPLIED
    assert _versions(here) == HISTORY


def test_delivery_tables_that_a_crash_emptied_are_loaded_again(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    _drop_two_nights(here)
    night.land("toy", DATE)
    night.gate("toy")
    with connect(here, "owner") as connection:
        for (relation,) in connection.execute(
            "select oid::regclass::text from pg_class where relpersistence = 'u' and relkind = 'r'"
        ).fetchall():
            connection.execute(f"truncate {relation}".encode())
    night.apply("toy", [])
    assert _states(here) == APPLIED
    assert _versions(here) == HISTORY


def test_a_gate_whose_tables_a_crash_emptied_records_nothing(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty table passes almost any suite, and applying it would close every key."""
    here = with_contracts(FULL)
    _drop_two_nights(here)
    night.land("toy", DATE)
    run = delivery_gate._suite

    def crash_before(settings: Settings, what: Any, view: str) -> Any:
        with connect(here, "owner") as connection:
            connection.execute(f"truncate {view.replace('_gate', '')}".encode())
        return run(settings, what, view)

    with monkeypatch.context() as patch:
        patch.setattr(delivery_gate, "_suite", crash_before)
        with pytest.raises(PeelError, match="rule delivery_table_whole"):
            night.gate("toy")
    assert _states(here) == [("landed", None, None)] * 2
    night.gate("toy")
    night.apply("toy", [])
    assert _states(here) == APPLIED
    assert _versions(here) == HISTORY


def test_a_table_that_a_rule_refers_to_is_loaded_again_with_the_one_that_refers_to_it(
    with_contracts: WithContracts,
) -> None:
    from peel.deliveries import decisions
    from peel.deliveries.pseudonyms import load_keys
    from peel.history.apply import ApplyReport, _Applying

    orphan = (
        "- {name: known_elsewhere, type: custom, engine: greatExpectations, severity: error, implementation:"
        " {type: expect_column_values_to_be_null, kwargs: {column: _known_elsewhere}}, customProperties:"
        " [{property: onFailure, value: quarantine}, {property: unfitWhen, value:"
        ' "not exists (select from ${toy} o where o.toy_id = s.toy_id)"}]}'
    )
    here = with_contracts(FULL | {"deliveries/toy/other.odcs.yaml": contract("other", "toy", "full", quality=orphan)})
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2)], "other": [row(1), row(2)]})
    feed = contracts.feed(here.contracts, "toy")
    land_feed(here, feed)
    gate_feed(here, feed)
    other = next(one for one in feed.contracts if one.name == "other")
    with connect(here, "owner") as connection:
        (delivery_id,) = connection.execute("select delivery_id from audit.delivery").fetchone() or ("",)
        for relation in feed.relations(delivery_id).values():
            connection.execute(f"truncate {relation}".encode())
    with connect(here, "ingest") as connection:
        assert decisions.mappings(connection, "toy") == {}
        applying = _Applying(here, connection, feed, load_keys(here, create=False), ApplyReport())
        applying.ensure_loaded(other, delivery_id)
        view = f'{other.relation("delivery", delivery_id)[:-1]}_gate"'
        broken = connection.execute(f"select count(*), count(_known_elsewhere) from {view}".encode()).fetchone()
    assert broken == (2, 0)


@pytest.fixture
def own_server() -> Iterator[Settings]:
    """A server that a test may kill."""
    folder = Path(tempfile.mkdtemp(prefix="peel-crash-"))
    folder.chmod(0o755)
    home = folder / "home"
    for name, text in FULL.items():
        path = home / "expectations" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (home / "dbt_project").mkdir()
    settings = Settings(home, folder / "var", folder / "var" / "sources", folder / "var" / "landing")
    try:
        postgres.up(settings, lambda _: None)
        warehouse.bootstrap(settings)
        yield settings
    finally:
        postgres.remove(settings)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_server_that_is_killed_between_gate_and_history_loses_nothing(
    own_server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Immediate shutdown, as ``pg_ctl stop -m immediate``: recovery empties every unlogged table."""
    assert own_server.home != HOME
    point_environment_at(monkeypatch, own_server)
    monkeypatch.delenv("PEEL_WAREHOUSE_DSN")
    _drop_two_nights(own_server)
    night.land("toy", DATE)
    night.gate("toy")
    quarantined = dump(own_server, "quarantine")

    pid = postgres.status(own_server).pid
    assert pid is not None
    server = psutil.Process(pid)
    os.kill(pid, signal.SIGQUIT)
    psutil.wait_procs([server], timeout=20)
    with pytest.raises(PeelError, match="SQLSTATE connection"):
        night.apply("toy", [])
    postgres.up(own_server, lambda _: None)

    with connect(own_server, "owner") as connection:
        tables = connection.execute(
            "select oid::regclass::text from pg_class where relpersistence = 'u' and relkind = 'r'"
        ).fetchall()
        assert len(tables) == 2
        for (relation,) in tables:
            assert connection.execute(f"select count(*) from {relation}".encode()).fetchone() == (0,)
    assert dump(own_server, "quarantine") == quarantined
    night.apply("toy", [])
    assert _states(own_server) == APPLIED
    assert _versions(own_server) == HISTORY
    assert apply_feed(own_server, contracts.feed(own_server.contracts, "toy")).applied == 0
