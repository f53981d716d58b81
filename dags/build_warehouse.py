"""Build what is due, gate it, and switch readers over.

The feeds' assets only wake this DAG, and so does the clock once the last due time has passed. Whether there
is something to build is asked of the audit tables: a doubled wake-up finds nothing to do and is skipped, a
lost one is made good by the next. A build that fails leaves last night standing.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

import wiring

WAREHOUSE = Asset(name="warehouse", uri="peel://warehouse")
ARRIVALS = reduce(or_, [Asset(name=feed.name, uri=f"peel://{feed.name}") for feed in wiring.feeds()])


@dag(
    schedule=AssetOrTimeSchedule(timetable=wiring.nightly("15 6 * * *"), assets=ARRIVALS),
    doc_md=__doc__,
    **wiring.common("warehouse"),
)
def build_warehouse() -> None:
    """Wire the three tasks."""

    @task
    def build() -> dict[str, Any]:
        from peel import night

        built = wiring.attempt(night.build)
        if built["build_id"] is None:
            raise AirflowSkipException(f"Nothing is built: {built['why']}.")
        return built

    @task
    def gate(built: dict[str, Any]) -> dict[str, Any]:
        from peel import night

        wiring.attempt(night.gate_build, built["build_id"])
        return built

    @task(outlets=[WAREHOUSE])
    def switch(built: dict[str, Any]) -> dict[str, Any]:
        from peel import night

        events = get_current_context()["outlet_events"]
        events[WAREHOUSE].extra = {
            "business_date": built["business_date"],
            "build_id": built["build_id"],
        }
        return wiring.attempt(night.switch, built["build_id"])

    switch(gate(build()))


build_warehouse()
