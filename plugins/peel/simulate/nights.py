"""Deliveries by night: which are due, and writing them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from peel.errors import PeelError
from peel.london import parse_business_date
from peel.simulate import extract_hr, extract_recruitment, truths
from peel.simulate import tables as t
from peel.simulate.database import write_database
from peel.simulate.days import day_of, half_past_midnight_after, midnight_after
from peel.simulate.dirt import Rates, check_rates, dirty, write_ledger
from peel.simulate.state import world_kept
from peel.simulate.world import World
from peel.simulate.write import SEQUENCE, delivered, write_delivery

FEEDS = ("hr", "recruitment")
_CHAIN = ".simulated-force.json"
"""Kept beside the feeds: of which force (seed and scale) a chain of deliveries tells."""
TRUTHS = "planted-truths.json"
_BEGINNING = t.STOCK_DAY


def deliver(
    target: Path,
    business_date: dt.date,
    *,
    scale: float,
    seed: int,
    since: dt.date | None,
    dirt: Rates | None = None,
    without: frozenset[str] = frozenset(),
) -> list[Path]:
    """Deliver one night: HR whole, recruitment as changes.

    Args:
        target: the folder of feeds.
        business_date: the night.
        scale: size of the force, 1 is the Met's.
        seed: which force.
        since: business date of the previous recruitment delivery; None starts the chain.
        dirt: how many of a million rows each kind of dirt befalls, by name; none unless given. What is planted is
            written down in ``<target>/.dirt-ledger.csv``.
        without: names of planted truths that the force lacks; what is true of it stands in
            ``<target>/planted-truths.json``.

    Returns:
        The folders of this night, HR's and recruitment's. One that was there is left alone.

    Raises:
        PeelError: the date lies before the force's history or does not follow ``since``, the target
            holds another force, the chain was started already, dirt or a truth is unknown, or a rate impossible.
    """
    rates, lacking = check_rates(dirt), truths.check(without)
    _check(target, business_date, _force(scale, seed, lacking), since)
    folders = [_folder(target, feed, business_date) for feed in FEEDS]
    if not all(delivered(folder) for folder in folders):
        _deliver(world_kept(target, seed, scale, business_date, lacking), target, business_date, since, rates)
    return folders


def deliver_missing(
    target: Path,
    business_date: dt.date,
    *,
    scale: float,
    seed: int,
    dirt: Rates | None = None,
    without: frozenset[str] = frozenset(),
) -> list[Path]:
    """Deliver a night and those missed between the last delivered one and it.

    The first call ever starts the chain with the night given. Dirt and truths are as for `deliver`.

    Returns:
        The folders of the nights delivered, oldest first; none when all were there.

    Raises:
        PeelError: the night lies before the first delivered one, or as `deliver`.
    """
    rates, lacking = check_rates(dirt), truths.check(without)
    force, last = _force(scale, seed, lacking), previous_delivery(target)
    if last is not None and business_date <= last:
        _check_follows_start(target, business_date)
        _check_force(target, force)
        return []
    nights = [business_date] if last is None else _nights_between(last, business_date)
    _check(target, nights[0], force, last)
    world = world_kept(target, seed, scale, nights[-1], lacking)
    written: list[Path] = []
    for night in nights:
        written += _deliver(world, target, night, last, rates)
        last = night
    return written


def deliver_nights(
    target: Path,
    until: dt.date,
    *,
    since: dt.date | None,
    scale: float,
    seed: int,
    dirt: Rates | None = None,
    without: frozenset[str] = frozenset(),
    database: str | None = None,
) -> list[Path]:
    """Deliver every night from one to another that is not there yet.

    Args:
        target: the folder of feeds.
        until: the last night.
        since: the first; ``until`` if left out. A chain that was begun goes on where it stopped.
        scale: size of the force, 1 is the Met's.
        seed: which force.
        dirt: as for `deliver`.
        without: as for `deliver`.
        database: URL of a PostgreSQL database that then holds the HR tables of the last night, dirt and all.

    Returns:
        The folders of the nights delivered, oldest first.

    Raises:
        PeelError: the nights are out of order or as `deliver_missing`; nothing was written.
    """
    first = until if since is None else since
    if first > until:
        raise PeelError("the first night comes after the last.", do="Give --since a date up to --until.")
    _check_size(scale)
    rates = check_rates(dirt)
    written: list[Path] = []
    if previous_delivery(target) is None:
        written += deliver_missing(target, first, scale=scale, seed=seed, dirt=rates, without=without)
    written += deliver_missing(target, until, scale=scale, seed=seed, dirt=rates, without=without)
    if database is not None:
        world, day = world_kept(target, seed, scale, until, without), day_of(until)
        tables, _ = dirty("hr", extract_hr.tables(world, day), world, day, day, rates)
        write_database(database, until, tables)
    return written


def previous_delivery(target: Path) -> dt.date | None:
    """The last business date for which both feeds were delivered, if there is one."""
    nights = _delivered_nights(target)
    return nights[-1] if nights else None


def scale_of(target: Path, night: dt.date) -> float:
    """The size of the force that delivered into a folder for a date, 1 is the Met's.

    Raises:
        PeelError: the simulated force did not deliver there for that date.
    """
    if night not in _delivered_nights(target):
        raise PeelError(
            f"the simulated force delivered nothing for {night} into {target}.",
            do="Deliver with `peel simulate deliver`, or give another folder or --until.",
        )
    return float(json.loads((target / _CHAIN).read_text(encoding="utf-8"))["scale"])


def _delivered_nights(target: Path) -> list[dt.date]:
    found: list[dt.date] = []
    for folder in (target / FEEDS[-1]).glob("*-*-*"):
        try:
            night = parse_business_date(folder.name)
        except ValueError:
            continue
        if all(delivered(_folder(target, feed, night)) for feed in FEEDS):
            found.append(night)
    return sorted(found)


def _folder(target: Path, feed: str, night: dt.date) -> Path:
    return target / feed / night.isoformat() / str(SEQUENCE)


def _nights_between(last: dt.date, until: dt.date) -> list[dt.date]:
    return [last + dt.timedelta(days=n) for n in range(1, (until - last).days + 1)]


def _check_size(scale: float) -> None:
    if not 0 < scale <= 1:
        raise PeelError("the size of the simulated force lies above 0 and up to 1.", do="Give a SCALE such as 0.25.")


def _check(target: Path, night: dt.date, force: dict[str, Any], since: dt.date | None) -> None:
    _check_size(force["scale"])
    if day_of(night) <= _BEGINNING:
        raise PeelError(
            "the simulated force has no history before April 2012.",
            delivery=f"{night}/{SEQUENCE}",
            do="Ask for a later business date.",
        )
    if since is not None and since >= night:
        raise PeelError(
            "the night does not come after the previous delivery.",
            delivery=f"{night}/{SEQUENCE}",
            do="Ask for a later business date.",
        )
    _check_force(target, force)
    _check_follows_start(target, night)
    others = [earlier for earlier in _delivered_nights(target) if earlier != night]
    if since is None and others:
        raise PeelError(
            "the chain of recruitment deliveries has been started already.",
            feed="recruitment",
            delivery=f"{night}/{SEQUENCE}",
            do="Name the previous business date, or deliver into an empty folder.",
        )


def _check_follows_start(target: Path, night: dt.date) -> None:
    """A chain starts once: no night before its first can be delivered afterwards."""
    nights = _delivered_nights(target)
    if nights and night < nights[0]:
        raise PeelError(
            f"the simulated force began to deliver on {nights[0]}; a chain starts once.",
            feed="recruitment",
            delivery=f"{night}/{SEQUENCE}",
            do="Ask for that date or a later one, or deliver into an empty folder.",
        )


def _check_force(target: Path, force: dict[str, Any]) -> None:
    """Deliveries of one chain must tell of one force."""
    chain = target / _CHAIN
    if chain.is_file() and json.loads(chain.read_text(encoding="utf-8")) != force:
        raise PeelError(
            "the deliveries here tell of a force of another seed or scale, or of other planted truths.",
            do="Use the same PEEL_SEED and SCALE and leave out the same truths, or deliver into an empty folder.",
        )


def _force(scale: float, seed: int, without: frozenset[str]) -> dict[str, Any]:
    return {"scale": scale, "seed": seed} | ({"without": sorted(without)} if without else {})


def _deliver(world: World, target: Path, night: dt.date, since: dt.date | None, rates: Rates) -> list[Path]:
    day, since_day = day_of(night), _BEGINNING if since is None else day_of(since)
    chain = target / _CHAIN
    if not chain.is_file():
        target.mkdir(parents=True, exist_ok=True)
        known = truths.document(world.seed, world.asked_scale, world.without)
        (target / TRUTHS).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        force = _force(world.asked_scale, world.seed, world.without)
        chain.write_text(json.dumps(force) + "\n", encoding="utf-8")
    written: list[Path] = []
    for feed in FEEDS:
        folder = _folder(target, feed, night)
        if delivered(folder):
            continue
        if feed == "hr":
            tables = extract_hr.tables(world, day)
            about = _about("full", night, None, None)
        else:
            tables = extract_recruitment.tables(world, since_day, day)
            about = _about("delta", night, _watermark(since), _watermark(night))
        tables, planted = dirty(feed, tables, world, since_day, day, rates)
        write_ledger(target, feed, night.isoformat(), planted)  # first: a planted row is never without an entry
        written.append(write_delivery(folder, feed, night, tables, about))
    return written


def _about(mode: str, night: dt.date, watermark_from: str | None, watermark_to: str | None) -> dict[str, Any]:
    return {
        "mode": mode,
        "extract_ts": half_past_midnight_after(day_of(night)).isoformat(),
        "watermark_from": watermark_from,
        "watermark_to": watermark_to,
    }


def _watermark(night: dt.date | None) -> str | None:
    return None if night is None else midnight_after(day_of(night)).isoformat()
