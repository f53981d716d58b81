"""Contracts: what each delivered table promises, read from ``expectations/`` (ODCS v3).

A contract is the only place that says what a table looks like. Landing, gates, history and the
DAGs are made from it; a new table is one contract and one staging model.
"""

from peel.contracts.load import contracts, feed, feeds, mart_suites
from peel.contracts.model import Column, Contract, ContractError, Feed, LookBack, Rule

__all__ = [
    "Column",
    "Contract",
    "ContractError",
    "Feed",
    "LookBack",
    "Rule",
    "contracts",
    "feed",
    "feeds",
    "mart_suites",
]
