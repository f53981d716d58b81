"""Reading contracts from YAML and holding them against the Open Data Contract Standard."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from peel.contracts.model import PLACEHOLDER, Column, Contract, ContractError, Feed, LookBack, Rule

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")


def contracts(folder: Path, *, validate: bool = True) -> dict[str, Contract]:
    """Read every delivery contract.

    Args:
        folder: the project's ``expectations/``.
        validate: hold each against the ODCS schema; DAG files, which are parsed over and over, do not.

    Returns:
        Contracts by table name, in the order of feeds and files.

    Raises:
        ContractError: a contract is unreadable, off the standard, or says too little.
    """
    found: dict[str, Contract] = {}
    for path in sorted((folder / "deliveries").glob("*/*.odcs.yaml")):
        contract = _read(path, path.stat().st_mtime_ns, validate)
        if contract.name in found:
            raise ContractError(f"{path.name}: table {contract.name} has a second contract")
        found[contract.name] = contract
    if not found:
        raise ContractError(f"no contract was found in {folder}/deliveries")
    return found


def feeds(folder: Path, *, validate: bool = True) -> list[Feed]:
    """Read every feed, made from the contracts that name it as their data product.

    Raises:
        ContractError: a contract is unfit, or a feed's contracts disagree on mode, cadence or due time.
    """
    by_feed: dict[str, list[Contract]] = {}
    for contract in contracts(folder, validate=validate).values():
        by_feed.setdefault(contract.feed, []).append(contract)
    return [_feed(name, members) for name, members in sorted(by_feed.items())]


def feed(folder: Path, name: str) -> Feed:
    """Read one feed.

    Raises:
        ContractError: no contract names the feed.
    """
    for candidate in feeds(folder):
        if candidate.name == name:
            return candidate
    raise ContractError(f"no contract names the feed {name}")


def mart_suites(folder: Path) -> dict[str, tuple[Rule, ...]]:
    """Read the suites of the tables readers see, from ``expectations/marts/``.

    Returns:
        Rules by table: required columns and listed codes as the properties declare them, which refuse
        the build, then those the contract spells out, which say whether they do.

    Raises:
        ContractError: a contract is unreadable or off the standard.
    """
    return {path.name.split(".")[0]: _mart_suite(path) for path in sorted((folder / "marts").glob("*.odcs.yaml"))}


def _mart_suite(path: Path) -> tuple[Rule, ...]:
    def fail(what: str) -> ContractError:
        return ContractError(f"{path.name}: {what}")

    document = yaml.load(path.read_bytes(), Loader=_LOADER)  # noqa: S506 (a safe loader)
    hold_to_standard(document, path.name)
    table = document["schema"][0]
    rules: list[Rule] = []
    for entry in table["properties"]:
        name = entry["name"]
        if entry.get("required"):
            rules.append(Rule("required", "expect_column_values_to_not_be_null", {}, "refuse", name))
        if "enum" in entry:
            kwargs = {"value_set": [listed["value"] for listed in entry["enum"]]}
            rules.append(Rule("listed_code", "expect_column_values_to_be_in_set", kwargs, "refuse", name))
        rules += _rules(entry, name, fail)
    return (*rules, *_rules(table, None, fail))


def _feed(name: str, members: list[Contract]) -> Feed:
    for what in ("mode", "cadence", "due_time"):
        if len({getattr(contract, what) for contract in members}) > 1:
            raise ContractError(f"feed {name}: its contracts disagree on {what}; a delivery has one")
    tables = {contract.name for contract in members}
    for contract in members:
        for rule in contract.rules:
            if not rule.refers_to <= tables:
                strange = ", ".join(sorted(rule.refers_to - tables))
                raise ContractError(
                    f"{contract.name}: rule {rule.name} names {strange}; a rule looks at tables of its own feed {name}"
                )
    first = members[0]
    return Feed(name, first.cadence, first.mode, first.due_time, tuple(members))


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int, validated: bool) -> Contract:
    text = path.read_bytes()
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 (a safe loader, in C where there is one)
    except yaml.YAMLError as error:
        raise ContractError(f"{path.name}: not YAML ({type(error).__name__})") from None
    if validated:
        hold_to_standard(document, path.name)
    return _contract(document, path, hashlib.sha256(text).hexdigest())


def hold_to_standard(document: Any, name: str) -> None:
    """Hold a document against the ODCS JSON schema that ships with its own package.

    Raises:
        ContractError: naming the place and the fault.
    """
    error = next(_validator().iter_errors(document), None)
    if error is not None:
        place = "/".join(str(step) for step in error.absolute_path) or "the document"
        raise ContractError(f"{name}: {place}: {error.message}")


@lru_cache(maxsize=1)
def _validator() -> Any:
    from importlib.resources import files

    from jsonschema import Draft201909Validator

    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text("utf-8"))
    return Draft201909Validator(schema)


def _contract(document: dict[str, Any], path: Path, checksum: str) -> Contract:
    def fail(what: str) -> ContractError:
        return ContractError(f"{path.name}: {what}")

    if len(document.get("schema", [])) != 1:
        raise fail("a contract describes exactly one table")
    table = document["schema"][0]
    name = table["name"]
    if not _NAME.match(name) or document["id"] != name:
        raise fail("id and table name must be the same lower_case name")
    properties = _custom(document)
    sla = {entry["property"]: entry["value"] for entry in document.get("slaProperties", [])}
    for wanted in ("mode", "cadence", "sourceKind", "reader", "quarantineLimit"):
        if wanted not in properties:
            raise fail(f"customProperties must name {wanted}")
    if not table.get("dataGranularityDescription"):
        raise fail("dataGranularityDescription must say what each row is")
    columns = tuple(_column(entry, fail) for entry in table["properties"])
    rules = tuple(rule for entry in table["properties"] for rule in _rules(entry, entry["name"], fail)) + tuple(
        _rules(table, None, fail)
    )
    first_load = properties.get("firstLoad", {})
    contract = Contract(
        name=name,
        feed=document["dataProduct"],
        version=document["version"],
        description=(document.get("description") or {}).get("purpose", ""),
        each_row_is=table["dataGranularityDescription"],
        columns=columns,
        rules=rules,
        mode=properties["mode"],
        cadence=properties["cadence"],
        source_kind=properties["sourceKind"],
        reader=properties["reader"],
        quarantine_limit=float(properties["quarantineLimit"]),
        volume_band=float(properties["volumeBand"]) if "volumeBand" in properties else None,
        volume_floor=int(properties.get("volumeFloor", 0)),
        due_time=dt.time.fromisoformat(sla["latency"]) if "latency" in sla else None,
        freshness_hours=int(sla["freshness"]) if "freshness" in sla else None,
        retention_days=int(sla.get("retention", 400)),
        never_landed=tuple(_custom(table).get("neverLanded", ())),
        independent=bool(properties.get("independent", False)),
        checksum=checksum,
        look_back=tuple(_look_back(quality, fail) for quality in _look_backs(table)),
        first_load_limit=float(first_load.get("quarantineLimit", properties["quarantineLimit"])),
        first_load_leaves_out=tuple(first_load.get("leaveOut", ())),
        needs_approval=bool(properties.get("needsApproval", False)),
        path=str(path),
        reader_options=properties.get("readerOptions", {}),
    )
    _check(contract, fail)
    return contract


def _check(contract: Contract, fail: Any) -> None:
    if not contract.key:
        raise fail("no column is marked primaryKey")
    if contract.mode not in ("full", "delta") or contract.cadence not in ("nightly", "when_published"):
        raise fail("mode is full or delta, cadence is nightly or when_published")
    if contract.source_kind not in ("simulated", "real"):
        raise fail("sourceKind is simulated or real")
    if contract.cadence == "nightly" and contract.due_time is None:
        raise fail("a nightly table needs a due time (slaProperties latency)")
    if any(not column.required for column in contract.key):
        raise fail("every key column is required")
    names = [column.name for column in contract.columns]
    if len(set(names)) != len(names):
        raise fail("a column is described twice")
    labels = [(rule.column, rule.name) for rule in contract.rules] + [(None, rule.name) for rule in contract.look_back]
    if len(set(labels)) != len(labels):
        raise fail("two rules of one column or table share a name")
    unknown = set(contract.first_load_leaves_out) - {name for _, name in labels}
    if unknown:
        raise fail(f"firstLoad leaves out what is no rule here: {', '.join(sorted(unknown))}")
    for column in contract.columns:
        if column.derived_from is not None and column.derived_from[0] not in contract.source_columns:
            raise fail(
                f"column {column.name} is derived from {column.derived_from[0]}, which the source does not deliver"
            )


def _column(entry: dict[str, Any], fail: Any) -> Column:
    custom = _custom(entry)
    name = entry["name"]
    if not _NAME.match(name):
        raise fail(f"{name} is no lower_case column name")
    for wanted in ("physicalType", "description", "classification"):
        if not entry.get(wanted):
            raise fail(f"column {name} must have {wanted}")
    if entry["classification"] not in ("public", "internal", "pseudonymised", "personal", "special"):
        raise fail(f"column {name} has an unknown classification")
    if (entry["classification"] == "pseudonymised") != ("identifier" in custom):
        raise fail(f"column {name}: pseudonymised columns, and only they, name their identifier kind")
    if any(not isinstance(listed["value"], str) for listed in entry.get("enum", [])):
        raise fail(f"column {name}: quote its listed values; YAML reads a bare OFF or 1 as no text")
    return Column(
        name=name,
        source=custom.get("sourceColumn", name),
        type=entry["physicalType"],
        description=entry["description"],
        classification=entry["classification"],
        required=bool(entry.get("required", False)),
        key_position=entry.get("primaryKeyPosition") if entry.get("primaryKey") else None,
        identifier=custom.get("identifier"),
        postcode_sector=bool(custom.get("postcodeSector", False)),
        open_end=custom.get("openEnd"),
        values=tuple(value["value"] for value in entry["enum"]) if "enum" in entry else None,
        pattern=(entry.get("logicalTypeOptions") or {}).get("pattern"),
        max_length=(entry.get("logicalTypeOptions") or {}).get("maxLength"),
        references=next((link["to"] for link in entry.get("relationships", [])), None),
        derived_from=_derived_from(entry, custom, fail),
        local_time=_local_time(entry, custom, fail),
        is_anothers=bool(custom.get("anotherPerson", False)),
    )


def _derived_from(entry: dict[str, Any], custom: dict[str, Any], fail: Any) -> tuple[str, str] | None:
    if "derivedFrom" not in custom:
        return None
    name, derived = entry["name"], custom["derivedFrom"]
    if not isinstance(derived, dict) or set(derived) != {"column", "matches"}:
        raise fail(f"column {name}: derivedFrom names a column and the expression it matches")
    if entry["physicalType"] != "text" or {listed["value"] for listed in entry.get("enum", [])} != {"Y", "N"}:
        raise fail(f"column {name}: what is derived is Y or N")
    if "identifier" in custom or "sourceColumn" in custom:
        raise fail(f"column {name}: what is derived has no identifier and no source column of its own")
    try:
        re.compile(derived["matches"])
    except (re.error, TypeError):
        raise fail(f"column {name}: matches is no regular expression") from None
    return derived["column"], derived["matches"]


def _local_time(entry: dict[str, Any], custom: dict[str, Any], fail: Any) -> str | None:
    zone = custom.get("localTime")
    if zone is None:
        return None
    if entry["physicalType"] != "timestamptz":
        raise fail(f"column {entry['name']}: only a timestamptz has a localTime")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError, TypeError):
        raise fail(f"column {entry['name']}: localTime is no time zone") from None
    return str(zone)


def _look_backs(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [quality for quality in table.get("quality", []) if quality.get("type") == "sql"]


def _look_back(quality: dict[str, Any], fail: Any) -> LookBack:
    name = quality.get("name", "")
    if not _NAME.match(name):
        raise fail("every rule needs a lower_case name")
    on_failure = _custom(quality).get("onFailure")
    if on_failure not in ("refuse", "warn"):
        raise fail(f"rule {name}: a rule that looks back refuses or warns; it finds no rows")
    if "mustBeLessOrEqualTo" not in quality:
        raise fail(f"rule {name}: a rule that looks back gives a number that mustBeLessOrEqualTo a limit")
    if set(PLACEHOLDER.findall(quality["query"])) != {"table", "previous"}:
        raise fail(f"rule {name}: a rule that looks back compares ${{table}} with ${{previous}}, and nothing else")
    return LookBack(
        name=name,
        query=quality["query"],
        limit=float(quality["mustBeLessOrEqualTo"]),
        on_failure=on_failure,
        description=quality.get("description", ""),
    )


def _rules(entry: dict[str, Any], column: str | None, fail: Any) -> list[Rule]:
    rules = []
    for quality in entry.get("quality", []):
        if quality.get("type") == "sql" and column is None:
            continue  # looks back: `_look_back`
        if quality.get("engine") != "greatExpectations":
            raise fail(f"rule {quality.get('name')}: only the engine greatExpectations is run")
        custom = _custom(quality)
        name = quality.get("name", "")
        if not _NAME.match(name):
            raise fail("every rule needs a lower_case name")
        if custom.get("onFailure") not in ("quarantine", "refuse", "warn"):
            raise fail(f"rule {name}: onFailure is quarantine, refuse or warn")
        implementation = quality["implementation"]
        rules.append(
            Rule(
                name=name,
                expectation=implementation["type"],
                kwargs=implementation.get("kwargs", {}),
                on_failure=custom["onFailure"],
                column=column,
                unfit_when=custom.get("unfitWhen"),
                description=quality.get("description", ""),
            )
        )
    return rules


def _custom(entry: dict[str, Any]) -> dict[str, Any]:
    return {item["property"]: item["value"] for item in entry.get("customProperties") or []}
