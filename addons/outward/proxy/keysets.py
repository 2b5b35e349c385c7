"""The public keys of JWT issuers (RFC 7517), from files and URLs.

Owns bounds, age and refresh, all on a thread of its own; asking for a key never waits. A set that cannot be
read again keeps its last good keys for `STALE` seconds, then has none: nobody is let in on keys of unknown age.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, KeySet, OKPKey, RSAKey

from outward.files import read_regular

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024  # of a key set: a hundred keys with their certificates
MAX_KEYS = 100  # of a key set; the large providers publish two to a dozen
RSA_BITS = 2048  # RFC 7518 3.3
FILE_EVERY, URL_EVERY = 5.0, 300.0  # seconds between two readings; of a URL as in PyJWT's client
RETRY = 15.0  # seconds between two readings that a failure or an unknown key id asks for
STALE = 24 * 3600.0  # seconds after the last good reading: an issuer may be away for a night, not for good


class KeySetError(ValueError):
    """The document is no usable key set, or could not be read."""


def is_url(name: str) -> bool:
    """Tell whether a source is a URL, and not the path of a file."""
    return name.startswith(("https://", "http://"))


def read_file(name: str) -> bytes:
    """Read a key set's document from a file.

    Raises:
        OSError: when it cannot be read.
    """
    return read_regular(Path(name), MAX_BYTES)


@dataclass(slots=True)
class _Source:
    keys: KeySet | None = None
    read: float = -STALE
    tried: float = -STALE
    wanted: bool = False
    problem: str | None = None


class KeySets:
    """Key sets by path or URL; name the wanted ones at every reload."""

    def __init__(self, read: Callable[[str], bytes] = read_file, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet.

        Args:
            read: returns a source's document; called in a thread, and may raise whatever keeps it from that.
            clock: monotonic, in seconds.
        """
        self._read = read
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def want(self, names: Iterable[str]) -> None:
        """Keep exactly these sources, and read the new ones soon."""
        names = set(names)
        with self._wake:
            self._sources = {name: self._sources.get(name) or _Source() for name in names}
            if names and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outward-jwks", daemon=True)
                self._thread.start()
            self._wake.notify()

    def get(self, name: str) -> KeySet | None:
        """Return the keys of a source as last read, or None when there are none young enough."""
        source = self._sources.get(name)
        if source is None or source.keys is None or self._clock() - source.read > STALE:
            return None
        return source.keys

    def refresh(self, name: str) -> None:
        """Ask for a new reading, because a key id is unknown; at most one in `RETRY` seconds is done."""
        source = self._sources.get(name)
        if source is not None and not source.wanted and self._clock() - source.tried >= RETRY:
            with self._wake:
                source.wanted = True
                self._wake.notify()

    @property
    def problem(self) -> str | None:
        """Which sources could not be read when that was last tried, and why; None where all could."""
        told = [f"{name}: {source.problem}" for name, source in self._sources.copy().items() if source.problem]
        return "; ".join(told) or None

    @property
    def failing(self) -> int:
        """How many sources could not be read when that was last tried."""
        return sum(source.problem is not None for source in self._sources.copy().values())

    def age(self) -> float:
        """Return the seconds since the source that was read longest ago was read; infinity where one never was."""
        now = self._clock()
        ages = (now - each.read if each.keys else float("inf") for each in self._sources.copy().values())
        return max(ages, default=0.0)

    def _run(self) -> None:
        while True:
            with self._wake:
                due = [(name, source) for name, source in self._sources.items() if self._is_due(name, source)]
                if not due:
                    self._wake.wait(1.0)
                    continue
            for name, source in due:
                self._load(name, source)

    def _is_due(self, name: str, source: _Source) -> bool:
        now = self._clock()
        if source.wanted or (source.keys is None and now - source.tried >= RETRY):
            return True
        return now - source.tried >= (URL_EVERY if is_url(name) else FILE_EVERY)

    def _load(self, name: str, source: _Source) -> None:
        source.tried, source.wanted = self._clock(), False
        try:
            source.read, source.keys = source.tried, parse_keys(self._read(name))
        except Exception as error:  # noqa: BLE001 - one source must not end the thread that reads the others
            source.problem = str(error) or type(error).__name__
            log.warning("the key set %s could not be read: %s", name, source.problem)
            return
        source.problem = None


def parse_keys(raw: bytes) -> KeySet:
    """Read a key set: public signature keys of RSA, elliptic curves and EdDSA; other members are left out.

    Raises:
        KeySetError: when it is too large, no JSON, or holds no usable key.
    """
    if len(raw) > MAX_BYTES:
        raise KeySetError(f"larger than {MAX_BYTES} bytes")
    try:
        listed = json.loads(raw)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeySetError("not a JSON object with `keys`") from error
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise KeySetError(f"`keys` is not a list of at most {MAX_KEYS} keys")
    keys = [key for key in map(_key, listed) if key is not None]
    if not keys:
        raise KeySetError("no usable public signature key")
    return KeySet([*keys])


def _key(member: Any) -> RSAKey | ECKey | OKPKey | None:
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(member)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None
