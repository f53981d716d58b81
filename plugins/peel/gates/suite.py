"""From a contract to a Great Expectations suite, and from its results to counts.

What a column declares (required, type, listed codes, pattern, length) is a row rule of its own; what the
contract's ``quality`` adds comes as it stands there. A rule is written once: the same expectation
that counts bad rows gives the SQL that finds them, and no value of any row ever comes back.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from peel.contracts import Contract, Rule
from peel.deliveries.ledger import SEVERITY
from peel.errors import PeelError

RESULT_FORMAT = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": 0,
    "unexpected_index_column_names": ["_row"],
    "return_unexpected_index_query": True,
}

COUNTS_ONLY = {"result_format": "SUMMARY", "partial_unexpected_count": 0}


@dataclass(frozen=True)
class Outcome:
    """What one rule found.

    Attributes:
        rule: the rule.
        passed: whether it held.
        checked: rows it looked at, ``None`` where it looks at a table as a whole.
        failed: rows that broke it; 1 for a table's rule that failed.
        rows_query: value-free SQL giving ``_row`` of the bad rows; only for failed row rules.
    """

    rule: Rule
    passed: bool
    checked: int | None
    failed: int
    rows_query: str | None


def rules(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of a contract: those its columns imply, then those it spells out."""
    implied: list[Rule] = []
    for column in contract.columns:
        if column.required:
            implied.append(Rule("required", "expect_column_values_to_not_be_null", {}, "quarantine", column.name))
        if not column.is_text:
            implied.append(
                Rule(
                    "type",
                    "expect_column_values_to_be_null",
                    {"column": f"_type_{column.name}"},
                    "quarantine",
                    column.name,
                )
            )
        if column.values is not None:
            kwargs = {"value_set": list(column.values)}
            implied.append(Rule("listed_code", "expect_column_values_to_be_in_set", kwargs, "quarantine", column.name))
        if column.pattern is not None:
            kwargs_ = {"regex": column.pattern}
            implied.append(Rule("pattern", "expect_column_values_to_match_regex", kwargs_, "quarantine", column.name))
        if column.max_length is not None:
            expectation = "expect_column_value_lengths_to_be_between"
            implied.append(Rule("max_length", expectation, {"max_value": column.max_length}, "quarantine", column.name))
    return (*implied, *contract.rules)


def run_suite(
    url: str,
    schema: str,
    view: str,
    suite: Sequence[Rule],
    typed: frozenset[str] = frozenset(),
    *,
    find_rows: bool = True,
) -> list[Outcome]:
    """Run a suite on a view through Great Expectations.

    Args:
        url: SQLAlchemy URL of the gate's role.
        schema: the view's schema.
        view: the view's name.
        suite: the rules.
        typed: columns whose typed form (``typed_<column>``) a column's rule is meant for.
        find_rows: whether the view numbers its rows as ``_row``, so that bad ones can be found.

    Raises:
        PeelError: an expectation could not be evaluated; by rule name only.
    """
    gx = _great_expectations()
    with _quiet():
        context = gx.get_context(mode="ephemeral", project_config=_in_memory())
        # The schema is the connection's search path: naming it on the asset is deprecated.
        joined = "&" if "?" in url else "?"
        path = f"{url}{joined}options=-csearch_path%3D{schema}"
        source = context.data_sources.add_postgres("warehouse", connection_string=path)
        try:
            asset = source.add_table_asset("table", table_name=view)
            batch = asset.add_batch_definition_whole_table("all")
            expectations = gx.ExpectationSuite("suite")
            for position, rule in enumerate(suite):
                expectations.add_expectation(_expectation(rule, position, typed))
            definition = gx.ValidationDefinition(name="gate", data=batch, suite=context.suites.add(expectations))
            result = context.validation_definitions.add(definition).run(
                result_format=RESULT_FORMAT if find_rows else COUNTS_ONLY
            )
        except Exception as error:
            # Great Expectations puts values into its messages: only the kind of error goes on.
            raise PeelError(f"the gate could not be run ({type(error).__name__}).", rule="gate") from None
        finally:
            source.get_execution_engine().close()
            source.get_engine().dispose()  # the one it looked for the table with
    by_position: dict[int, Any] = {}
    for found in result.results:
        assert found.expectation_config is not None
        by_position[int((found.expectation_config.meta or {})["position"])] = found
    return [_outcome(rule, by_position[position]) for position, rule in enumerate(suite)]


@cache
def _great_expectations() -> Any:
    """The library, out of the garbage collector's sight: some 300,000 objects that stay as long."""
    import great_expectations

    gc.freeze()
    return great_expectations


def _in_memory() -> Any:
    """A project that leaves nothing behind: no folder for documents, no progress bars, no statistics."""
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )


def _expectation(rule: Rule, position: int, typed: frozenset[str]) -> Any:
    import great_expectations.expectations as gxe

    name = "".join(part.capitalize() for part in rule.expectation.split("_"))
    kind = getattr(gxe, name, None)
    if kind is None:
        raise PeelError(f"Great Expectations knows no {rule.expectation}.", rule=rule.name)
    kwargs = dict(rule.kwargs)
    if rule.column is not None and "column" not in kwargs:
        spelled_out = rule.name not in ("required", "listed_code", "pattern", "max_length")
        kwargs["column"] = f"typed_{rule.column}" if spelled_out and rule.column in typed else rule.column
    return kind(**kwargs, severity=SEVERITY[rule.on_failure], meta={"position": position})


def _outcome(rule: Rule, result: Any) -> Outcome:
    if (result.exception_info or {}).get("raised_exception") or any(
        isinstance(info, dict) and info.get("raised_exception") for info in (result.exception_info or {}).values()
    ):
        raise PeelError("the rule could not be evaluated.", rule=rule.name, column=rule.column)
    details = result.result or {}
    failed = details.get("unexpected_count")
    checked = details.get("element_count")
    if failed is None:
        failed = 0 if result.success else 1
    query = details.get("unexpected_index_query") if failed and rule.on_failure == "quarantine" else None
    if failed and rule.on_failure == "quarantine" and not query:
        raise PeelError("the rule is a row rule, and its expectation finds no rows.", rule=rule.name)
    return Outcome(rule, failed == 0, checked, int(failed), query)


@contextmanager
def _quiet() -> Any:
    """Great Expectations writes its own log of errors, values included; not here."""
    import logging

    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
