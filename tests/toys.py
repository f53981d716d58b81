"""Two toy feeds that exercise the whole spine with a handful of rows: one full, one delta, one sensitive table."""

from __future__ import annotations


def contract(
    name: str, feed: str, mode: str, *, special: bool = False, quality: str = "", limit: float = 0.5, extra: str = ""
) -> str:
    """A small contract: a key, a token, a date, a number, a code and free text."""
    classification = "special" if special else "internal"
    return f"""
apiVersion: v3.2.0
kind: DataContract
id: {name}
version: 1.0.0
status: active
dataProduct: {feed}
description: {{purpose: A toy.}}
schema:
  - name: {name}
    physicalType: table
    dataGranularityDescription: one toy
    properties:
      - {{name: toy_id, logicalType: integer, physicalType: bigint, primaryKey: true, primaryKeyPosition: 1, required: true, classification: internal, description: Key.}}
      - {{name: person_id, logicalType: string, physicalType: text, classification: pseudonymised, description: Person., customProperties: [{{property: identifier, value: person_id}}]}}
      - {{name: ni_hash, logicalType: string, physicalType: text, classification: pseudonymised, description: NI., customProperties: [{{property: identifier, value: ni_number}}, {{property: sourceColumn, value: ni_number}}]}}
      - {{name: born, logicalType: date, physicalType: date, classification: personal, description: A date.}}
      - {{name: amount, logicalType: number, physicalType: "numeric(6,2)", classification: internal, description: A number.}}
      - {{name: code, logicalType: string, physicalType: text, classification: {classification}, enum: [{{value: A}}, {{value: B}}], description: A code.}}
      - {{name: note, logicalType: string, physicalType: text, classification: internal, description: Free text.}}
      {extra}
    customProperties: [{{property: neverLanded, value: [full_name]}}]
    quality:
      - {{name: key_is_unique, type: custom, engine: greatExpectations, severity: error, implementation: {{type: expect_column_values_to_be_unique, kwargs: {{column: toy_id}}}}, customProperties: [{{property: onFailure, value: quarantine}}]}}
      {quality}
slaProperties: [{{property: latency, value: "03:00", unit: "Europe/London"}}, {{property: freshness, value: 26, unit: h}}]
customProperties: [{{property: mode, value: {mode}}}, {{property: cadence, value: nightly}}, {{property: sourceKind, value: simulated}}, {{property: reader, value: csv}}, {{property: quarantineLimit, value: {limit}}}]
"""


FULL = {"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full")}
DELTA = {"deliveries/drip/drip.odcs.yaml": contract("drip", "drip", "delta")}
SENSITIVE = {"deliveries/secretive/secretive.odcs.yaml": contract("secretive", "secretive", "full", special=True)}


def row(toy_id: object, **values: object) -> dict[str, object]:
    """A row as the source delivers it, fit unless told otherwise."""
    return {
        "toy_id": toy_id,
        "full_name": "Peeler Invented",
        "person_id": f"90{toy_id}",
        "ni_number": "QQ123456C",
        "born": "1980-01-31",
        "amount": "1.50",
        "code": "A",
        "note": "plain",
    } | values
