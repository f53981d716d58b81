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
REPEATS = 3
STEPS = ("land", "gate", "apply")


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
    """Medians of several runs, each in a database of its own with a floor of its own."""
    first, changed = bench.table(rows), bench.table(rows, changed=loading.CHANGED)
    runs = [_run(server, folder / f"{rows}_{number}", rows, first, changed) for number in range(REPEATS)]
    floor = median(run["floor"] for run in runs)
    results = [_result(f"COPY floor, {rows:,} rows", floor, 1.0, floor, megabytes=round(len(first) / 1e6, 1))]
    for night, label in enumerate(("first load", "0.5% changed", "identical", "back to the first file")):
        steps = {step: [run["nights"][night][step] for run in runs] for step in STEPS}
        totals = [sum(run["nights"][night][step] for step in STEPS) for run in runs]
        ratio = median(total / run["floor"] for total, run in zip(totals, runs, strict=True))
        medians = {step: round(median(values), 2) for step, values in steps.items()}
        results.append(_result(f"{label}, {rows:,} rows", median(totals), ratio, floor, **medians))
    imports = median(run["whole"] - sum(night[step] for night in run["nights"] for step in STEPS) for run in runs)
    results.append(_result(f"process start and imports, {rows:,} rows", imports, imports / floor, floor))
    peak, imported = (max(run[name] for run in runs) for name in ("peak_mb", "imports_mb"))
    name = f"client's peak memory, {rows:,} rows"
    ratio = round(peak / imported, 2)
    return [*results, {"name": name, "value": round(peak), "unit": "MB", "floor": round(imported), "ratio": ratio}]


def _run(server: Settings, var: Path, rows: int, first: bytes, changed: bytes) -> dict[str, Any]:
    """One client process that takes in four nights, and bare ``COPY`` beside it."""
    import psycopg

    owner = warehouse.parameters(server, "owner")
    name = f"bench_{var.name}"
    with psycopg.connect(**{**owner, "dbname": "postgres"}, autocommit=True) as connection:
        connection.execute(f"create database {name} template peel")
    (var / "sources" / "bench").mkdir(parents=True)
    contract = var / "home" / "expectations" / "deliveries" / "bench" / "bench_assignment.odcs.yaml"
    contract.parent.mkdir(parents=True)
    contract.write_text(bench.CONTRACT)
    (var / "home" / "dbt_project").mkdir()
    shutil.copytree(server.secrets, var / "secrets")
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
    with psycopg.connect(**{**owner, "dbname": "postgres"}, autocommit=True) as connection:
        connection.execute(f"drop database {name}")
    shutil.rmtree(var)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found | {"whole": whole, "floor": floor}


def _result(name: str, value: float, ratio: float, floor: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": "s",
        "floor": round(floor, 3),
        "ratio": round(ratio, 2),
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
