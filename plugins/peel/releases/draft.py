"""The draft of a release: read, compose, protect, attack, render, write. All of it or nothing.

The attack is made on the files themselves: the counts and shares a reader finds in ``figures.csv``, with the
sums they stand in. If it can narrow a hidden count to fewer than six values, nothing is written. Nothing here
ever writes to ``var/published``: that takes a person's approval.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from markupsafe import escape
from psycopg.types.json import Jsonb

from peel import warehouse
from peel.builds.dbt import manifest_path
from peel.errors import PeelError
from peel.releases import dictionary, figures, page
from peel.releases.attack import Range, attack, narrow
from peel.releases.cells import FEWEST, SMALL, WIDTH, Shown, ShownShare, System, UnsafeError
from peel.releases.compose import Composition, compose
from peel.releases.figures import Figure
from peel.releases.protect import Protection, protect
from peel.releases.read import AsOf, Mart, read
from peel.settings import Settings


@dataclass(frozen=True)
class Draft:
    """A draft's files, protected and attacked, not yet written.

    Args:
        as_of: the build it was made from.
        files: text by file name.
        headline: the sentences that matter most.
        protection: which counts are hidden.
        ranges: what the attack found for each, and for those that are never printed.
    """

    as_of: AsOf
    files: Mapping[str, str]
    headline: list[str]
    protection: Protection
    ranges: Mapping[str, Range]


def make_draft(settings: Settings) -> dict[str, Any]:
    """Make the draft of what readers were last switched to, in ``var/drafts/<build_id>/``.

    Safe to repeat and to kill: files are written to a folder beside it, which then takes its name, and
    ``var/drafts/latest`` moves last. The same build gives the same bytes.

    Args:
        settings: the installation.

    Returns:
        ``build_id, business_date, statement, path, page, latest, headline, shown, hidden, narrowest, seconds``:
        for the terminal; counts are numbers of counts, ``narrowest`` is in people (``None`` if none is hidden).

    Raises:
        PeelError: nothing was switched to yet, dbt's manifest is missing, or figures contradict each other.
        UnsafeError: a hidden count could be worked out, or simulated figures would go unmarked.
    """
    started = time.monotonic()
    mart = read(settings)
    tables = dictionary.read_manifest(manifest_path(settings, mart.as_of.build_id))
    draft = prepare(mart, tables)
    manifest = json.loads(draft.files["manifest.json"])
    folder = settings.drafts / draft.as_of.build_id
    with warehouse.connect(settings, "publish") as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('peel draft'))")  # one at a time writes
        connection.execute(
            "insert into audit.release (release_id, build_id, kind, path, manifest)"
            " values (%s, %s, 'draft', %s, %s) on conflict (release_id) do update"
            " set path = excluded.path, manifest = excluded.manifest, made_at = clock_timestamp()"
            " where audit.release.manifest is distinct from excluded.manifest",
            (
                f"draft-{draft.as_of.build_id}",
                draft.as_of.build_id,
                folder.relative_to(settings.var).as_posix(),
                Jsonb(manifest),
            ),
        )
        _write(folder, draft.files)
    return {
        "build_id": draft.as_of.build_id,
        "business_date": draft.as_of.business_date.isoformat(),
        "statement": draft.as_of.statement,
        "path": str(folder),
        "page": str(folder / "index.html"),
        "latest": str(settings.drafts / "latest" / "index.html"),
        "headline": draft.headline,
        "shown": manifest["protection"]["shown"],
        "hidden": manifest["protection"]["hidden"],
        "narrowest": manifest["protection"]["narrowest_range"],
        "seconds": round(time.monotonic() - started, 1),
    }


def prepare(mart: Mart, tables: list[dictionary.Table]) -> Draft:
    """Make the draft's files in memory.

    Args:
        mart: the snapshot.
        tables: of the warehouse, for the dictionary.

    Returns:
        The files, checked.

    Raises:
        PeelError: the figures contradict each other.
        UnsafeError: a hidden count could be worked out, or simulated figures would go unmarked.
    """
    as_of = mart.as_of
    simulated = "simulated" in (as_of.police_source_kind, as_of.residents_source_kind)
    if not as_of.statement.strip() or (simulated and "simulated" not in as_of.statement.lower()):
        raise UnsafeError("the warehouse does not say what is simulated.", column="mart.as_of.statement")
    if not as_of.build_id.replace("-", "").isalnum():
        raise PeelError("the build's id cannot be a folder's name.", column="mart.as_of.build_id")
    composition = compose(mart)
    protection = protect(composition.system)
    shown = publishable(composition, protection.hidden)
    about = page.outline(mart, composition)
    marks = {"build_id": as_of.build_id, "statement": as_of.statement}
    files = {
        "index.html": page.render_page(shown, about),
        "figures.csv": figures.to_csv(shown.values(), **marks),
        "dictionary.html": page.render_dictionary(tables, about),
        "dictionary.csv": dictionary.to_csv(tables, **marks),
    }
    ranges = attack_files(files["figures.csv"], composition.system)
    files["manifest.json"] = _manifest(as_of, files, protection, composition, ranges)
    check_marks(files, as_of)
    return Draft(as_of, files, page.headline(shown, about), protection, ranges)


def publishable(composition: Composition, hidden: frozenset[str]) -> dict[str, Figure]:
    """The figures without the hidden counts; nothing after this step can see them."""
    cells = composition.system.cells
    visible = {key: cell.value for key, cell in cells.items() if cell.shown and key not in hidden}
    return figures.resolve(composition.plans, visible, hidden)


def attack_files(csv_text: str, system: System) -> dict[str, Range]:
    """Attack what a reader finds in the file.

    Args:
        csv_text: ``figures.csv``.
        system: for the names of the counts and how they add up, and for which unprinted ones must stay unknown.

    Returns:
        The range of every hidden count and of every sensitive one that is never printed.

    Raises:
        UnsafeError: a range is narrower than ``WIDTH``, or the file gives away or lacks a count.
    """
    shown, hidden = _as_read(csv_text, system)
    expected = {key for key, cell in system.cells.items() if cell.shown}
    if expected != hidden | shown.values.keys():
        raise UnsafeError("the file lacks a count or has one too many.", rule="figures")
    bare = [key for key, cell in system.cells.items() if cell.sensitive and key in shown.values]
    if bare:
        raise UnsafeError("small counts would be printed.", rule="primary", count=len(bare))
    ranges = attack(shown, sorted(hidden | system.unprinted()))
    weak = narrow(ranges)
    if weak:
        raise UnsafeError(
            "hidden counts could be worked out; nothing was written.",
            rule="attack",
            count=len(weak),
            do="This is a fault of plugins/peel/releases/protect.py: report it.",
        )
    return ranges


def check_marks(files: Mapping[str, str], as_of: AsOf) -> None:
    """Refuse files in which a figure could be read without knowing that it is a draft, and whose it is.

    Args:
        files: text by name.
        as_of: for the statement.

    Raises:
        UnsafeError: a page, a section of a page, a row of a file or the manifest lacks a mark.
    """
    statement = as_of.statement
    escaped = str(escape(statement))
    for name, text in files.items():
        if name.endswith(".html"):
            head = text.partition("<main")[0]
            sections = re.findall(r"<section.*?</section>", text, re.DOTALL)
            marked = "DRAFT" in head and all(escaped in part for part in (head.partition("<body")[2], *sections))
        elif name.endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(text)))
            marked = all(row["statement"] == statement and row["release_status"] == "DRAFT" for row in rows)
        else:
            found = json.loads(text)
            marked = found["statement"] == statement and found["release_status"] == "DRAFT"
        if not marked:
            raise UnsafeError("figures would go without their marks.", file=name, rule="statement")


def _as_read(csv_text: str, system: System) -> tuple[Shown, frozenset[str]]:
    counts, hidden = figures.read_back(csv_text)
    shares = {share.key: share for share in system.shares}
    printed = []
    for row in csv.DictReader(io.StringIO(csv_text)):
        if row["unit"] == "percent" and row["value"]:
            share = shares[row["figure_id"]]
            units = int(Decimal(row["value"]).scaleb(share.decimals))
            printed.append(ShownShare(share.numerator, share.denominator, units, share.decimals))
            for key, column in ((share.numerator, "numerator"), (share.denominator, "denominator")):
                # a count beside a share is as good as a count on its own
                if counts.setdefault(key, int(row[column])) != int(row[column]) or key in hidden:
                    raise UnsafeError("a share gives a hidden count away.", rule="figures", column=key)
    return Shown(tuple(system.cells), counts, system.relations(), tuple(printed)), hidden


def _manifest(
    as_of: AsOf,
    files: Mapping[str, str],
    protection: Protection,
    composition: Composition,
    ranges: Mapping[str, Range],
) -> str:
    police = [cell for cell in composition.system.cells.values() if cell.shown and not cell.exact]
    found = {
        "release_status": "DRAFT",
        "statement": as_of.statement,
        "build_id": as_of.build_id,
        "business_date": as_of.business_date.isoformat(),
        "switched_at": as_of.switched_at.isoformat(),
        "source_kind": {"police": as_of.police_source_kind, "residents": as_of.residents_source_kind},
        "protection": {
            "hidden_from": 1,
            "hidden_to": SMALL,
            "least_range": WIDTH,
            "least_denominator": FEWEST,
            "shown": len(police) - len(protection.hidden),
            "hidden": len(protection.hidden),
            "narrowest_range": min((found.width for found in ranges.values()), default=None),
        },
        "files": [
            {
                "name": name,
                "bytes": len(text.encode()),
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
            for name, text in files.items()
        ],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files beside the folder, give them its name, then move ``latest``."""
    drafts, build_id = folder.parent, folder.name
    fresh, old = (drafts / f".{build_id}.{mark}.{os.getpid()}" for mark in ("new", "old"))
    try:
        drafts.mkdir(parents=True, exist_ok=True)
        for leftover in drafts.glob(f".{build_id}.*"):
            shutil.rmtree(leftover)
        if not _same(folder, files):
            fresh.mkdir()
            for name, text in files.items():
                with (fresh / name).open("w", encoding="utf-8", newline="") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        link = drafts / f".latest.{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(build_id, target_is_directory=True)
        link.replace(drafts / "latest")
    except OSError as error:
        raise PeelError(
            f"the draft could not be written ({error.strerror}).",
            file=str(folder),
            do="Check the folder's owner and free space.",
        ) from None


def _same(folder: Path, files: Mapping[str, str]) -> bool:
    if not folder.is_dir() or {path.name for path in folder.iterdir()} != set(files):
        return False
    return all((folder / name).read_bytes() == text.encode() for name, text in files.items())
