"""Have the simulated force deliver for the business date, and for every night that was missed before it.

Local only: a real installation is delivered to by real sources.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import dag, get_current_context, task

import wiring

if os.environ.get("PEEL_LOCAL") == "1":

    @dag(
        schedule=wiring.nightly("30 0 * * *"),
        doc_md=__doc__,
        params=wiring.business_date_param("The last date to deliver for."),
        **wiring.common("simulation"),
    )
    def simulate_deliveries() -> None:
        """Wire the one task."""

        @task
        def deliver() -> dict[str, Any]:
            from peel import night

            return wiring.attempt(night.deliver, wiring.business_date(get_current_context()))

        deliver()

    simulate_deliveries()
