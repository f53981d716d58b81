"""What a night, a rebuild, a restatement and a dashboard cost, of the whole star.

``python -m benchmarks.star [SCALE]`` (1 is the Met's size) prints what it measured and writes
``benchmarks/results/star.json``. A night is measured with one, four and fourteen years of history behind it; dbt's
fixed start-up stands apart.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from peel import contracts, night, warehouse
from peel.builds import build as building
from peel.builds import dbt
from peel.builds.gate import gate_build
from peel.builds.switch import switch
from peel.desk.retention import vacuum
from peel.feeds.reference import deliver_reference
from peel.local import postgres
from peel.london import now
from peel.settings import Settings
from peel.simulate import deliver_missing, deliver_postcodes

HOME = Path(__file__).resolve().parents[1]
QUERIES = Path(__file__).with_name("dashboard") / "queries.sql"
SECONDS = 20
"""How long each number of clients asks."""
READERS = 16
NIGHTS = 5
"""Monday to Friday."""


def main() -> int:
    """Measure at a scale, the Met's own unless given."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    last = _sunday_in_a_month(now().date() - dt.timedelta(days=7))
    results: list[dict[str, Any]] = []
    folder = Path(tempfile.mkdtemp(prefix="peel-star-"))
    folder.chmod(0o755)
    server = Settings(HOME, folder / "server", folder / "server/sources", folder / "server/landing")
    try:
        postgres.up(server, lambda _: None)
        warehouse.bootstrap(server)
        settings = _nights(results, server, folder, scale, last)
        results += _asked(settings)
        results += _read_during_a_switch(settings, last + dt.timedelta(days=NIGHTS + 1))
        _correct(settings, last + dt.timedelta(days=NIGHTS + 2))
        steps = _built(settings)
        _tell(results, "a posting of five years ago corrected", _sum(steps), **steps)
        dbt.checksum = lambda _: "another"  # type: ignore[assignment]
        steps = _built(settings)
        _tell(results, "full rebuild of 14 years", _sum(steps), **steps)
    finally:
        postgres.remove(server)
        shutil.rmtree(folder, ignore_errors=True)
    out = HOME / "benchmarks" / "results"
    out.mkdir(exist_ok=True)
    (out / "star.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _nights(results: list[dict[str, Any]], server: Settings, folder: Path, scale: float, last: dt.date) -> Settings:
    """First builds and ordinary nights with 1, 4 and 14 years behind them; the installation of 14 years."""
    behind = {}
    for years, first in ((1, dt.date(2013, 4, 14)), (4, dt.date(2016, 4, 17)), (14, last)):
        settings = _warehouse(server, folder / f"years_{years}", scale)
        steps = _night(settings, first)
        _tell(results, f"first build, {years} years", _sum(steps), **steps)
        vacuum(settings)  # as a day's maintenance does
        behind[years] = (settings, first, _start_up(settings))
    nights: dict[int, list[dict[str, float]]] = {years: [] for years in behind}
    for number in range(1, NIGHTS + 1):  # in turn, so that an hour in which the machine is slow is everybody's
        for years, (settings, first, _) in behind.items():
            nights[years].append(_night(settings, first + dt.timedelta(days=number)))
    for years, (_, _, fixed) in behind.items():
        middle = sorted(nights[years], key=_sum)[NIGHTS // 2]
        _tell(results, f"a night, {years} years", _sum(middle), start_up=fixed, **middle)
        results[-1]["of_each"] = [round(_sum(steps), 2) for steps in nights[years]]
    for name, long, short in (("", 0.0, 0.0), (", without start-up", behind[14][2], behind[1][2])):
        ratios = [(_sum(a) - long) / (_sum(b) - short) for a, b in zip(nights[14], nights[1], strict=True)]
        _tell(results, f"a night of 14 years, times one of 1{name}", sorted(ratios)[NIGHTS // 2], unit="times")
        results[-1]["of_each"] = [round(ratio, 2) for ratio in ratios]
    return behind[14][0]


def _sunday_in_a_month(day: dt.date) -> dt.date:
    """A Sunday that no month opens within a week after; the last such one up to a day."""
    while not (5 <= day.day <= 20 and day.isoweekday() == 7):
        day -= dt.timedelta(days=1)
    return day


def _tell(results: list[dict[str, Any]], name: str, value: float, unit: str = "s", **parts: float) -> None:
    entry = {"name": name, "value": round(value, 2), "unit": unit, **{k: round(v, 2) for k, v in parts.items()}}
    results.append(entry)
    print("  ".join([f"{name:48}", f"{value:9.2f} {unit}", *(f"{k} {v:.2f}" for k, v in parts.items())]), flush=True)


def _warehouse(server: Settings, var: Path, scale: float) -> Settings:
    owner = warehouse.parameters(server, "owner")
    with psycopg.connect(**{**owner, "dbname": "postgres"}, autocommit=True) as connection:
        connection.execute(f"create database {var.name} template peel")
    settings = Settings(
        HOME,
        var,
        var / "sources",
        var / "landing",
        warehouse_dsn=conninfo.make_conninfo(**{**owner, "dbname": var.name}),
        scale=scale,
    )
    shutil.copytree(server.secrets, settings.secrets)
    _point_at(settings)
    warehouse.bootstrap(settings)
    return settings


def _point_at(settings: Settings) -> None:
    """Let a night's steps, which load their own settings, find this warehouse."""
    for name, value in {
        "PEEL_VAR": str(settings.var),
        "PEEL_SOURCES": str(settings.sources),
        "PEEL_LANDING": str(settings.landing),
        "PEEL_WAREHOUSE_DSN": settings.warehouse_dsn or "",
        "SCALE": str(settings.scale),
    }.items():
        os.environ[name] = value


def _take_in(settings: Settings, date: dt.date) -> None:
    deliver_missing(settings.sources, date, scale=settings.scale, seed=settings.seed)
    deliver_postcodes(settings.sources, date)
    deliver_reference(settings, contracts.feed(settings.contracts, "census"), date)
    _ingest(settings, date)


def _ingest(settings: Settings, date: dt.date) -> None:
    for feed in contracts.feeds(settings.contracts):
        night.land(feed.name, date)
        night.gate(feed.name)
        night.apply(feed.name, [])


def _night(settings: Settings, date: dt.date) -> dict[str, float]:
    """Take in a night; seconds of building, gating and switching it."""
    _point_at(settings)
    _take_in(settings, date)
    return _built(settings)


def _built(settings: Settings) -> dict[str, float]:
    took: dict[str, float] = {}
    build_id = _timed(took, "build", lambda: building.build(settings))
    assert build_id is not None
    _timed(took, "gate", lambda: gate_build(settings, build_id))
    _timed(took, "switch", lambda: switch(settings, build_id))
    return took


def _sum(steps: dict[str, float]) -> float:
    return sum(steps.values())


def _timed(took: dict[str, float], name: str, step: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = step()
    took[name] = time.perf_counter() - start
    return result


def _start_up(settings: Settings) -> float:
    """Seconds dbt takes to start and to read a project it has parsed before."""
    start = time.perf_counter()
    subprocess.run(
        [*dbt.command(settings), "--quiet", "ls", "--resource-type", "model"],
        env=dbt.environment(settings, "nightly"),
        cwd=settings.dbt_project,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def _queries() -> dict[str, str]:
    parts = re.split(r"-- name: (\w+)\n", QUERIES.read_text("utf-8"))[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _pgbench(settings: Settings, clients: int, seconds: int, scripts: list[Path], *more: str) -> subprocess.Popen[str]:
    p = warehouse.parameters(settings, "bi")
    command = [str(postgres.programs() / "pgbench"), "--no-vacuum", "--client", str(clients), "--jobs", "1"]
    command += ["--time", str(seconds), *(f"--file={script}" for script in scripts), *more, p["dbname"]]
    settings.var.joinpath("bench").mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "PGHOST": p["host"], "PGPORT": p["port"]}
    environment |= {"PGUSER": p["user"], "PGPASSWORD": p["password"]}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _scripts(settings: Settings) -> list[Path]:
    folder = settings.var / "bench"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, query in _queries().items():
        paths.append(folder / f"{name}.sql")
        paths[-1].write_text(query, "utf-8")
    return paths


def _logged(folder: Path, prefix: str) -> list[tuple[float, float, int]]:
    """Transactions of a run: when each ended, how long it took, both in seconds, and the script's number."""
    found = []
    for path in folder.glob(f"{prefix}.*"):
        for line in path.read_text().splitlines():
            _, _, micros, script, second, part = line.split()[:6]
            found.append((int(second) + int(part) / 1e6, int(micros) / 1e6, int(script)))
        path.unlink()
    return sorted(found)


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _asked(settings: Settings) -> list[dict[str, Any]]:
    """Twelve dashboard queries, from one client and from sixteen."""
    results: list[dict[str, Any]] = []
    scripts = _scripts(settings)
    folder = settings.var / "bench"
    for clients in (1, READERS):
        run = _pgbench(settings, clients, SECONDS, scripts, "--log", f"--log-prefix={folder / 'asked'}")
        told, _ = run.communicate()
        assert run.returncode == 0, told
        log = _logged(folder, "asked")
        took = [each for _, each, _ in log]
        parts = {script.stem: 1000 * _share([t for _, t, s in log if s == i], 0.95) for i, script in enumerate(scripts)}
        name = f"12 dashboard queries, {clients} clients, p95"
        _tell(
            results,
            name,
            1000 * _share(took, 0.95),
            "ms",
            median=1000 * _share(took, 0.5),
            a_second=len(took) / SECONDS,
        )
        results[-1]["p95_of_each"] = {k: round(v, 1) for k, v in parts.items()}
    return results


def _read_during_a_switch(settings: Settings, date: dt.date) -> list[dict[str, Any]]:
    """How long sixteen readers wait around a switch, against the seconds before it."""
    results: list[dict[str, Any]] = []
    _take_in(settings, date)
    build_id = building.build(settings)
    assert build_id is not None
    gate_build(settings, build_id)
    folder = settings.var / "bench"
    # A reader that looks and thinks, so that it is the switch that is measured and not sixteen readers on two cores.
    script = folder / "look.sql"
    script.write_text(_queries()["latest_strength"] + "\\sleep 200 ms\n", "utf-8")
    run = _pgbench(settings, READERS, 30, [script], "--log", f"--log-prefix={folder / 'looked'}")
    time.sleep(10)
    began = time.time()
    switch(settings, build_id)
    ended = time.time()
    told, _ = run.communicate()
    assert run.returncode == 0, told
    log = [(end, took - 0.2) for end, took, _ in _logged(folder, "looked")]
    before = [took for end, took in log if end < began]
    during = [took for end, took in log if began <= end <= ended + 0.5]
    _tell(
        results,
        "the longest wait of 16 readers around a switch",
        1000 * max(during),
        "ms",
        longest_before=1000 * max(before),
        median_during=1000 * _share(during, 0.5),
        median_before=1000 * _share(before, 0.5),
        switch_s=ended - began,
    )
    return results


def _correct(settings: Settings, date: dt.date) -> None:
    """Deliver a night in which a posting of some five years ago, the shortest of a month or more, has another FTE."""
    deliver_missing(settings.sources, date, scale=settings.scale, seed=settings.seed)
    folder = settings.sources / "hr" / str(date) / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    (entry,) = (each for each in manifest["files"] if each["table"] == "hr_assignment")
    path = folder / entry["file"]
    with path.open(encoding="utf-8", newline="") as file:
        members = list(csv.DictReader(file))
    start, end = str(date - dt.timedelta(days=6 * 365)), str(date - dt.timedelta(days=4 * 365))

    def days(row: dict[str, str]) -> int:
        return (
            dt.date.fromisoformat(row["effective_end_date"]) - dt.date.fromisoformat(row["effective_start_date"])
        ).days

    within = (
        row
        for row in members
        if row["workforce_group"] == "OFF" and start < row["effective_start_date"] < row["effective_end_date"] < end
    )
    chosen = min((row for row in within if days(row) > 31), key=days)
    chosen["fte"] = "0.500" if chosen["fte"] != "0.500" else "0.600"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(members[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(members)
    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _ingest(settings, date)


if __name__ == "__main__":
    raise SystemExit(main())
