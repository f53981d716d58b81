"""Keep house, once the night is done: let go of landed files past their retention, and have PostgreSQL make room.

History is never touched. The date up to which landed files go is committed first, as the feed's baseline; a
delivery for that date or an earlier one is refused from then on.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

import wiring


@dag(schedule=wiring.nightly("30 11 * * *"), doc_md=__doc__, **wiring.common("maintenance"))
def maintain_warehouse() -> None:
    """Wire the one task."""

    @task
    def retain() -> dict[str, Any]:
        from peel import night

        return wiring.attempt(night.retain)

    retain()


maintain_warehouse()
