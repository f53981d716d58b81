"""Every fault in ``docs/feeds.md`` names the test that shows what becomes of it, and rules that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]


def faults() -> list[list[str]]:
    """The rows of the fault tables: fault, what Peel does, rules, tests."""
    text = (HOME / "docs" / "feeds.md").read_text("utf-8").split("## What becomes of a fault")[1]
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


FAULTS = faults()


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_kind_of_fault_is_there_once() -> None:
    assert len(FAULTS) >= 40
    assert {len(row) for row in FAULTS} == {4}
    assert len({row[0] for row in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("row", FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_names_tests_and_rules_that_there_are(row: list[str]) -> None:
    named = re.findall(r"`([^`]+)`", row[3])
    assert named
    for one in named:
        file, test = one.split("::")
        (path,) = (HOME / "tests").rglob(file)
        assert test in functions_of(path), one
    for rule in re.findall(r"`([^`]+)`", row[2]):
        name = rule.removesuffix("*")
        sources = [*(HOME / "plugins" / "peel").rglob("*.py"), *(HOME / "expectations").rglob("*.yaml")]
        # manifest_feed and its like are put together from the key that is wrong
        parts = (name, name.replace("manifest_", "", 1)) if name.startswith("manifest_") else (name,)
        assert any(part in path.read_text("utf-8") for path in sources for part in parts), rule
