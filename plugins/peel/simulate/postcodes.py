"""The postcode directory of the simulated force: which area each sector of its invented postcodes lies in.

Delivered once, as a real directory would be when it is published.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from pathlib import Path

from peel.london import parse_business_date
from peel.simulate import tables as t
from peel.simulate.days import day_of, half_past_midnight_after
from peel.simulate.identities import OUTSIDE_DISTRICT
from peel.simulate.text import Table
from peel.simulate.write import SEQUENCE, delivered, write_delivery

FEED = "postcode"
OUTSIDE = "OUTSIDE"


def deliver_postcodes(target: Path, business_date: dt.date) -> Path | None:
    """Deliver the directory, unless it was delivered for that date or an earlier one.

    Args:
        target: the folder of feeds.
        business_date: the night.

    Returns:
        The folder written, or ``None`` when there was nothing to do.
    """
    for folder in (target / FEED).glob(f"*/{SEQUENCE}"):
        try:
            earlier = parse_business_date(folder.parent.name) <= business_date
        except ValueError:
            continue
        if earlier and delivered(folder):
            return None
    about = {
        "mode": "full",
        "extract_ts": half_past_midnight_after(day_of(business_date)).isoformat(),
        "watermark_from": None,
        "watermark_to": None,
    }
    folder = target / FEED / business_date.isoformat() / str(SEQUENCE)
    return write_delivery(folder, FEED, business_date, [("ref_postcode_sector", sectors())], about)


def sectors() -> Table:
    """One row per sector and area it reaches into; one sector of each district straddles a border."""
    boroughs, settings = t.load().boroughs, t.load().settings
    by_bcu: dict[str, list[str]] = defaultdict(list)
    for borough in boroughs:
        by_bcu[borough["bcu_code"]].append(borough["borough_code"])
    found: list[tuple[str, str, int]] = []
    for district, borough in enumerate(boroughs, 1):
        code, neighbours = borough["borough_code"], by_bcu[borough["bcu_code"]]
        across = neighbours[(neighbours.index(code) + 1) % len(neighbours)]
        for digit in range(10):
            straddles = digit == settings["straddling_sector"] and across != code
            reach = settings["straddling_share_per_mille"] if straddles else 0
            found.append((f"ZX{district} {digit}", code, 1000 - reach))
            found += [(f"ZX{district} {digit}", across, reach)] if reach else []
    found += [(f"ZX{OUTSIDE_DISTRICT} {digit}", OUTSIDE, 1000) for digit in range(10)]
    return {
        "sector": [sector for sector, _, _ in found],
        "area_code": [area for _, area, _ in found],
        "share": [f"{share // 1000}.{share % 1000:03d}" for _, _, share in found],
    }
