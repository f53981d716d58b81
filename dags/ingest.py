"""One DAG per feed, made from the contracts: land, gate, apply to history.

The run is level-triggered: until the due time it looks every quarter of an hour, and it takes in every
delivery that has not been taken in yet, oldest first. A file that comes late is found by the next look, one
that comes after the due time by the next night or by a run started by hand. A run started by hand with
`replay_from` gates what was delivered from that date on again, under the present contracts, and waits for nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, PokeReturnValue, dag, get_current_context, task

import wiring

if TYPE_CHECKING:
    from peel.contracts import Feed

LOOK_EVERY = dt.timedelta(minutes=15)
LOOK_FOR_AT_MOST = dt.timedelta(hours=10)


def make(feed: Feed) -> None:
    """Make the DAG of one feed."""
    asset = Asset(name=feed.name, uri=f"peel://{feed.name}")

    @dag(
        dag_id=f"ingest_{feed.name}",
        # shortly after midnight: 01:30 is missing on one night of the year and comes twice on another
        schedule=wiring.nightly("45 0 * * *"),
        doc_md=f"{feed.summary}\n\n{__doc__}",
        params={
            **wiring.business_date_param("The date to wait for. Every delivery not yet landed is taken in."),
            **wiring.replay_param(),
        },
        **wiring.common("ingest", feed.name, feed.cadence),
    )
    def ingest() -> None:
        @task.sensor(poke_interval=LOOK_EVERY, timeout=LOOK_FOR_AT_MOST, mode="reschedule")
        def land() -> PokeReturnValue:
            from peel import night

            context = get_current_context()
            with wiring.source(feed.name):
                result = wiring.attempt(lambda: night.land(feed.name, wiring.business_date(context)))
            # a look before this one may have refused a delivery
            seen = context["task_state_store"].get("refused", [])
            refused = list(dict.fromkeys([*seen, *result["refused"]]))
            context["task_state_store"].set("refused", refused)
            is_done = result["arrived"] or result["due_passed"] or wiring.attempt(wiring.replay_from, context)
            return PokeReturnValue(bool(is_done), {**result, "refused": refused})

        @task
        def gate(landed: dict[str, Any]) -> list[str]:
            from peel import night

            since = wiring.attempt(wiring.replay_from, get_current_context())
            if since is None:
                wiring.attempt(night.gate, feed.name)
                return list(landed["refused"])
            with wiring.source(feed.name):
                replayed = wiring.attempt(night.replay, feed.name, since)
            return [*landed["refused"], *replayed["refused"]]

        @task(outlets=[asset])
        def apply(refused: list[str]) -> dict[str, Any]:
            from peel import night

            context = get_current_context()
            date = wiring.business_date(context)
            context["outlet_events"][asset].extra = {"business_date": date.isoformat()}
            return wiring.attempt(night.apply, feed.name, refused)

        apply(gate(land()))

    ingest()


for each in wiring.feeds():
    make(each)
