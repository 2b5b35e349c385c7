"""The hash chain of audit events: appending, and the signed head that lies apart from the rows.

Every row holds the hash of itself and its predecessor, signed with this state directory's Ed25519 key; of what is a
person's it holds a digest (see `sealed`). Whoever can write to the database can therefore neither change, insert,
reorder nor remove a row unseen; the head on disk, which names the last row, makes a missing tail show. Processes that
share a state directory share a chain; others have their own. Safe for several threads.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from outward.files import locked, replace_file
from outward.records.audit.sealed import seal
from outward.records.database import Database, StoreAwayError, driver_of, sqlite_path
from outward.records.events.rows import milliseconds
from outward.records.events.values import Record

KEY_FILE, HEAD_FILE, LOCK_FILE = "audit.key", "audit.head", "audit.lock"
GENESIS = "0" * 64  # the hash before the first row
_CURE = (
    f"restore {KEY_FILE} and {HEAD_FILE} from a backup; or move both away, and a new chain begins, while the rows of"
    " the old one can still be verified"
)

COLUMNS = ("chain", "seq", "hash", "signature", "body", "id", "time_ms", "event_type", "group_path", "target")
KEPT = (*COLUMNS, "private")
_INSERT = f"INSERT INTO audit_events ({', '.join(KEPT)}) VALUES ({', '.join('?' * len(KEPT))})"
_SET_HEAD = (
    "INSERT INTO chain_heads (chain, seq, hash, signature) VALUES (?, ?, ?, ?) ON CONFLICT (chain) DO UPDATE SET"
    " seq = excluded.seq, hash = excluded.hash, signature = excluded.signature"
)


class ChainError(StoreAwayError):
    """The key or the head of the chain cannot be used; the message says why, and the cure."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last row of a chain.

    Attributes:
        chain: public key that verifies it, in hex.
        seq: its number; 0 before the first row.
        hash: of it, in hex.
        signature: of the hash, in hex.
    """

    chain: str
    seq: int
    hash: str
    signature: str

    def is_signed(self) -> bool:
        """Whether the signature is the chain's own."""
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.chain))
            public.verify(bytes.fromhex(self.signature), signed_bytes(self.chain, self.seq, self.hash))
        except (InvalidSignature, ValueError):
            return False
        return True


class Chain:
    """Appends to this state directory's chain."""

    def __init__(self, state: Path) -> None:
        """Load the key and the head; both are made together, on first use.

        Raises:
            ChainError: there is a key without a head or a head that the key did not sign; or they cannot be written.
        """
        self._head_file = state / HEAD_FILE
        try:
            with locked(state / LOCK_FILE):
                self._key = self._made(state) if is_unused(state) else _load_key(state / KEY_FILE)
        except OSError as error:
            raise ChainError(
                f"{error.filename or state}: {error.strerror}; the audit chain needs to write there"
            ) from error
        self.name = _name(self._key)
        self._check(load_head(self._head_file))
        self._lock = int(self.name[:12], 16)
        self._lock_file = state / LOCK_FILE

    def append(self, database: Database, records: Sequence[Record]) -> ChainHead:
        """Append audit events, inside the caller's transaction, and return the head to `save` after its commit.

        An event that is there already (a replay after a crash) is skipped.

        Raises:
            StoreAwayError: as everything that uses the database.
        """
        database.exclude(self._lock)
        known = self._check(load_head(self._head_file))
        last = database.execute(
            "SELECT seq, hash FROM audit_events WHERE chain = ? ORDER BY seq DESC LIMIT 1", (self.name,)
        )
        # Where rows are missing behind the head, the gap must stay: it is the evidence.
        seq, previous = max((known.seq, known.hash), tuple(last[0]) if last else (0, GENESIS))
        rows = []
        for record in records:
            if database.execute("SELECT 1 FROM audit_events WHERE id = ?", (record["id"],)):
                continue
            (body, private), seq = seal(record), seq + 1
            previous = row_hash(self.name, seq, previous, body)
            signature = self._head(seq, previous).signature
            rows.append((self.name, seq, previous, signature, body, *repeated(record), private))
        head = self._head(seq, previous)
        if rows:
            database.insert(_INSERT, rows)
            database.execute(_SET_HEAD, (head.chain, head.seq, head.hash, head.signature))
        return head

    def save(self, head: ChainHead) -> None:
        """Keep a head on disk, unless another process has kept a later one.

        Raises:
            OSError: it cannot be written; verification then finds signed rows behind the head, which is no break.
        """
        with locked(self._lock_file):
            if head.seq > self._check(load_head(self._head_file)).seq:
                save_head(self._head_file, head)

    def _made(self, state: Path) -> Ed25519PrivateKey:
        """Make a key and its head; the key last, so that one that is there has a head."""
        key = Ed25519PrivateKey.generate()
        save_head(self._head_file, _signed(key, 0, GENESIS))
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        replace_file(state / KEY_FILE, text)
        return key

    def _head(self, seq: int, digest: str) -> ChainHead:
        return _signed(self._key, seq, digest)

    def _check(self, head: ChainHead) -> ChainHead:
        if head.chain != self.name or not head.is_signed():
            raise ChainError(f"{self._head_file} was not signed with this state directory's key; {_CURE}")
        return head


def begin(url: str, state: Path) -> None:
    """Make the chain of a state directory before its first record, so that a missing key is known to have been removed.

    Does nothing where there are records already, or a trace of a chain: what is missing then must stay missing. A chain
    that cannot be made is reported by the one who first appends to it.
    """
    if any(state.glob("audit.*")) or (driver_of(url) is None and sqlite_path(url, state).exists()):
        return
    with suppress(ChainError):
        Chain(state)


def signed_bytes(chain: str, seq: int, digest: str) -> bytes:
    """Return what a row's signature signs."""
    return f"outward audit\n{chain}\n{seq}\n{digest}".encode()


def row_hash(chain: str, seq: int, previous: str, body: str) -> str:
    """Return the hash of a row."""
    return hashlib.sha256(f"{chain}\n{seq}\n{previous}\n{body}".encode()).hexdigest()


def repeated(record: Record) -> tuple[str, int, str, str | None, str | None]:
    """Return the columns that repeat parts of the body."""
    return (
        record["id"],
        milliseconds(record["created_at"]),
        record["event_type"],
        record["entity_path"],
        record["target_details"],
    )


def is_unused(state: Path) -> bool:
    """Whether a state directory's key is missing, or empty, and has signed no row, so that another may be made.

    Raises:
        ChainError: the head is damaged.
    """
    key, head = state / KEY_FILE, state / HEAD_FILE
    return not (key.exists() and key.stat().st_size) and not (head.exists() and load_head(head).seq)


def load_head(path: Path) -> ChainHead:
    """Read a head from disk.

    Raises:
        ChainError: it is missing or unreadable.
    """
    try:
        return ChainHead(**orjson.loads(path.read_bytes()))
    except (OSError, TypeError, orjson.JSONDecodeError) as error:
        raise ChainError(f"the head of the audit chain is missing or damaged: {path}; {_CURE}") from error


def save_head(path: Path, head: ChainHead) -> None:
    """Replace a head on disk as a whole."""
    values = {"chain": head.chain, "seq": head.seq, "hash": head.hash, "signature": head.signature}
    replace_file(path, orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE))


def chain_name(state: Path) -> str:
    """Return the name of a state directory's chain.

    Raises:
        ChainError: its key is missing or damaged.
    """
    return _name(_load_key(state / KEY_FILE))


def _name(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def _signed(key: Ed25519PrivateKey, seq: int, digest: str) -> ChainHead:
    chain = _name(key)
    return ChainHead(chain, seq, digest, key.sign(signed_bytes(chain, seq, digest)).hex())


def _load_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ChainError(f"the key of the audit chain is missing or damaged: {path}; {_CURE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ChainError(f"{path} is no Ed25519 key; {_CURE}")
    return key
