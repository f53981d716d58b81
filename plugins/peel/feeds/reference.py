"""Deliveries of Peel's own reference tables: real census figures, for an installation without a Nomis source."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path

from peel.contracts import Feed
from peel.feeds.manifest import MANIFEST
from peel.settings import Settings


def deliver_reference(settings: Settings, feed: Feed, business_date: dt.date) -> Path | None:
    """Deliver ``reference/<feed>/`` unless one of its deliveries of that date or an earlier one exists.

    A delivery from before a table was added to the feed lacks it: then everything is delivered anew.

    Returns:
        The folder written, or ``None`` when there was nothing to do.
    """
    date = business_date.isoformat()
    found = (settings.sources / feed.name).glob(f"*/*/{MANIFEST}")
    earlier = sorted((path.parts[-3], len(path.parts[-2]), path.parts[-2], path) for path in found)
    earlier = [one for one in earlier if one[0] <= date]
    if earlier and _has_every_table(earlier[-1][-1], feed):
        return None
    seq = 1 + max((int(number) for day, _, number, _ in earlier if day == date and number.isdecimal()), default=0)
    final = settings.sources / feed.name / date / str(seq)
    temporary = final.with_name(f".{seq}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    files = []
    for contract in feed.contracts:
        data = reference_table(settings.home, feed.name, contract.name)
        name = f"{contract.name}_{business_date:%Y%m%d}_{seq}.csv"
        (temporary / name).write_bytes(data)
        files.append(
            {
                "file": name,
                "table": contract.name,
                "sha256": hashlib.sha256(data).hexdigest(),
                "rows": data.count(b"\n") - 1,
            }
        )
    manifest = {
        "feed": feed.name,
        "business_date": date,
        "seq": seq,
        "schema_version": feed.contracts[0].version,
        "mode": feed.mode,
        "extract_ts": f"{business_date + dt.timedelta(days=1)}T00:00:00+00:00",
        "watermark_from": None,
        "watermark_to": None,
        "files": files,
    }
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    temporary.rename(final)
    return final


def reference_table(home: Path, feed: str, name: str) -> bytes:
    """A reference table as it is delivered, from the file of its name or one with a column for each ethnic group.

    Args:
        home: the installation's root.
        feed: the feed's name.
        name: of the table's contract.
    """
    folder = home / "reference" / feed
    path = folder / f"{name}.csv"
    return path.read_bytes() if path.exists() else _unfolded(folder / f"{name}.wide.csv")


def _unfolded(path: Path) -> bytes:
    """One row for each ethnic group of each row; an empty figure is one that the ONS suppressed."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    groups = head[5:]
    lines = ["census_year,area_code,age,category_code,is_total,merged_with,obs_value,obs_status"]
    for year, area, age, is_total, merged_with, *figures in rows:
        for group, figure in zip(groups, figures, strict=True):
            status = "A" if figure else "Q"
            lines.append(f"{year},{area},{age},{group},{is_total},{merged_with},{figure},{status}")
    return ("\n".join(lines) + "\n").encode()


def _has_every_table(manifest: Path, feed: Feed) -> bool:
    try:
        files = json.loads(manifest.read_bytes())["files"]
        return {contract.name for contract in feed.contracts} <= {file["table"] for file in files}
    except (OSError, ValueError, KeyError, TypeError):
        return True  # landing will say what is wrong with it
