"""The steps of a night, each a function that loads its own settings and returns a small summary.

Airflow's tasks and ``peel night --direct`` call the same functions; none of them knows a scheduler.
Summaries and errors hold counts and names, never a value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peel import contracts, settings
from peel.contracts import Feed
from peel.errors import DeliveryRefused, PeelError
from peel.london import due_at, now

Summary = dict[str, Any]


def _feed(name: str) -> Feed:
    return contracts.feed(settings.load().contracts, name)


def deliver(business_date: dt.date) -> Summary:
    """Deliver locally: the simulated force for every night missed up to a date, postcodes and the census once.

    Returns:
        ``delivered``: the folders written, below the source drop.
    """
    from peel.feeds.reference import deliver_reference
    from peel.simulate import deliver_missing, deliver_postcodes

    here = settings.load()
    written = deliver_missing(here.sources, business_date, scale=here.scale, seed=here.seed)
    postcodes = deliver_postcodes(here.sources, business_date)
    census = deliver_reference(here, _feed("census"), business_date)
    folders: list[Path] = [*written, *(folder for folder in (postcodes, census) if folder)]
    return {"delivered": [str(folder.relative_to(here.sources)) for folder in folders]}


def land(feed: str, business_date: dt.date) -> Summary:
    """Land every delivery of a feed that is not landed yet.

    Returns:
        ``landed``: ids; ``refused``: one line for each refusal that stands for the business date and
        for each new one; ``arrived``: whether a delivery of the business date is there; ``due_passed``:
        whether its due time has passed, always true of a feed that comes when published.
    """
    from peel.deliveries.landing import land_feed
    from peel.warehouse import connect

    here, what = settings.load(), _feed(feed)
    report = land_feed(here, what)
    with connect(here, "ingest") as connection:
        standing = connection.execute(
            "select state, reason from audit.delivery where feed = %s and business_date = %s",
            (feed, business_date),
        ).fetchall()
    fit = any(state != "refused" for state, _ in standing)
    refused = dict.fromkeys(report.refused)
    if not fit:
        refused |= dict.fromkeys(reason for state, reason in standing if state == "refused")
    due_passed = what.due_time is None or now() >= due_at(business_date, what.due_time)
    return {
        "landed": report.landed,
        "refused": list(refused),
        "arrived": bool(standing),
        "due_passed": due_passed,
    }


def gate(feed: str) -> Summary:
    """Gate every landed delivery of a feed.

    Returns:
        ``gated``: ids; ``quarantined``: rows held back, by table.
    """
    from peel.gates.delivery import gate_feed

    report = gate_feed(settings.load(), _feed(feed))
    return {"gated": report.gated, "quarantined": report.quarantined}


def apply(feed: str, refused: list[str]) -> Summary:
    """Apply what is fit to history.

    Args:
        feed: the feed.
        refused: refusals of the steps before, raised at the end so that the fit deliveries are in.

    Raises:
        DeliveryRefused: a delivery was refused; last night stands for its part.
    """
    from peel.history.apply import apply_feed

    report = apply_feed(settings.load(), _feed(feed))
    lines = [*refused, *(line for line in report.refused if line not in refused)]
    if lines:
        more = f" ({len(lines) - 1} more refused)" if len(lines) > 1 else ""
        raise DeliveryRefused(f"{lines[0]}{more}")
    return {
        "applied": report.applied,
        "opened": report.opened,
        "closed": report.closed,
        "waiting": report.waiting,
        "missing_link": report.missing_link,
        "states": report.states,
    }


def replay(feed: str, since: dt.date) -> Summary:
    """Gate a feed's deliveries from a business date on under the present contracts, and apply them again.

    Returns:
        ``landed``: ids landed again; ``gated``: how many; ``flips``: deliveries whose outcome changed, each
        with ``delivery``, ``before``, ``after`` and ``rules``; ``refused``: one line for each newly refused.
    """
    from peel.desk.again import replay as run

    done = run(settings.load(), feed, since)
    flips = [{"delivery": f.delivery, "before": f.before, "after": f.after, "rules": f.rules} for f in done.flips]
    return {"landed": done.landed, "gated": done.gated, "flips": flips, "refused": done.refused}


def retain() -> Summary:
    """Let go of landed files past their retention and of working copies no longer needed, and vacuum.

    Returns:
        ``baselines``: the date to which history stands alone, by feed, where it moved; ``removed`` landed
        deliveries; ``dropped`` delivery tables; ``vacuumed`` tables.
    """
    from peel.desk.retention import retention, vacuum

    here = settings.load()
    done = retention(here)
    baselines = {feed: date.isoformat() for feed, date in done.baselines.items()}
    return {"baselines": baselines, "removed": done.removed, "dropped": done.dropped, "vacuumed": vacuum(here)}


def build() -> Summary:
    """Build what is due.

    Returns:
        ``build_id``, ``None`` when nothing is due; ``business_date``; ``why``.
    """
    from peel.builds.build import build as run
    from peel.warehouse import connect

    here = settings.load()
    build_id = run(here)
    with connect(here, "transform") as connection:
        if build_id is None:
            row = connection.execute("select business_date from audit.switched_build").fetchone()
            on_its_way = connection.execute(
                "select distinct feed from audit.delivery where state in ('landed', 'gated') order by feed"
            ).fetchall()
            seen = row[0].isoformat() if row else None
            held = connection.execute(
                "select who, reason from audit.hold where lifted_at is null order by hold_id desc limit 1"
            ).fetchone()
            if held:
                why = f"{held[0]} holds readers there ({held[1]}) until `peel switch --lift`"
            elif on_its_way:
                why = f"{', '.join(feed for (feed,) in on_its_way)} is still on its way to history"
            else:
                why = "what was delivered is what readers see" if seen else "no night is complete yet"
            return {"build_id": None, "business_date": seen, "why": why}
        row = connection.execute(
            "select business_date, cardinality(months) from audit.build where build_id = %s", (build_id,)
        ).fetchone()
    assert row is not None
    return {"build_id": build_id, "business_date": row[0].isoformat(), "why": f"{row[1]} months affected"}


def gate_build(build_id: str) -> Summary:
    """Hold a build against the contracts of what readers see."""
    from peel.builds.gate import gate_build as run

    return dict(run(settings.load(), build_id))


def switch(build_id: str) -> Summary:
    """Make a gated build what readers see; rows changed by table."""
    from peel.builds.switch import switch as run

    return {"build_id": build_id, "rows": run(settings.load(), build_id)}


def draft() -> Summary:
    """Make the draft release of what readers see."""
    from peel.releases.draft import make_draft

    return dict(make_draft(settings.load()))


def run_direct(
    business_date: dt.date, say: Callable[[str], None], *, simulated: bool = True, drafts: bool = True
) -> Summary:
    """Run a whole night in this process, without a scheduler.

    Args:
        business_date: the night's business date.
        say: takes one line of progress for each step.
        simulated: whether to deliver locally first.
        drafts: whether to make the draft of a release in the end.

    Returns:
        ``build_id`` (``None`` when nothing was due) and ``draft`` (``None`` when none was made).

    Raises:
        PeelError: a step failed. Refusals are raised at the end: what is fit is built all the same.
    """
    refusals: list[str] = []
    if simulated:
        delivered = deliver(business_date)["delivered"]
        say(f"deliver: {len(delivered)} delivered" if delivered else "deliver: nothing missing")
    for feed in contracts.feeds(settings.load().contracts):
        landed = land(feed.name, business_date)
        gated = gate(feed.name)
        held = sum(gated["quarantined"].values())
        try:
            applied = apply(feed.name, landed["refused"])
            more = f", {applied['waiting']} waiting for {applied['missing_link']}" if applied["waiting"] else ""
            say(
                f"{feed.name}: {len(landed['landed'])} landed, {len(gated['gated'])} gated,"
                f" {held} rows quarantined, {sum(applied['opened'].values())} versions opened{more}"
            )
        except DeliveryRefused as refusal:
            refusals.append(str(refusal))
            say(f"{feed.name}: refused")
    built = build()
    if built["build_id"] is None:
        say(f"build: nothing is due, {built['why']}")
    else:
        say(f"build: {built['build_id']} of {built['business_date']}, {built['why']}")
        say(f"gate the build: {gate_build(built['build_id'])['passed']} rules passed")
        say(f"switch: {sum(switch(built['build_id'])['rows'].values())} rows changed")
    summary = {"build_id": built["build_id"], "draft": None}
    if drafts and built["business_date"] is not None:
        summary["draft"] = draft()["path"]
        say(f"draft: {summary['draft']}")
    if refusals:
        raise PeelError("; ".join(refusals))
    return summary
