"""Landing: from a source folder to the landing store, direct identifiers replaced on the way.

Everything about a delivery is checked before anyone may depend on it: manifest, checksums, counts,
header, field counts, encoding, shapes. Only declared columns are written. A delivery is written to
a temporary folder, synced, and renamed; then one transaction records it. Killed anywhere in
between, the next run does it again and comes to the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from peel.contracts import Column, Contract, Feed
from peel.deliveries import ledger
from peel.deliveries.pseudonyms import Keys, load_keys, remembering
from peel.deliveries.shapes import closed_form, identifier_shape
from peel.errors import ConfigurationError, DeliveryRefused
from peel.feeds import folder as folders
from peel.feeds.manifest import MANIFEST, Manifest, ManifestFile, read_manifest, source_sha256
from peel.feeds.readers import READERS, UnreadableFile
from peel.settings import Settings
from peel.warehouse import connect

_CHUNK = 5_000  # rows formatted at a time
_SEEN = 50_000  # values remembered per column as already searched


@dataclass
class Landed:
    """What one table of a delivery became in the landing store.

    Attributes:
        rows: data rows written.
        sha256: of the uncompressed canonical rows, header included.
        counts: how many values a landing rule concerns, by (column, rule).
        undeclared: names of columns the contract does not declare.
    """

    rows: int = 0
    sha256: str = ""
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    undeclared: list[str] = field(default_factory=list)


@dataclass
class LandReport:
    """What a look at a feed's source came to; ``refused`` holds one line for each refusal."""

    landed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def landing_folder(settings: Settings, feed: str, business_date: object, seq: int, delivery_id: str) -> Path:
    """Where a delivery stands in the landing store."""
    return settings.landing / feed / str(business_date) / str(seq) / delivery_id


def land_feed(settings: Settings, feed: Feed) -> LandReport:
    """Land every delivery of a feed that is not landed yet, oldest first.

    Raises:
        ConfigurationError: the HMAC keys are not those of earlier deliveries.
        PeelError: the database refused.
    """
    report = LandReport()
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        keys = _keys(settings, connection)
        known = ledger.known_folders(connection, feed.name)
        for found in folders.find(settings.sources, feed.name):
            if known.get(found.name) == found.fingerprint:
                continue
            if found.business_date is None or found.seq is None:
                what = "the folder's name is no business date (YYYY-MM-DD) with a number."
                refusal = DeliveryRefused(
                    what, feed=feed.name, delivery=found.name, rule="business_date", do="Rename or remove it."
                )
                if ledger.record_unusable(connection, feed.name, found.name, str(refusal)):
                    report.refused.append(str(refusal))
                continue
            if not found.has_manifest:
                continue  # still arriving: the manifest comes last
            delivery_id, refused = _land(settings, connection, feed, found, keys)
            if refused is not None:
                report.refused.append(refused)
            elif delivery_id is not None:
                report.landed.append(delivery_id)
    return report


def _keys(settings: Settings, connection: psycopg.Connection) -> Keys:
    epochs = {
        (name, epoch): fingerprint
        for name, epoch, fingerprint in connection.execute("select key_name, epoch, fingerprint from audit.key_epoch")
    }
    keys = load_keys(settings, create=not epochs)
    for name, epoch in (("land", keys.land_epoch), ("warehouse", keys.warehouse_epoch)):
        recorded = epochs.get((name, epoch))
        if recorded is None:
            connection.execute(
                "insert into audit.key_epoch (key_name, epoch, fingerprint) values (%s, %s, %s)",
                (name, epoch, keys.fingerprint(name)),
            )
        elif recorded != keys.fingerprint(name):
            raise ConfigurationError(
                f"The HMAC key {name} is not the one earlier deliveries were landed under.",
                do="Restore it from a `peel backup` into var/secrets.",
            )
    connection.commit()
    return keys


def _land(
    settings: Settings, connection: psycopg.Connection, feed: Feed, found: folders.Found, keys: Keys
) -> tuple[str | None, str | None]:
    """Land one folder; the delivery's id, and the refusal's line if it was refused."""
    assert found.business_date is not None
    assert found.seq is not None
    manifest: Manifest | None = None
    refusal: DeliveryRefused | None = None
    try:
        manifest = read_manifest(found.path, feed, found.business_date, found.seq)
    except DeliveryRefused as error:
        refusal = error
    # The manifest is one of the files: a corrected one makes another delivery of the same data.
    names = [MANIFEST, *(file.file for file in manifest.files)] if manifest else [MANIFEST]
    identity = source_sha256(found.path, names)
    delivery_id = ledger.delivery_id(feed.name, found.business_date, found.seq, identity)
    delivery = ledger.Delivery(
        delivery_id=delivery_id,
        feed=feed.name,
        business_date=found.business_date,
        seq=found.seq,
        source_sha256=identity,
        mode=feed.mode,
        source_kind=feed.source_kind,
        manifest=manifest,
    )
    if ledger.state(connection, delivery_id) is None:
        if manifest is not None:
            try:
                tables = _store(settings, feed, found.path, manifest, delivery_id, keys)
                ledger.record_landed(connection, delivery, feed, tables)
            except DeliveryRefused as error:
                refusal = error
        if refusal is not None:
            ledger.record_refused(connection, delivery, str(refusal), refusal.rule or "landing")
    elif ledger.state(connection, delivery_id) != "refused":
        refusal = None
    else:
        refusal, delivery_id = None, ""  # refused before and unchanged: already reported
    ledger.remember_folder(connection, feed.name, found.name, found.fingerprint, delivery.delivery_id)
    connection.commit()
    return (delivery_id or None), (str(refusal) if refusal else None)


def _store(
    settings: Settings, feed: Feed, source: Path, manifest: Manifest, delivery_id: str, keys: Keys
) -> dict[str, Landed]:
    """Write a delivery's tables to the landing store, all or none.

    Raises:
        DeliveryRefused: any table is unfit; nothing of the delivery is left behind.
    """
    final = landing_folder(settings, feed.name, manifest.business_date, manifest.seq, delivery_id)
    temporary = final.with_name(f".{delivery_id}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    try:
        tables = {}
        by_table = {contract.name: contract for contract in feed.contracts}
        for file in manifest.files:
            with _named(feed, manifest, file):
                tables[file.table] = _write_table(by_table[file.table], source / file.file, file, temporary, keys)
        _sync(temporary)
        if final.exists():
            shutil.rmtree(final)  # written before a kill, never recorded
        temporary.rename(final)
        _sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tables


@contextmanager
def _named(feed: Feed, manifest: Manifest, file: ManifestFile) -> Iterator[None]:
    """Give a fault its place: feed, delivery and file."""
    try:
        yield
    except UnreadableFile as fault:
        raise DeliveryRefused(
            fault.what,
            feed=feed.name,
            delivery=f"{manifest.business_date}/{manifest.seq}",
            file=file.file,
            rule=fault.rule,
            count=fault.count,
            do="Have the source deliver it again.",
        ) from None
    except _Unfit as fault:
        raise DeliveryRefused(
            fault.what,
            feed=feed.name,
            delivery=f"{manifest.business_date}/{manifest.seq}",
            file=file.file,
            column=fault.column,
            rule=fault.rule,
            count=fault.count,
            do="Have the source deliver it again.",
        ) from None


class _Unfit(Exception):
    def __init__(self, rule: str, what: str, column: str | None = None, count: int | None = None) -> None:
        super().__init__(what)
        self.rule, self.what, self.column, self.count = rule, what, column, count


def _write_table(contract: Contract, path: Path, file: ManifestFile, target: Path, keys: Keys) -> Landed:
    if path.is_symlink() or not path.is_file():
        raise _Unfit("file_present", "the manifest names it, and it is not there as a plain file.")
    landed = Landed()
    digest = hashlib.sha256()
    with ExitStack() as stack:
        try:
            source = stack.enter_context(READERS[contract.reader](path))
        except OSError as error:
            raise _Unfit("file_readable", f"it cannot be read ({error.strerror}).") from None
        steps = _steps(contract, source.header, landed, keys)
        raw = stack.enter_context((target / f"{contract.name}.csv.gz").open("wb"))
        packed = stack.enter_context(gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0))

        def write(text: str) -> None:
            data = text.encode()
            digest.update(data)
            packed.write(data)

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([column.name for column in contract.columns])
        for row in source.rows:
            writer.writerow([convert(row[index]) for index, convert in steps])
            landed.rows += 1
            if landed.rows % _CHUNK == 0:
                write(buffer.getvalue())
                buffer.seek(0)
                buffer.truncate()
        write(buffer.getvalue())
        # The shape of an identifier where none belongs outweighs every other fault.
        shapes = {key: n for key, n in landed.counts.items() if key[1].startswith("identifier_shape")}
        for (column, rule), count in shapes.items():
            raise _Unfit(rule, "a field that is no identifier has the shape of one.", column, count)
        if source.sha256() != file.sha256:
            raise _Unfit("checksum", "its bytes are not those the manifest names.")
        if landed.rows != file.rows:
            raise _Unfit("row_count", f"it has {landed.rows} rows, the manifest says {file.rows}.")
        if landed.rows == 0 and contract.mode == "full":
            raise _Unfit("file_not_empty", "it holds a header and no row.", count=0)
        for (column, rule), count in landed.counts.items():
            if rule == "control_characters":
                raise _Unfit(rule, "fields hold control characters.", column, count)
    landed.sha256 = digest.hexdigest()
    return landed


def _steps(contract: Contract, header: list[str], landed: Landed, keys: Keys) -> list[tuple[int, Callable[[str], str]]]:
    """For each landed column, the place of its source field and what becomes of it."""
    if len(set(header)) != len(header):
        raise _Unfit("header", "a column's name stands twice.", count=len(header) - len(set(header)))
    declared = contract.source_columns
    missing = [column.source for column in contract.columns if column.source not in header]
    if missing:
        # Undeclared names are not shown here: a file without a header would show its first row.
        raise _Unfit("header", f"columns are missing: {', '.join(missing)}.", count=len(missing))
    landed.undeclared = [name for name in header if name not in declared]
    return [(header.index(column.source), _conversion(column, landed.counts, keys)) for column in contract.columns]


def _conversion(column: Column, counts: dict[tuple[str, str], int], keys: Keys) -> Callable[[str], str]:
    def count(rule: str) -> None:
        counts[column.name, rule] = counts.get((column.name, rule), 0) + 1

    if column.identifier is not None:
        kind = column.identifier
        token = remembering(lambda value: keys.landing_token(kind, value))

        def tokenise(value: str) -> str:
            if not value.strip():
                return ""
            result = token(value)
            if not result:
                count("identifier_form")
            return result

        return tokenise
    if column.postcode_sector:
        sector = remembering(postcode_sector)

        def shorten(value: str) -> str:
            if not value.strip():
                return ""
            result = sector(value)
            if not result:
                count("identifier_form")
            return result

        return shorten
    return _plain(column, count)


def _plain(column: Column, count: Callable[[str], None]) -> Callable[[str], str]:
    closed = closed_form(column.type, column.values)
    seen: set[str] = set()
    open_end = column.open_end

    def check(value: str) -> str:
        if value in seen:
            return value
        if value == open_end:
            return ""
        if value and not closed(value):
            shape = identifier_shape(value)
            if shape is not None:
                count(f"identifier_shape_{shape}")
                return ""
            if not value.isprintable() and any((c < " " and c not in "\t\r\n") or c == "\x7f" for c in value):
                count("control_characters")
                return ""
        if len(seen) >= _SEEN:
            seen.clear()
        seen.add(value)
        return value

    return check


def postcode_sector(postcode: str) -> str:
    """The sector of a full postcode (``E15 4AB`` gives ``E15 4``); empty where it is no postcode."""
    text = "".join(character for character in postcode.upper() if character.isalnum())
    if not 5 <= len(text) <= 7 or not text.isascii():
        return ""
    outward, inward = text[:-3], text[-3:]
    fits = inward[0].isdigit() and inward[1:].isalpha() and outward[0].isalpha() and any(map(str.isdigit, outward))
    return f"{outward} {inward[0]}" if fits else ""


def _sync(path: Path) -> None:
    """Force a folder and its plain files to disk."""
    if path.is_dir():
        for entry in path.iterdir():
            if entry.is_file():
                _fsync(entry)
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
