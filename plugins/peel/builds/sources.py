"""dbt's sources, written from the contracts: ``dbt_project/models/staging/_sources.yml``."""

from __future__ import annotations

from pathlib import Path

import yaml

from peel.contracts import Contract, contracts

_HEADER = "# Written from the contracts by `peel dbt-sources`; a test holds it against them.\n"
_LATEST_APPLIED = (
    "select max(business_date)::timestamp at time zone 'UTC' from audit.delivery"
    " where feed = '{feed}' and state = 'applied'"
)


def sources_document(expectations: Path) -> str:
    """The sources file's text: history and held keys of every contract, and the audit tables dbt reads."""
    found = contracts(expectations).values()
    sources = [
        _source("history", "Every accepted version of every row", [c for c in found if not c.is_special]),
        _source("sensitive", "The same for special category data", [c for c in found if c.is_special]),
        {
            "name": "audit",
            "description": "What came and what was built from it",
            "tables": [
                {"name": "delivery", "description": "Each row is a delivery"},
                {"name": "switched_build", "description": "The one row is the build that readers see"},
            ],
        },
    ]
    body = yaml.safe_dump({"version": 2, "sources": sources}, sort_keys=False, width=110, allow_unicode=True)
    return _HEADER + body


def _source(schema: str, description: str, members: list[Contract]) -> dict[str, object]:
    prefix = "history_" if schema == "sensitive" else ""
    tables: list[dict[str, object]] = []
    for contract in members:
        known = [
            {"name": "row_key", "description": "Hash of the row's key."},
            {"name": "known_from", "description": "Business date the version was known from."},
            {"name": "known_to", "description": "Business date it was no longer known; empty while it is."},
        ]
        columns = [{"name": c.name, "description": c.description} for c in contract.columns]
        tables.append(
            {
                "name": f"{prefix}{contract.name}",
                "description": f"Each row is a version of {contract.each_row_is}",
                "config": {"meta": {"contract": f"{contract.name} {contract.version}"}} | _freshness(contract),
                "columns": known + columns,
            }
        )
        tables.append(
            {
                "name": f"{prefix}{contract.name}_held",
                "description": f"Each row is a key of {contract.name} that is held in quarantine",
            }
        )
    return {"name": schema, "description": description, "tables": tables}


def _freshness(contract: Contract) -> dict[str, object]:
    """How far a nightly table may lie behind, in nights; macro ``collect_freshness_custom_sql`` says behind what."""
    if contract.cadence != "nightly":
        return {}
    return {
        "loaded_at_query": _LATEST_APPLIED.format(feed=contract.feed),
        "freshness": {"warn_after": {"count": 0, "period": "day"}, "error_after": {"count": 1, "period": "day"}},
    }
