"""What a gate looks at, as one hash: tables that agree in it have the same outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from peel.contracts import Contract


def gate_input(
    contract: Contract,
    checksum: str,
    landed: Mapping[str, str],
    mappings: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> str:
    """The hash of everything a table's gate is a function of.

    Args:
        contract: the table's contract.
        checksum: of the contract as it is, or was when the table was gated.
        landed: sha256 of the delivery's landed tables.
        mappings: codes that a person decided are to be read as others, by table and column.
    """
    parts = [checksum, landed[contract.name]]
    parts += [f"{name} {landed.get(name, '-')}" for name in sorted(contract.referred)]
    for column, codes in sorted(mappings.get(contract.name, {}).items()):
        parts += [f"{column} {old} {new}" for old, new in sorted(codes.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
