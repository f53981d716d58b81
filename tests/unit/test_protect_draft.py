"""The draft's files, made in memory from an invented force and the real census: what they say and what they hide."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from peel.errors import PeelError
from peel.releases import charts, dictionary, draft, page
from peel.releases.attack import narrow
from peel.releases.cells import UnsafeError
from peel.releases.compose import compose
from peel.releases.dictionary import Column, Table
from peel.releases.draft import Draft, attack_files, check_marks, prepare, publishable
from peel.releases.protect import protect
from peel.releases.read import LONDON, MET, Mart
from tests.accessibility.invented_mart import BUILD_ID, STATEMENT, rows, snapshot

TABLES = [
    Table("dim_area", "mart", "one area", "Areas.", (Column("area_code", "text", "The code <of> the area."),)),
    Table("dim_area", "core", "one area", "Areas.", ()),
]


@pytest.fixture(scope="module")
def mart() -> Mart:
    return snapshot(rows())


@pytest.fixture(scope="module")
def made(mart: Mart) -> Draft:
    return prepare(mart, TABLES)


@pytest.fixture(scope="module")
def figures(made: Draft) -> dict[str, dict[str, str]]:
    return by_id(made.files)


def by_id(files: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found = list(csv.DictReader(io.StringIO(files["figures.csv"])))
    assert len(found) == len({row["figure_id"] for row in found})
    return {row["figure_id"]: row for row in found}


class _Cells(HTMLParser):
    """Collects every figure of the page, by its id, with the text a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.open: str | None = None
        self.seen: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = dict(attrs).get("data-figure") or None

    def handle_data(self, data: str) -> None:
        if self.open:
            self.seen.append((self.open, data.strip()))
            self.open = None


def test_london_reads_40_2_and_46_2_and_the_mets_area_40_2_and_46_3(figures: dict[str, dict[str, str]]):
    shares = {
        (year, area): figures[f"residents/{year}/{area}/minority/share"]["value"]
        for year in (2011, 2021)
        for area in (LONDON, MET)
    }
    assert shares == {(2011, LONDON): "40.2", (2011, MET): "40.2", (2021, LONDON): "46.2", (2021, MET): "46.3"}


def test_leaf_counts_reproduce_the_published_borough_summary(
    figures: dict[str, dict[str, str]], mart: Mart, shared_data: Path
):
    with (shared_data / "census" / "borough_summary.csv").open(encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == 33
    for row in expected:
        for year in (2011, 2021):
            prefix = f"residents/{year}/{row['borough_code']}/"
            leaf = {
                code: int(figures[prefix + code]["value"])
                for code in mart.ethnicities
                if prefix + code in figures and figures[prefix + code]["measure"] == "residents"
            }
            assert len(leaf) == (18 if year == 2011 else 19)
            total = sum(leaf.values())
            white = sum(people for code, people in leaf.items() if mart.ethnicities[code].five_group == "White")
            assert total == int(row[f"pop_{year}"])
            assert round(1 - white / total, 6) == float(row[f"bme_share_{year}"])
            assert round(1 - leaf["W1"] / total, 6) == float(row[f"non_white_british_{year}"])


def test_census_counts_are_never_hidden(figures: dict[str, dict[str, str]]):
    residents = [row for key, row in figures.items() if key.startswith("residents/")]
    assert len(residents) > 2000
    assert not [row for row in residents if row["obs_status"]]


def test_no_count_of_police_or_applicants_from_1_to_9_is_printed(figures: dict[str, dict[str, str]]):
    counts = [row for row in figures.values() if row["unit"] == "people" and row["source_kind"] == "simulated"]
    assert counts
    assert not [row["figure_id"] for row in counts if row["value"] and 1 <= int(row["value"]) <= 9]
    assert any(row["obs_status"] == "[c]" and row["value"] == "" for row in counts)


def test_every_hidden_count_keeps_a_range_of_5_after_an_attack_on_the_file(made: Draft, mart: Mart):
    ranges = attack_files(made.files["figures.csv"], compose(mart).system)
    assert made.protection.hidden <= ranges.keys()
    assert narrow(ranges) == []


def test_the_attack_stops_a_file_in_which_one_hidden_count_was_filled_in(made: Draft, mart: Mart):
    system = compose(mart).system
    text = made.files["figures.csv"]
    key = next(key for key in sorted(made.protection.secondary) if key.endswith("/all"))
    opened = publishable(compose(mart), made.protection.hidden - {key})
    with pytest.raises(UnsafeError, match="could be worked out"):
        attack_files(draft.figures.to_csv(opened.values(), build_id="b", statement="s"), system)
    small = next(key for key in sorted(made.protection.primary) if system.cells[key].sensitive)
    opened = publishable(compose(mart), made.protection.hidden - {small})
    with pytest.raises(UnsafeError, match="small counts would be printed"):
        attack_files(draft.figures.to_csv(opened.values(), build_id="b", statement="s"), system)
    with pytest.raises(UnsafeError, match="lacks a count"):
        attack_files("\n".join(line for line in text.split("\n") if not line.startswith(f"{key},")), system)


def test_a_share_is_shown_only_if_its_numerator_its_rest_and_its_denominator_are(made: Draft, mart: Mart):
    system, found = compose(mart).system, by_id(made.files)
    for share in system.shares:
        row = found[share.key]
        parts = [share.numerator, share.denominator]
        parts += [share.rest] if system.cells[share.rest].shown else []
        if any(found[part]["obs_status"] for part in parts):
            assert (row["value"], row["obs_status"], row["numerator"], row["denominator"]) == ("", "[c]", "", "")
        elif int(found[share.denominator]["value"]) < 30:
            assert (row["value"], row["obs_status"]) == ("", "[low]")
        else:
            assert row["numerator"] == found[share.numerator]["value"]
            assert row["denominator"] == found[share.denominator]["value"]


def test_the_page_shows_each_figure_as_the_file_does(made: Draft):
    found = by_id(made.files)
    parser = _Cells()
    parser.feed(made.files["index.html"])
    assert len(parser.seen) > 800
    for key, text in parser.seen:
        row = found[key]
        number = text.replace(",", "").removesuffix("%")
        assert number == (row["value"] or row["obs_status"]), key
    counted = {key for key, row in found.items() if row["unit"] == "people" and row["workforce_group"] == "OFF"}
    assert counted - {key for key, _ in parser.seen} == {"officers/met/sexes"}


@pytest.mark.slow
def test_what_is_hidden_leaves_no_trace_in_any_file(mart: Mart):
    """Other hidden values, same bytes: so nothing in sentences, labels, marks or rows depends on them."""
    composition = compose(mart)
    hidden = protect(composition.system).hidden
    about = page.outline(mart, composition)
    cells = {
        key: dataclasses.replace(cell, value=cell.value + 1000 if key in hidden else cell.value)
        for key, cell in composition.system.cells.items()
    }
    other = dataclasses.replace(composition)
    system = object.__new__(type(composition.system))
    for name, value in (("cells", cells), ("sums", ()), ("shares", composition.system.shares)):
        object.__setattr__(system, name, value)
    object.__setattr__(other, "system", system)
    assert hidden
    first, second = publishable(composition, hidden), publishable(other, hidden)
    assert page.render_page(first, about) == page.render_page(second, about)
    assert page.headline(first, about) == page.headline(second, about)
    to_csv = draft.figures.to_csv
    assert to_csv(first.values(), build_id="b", statement="s") == to_csv(second.values(), build_id="b", statement="s")


@pytest.mark.slow
def test_the_same_snapshot_gives_the_same_bytes(mart: Mart, made: Draft):
    assert dict(prepare(mart, TABLES).files) == dict(made.files)


@pytest.mark.slow
@pytest.mark.parametrize("officers", [40, 700])
def test_a_small_force_is_protected_too(officers: int):
    small = prepare(snapshot(rows(officers=officers)), TABLES)
    assert narrow(dict(small.ranges)) == []
    assert len(small.protection.hidden) > 100
    assert small.headline


def test_a_mart_without_officers_makes_a_page_of_residents(mart: Mart):
    empty = dataclasses.replace(mart, officers={}, officers_by_sex={}, joiners={}, applicants={})
    files = prepare(empty, TABLES).files
    assert "46.2%" in files["index.html"]
    assert by_id(files)["officers/met/all"]["value"] == "0"
    assert "is not shown, because they are too few" in files["index.html"]


def test_every_figure_of_the_simulated_force_is_marked_in_every_file(made: Draft, figures: dict[str, dict[str, str]]):
    for row in figures.values():
        simulated = not row["figure_id"].startswith("residents/")
        assert row["source_kind"] == ("simulated" if simulated else "real")
        assert row["statement"] == STATEMENT
        assert row["release_status"] == "DRAFT"
    for name in ("index.html", "dictionary.html"):
        html = made.files[name]
        head = html[: html.index("<main")]
        assert "DRAFT" in head
        assert STATEMENT in head[head.index("<body") :]
        sections = re.findall(r"<section.*?</section>", html, re.DOTALL)
        assert sections
        assert all(STATEMENT in section for section in sections)
    for caption in re.findall(r"<caption.*?</caption>", made.files["index.html"], re.DOTALL):
        assert ("Simulated force, not real." in caption) == ("fficers" in caption), caption
    for title in re.findall(r"<desc.*?</desc>", made.files["index.html"], re.DOTALL):
        assert ("Simulated force, not real." in title) == ("officer" in title or "financial year" in title), title
    manifest = json.loads(made.files["manifest.json"])
    assert (manifest["statement"], manifest["release_status"]) == (STATEMENT, "DRAFT")
    assert all(row["statement"] == STATEMENT for row in csv.DictReader(io.StringIO(made.files["dictionary.csv"])))
    assert any("simulated force" in sentence for sentence in made.headline)


@pytest.mark.parametrize("name", ["index.html", "figures.csv", "dictionary.html", "dictionary.csv", "manifest.json"])
def test_a_file_without_the_statement_is_refused(made: Draft, mart: Mart, name: str):
    for mark in (STATEMENT, "DRAFT"):
        files = dict(made.files) | {name: made.files[name].replace(mark, "")}
        with pytest.raises(UnsafeError, match="without their marks") as refusal:
            check_marks(files, mart.as_of)
        assert refusal.value.file == name


def test_one_section_without_the_statement_is_refused(made: Draft, mart: Mart):
    html = made.files["index.html"]
    for section in re.findall(r"<section.*?</section>", html, re.DOTALL):
        files = dict(made.files) | {"index.html": html.replace(section, section.replace(STATEMENT, ""))}
        with pytest.raises(UnsafeError, match="without their marks"):
            check_marks(files, mart.as_of)


def test_a_simulated_source_without_a_statement_that_says_so_is_refused(mart: Mart):
    for statement in ("", "Police figures: the Met."):
        unmarked = dataclasses.replace(mart, as_of=dataclasses.replace(mart.as_of, statement=statement))
        with pytest.raises(UnsafeError, match="does not say what is simulated"):
            prepare(unmarked, TABLES)


@pytest.mark.slow
def test_a_real_force_is_not_called_simulated():
    real = prepare(snapshot(rows(officers=34_000, kind="real")), TABLES)
    assert "imulated" not in real.files["index.html"]
    assert all(row["source_kind"] == "real" for row in by_id(real.files).values())


def test_the_manifest_names_each_file_with_its_hash(made: Draft):
    manifest = json.loads(made.files["manifest.json"])
    assert manifest["build_id"] == BUILD_ID
    assert manifest["business_date"] == "2026-11-20"
    named = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    assert named == {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in made.files.items() if name != "manifest.json"
    }


def test_the_page_needs_nothing_from_elsewhere_and_no_script(made: Draft):
    for name in ("index.html", "dictionary.html"):
        html = made.files[name]
        assert "<script" not in html
        assert not re.search(r"\bon[a-z]+=", html)
        assert not re.search(r"(?:src|srcset|@import|url\()\s*=?\s*[\"']?https?:", html)
        assert '<html lang="en-GB">' in html
    assert set(re.findall(r'href="([a-z.]+)"', made.files["index.html"])) == {
        "figures.csv", "dictionary.html", "dictionary.csv", "manifest.json",
    }  # fmt: skip


def test_ids_are_unique_and_every_reference_has_one(made: Draft):
    for name in ("index.html", "dictionary.html"):
        html = made.files[name]
        ids = Counter(re.findall(r'\bid="([^"]+)"', html))
        assert [key for key, times in ids.items() if times > 1] == []
        wanted = set(re.findall(r'href="#([^"]+)"', html))
        wanted |= {key for keys in re.findall(r'aria-labelledby="([^"]+)"', html) for key in keys.split()}
        assert wanted <= ids.keys()


def test_the_ambition_is_never_called_a_quota(made: Draft):
    html = made.files["index.html"]
    assert "ambition" in html
    assert re.findall(r"[^.]*quota[^.]*", html) == [
        " An ambition is not a quota: nobody is chosen for it, and the law does not allow that"
    ]


def test_the_map_has_a_tile_for_each_of_londons_33_areas_in_its_own_square(mart: Mart):
    assert set(charts.TILES) == set(mart.boroughs())
    places = [(row, column) for row, column, _, _ in charts.TILES.values()]
    assert len(set(places)) == 33
    assert len({short for _, _, short, _ in charts.TILES.values()}) == 33


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("fill", "ink"), [(fill, ink) for _, fill, ink in charts.SHADES])
def test_text_on_every_shade_of_the_map_has_a_contrast_of_4_5(fill: str, ink: str):
    light, dark = sorted((_luminance(fill), _luminance(ink)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_dictionary_comes_from_dbts_manifest(tmp_path: Path):
    column = {"name": "area_code", "data_type": "text", "description": "The\n  code."}
    model = {
        "resource_type": "model",
        "name": "mart__dim_area",
        "alias": "dim_area",
        "fqn": ["peel", "mart", "mart__dim_area"],
        "description": "Areas.",
        "config": {"meta": {"each_row_is": "one area"}},
        "columns": {"area_code": column},
    }
    staging = {**model, "name": "stg_a", "alias": "stg_a", "fqn": ["peel", "staging", "stg_a"], "columns": {}}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"nodes": {"s": staging, "m": model, "t": {"resource_type": "test"}}}), "utf-8")
    tables = dictionary.read_manifest(path)
    assert tables[0] == Table("dim_area", "mart", "one area", "Areas.", (Column("area_code", "text", "The code."),))
    assert [table.name for table in tables] == ["dim_area", "stg_a"]
    listed = list(csv.DictReader(io.StringIO(dictionary.to_csv(tables, build_id="b", statement="s"))))
    assert [(row["table_name"], row["column_name"]) for row in listed] == [("dim_area", "area_code"), ("stg_a", "")]


@pytest.mark.parametrize("text", [None, "no json", "[]", '{"nodes": {}}'])
def test_a_missing_or_empty_manifest_of_dbt_is_said_clearly(tmp_path: Path, text: str | None):
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(PeelError, match=r"manifest.*Build the warehouse first"):
        dictionary.read_manifest(path)


def test_what_the_dictionary_says_is_escaped(made: Draft):
    assert "The code &lt;of&gt; the area." in made.files["dictionary.html"]
