"""Landing, pseudonyms, gate and history of one table, against bare ``COPY`` of the same file in the same run.

``python -m benchmarks.loading nights VAR ROWS`` is one client process that takes in four nights (the first load,
one in which 0.5% of the rows changed, an identical one, one more changed one) and prints what it measured as JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import feed as bench

FIRST = dt.date(2026, 3, 1)
CHANGED = 0.005


def nights(var: Path, dsn: str, rows: int) -> dict[str, Any]:
    """Take in the nights in this process; seconds by step, and the process's peak memory in MB."""
    started = time.perf_counter()
    import great_expectations
    import great_expectations.expectations  # noqa: F401
    import sqlalchemy  # noqa: F401

    from peel import contracts
    from peel.deliveries.landing import land_feed
    from peel.gates.delivery import gate_feed
    from peel.history.apply import apply_feed
    from peel.settings import Settings

    imports = time.perf_counter() - started
    imported = _peak_mb()
    home = var / "home"
    settings = Settings(home, var, var / "sources", var / "landing", warehouse_dsn=dsn)
    feed = contracts.feed(settings.contracts, "bench")
    found: dict[str, Any] = {"imports_s": imports, "imports_mb": imported, "nights": []}
    for night, path in enumerate(sorted((var / "waiting").iterdir())):
        path.rename(settings.sources / "bench" / path.name)
        took: dict[str, Any] = {}
        for name, step in (("land", land_feed), ("gate", gate_feed), ("apply", apply_feed)):
            start = time.perf_counter()
            report = step(settings, feed)
            took[name] = time.perf_counter() - start
        assert not getattr(report, "refused", []), report
        found["nights"].append({"night": night, **took, "opened": dict(report.opened)})
    found["peak_mb"] = _peak_mb()
    return found


def _peak_mb() -> float:
    """High-water mark of this program's own memory; ``ru_maxrss`` would count the parent it was forked from."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def copy_floor(owner: dict[str, str], path: Path, times: int = 5) -> list[float]:
    """Seconds of bare ``COPY`` of a file into a table of its own types, without a key or an index."""
    import psycopg

    took = []
    columns = ", ".join(f"{name} {type_}" for name, type_ in bench.HEADER.items())
    with psycopg.connect(**owner) as connection:  # type: ignore[arg-type]
        for _ in range(times):
            connection.execute(f"create table bench_floor ({columns})")
            connection.commit()
            start = time.perf_counter()
            with (
                path.open("rb") as file,
                connection.cursor().copy("copy bench_floor from stdin (format csv, header)") as copy,
            ):
                while block := file.read(1 << 20):
                    copy.write(block)
            connection.commit()
            took.append(time.perf_counter() - start)
            connection.execute("drop table bench_floor")
            connection.commit()
    return took


if __name__ == "__main__":
    _, _, folder, number = sys.argv
    print(json.dumps(nights(Path(folder), os.environ["BENCH_DSN"], int(number))))
