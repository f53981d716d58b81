"""What every model and seed of the dbt project must say about itself, read from its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import HOME

PROJECT = HOME / "dbt_project"
MODELS = PROJECT / "models"
DOC = re.compile(r"\{\{ doc\('(\w+)'\) \}\}")
REF = re.compile(r"\bref\('(\w+)'\)")
GROUPS = {group["name"] for group in yaml.safe_load((MODELS / "_groups.yml").read_text())["groups"]}
SETTINGS = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["models"]["peel"]
BLOCKS = re.findall(r"{% docs (\w+) %}\n(.+?)\n{% enddocs %}", (MODELS / "fields.md").read_text("utf-8"), re.DOTALL)


def described(kind: str) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Every model or seed of the properties files, with the file it stands in."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(PROJECT.glob("[ms]*s/**/*.yml")):
        for node in yaml.safe_load(path.read_text("utf-8")).get(kind, []):
            assert node["name"] not in found, f"{node['name']} is described twice"
            found[node["name"]] = (path, node)
    return found


def sql_files() -> dict[str, Path]:
    return {path.stem: path for path in MODELS.rglob("*.sql")}


def access(path: Path, node: dict[str, Any]) -> str:
    return str(node["config"].get("access") or SETTINGS[path.parent.name].get("+access"))


def test_each_folder_has_one_properties_file_that_describes_all_that_is_in_it() -> None:
    models, seeds = described("models"), described("seeds")
    assert {name: path.parent for name, path in sql_files().items()} == {
        name: path.parent for name, (path, _) in models.items()
    }
    assert {path.name for path, _ in models.values()} == {
        f"_{path.name}__models.yml" for path in MODELS.iterdir() if path.is_dir()
    }
    assert {path.stem for path in (PROJECT / "seeds").glob("*.csv")} == set(seeds)
    assert {path.name for path, _ in seeds.values()} == {"_seeds.yml"}


def test_each_model_and_seed_says_what_a_row_is_and_whose_it_is() -> None:
    nodes = described("models") | described("seeds")
    assert len(nodes) > 100
    for name, (_, node) in nodes.items():
        assert node.get("description"), name
        assert node["config"]["meta"].get("each_row_is"), name
        assert node["config"].get("group") in GROUPS, name
    assert {node["config"]["group"] for _, node in nodes.values()} == GROUPS


def test_each_column_is_described_by_the_block_of_its_name_and_each_block_is_used() -> None:
    names = [name for name, _ in BLOCKS]
    assert len(names) == len(set(names)), "two blocks of one name"
    assert all(text.strip() for _, text in BLOCKS)
    used = set()
    for name, (_, node) in (described("models") | described("seeds")).items():
        assert node.get("columns"), name
        listed = [column["name"] for column in node["columns"]]
        assert len(listed) == len(set(listed)), name
        for column in node["columns"]:
            block = DOC.fullmatch(column.get("description", "").strip())
            assert block is not None, f"{name}.{column['name']} is described by no block"
            assert block[1] == column["name"], f"{name}.{column['name']} is described by the block of another field"
            used.add(block[1])
    assert used == set(names)


def test_each_column_of_a_model_has_a_type() -> None:
    for name, (_, node) in described("models").items():
        assert all(column.get("data_type") for column in node["columns"]), name


def test_a_seeds_columns_are_those_of_its_file() -> None:
    for name, (_, node) in described("seeds").items():
        header = (PROJECT / "seeds" / f"{name}.csv").read_text("utf-8").splitlines()[0].split(",")
        assert [column["name"] for column in node["columns"]] == header, name


def test_access_is_as_narrow_as_the_readers_of_a_model_allow() -> None:
    models = described("models")
    group = {name: node["config"]["group"] for name, (_, node) in models.items()}
    readers: dict[str, set[str]] = {name: set() for name in models}
    for name, path in sql_files().items():
        for read in REF.findall(path.read_text("utf-8")):
            if read in readers:
                readers[read].add(group[name])
    for name, (path, node) in models.items():
        layer, given = path.parent.name, access(path, node)
        if layer in ("staging", "intermediate"):
            outside = readers[name] - {group[name]}
            assert given == ("protected" if outside else "private"), f"{name} is read by {outside or 'its own group'}"
        else:
            assert given == {"core": "protected", "indicators": "protected", "mart": "public"}[layer], name


def test_the_views_for_bi_keep_to_their_types_and_name_their_key() -> None:
    assert SETTINGS["mart"]["+contract"] == {"enforced": True}
    for name, (path, node) in described("models").items():
        if path.parent.name == "mart":
            key = node["config"]["meta"].get("key")
            assert key, name
            assert set(key) <= {column["name"] for column in node["columns"]}, name


def test_the_exposures_are_all_of_mart_for_bi_and_what_a_release_reads() -> None:
    exposures = {
        exposure["name"]: set(re.findall(r"ref\('mart__(\w+)'\)", " ".join(exposure["depends_on"])))
        for exposure in yaml.safe_load((MODELS / "mart" / "_mart__exposures.yml").read_text("utf-8"))["exposures"]
    }
    releases = "".join(path.read_text("utf-8") for path in (HOME / "plugins/peel/releases").glob("*.py"))
    read = set(re.findall(r"(?:from|join) mart\.(\w+)", releases)) - {"as_of"}
    assert exposures["release"] == read
    assert exposures["dashboards"] == {path.stem.removeprefix("mart__") for path in MODELS.glob("mart/*.sql")}


POSTING = {"borough_code", "posting_borough_code", "posting_borough_name", "posting_bcu_code", "posting_bcu_name"}
RESIDENCE = {"residence_area", "residence_area_name"}


def test_the_name_of_a_borough_says_of_which_kind_it_is() -> None:
    kinds: dict[str, set[str]] = {"posting": set(), "residence": set(), "home": set(), "population": set()}
    for name, (path, node) in described("models").items():
        if path.parent.name not in ("core", "mart"):
            continue
        columns = {column["name"] for column in node["columns"]}
        placed = {column for column in columns if re.search("borough|residence|home_(?!office)", column)}
        assert placed <= POSTING | RESIDENCE | {"home_area"}, name
        found = {"posting": columns & POSTING, "residence": columns & RESIDENCE, "home": columns & {"home_area"}}
        found["population"] = columns & {"area_code"} if node["config"]["group"] == "population" else set()
        held = [kind for kind, has in found.items() if has]
        assert len(held) <= 1, f"{name} holds boroughs of two kinds"
        for kind in held:
            kinds[kind].add(name)
        if path.parent.name == "mart" and name != "mart__dim_org_unit":
            assert "borough_code" not in columns, f"{name} does not say which borough"
    groups = {name: node["config"]["group"] for name, (_, node) in described("models").items()}
    assert {groups[name] for name in kinds["posting"]} == {"workforce"}
    assert {groups[name] for name in kinds["residence"]} == {"recruitment"}
    assert kinds["home"] == {"dim_person"}
    assert {"mart__population", "mart__population_within", "fct_population"} <= kinds["population"]
