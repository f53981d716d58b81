"""Deliveries of Peel's own reference tables: real census figures, for an installation without a Nomis source."""

from __future__ import annotations

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

    Returns:
        The folder written, or ``None`` when there was nothing to do.
    """
    for manifest in (settings.sources / feed.name).glob(f"*/*/{MANIFEST}"):
        if manifest.parts[-3] <= business_date.isoformat():
            return None
    final = settings.sources / feed.name / business_date.isoformat() / "1"
    temporary = final.with_name(".1.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    files = []
    for contract in feed.contracts:
        data = (settings.home / "reference" / feed.name / f"{contract.name}.csv").read_bytes()
        name = f"{contract.name}_{business_date:%Y%m%d}_1.csv"
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
        "business_date": business_date.isoformat(),
        "seq": 1,
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
