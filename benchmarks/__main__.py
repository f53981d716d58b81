"""``make bench``: measure, print a table, write ``benchmarks/results/latest.json``."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from psycopg import conninfo

from benchmarks import feed as bench
from benchmarks import loading
from peel import warehouse
from peel.local import postgres
from peel.settings import Settings

HOME = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measure at the sizes given, in rows; 300,000 and 1,000,000 if none are."""
    sizes = [int(text) for text in sys.argv[1:]] or [300_000, 1_000_000]
    results: list[dict[str, Any]] = []
    folder = Path(tempfile.mkdtemp(prefix="peel-bench-"))
    folder.chmod(0o755)
    server = Settings(HOME, folder / "server", folder / "server/sources", folder / "server/landing")
    try:
        postgres.up(server, lambda _: None)
        warehouse.bootstrap(server)
        for rows in sizes:
            results += _loading(server, folder, rows)
    finally:
        postgres.remove(server)
        shutil.rmtree(folder, ignore_errors=True)
    _print(results)
    out = HOME / "benchmarks" / "results"
    out.mkdir(exist_ok=True)
    (out / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _loading(server: Settings, folder: Path, rows: int) -> list[dict[str, Any]]:
    import psycopg

    owner = warehouse.parameters(server, "owner")
    name = f"bench_{rows}"
    with psycopg.connect(**{**owner, "dbname": "postgres"}, autocommit=True) as connection:
        connection.execute(f"create database {name} template peel")
    var = folder / name
    (var / "sources" / "bench").mkdir(parents=True)
    contract = var / "home" / "expectations" / "deliveries" / "bench" / "bench_assignment.odcs.yaml"
    contract.parent.mkdir(parents=True)
    contract.write_text(bench.CONTRACT)
    (var / "home" / "dbt_project").mkdir()
    shutil.copytree(server.secrets, var / "secrets")
    first = bench.table(rows)
    changed = bench.table(rows, changed=loading.CHANGED)
    waiting = var / "drop"
    for night, data in enumerate((first, changed, changed, first)):
        path = bench.deliver(waiting, loading.FIRST + dt.timedelta(days=night), data, rows)
    floor = median(loading.copy_floor({**owner, "dbname": name}, path))
    (waiting / "bench").rename(var / "waiting")
    environment = os.environ | {
        "BENCH_DSN": conninfo.make_conninfo(**{**owner, "dbname": name}),
        "PYTHONPATH": str(HOME),
    }
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.loading", "nights", str(var), str(rows)],
        env=environment,
        cwd=HOME,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    whole = time.perf_counter() - start
    found = json.loads(run.stdout.splitlines()[-1])
    names = ("first load", "0.5% changed", "identical", "back to the first file")
    results = [_result(f"COPY floor, {rows:,} rows", floor, floor, megabytes=round(len(first) / 1e6, 1))]
    for night, label in zip(found["nights"], names, strict=True):
        total = night["land"] + night["gate"] + night["apply"]
        steps = {step: round(night[step], 2) for step in ("land", "gate", "apply")}
        results.append(_result(f"{label}, {rows:,} rows", total, floor, **steps))
    results.append(
        _result(
            f"process start and imports, {rows:,} rows",
            whole - sum(night[step] for night in found["nights"] for step in ("land", "gate", "apply")),
            floor,
        )
    )
    results.append(
        {
            "name": f"client's peak memory, {rows:,} rows",
            "value": round(found["peak_mb"]),
            "unit": "MB",
            "floor": round(found["imports_mb"]),
            "ratio": round(found["peak_mb"] / found["imports_mb"], 2),
        }
    )
    return results


def _result(name: str, value: float, floor: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": "s",
        "floor": round(floor, 3),
        "ratio": round(value / floor, 2),
        **more,
    }


def _print(results: list[dict[str, Any]]) -> None:
    print(f"{'measure':<44}{'value':>10}  {'floor':>9}  {'ratio':>6}")
    for result in results:
        more = {k: v for k, v in result.items() if k not in ("name", "value", "unit", "floor", "ratio")}
        print(
            f"{result['name']:<44}{result['value']:>8} {result['unit']:<2} {result['floor']:>8}  {result['ratio']:>6}"
            + (f"  {more}" if more else "")
        )


if __name__ == "__main__":
    sys.exit(main())
