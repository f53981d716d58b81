"""Landing: from a source to the landing store, direct identifiers replaced on the way.

Everything about a delivery is checked before anyone may depend on it: manifest, checksums, counts,
header, field counts, encoding, shapes. Only declared columns are written. A delivery is written to
a temporary folder, synced, and renamed; then one transaction records it. Killed anywhere in
between, the next run does it again and comes to the same bytes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from peel.contracts import Contract, Feed
from peel.deliveries import ledger, store, tombstones
from peel.deliveries.behind import one_behind
from peel.deliveries.columns import GIVEN, Conversion, conversion
from peel.deliveries.ledger import Landed
from peel.deliveries.pseudonyms import Keys, Overlap, keys_in_force
from peel.errors import DeliveryRefused
from peel.feeds.manifest import MANIFEST, MANIFEST_LIMIT, Manifest, ManifestFile, read_manifest, source_sha256
from peel.feeds.readers import READERS, Table, UnreadableFile
from peel.london import due_at, now
from peel.settings import Settings
from peel.sources.archives import unpacked
from peel.sources.base import FileAbsent, Known, Offer, Source
from peel.sources.configure import source_of
from peel.warehouse import connect

_FORMLESS = 20  # values without their form that a column may have however few it holds


@dataclass
class LandReport:
    """What a look at a feed's source came to; ``refused`` holds one line for each refusal."""

    landed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def land_feed(settings: Settings, feed: Feed, only: frozenset[str] | None = None) -> LandReport:
    """Land every delivery of a feed that is not landed yet, oldest first.

    Args:
        settings: the installation.
        feed: the feed.
        only: names of the offers to look at; all of them if left out.

    Raises:
        ConfigurationError: the HMAC keys are not those of earlier deliveries.
        SourceUnavailable: the source could not be reached; what was landed before stands.
        PeelError: the database refused.
    """
    report = LandReport()
    with (
        closing(source_of(settings, feed)) as source,
        connect(settings, "ingest") as connection,
        ledger.feed_lock(connection, feed.name),
    ):
        keys = keys_in_force(settings, connection)
        known = known_of(connection, feed)
        store.sweep(settings, feed.name)
        noted: list[str] = []
        for offer in source.offers(feed, known):
            if offer.unchanged:
                ledger.record_probe(connection, feed.name, "unchanged")
                continue
            if known.fingerprints.get(offer.name) == offer.fingerprint or not (only is None or offer.name in only):
                continue
            hindrance = _hindrance(feed, offer)
            if hindrance is not None:
                noted.append(offer.name)
                is_new = ledger.record_unusable(connection, feed.name, offer.name, str(hindrance))
                if is_new and hindrance.rule == "business_date":
                    report.refused.append(str(hindrance))
                continue
            if not offer.is_complete:
                continue  # still arriving: the manifest comes last
            delivery_id, refused = _land(settings, connection, feed, source, offer, keys)
            if refused is not None:
                report.refused.append(refused)
            elif delivery_id is not None:
                report.landed.append(delivery_id)
        ledger.forget_unusable(connection, feed.name, noted)
    return report


def _hindrance(feed: Feed, offer: Offer) -> DeliveryRefused | None:
    """Why an offer cannot be landed now, if a person should know.

    Nothing here refuses a delivery: what becomes of it must not depend on when it is looked at. One for a day
    that has not come waits for the day, one without a manifest for its manifest.
    """

    def line(rule: str, what: str, do: str) -> DeliveryRefused:
        return DeliveryRefused(what, feed=feed.name, delivery=offer.name, rule=rule, do=do)

    if offer.business_date is None or offer.seq is None:
        what = "the folder's name is no business date (YYYY-MM-DD) with a number."
        return line("business_date", what, "Rename or remove it.")
    if offer.business_date > now().date():
        what = "its business date has not come; it waits until then."
        return line("future_date", what, "If the date is wrong, have it delivered under the right one.")
    late = feed.due_time is not None and now() >= due_at(offer.business_date, feed.due_time)
    if late and not offer.is_complete:
        what = "its files are there, it is past its due time, and the manifest that comes last has not come."
        return line("manifest_present", what, "Have the source deliver the manifest.")
    return None


def known_of(connection: psycopg.Connection, feed: Feed) -> Known:
    """What a connector may know of what was landed before."""
    watermark, files = ledger.last_landed(connection, feed.name)
    return Known(
        fingerprints=ledger.known_folders(connection, feed.name),
        watermark=watermark,
        dates=ledger.landed_dates(connection, feed.name),
        files=files,
    )


def _land(
    settings: Settings, connection: psycopg.Connection, feed: Feed, source: Source, offer: Offer, keys: Keys
) -> tuple[str | None, str | None]:
    """Land one offer; the delivery's id, and the refusal's line if it was refused."""
    assert offer.business_date is not None
    assert offer.seq is not None
    manifest: Manifest | None = None
    refusal: DeliveryRefused | None = None
    data = _read_manifest_bytes(source, offer)
    try:
        manifest = read_manifest(data, feed, offer.business_date, offer.seq)
    except DeliveryRefused as error:
        refusal = error
    # The manifest is one of the files: a corrected one makes another delivery of the same data.
    hashes = {MANIFEST: hashlib.sha256(data).hexdigest() if data is not None else None}
    for file in manifest.files if manifest else ():
        hashes[file.file] = _file_sha256(source, offer, file.file)
    identity = source_sha256(hashes)
    delivery_id = ledger.delivery_id(feed.name, offer.business_date, offer.seq, identity)
    delivery = ledger.Delivery(
        delivery_id=delivery_id,
        feed=feed.name,
        business_date=offer.business_date,
        seq=offer.seq,
        source_sha256=identity,
        mode=feed.mode,
        source_kind=feed.source_kind,
        manifest=manifest,
    )
    state = ledger.state(connection, delivery_id)
    if state is None:
        if manifest is not None:
            try:
                _refuse_before_baseline(connection, feed, manifest)
                tables = _store(settings, connection, feed, source, offer, manifest, hashes, delivery_id, keys)
                ledger.record_landed(connection, delivery, feed, tables, keys.land_epoch)
            except DeliveryRefused as error:
                refusal = error
        if refusal is not None:
            ledger.record_refused(connection, delivery, str(refusal), refusal.rule or "landing")
    else:
        refusal = None  # taken in or refused before, and unchanged: already reported
        if manifest is not None and _is_lost(settings, connection, delivery):
            try:
                tables = _store(settings, connection, feed, source, offer, manifest, hashes, delivery_id, keys)
                ledger.record_landed_again(connection, delivery_id, feed, tables, keys.land_epoch)
            except DeliveryRefused as error:
                refusal = error
        elif state == "refused":
            delivery_id = ""
    ledger.remember_folder(connection, feed.name, offer.name, offer.fingerprint, delivery.delivery_id)
    connection.commit()
    return (delivery_id or None), (str(refusal) if refusal else None)


def _is_lost(settings: Settings, connection: psycopg.Connection, delivery: ledger.Delivery) -> bool:
    """Whether a delivery was landed, and its folder is gone though it ought to be there."""
    if not ledger.is_landed(connection, delivery.delivery_id):
        return False
    baseline = ledger.baseline(connection, delivery.feed)
    if baseline is not None and delivery.business_date <= baseline:
        return False
    place = (delivery.feed, delivery.business_date, delivery.seq, delivery.delivery_id)
    return not store.folder(settings, *place).is_dir()


def _refuse_before_baseline(connection: psycopg.Connection, feed: Feed, manifest: Manifest) -> None:
    baseline = ledger.baseline(connection, feed.name)
    if baseline is not None and manifest.business_date <= baseline:
        raise DeliveryRefused(
            f"history to {baseline} is the baseline: the landing store no longer holds what came before.",
            feed=feed.name,
            delivery=f"{manifest.business_date}/{manifest.seq}",
            rule="baseline",
            do="Deliver what is to be corrected under a later business date.",
        )


def _read_manifest_bytes(source: Source, offer: Offer) -> bytes | None:
    try:
        with closing(source.open(offer, MANIFEST)) as stream:
            data = b""
            while len(data) <= MANIFEST_LIMIT and (block := stream.read(MANIFEST_LIMIT + 1 - len(data))):
                data += block
            return data
    except (FileAbsent, OSError):
        return None


def _file_sha256(source: Source, offer: Offer, name: str) -> str | None:
    """Of a file's bytes; ``None`` where there is no plain file that can be read."""
    try:
        with closing(source.open(offer, name)) as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except (FileAbsent, OSError):
        return None


def _store(
    settings: Settings,
    connection: psycopg.Connection,
    feed: Feed,
    source: Source,
    offer: Offer,
    manifest: Manifest,
    hashes: dict[str, str | None],
    delivery_id: str,
    keys: Keys,
) -> dict[str, Landed]:
    """Write a delivery's tables to the landing store, all or none.

    Raises:
        DeliveryRefused: any table is unfit; nothing of the delivery is left behind.
    """
    final = store.folder(settings, feed.name, manifest.business_date, manifest.seq, delivery_id)
    by_table = {contract.name: contract for contract in feed.contracts}
    tables = {}
    overlap: Overlap = {}
    with store.being_written(final) as temporary:
        for file in manifest.files:
            contract = by_table[file.table]
            target = temporary / f"{contract.name}{store.SUFFIX}"
            same = None
            if hashes[file.file] == file.sha256:
                same = ledger.same_file(connection, contract, file.sha256, keys.land_epoch)
            if same is not None and _linked(settings, feed, contract, same, target):
                tables[file.table] = same.landed
            else:
                with _named(feed, manifest, file):
                    stones = tombstones.stones(connection, feed, contract, keys)
                    tables[file.table] = _write_table(contract, source, offer, file, target, keys, stones, overlap)
        if overlap:
            overlap = tombstones.carry_over(connection, keys, overlap)
            _write_crosswalk(temporary, overlap)
    if overlap:
        ledger.record_crosswalk(connection, {new: old for (_, new), old in overlap.items()})
    return tables


def _write_crosswalk(folder: Path, overlap: Overlap) -> None:
    """Keep beside the tables which tokens of the epoch before are the same persons'."""
    writer = store.Writer(folder / f"{store.CROSSWALK}{store.SUFFIX}", store.CROSSWALK_HEADER)
    try:
        rows = sorted((kind, new, old) for (kind, new), old in overlap.items())
        arrays = [pa.array([row[place] for row in rows], pa.string()) for place in range(3)]
        writer.write(pa.RecordBatch.from_arrays(arrays, names=store.CROSSWALK_HEADER))
        writer.close()
    finally:
        writer.abandon()


def _linked(settings: Settings, feed: Feed, contract: Contract, same: ledger.Same, target: Path) -> bool:
    """Whether a file that came before, byte for byte, could be linked from where it stands."""
    folder = store.folder(settings, feed.name, same.business_date, same.seq, same.delivery_id)
    path = folder / f"{contract.name}{store.SUFFIX}"
    if not path.is_file():
        return False
    store.link(path, target)
    return True


@contextmanager
def _named(feed: Feed, manifest: Manifest, file: ManifestFile) -> Iterator[None]:
    """Give a fault its place: feed, delivery and file."""
    fault: UnreadableFile
    try:
        yield
        return
    except UnreadableFile as error:
        fault = error
    except OSError as error:  # of the source: the landing store has errors of its own
        fault = UnreadableFile("file_readable", f"it cannot be read ({error.strerror or type(error).__name__}).")
    raise DeliveryRefused(
        fault.what,
        feed=feed.name,
        delivery=f"{manifest.business_date}/{manifest.seq}",
        file=file.file,
        column=getattr(fault, "column", None),
        rule=fault.rule,
        count=fault.count,
        do="Have the source deliver it again.",
    )


class _Unfit(UnreadableFile):
    def __init__(self, rule: str, what: str, column: str | None = None, count: int | None = None) -> None:
        super().__init__(rule, what, count)
        self.column = column


def _write_table(
    contract: Contract,
    source: Source,
    offer: Offer,
    file: ManifestFile,
    target: Path,
    keys: Keys,
    stones: tombstones.Stones,
    overlap: Overlap,
) -> Landed:
    landed = Landed()
    try:
        stream = source.open(offer, file.file)
    except FileAbsent:
        raise _Unfit("file_present", "the manifest names it, and it is not there as a plain file.") from None
    with closing(stream):
        hashing = store.Hashing(stream)
        names = [store.ROW, *(column.name for column in contract.columns)]
        writer = store.Writer(target, names)
        try:
            plain = unpacked(io.BufferedReader(hashing, 1 << 20), file.file)
            table = READERS[contract.reader](plain, contract.reader_options)
            steps = _steps(contract, table.header, landed, keys, overlap)
            landed.notes = table.notes
            with one_behind(writer.write) as write:
                for batch in table.batches():
                    numbers = np.arange(landed.rows + 1, landed.rows + 1 + batch.num_rows)
                    columns = [pc.cast(pa.array(numbers), pa.string())]
                    columns += [convert(batch.column(place)) for place, convert in steps]
                    landed.rows += batch.num_rows
                    write(stones.removed_from(pa.RecordBatch.from_arrays(columns, names=names), overlap))
            _hold(contract, file, table, landed, hashing)
            writer.close()
        finally:
            writer.abandon()
    landed.sha256 = writer.sha256
    return landed


def _hold(contract: Contract, file: ManifestFile, table: Table, landed: Landed, hashing: store.Hashing) -> None:
    """Hold what was read against what the manifest and the landing rules ask."""
    given = {column: landed.counts.pop((column, rule)) for column, rule in list(landed.counts) if rule == GIVEN}
    # The shape of an identifier where none belongs outweighs every other fault.
    for (column, rule), count in sorted(landed.counts.items()):
        if rule.startswith("identifier_shape"):
            raise _Unfit(rule, "a field that is no identifier has the shape of one.", column, count)
    if hashing.sha256() != file.sha256:
        raise _Unfit("checksum", "its bytes are not those the manifest names.")
    rows = landed.rows if table.source_rows is None else table.source_rows
    if rows != file.rows:
        raise _Unfit("row_count", f"it has {rows} rows, the manifest says {file.rows}.")
    if landed.rows == 0 and contract.mode == "full":
        raise _Unfit("file_not_empty", "it holds a header and no row.", count=0)
    for (column, rule), count in sorted(landed.counts.items()):
        if rule == "control_characters":
            raise _Unfit(rule, "fields hold control characters.", column, count)
        if rule == "identifier_form" and count >= _FORMLESS and count > given[column] / 2:
            # Taken in, nobody would be joined to what is known of them.
            raise _Unfit(rule, "most values have not the form they ought to: columns may be exchanged.", column, count)


def _steps(
    contract: Contract, header: list[str], landed: Landed, keys: Keys, overlap: Overlap
) -> list[tuple[int, Conversion]]:
    """For each landed column, the place of its source field and what becomes of it."""
    if len(set(header)) != len(header):
        raise _Unfit("header", "a column's name stands twice.", count=len(header) - len(set(header)))
    declared = contract.source_columns
    missing = [name for name in dict.fromkeys(contract.read_from) if name not in header]
    if missing:
        # Undeclared names are not shown here: a file without a header would show its first row.
        raise _Unfit("header", f"columns are missing: {', '.join(missing)}.", count=len(missing))
    landed.undeclared = [name for name in header if name not in declared]
    return [
        (header.index(name), conversion(column, keys, landed.counts, overlap))
        for name, column in zip(contract.read_from, contract.columns, strict=True)
    ]


def look_again(settings: Settings, feed: Feed, since: dt.date) -> LandReport:
    """Look again at what the source still has of deliveries that do not stand in the landing store.

    A delivery refused while landing is taken off the ledger and landed as if it came now; if it is still unfit,
    it is refused again. One whose landing folder was removed, as a damaged one is, is landed again as it was.

    Args:
        settings: the installation.
        feed: the feed.
        since: the first business date.

    Raises:
        SourceUnavailable: the source could not be reached; nothing was changed.
    """
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        refused = ledger.refused_while_landing(connection, feed.name, since)
        lost = {
            path: delivery_id
            for path, delivery_id, date, seq in ledger.landed_from(connection, feed.name, since)
            if not store.folder(settings, feed.name, date, seq, delivery_id).is_dir()
        }
        if not refused and not lost:
            return LandReport()
        with closing(source_of(settings, feed)) as source:
            offered = {offer.name for offer in source.offers(feed, known_of(connection, feed)) if offer.is_complete}
        for path, delivery_id in refused.items():
            if path in offered:
                connection.execute("select audit.forget_never_landed(%s)", (delivery_id,))
        for path in lost:
            if path in offered:
                ledger.forget_folder(connection, feed.name, path)
        connection.commit()
    return land_feed(settings, feed, frozenset(offered & {*refused, *lost}))
