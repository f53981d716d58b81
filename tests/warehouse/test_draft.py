"""The draft from a real database: read as the publishing role, written whole or not at all, recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from peel import warehouse
from peel.builds.dbt import manifest_path
from peel.errors import PeelError
from peel.releases import draft
from peel.releases.cells import UnsafeError
from peel.releases.draft import make_draft
from peel.releases.protect import Protection, protect
from peel.releases.read import read
from peel.settings import Settings
from tests.accessibility.invented_mart import BUILD_ID, SQL, STATEMENT, Rows, rows, snapshot

pytestmark = pytest.mark.slow

FILES = {"index.html", "figures.csv", "dictionary.html", "dictionary.csv", "manifest.json"}
VIEWS = tuple(Rows.__dataclass_fields__)


def fill(settings: Settings, made: Rows) -> None:
    with warehouse.connect(settings, "owner") as connection:
        connection.execute(SQL)
        for view in VIEWS:
            values = getattr(made, view)
            with connection.cursor().copy(f"copy mart.{view} from stdin") as copy:
                for row in values:
                    copy.write_row(row)
        add_build(connection, BUILD_ID)
    write_manifest(settings)


def add_build(connection: Any, build_id: str) -> None:
    connection.execute(
        "insert into audit.build (build_id, business_date, deliveries, decisions, checksum, state)"
        " values (%s, '2026-11-20', '{}', '{}', 'x', 'switched')",
        (build_id,),
    )


def write_manifest(settings: Settings, build_id: str = BUILD_ID) -> None:
    model = {
        "resource_type": "model",
        "name": "mart__dim_area",
        "alias": "dim_area",
        "fqn": ["peel", "mart", "mart__dim_area"],
        "description": "Areas.",
        "config": {"meta": {"each_row_is": "one area"}},
        "columns": {"area_code": {"name": "area_code", "data_type": "text", "description": "The code."}},
    }
    path = manifest_path(settings, build_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nodes": {"model": model}}), "utf-8")


@pytest.fixture(scope="module")
def made() -> Rows:
    return rows(officers=34_000)  # few small counts: quick to protect


@pytest.fixture
def filled(here: Settings, made: Rows) -> Settings:
    fill(here, made)
    return here


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_snapshot_is_what_the_rows_add_up_to(filled: Settings, made: Rows):
    assert read(filled) == snapshot(made)


def test_a_draft_is_written_marked_recorded_and_made_the_latest(filled: Settings):
    result = make_draft(filled)
    folder = filled.drafts / BUILD_ID
    assert result["path"] == str(folder)
    assert (result["build_id"], result["statement"]) == (BUILD_ID, STATEMENT)
    assert result["business_date"] == "2026-11-20"
    assert result["hidden"] > 0
    assert result["narrowest"] >= 5
    assert json.dumps(result)
    assert contents(folder).keys() == FILES
    latest = filled.drafts / "latest"
    assert latest.readlink() == Path(BUILD_ID)
    assert Path(result["latest"]).read_bytes() == (folder / "index.html").read_bytes()
    assert not filled.published.exists()
    with warehouse.connect(filled, "publish") as connection:
        found = connection.execute("select release_id, build_id, kind, path, manifest from audit.release").fetchall()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert found == [(f"draft-{BUILD_ID}", BUILD_ID, "draft", f"drafts/{BUILD_ID}", manifest)]


def test_the_same_build_again_gives_the_same_bytes_and_touches_no_file(filled: Settings):
    make_draft(filled)
    folder = filled.drafts / BUILD_ID
    before = contents(folder), {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    make_draft(filled)
    assert (contents(folder), {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}) == before
    (folder / "figures.csv").write_text("altered", "utf-8")
    make_draft(filled)
    assert contents(folder) == before[0]
    assert {path.name for path in filled.drafts.iterdir()} == {BUILD_ID, "latest"}
    with warehouse.connect(filled, "publish") as connection:
        assert connection.execute("select count(*) from audit.release").fetchone() == (1,)


def test_the_next_build_becomes_the_latest_and_the_earlier_draft_stays(filled: Settings):
    make_draft(filled)
    earlier = contents(filled.drafts / BUILD_ID)
    with warehouse.connect(filled, "owner") as connection:
        add_build(connection, "b2")
        connection.execute("update mart.as_of set build_id = 'b2'")
    write_manifest(filled, "b2")
    make_draft(filled)
    assert (filled.drafts / "latest").readlink() == Path("b2")
    assert contents(filled.drafts / BUILD_ID) == earlier


def test_a_run_killed_while_writing_leaves_the_last_draft_and_the_next_run_clears_up(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
):
    make_draft(filled)
    earlier = contents(filled.drafts / BUILD_ID)
    with warehouse.connect(filled, "owner") as connection:
        add_build(connection, "b2")
        connection.execute("update mart.as_of set build_id = 'b2'")
    write_manifest(filled, "b2")
    calls = []

    def full_disk(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(PeelError, match="could not be written \\(No space left on device\\)"):
            make_draft(filled)
    assert (filled.drafts / "latest").readlink() == Path(BUILD_ID)
    assert contents(filled.drafts / BUILD_ID) == earlier
    assert not (filled.drafts / "b2").exists()
    with warehouse.connect(filled, "publish") as connection:
        assert connection.execute("select array_agg(build_id) from audit.release").fetchone() == ([BUILD_ID],)
    make_draft(filled)
    assert {path.name for path in filled.drafts.iterdir()} == {BUILD_ID, "b2", "latest"}


def test_nothing_is_written_if_the_attack_narrows_a_hidden_count(filled: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draft, "protect", lambda system: Protection(protect(system).primary, frozenset()))
    with pytest.raises(UnsafeError, match="hidden counts could be worked out; nothing was written") as refusal:
        make_draft(filled)
    assert refusal.value.count
    assert not filled.drafts.exists()
    with warehouse.connect(filled, "publish") as connection:
        assert connection.execute("select count(*) from audit.release").fetchone() == (0,)


def test_before_the_first_switch_it_says_what_to_do(here: Settings):
    with pytest.raises(PeelError, match=r"no build has been switched to yet\. Run a night first"):
        make_draft(here)


def test_without_residents_it_names_the_feed(filled: Settings):
    with warehouse.connect(filled, "owner") as connection:
        connection.execute("truncate mart.population")
    with pytest.raises(PeelError, match="feed census: the mart holds no residents"):
        make_draft(filled)


def test_without_dbts_manifest_nothing_is_written(filled: Settings):
    manifest_path(filled, BUILD_ID).unlink()
    with pytest.raises(PeelError, match="dbt's manifest is missing"):
        make_draft(filled)
    assert not filled.drafts.exists()


def test_an_ethnicity_that_no_dimension_knows_is_refused_without_its_value(filled: Settings):
    with warehouse.connect(filled, "owner") as connection:
        connection.execute("update mart.movement_month set ethnicity_code = 'IC1' where joiner_type = 'TRANSFER'")
    with pytest.raises(PeelError, match=r"not in mart\.dim_ethnicity") as refusal:
        make_draft(filled)
    assert "IC1" not in str(refusal.value)
