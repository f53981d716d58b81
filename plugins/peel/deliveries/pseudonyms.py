"""Two layers of pseudonym, so that landing and warehouse can be rotated apart.

*Landing token* = HMAC-SHA-256(k_land, kind ‖ 0x1f ‖ normalised identifier): what landing holds.
*Person key* = the first 128 bits of HMAC-SHA-256(k_wh, landing token): what everything after holds.
The kind is the same in every feed, so that an HR number in a recruitment file meets itself.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import secrets as random_secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from peel.errors import ConfigurationError
from peel.secrets import existing, put, store
from peel.settings import Settings

T = TypeVar("T")

_CACHE = 12_500  # tokens remembered while one file streams by, twice over

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_FORMS = {
    "ni_number": re.compile(r"[A-Z]{2}\d{6}[A-D]"),
    "email": re.compile(r"[^@]+@[^@]+\.[^@]+"),
    "phone": re.compile(r"\d{7,15}"),
}


def normalise(kind: str, identifier: str) -> str:
    """Bring an identifier to the one form it is hashed in.

    Unicode NFC, then by kind: e-mail addresses lose case and space; phones become digits with a
    leading 0 for +44; every other kind loses case, space and punctuation.

    Returns:
        The normalised identifier; empty where the text is no identifier of its kind.
    """
    text = identifier if identifier.isascii() else unicodedata.normalize("NFC", identifier)
    if kind == "email":
        normal = "".join(text.split()).casefold()
    elif kind == "phone":
        digits = "".join(character for character in text if character.isdigit())
        international = text.strip().startswith("+") or digits.startswith("00")
        digits = digits.removeprefix("00")
        if international and digits.startswith("44"):
            digits = "0" + digits.removeprefix("44").removeprefix("0")
        normal = digits
    else:
        normal = (text if text.isalnum() else _NOT_ALPHANUMERIC.sub("", text)).upper()
    form = _FORMS.get(kind)
    return normal if form is None or form.fullmatch(normal) else ""


@dataclass(frozen=True)
class Keys:
    """The two keys in force, with their epochs.

    ``land_before`` is k_land's last epoch while the new one overlaps with it: landing then computes both tokens.
    """

    land: bytes
    warehouse: bytes
    land_epoch: int
    warehouse_epoch: int
    land_before: bytes | None = None

    def __repr__(self) -> str:
        """Epochs only; a key is never shown."""
        return f"Keys(land_epoch={self.land_epoch}, warehouse_epoch={self.warehouse_epoch})"

    def landing_token(self, kind: str, identifier: str) -> str:
        """The landing token of a raw identifier: 64 hex digits, or empty for none."""
        token: str = self.landing_tokens(kind)(pa.array([identifier], pa.string()))[0].as_py()
        return token

    def landing_tokens(self, kind: str) -> Callable[[pa.StringArray], pa.StringArray]:
        """A function from raw identifiers of a kind to landing tokens, a batch at a time; empty for none."""
        digests = _keyed(self.land, f"{kind}\x1f".encode())

        def of_raw(raw: list[str]) -> list[str]:
            normals = _normalised(kind, pa.array(raw, pa.string()))
            return [digest.hex() if normal else "" for normal, digest in zip(normals, digests(normals), strict=True)]

        made = _remembering(of_raw)

        def tokens(identifiers: pa.StringArray) -> pa.StringArray:
            different = identifiers.dictionary_encode()
            return pa.array(made(different.dictionary.to_pylist()), pa.string()).take(different.indices)

        return tokens

    @property
    def before(self) -> Keys | None:
        """The keys as they were before k_land began to change, ``None`` when it is not changing."""
        if self.land_before is None:
            return None
        return Keys(self.land_before, self.warehouse, self.land_epoch - 1, self.warehouse_epoch)

    def person_keys(self, crosswalk: Mapping[str, str] | None = None) -> Callable[[pa.StringArray], pa.StringArray]:
        """A function from landing tokens to person keys (32 hex digits), a batch at a time; null for none.

        Args:
            crosswalk: the first token a person was known by, for tokens of later epochs of k_land.
        """
        digests = _keyed(self.warehouse, b"")
        first = crosswalk or {}

        def of_tokens(tokens: list[str]) -> list[str | None]:
            made = digests([first.get(token, token) for token in tokens])
            return [digest[:16].hex() if token else None for token, digest in zip(tokens, made, strict=True)]

        made = _remembering(of_tokens)

        def keys(tokens: pa.StringArray) -> pa.StringArray:
            different = tokens.dictionary_encode()
            return pa.array(made(different.dictionary.to_pylist()), pa.string()).take(different.indices)

        return keys

    def stone(self, kind: str, landing_token: str) -> str:
        """What a tombstone holds of a landing token: 32 hex digits that recognise it and join to nothing."""
        return _keyed(self.land, b"tombstone\x1f")([f"{kind}\x1f{landing_token}"])[0][:16].hex()

    def fingerprint(self, name: str) -> str:
        """A key's name card: tells keys apart and gives nothing away."""
        key = self.land if name == "land" else self.warehouse
        return hashlib.sha256(b"peel key fingerprint\x1f" + key).hexdigest()[:16]


Overlap = dict[tuple[str, str], str]
"""While k_land changes: the token of the epoch before, by kind and new token."""


def _keyed(key: bytes, head: bytes) -> Callable[[list[str]], list[bytes]]:
    """HMAC-SHA-256 of ``head`` followed by each of several messages.

    The key's two padded blocks (RFC 2104) are hashed once and copied for each message.
    """
    padded = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in padded)).copy for pad in (0x36, 0x5C))
    begun = inner()
    begun.update(head)
    inner = begun.copy

    def digests(messages: list[str]) -> list[bytes]:
        made = []
        for message in messages:
            first = inner()
            first.update(message.encode())
            second = outer()
            second.update(first.digest())
            made.append(second.digest())
        return made

    return digests


def _normalised(kind: str, identifiers: pa.StringArray) -> list[str]:
    """:func:`normalise`, where nothing but plain ASCII of a kind without a form of its own for a batch at once."""
    if kind not in ("email", "phone") and pc.all(pc.string_is_ascii(identifiers), min_count=0).as_py() is not False:
        bare = pc.ascii_upper(pc.replace_substring_regex(identifiers, "[^0-9A-Za-z]+", ""))
        form = _FORMS.get(kind)
        if form is not None:
            bare = pc.if_else(pc.match_substring_regex(bare, f"^({form.pattern})$"), bare, "")
        plain: list[str] = bare.to_pylist()
        return plain
    return [normalise(kind, identifier) for identifier in identifiers.to_pylist()]


def _remembering(function: Callable[[list[str]], list[T]]) -> Callable[[list[str]], list[T]]:
    """Make of a function one that remembers a bounded number of results: identifiers repeat within a file."""
    known: dict[str, T] = {}
    before: dict[str, T] = {}

    def call(values: list[str]) -> list[T]:
        nonlocal known, before
        new = []
        for value in values:
            if value not in known:
                if value in before:
                    known[value] = before[value]
                else:
                    new.append(value)
        known.update(zip(new, function(new), strict=True))
        made = [known[value] for value in values]
        if len(known) >= _CACHE:
            known, before = {}, known
        return made

    return call


def load_keys(settings: Settings, *, create: bool) -> Keys:
    """Read the keys, making them only where nothing has ever been landed.

    Args:
        settings: the installation.
        create: whether new keys may be made when there are none.

    Raises:
        ConfigurationError: the keys are missing though deliveries were landed under them, or unreadable.
    """
    text = existing(settings, "hmac_keys")
    if text is None:
        if not create:
            raise ConfigurationError(
                "The HMAC keys are missing, and deliveries have been landed under them.",
                do="Restore them from a `peel backup` into var/secrets; new keys would break every join.",
            )
        today = dt.datetime.now(dt.UTC).date().isoformat()
        document = {
            name: [{"epoch": 1, "since": today, "until": None, "key": random_secrets.token_hex(32)}]
            for name in ("land", "warehouse")
        }
        text = store(settings, "hmac_keys", json.dumps(document))
    try:
        document = json.loads(text)
        land, warehouse = (max(document[name], key=lambda e: e["epoch"]) for name in ("land", "warehouse"))
        before = next((e for e in document["land"] if e["epoch"] == land["epoch"] - 1 and e["until"] is None), None)
        keys = Keys(
            bytes.fromhex(land["key"]),
            bytes.fromhex(warehouse["key"]),
            land["epoch"],
            warehouse["epoch"],
            bytes.fromhex(before["key"]) if before else None,
        )
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "The file of HMAC keys is unreadable.", do="Restore it from a `peel backup` into var/secrets."
        ) from None
    if min(len(keys.land), len(keys.warehouse)) < 32:
        raise ConfigurationError("An HMAC key is shorter than 256 bits.")
    return keys


def keys_in_force(settings: Settings, connection: psycopg.Connection) -> Keys:
    """The keys, held against the fingerprints of those that earlier deliveries were landed under.

    Raises:
        ConfigurationError: the keys are missing, unreadable or others than those in use.
    """
    settle(settings, connection)
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


NEXT = "hmac_keys.next"
"""The keys as they will be once the warehouse stands under them."""


def settle(settings: Settings, connection: psycopg.Connection) -> None:
    """Finish or undo a change of k_wh that was interrupted: the warehouse says which key it stands under."""
    path = settings.secrets / NEXT
    if not path.exists():
        return
    newest = max(json.loads(path.read_text("ascii"))["warehouse"], key=lambda entry: entry["epoch"])
    row = connection.execute(
        "select 1 from audit.key_epoch where key_name = 'warehouse' and epoch = %s", (newest["epoch"],)
    ).fetchone()
    if row is None:
        path.unlink(missing_ok=True)
    else:
        path.replace(settings.secrets / "hmac_keys")


def document_of(settings: Settings) -> dict[str, Any]:
    """The keys with all their epochs.

    Raises:
        ConfigurationError: there are none, or they are injected, so that only who injects them can change them.
    """
    if os.environ.get("PEEL_SECRET_HMAC_KEYS"):
        raise ConfigurationError(
            "The HMAC keys are injected: Peel cannot change them here.",
            do="Change them where they are kept as a file (`var/secrets/hmac_keys`), then inject the new document.",
        )
    text = existing(settings, "hmac_keys")
    if text is None:
        raise ConfigurationError("There are no HMAC keys yet.", do="Run a first night.")
    document: dict[str, Any] = json.loads(text)
    return document


def with_new_epoch(document: dict[str, Any], name: str, *, overlap: bool) -> dict[str, Any]:
    """The keys with a new one; the one before is kept only while they overlap."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    entries = [dict(entry) for entry in document[name]]
    if not overlap:
        entries = [entry | {"until": entry["until"] or today, "key": None} for entry in entries]
    newest = max(entry["epoch"] for entry in entries)
    made = {"epoch": newest + 1, "since": today, "until": None, "key": random_secrets.token_hex(32)}
    return document | {name: [*entries, made]}


def without_old_epochs(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The keys without any but the newest; what was made under the others cannot be made again."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    newest = max(entry["epoch"] for entry in document[name])
    entries = [
        entry if entry["epoch"] == newest else entry | {"until": entry["until"] or today, "key": None}
        for entry in document[name]
    ]
    return document | {name: entries}


def write_keys(settings: Settings, document: dict[str, Any], name: str = "hmac_keys") -> None:
    """Put a document of keys in the place of another, in one rename."""
    put(settings, name, json.dumps(document))


def backup_keys(settings: Settings, target: Path) -> Path:
    """Copy the keys and their epochs into a folder, mode 0600.

    Returns:
        The file written.

    Raises:
        ConfigurationError: there are no keys yet, or the folder cannot be written.
    """
    text = existing(settings, "hmac_keys")
    if text is None:
        raise ConfigurationError("There are no HMAC keys yet.", do="Run a first night, then back up.")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = target / f"peel-hmac-keys-{stamp}.json"
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"The keys could not be written there ({error.strerror}).") from None
    return path
