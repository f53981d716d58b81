"""Nights built one by one are, byte for byte, what one build over all of them gives.

Every kind of dirt is planted, a delivery comes three nights late, and on the way a seed is changed and then a model.
Twelve nights, or as many as ``PEEL_SIXTY_NIGHTS`` says; ``PEEL_SIXTY_SCALE`` sets the force's size (1 is the Met's).
In a small force dirt is planted thickly, so that each kind is there; at full size at its usual rates.
A process beside the nights delivers ahead of them, and takes each delivery into the other warehouse.
"""

from __future__ import annotations

import datetime as dt
import logging
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from peel import contracts, night
from peel.builds import build as building
from peel.builds import dbt
from peel.builds.gate import gate_build
from peel.builds.switch import switch
from peel.errors import PeelError
from peel.feeds.reference import deliver_reference
from peel.settings import Settings
from peel.simulate import deliver, deliver_postcodes
from peel.simulate.dirt import CATALOGUE, read_ledger
from peel.warehouse import connect
from tests.conftest import HOME, copy_warehouse, digest, drop_warehouse, point_environment_at
from tests.warehouse.test_dirt_ledger import RATES as THICK
from tests.warehouse.test_dirt_ledger import SEED, lenient

pytestmark = pytest.mark.slow
log = logging.getLogger(__name__)

SCALE = float(os.environ.get("PEEL_SIXTY_SCALE", "0.01"))
NIGHTS = int(os.environ.get("PEEL_SIXTY_NIGHTS", "12"))
FIRST = dt.date(2026, 2, 12)
SEED_CHANGED, MODEL_CHANGED, LATE = NIGHTS // 3, 2 * NIGHTS // 3, NIGHTS // 2
USUAL = {name: kind.default_rate for name, kind in CATALOGUE.items() if kind.feed != "census"}
RATES = THICK | {"unit_closed": 5_000} if SCALE < 1 else USUAL  # so many more would refuse most builds
READ = ("history", "sensitive", "quarantine", "core")


def edit(home: Path, name: str, old: str, new: str) -> None:
    path = home / "dbt_project" / name
    text = path.read_text("utf-8")
    assert text.count(old) == 1, (name, old)
    path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project that may be changed."""
    home = tmp_path / "home"
    left_out = shutil.ignore_patterns(".venv", "target", "logs", "*.egg-info")
    shutil.copytree(HOME / "dbt_project", home / "dbt_project", ignore=left_out)
    (home / "reference").symlink_to(HOME / "reference")
    lenient(home)
    shutil.copytree(HOME / "expectations" / "marts", home / "expectations" / "marts", dirs_exist_ok=True)
    monkeypatch.setenv("PEEL_DBT", str(HOME / "dbt_project" / ".venv" / "bin" / "dbt"))
    return home


@pytest.fixture
def warehouses(
    server: Settings, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Settings]]:
    """Empty warehouses of the project, all with one source drop; the last one made is the one that steps load."""
    made: list[Settings] = []

    def make(name: str) -> Settings:
        settings = copy_warehouse(server, tmp_path / name, project)
        made.append(replace(settings, sources=tmp_path / "sources", scale=SCALE, seed=SEED))
        point_environment_at(monkeypatch, made[-1])
        return made[-1]

    yield make
    for settings in made:
        drop_warehouse(server, settings)


def take_in(settings: Settings, date: dt.date) -> None:
    """Land, gate and apply whatever has come; a delivery that is refused is a night's lot."""
    for feed in contracts.feeds(settings.contracts):
        night.land(feed.name, date)
        night.gate(feed.name)
        try:
            night.apply(feed.name, [])
        except night.DeliveryRefused:
            continue


def prepare(drop: Path, date: dt.date, since: dt.date | None) -> None:
    """Deliver a night where nobody looks for it yet."""
    deliver(drop, date, scale=SCALE, seed=SEED, since=since, dirt=RATES)


def arrive(drop: Path, settings: Settings, feed: str, date: dt.date) -> None:
    """Bring a delivery that was prepared to where it is looked for."""
    target = settings.sources / feed / date.isoformat()
    target.parent.mkdir(exist_ok=True)
    (drop / feed / date.isoformat()).rename(target)


def build(settings: Settings) -> str | None:
    """Build, gate and switch what is due; a build that its gate refuses leaves the night before in place."""
    build_id = building.build(settings)
    if build_id is None:
        return None
    try:
        gate_build(settings, build_id)
    except PeelError as refused:
        if refused.rule != "build_gate":
            raise
        return None
    switch(settings, build_id)
    return build_id


def overlooked(settings: Settings) -> int:
    """Persons and applications that a look at all of history finds changed, in the night that readers see."""
    with connect(settings, "transform") as connection:
        found = connection.execute("select business_date::text from audit.switched_build").fetchone()
    assert found is not None
    told = {"PEEL_BUSINESS_DATE": found[0], "PEEL_LAST_BUSINESS_DATE": found[0]}
    told |= {"PEEL_REBUILD_ALL": "false", "PEEL_HISTORY_STANDS": "false"}
    subprocess.run(
        [*dbt.command(settings), "--quiet", "run", "--select", "+int_changed_person", "+int_changed_application"],
        env=dbt.environment(settings, "nightly") | told,
        cwd=settings.dbt_project,
        check=True,
    )
    with connect(settings, "transform") as connection:
        count = connection.execute(
            "select (select count(*) from next.int_changed_person)"
            " + (select count(*) from next.int_changed_application)"
        ).fetchone()
    assert count is not None
    return int(count[0])


def whole_rebuilds(settings: Settings) -> int:
    """Builds that readers saw and that worked out every month up to their own."""
    with connect(settings, "owner") as connection:
        affected = connection.execute(
            "select b.business_date, b.months from audit.switch s join audit.build b using (build_id)"
        ).fetchall()
    first = min(months[0] for _, months in affected if months)
    return [
        len(months) == (date.year - first.year) * 12 + date.month - first.month + 1 for date, months in affected
    ].count(True)


def test_sixty_nights_are_what_one_build_over_them_gives(
    warehouses: Callable[[str], Settings], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = []
    find_due = building.find_due

    def find(*arguments: object) -> building.Due | None:
        due = find_due(*arguments)  # type: ignore[arg-type]
        if due is not None and due.history_stands:
            narrow.append(due.business_date)
        return due

    monkeypatch.setattr(building, "find_due", find)
    at_once = warehouses("at_once")
    days = [FIRST + dt.timedelta(days=number) for number in range(NIGHTS)]
    deliver_postcodes(at_once.sources, FIRST)
    deliver_reference(at_once, contracts.feed(at_once.contracts, "census"), FIRST)
    built, drop = [], tmp_path / "drop"
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        beside.submit(os.getpid).result()  # it starts here, and so in the environment of its warehouse
        prepared = [beside.submit(prepare, drop, days[0], None)]
        taken: list[Future[None]] = []
        settings = warehouses("nightly")
        for number, date in enumerate(days):
            prepared[number].result()
            if date != days[-1]:
                prepared.append(beside.submit(prepare, drop, days[number + 1], date))
            if number == SEED_CHANGED:  # chief inspectors are shown with superintendents from now on
                edit(project, "seeds/ref_rank.csv", "CIN,Chief Inspector,4,INSP+", "CIN,Chief Inspector,4,SUPT+")
            if number == MODEL_CHANGED:
                part_time = "count(*) filter (where snapshot.hours_basis = 'PT')"
                edit(project, "macros/workforce.sql", part_time, "count(*) filter (where snapshot.fte < 1)")
            arrive(drop, settings, "recruitment", date)
            if number != LATE:
                arrive(drop, settings, "hr", date)
            if number == LATE + 3:
                arrive(drop, settings, "hr", days[LATE])
            taken.append(beside.submit(take_in, at_once, date))
            take_in(settings, date)
            built.append(build(settings))
            if built[-1] is not None and date in narrow[-1:] and number % 4 == 1:
                assert overlooked(settings) == 0, date
            log.info("%s: %s", date, built[-1])
        for each in taken:
            each.result()
    log.info("%d nights built, %d of them narrow", len(set(built) - {None}), len(narrow))
    assert built[-1] is not None
    nightly = digest(settings, *READ)

    point_environment_at(monkeypatch, at_once)
    take_in(at_once, days[-1])
    assert build(at_once) is not None
    assert dbt.checksum(at_once) == dbt.checksum(settings)
    once = digest(at_once, *READ)
    assert set(once) == set(nightly)
    different = [table for table in once if once[table] != nightly[table]]
    assert different == []
    assert once["core.fct_workforce_snapshot"][0] > 1_000_000 * SCALE
    assert len(set(built) - {None}) >= 0.9 * NIGHTS
    assert len(narrow) > NIGHTS / 2, "most nights look at no more than what began or ended since"
    assert whole_rebuilds(settings) == 3, "the first, and after each change"
    if NIGHTS >= 60:
        planted = {entry.dirt for entry in read_ledger(drop)}
        assert planted == set(RATES), set(RATES) - planted
