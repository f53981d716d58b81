"""Make a draft of the release whenever readers have been switched to a new build.

The draft is protected and marked DRAFT, in `var/drafts/<build_id>/`. Nothing is published from here: that
will take a person's approval, and is not built yet.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, dag, task

import wiring

WAREHOUSE = Asset(name="warehouse", uri="peel://warehouse")


@dag(schedule=WAREHOUSE, doc_md=__doc__, **wiring.common("release"))
def publish_release() -> None:
    """Wire the one task."""

    @task
    def draft() -> dict[str, Any]:
        from peel import night

        return wiring.attempt(night.draft)

    draft()


publish_release()
