"""What this machine says about names: its hosts file and its name servers. Read again when a file changes.

Never asks anyone. Search domains are not read: names are asked as they are.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from outward.core.addresses import Address

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")

MAX_BYTES = 4 * 1024 * 1024  # of a hosts file: the large public block lists have two or three MiB
MAX_SERVERS = 3  # resolv.conf(5)
CHECK_EVERY = 1.0  # seconds between looks at a file's status


@dataclass(frozen=True, slots=True)
class Nameservers:
    """Whom to ask, and how patiently.

    Attributes:
        servers: address text and port, in order of preference.
        timeout: seconds for one try.
        attempts: rounds over the servers.
    """

    servers: tuple[tuple[str, int], ...]
    timeout: float = 2.0
    attempts: int = 2


class Watched[T]:
    """A file's parsed content; an unreadable file counts as an empty one."""

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._status: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        self._value = parse("")

    def get(self) -> T:
        """Return the content, at most `CHECK_EVERY` seconds old."""
        now = time.monotonic()
        if now - self._checked >= CHECK_EVERY:
            self._checked = now
            self._refresh()
        return self._value

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            status = (found.st_mtime_ns, found.st_size, found.st_ino)
            if status != self._status:
                with self._path.open(encoding="utf-8", errors="replace") as file:
                    self._value = self._parse(file.read(MAX_BYTES))
                self._status = status
        except OSError:
            self._status, self._value = None, self._parse("")


def parse_hosts(text: str) -> Mapping[str, tuple[Address, ...]]:
    """Parse hosts(5): lower-case names without trailing dot to addresses; lines that are odd are skipped."""
    found: dict[str, tuple[Address, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        with suppress(ValueError, IndexError):
            address = ip_address(words[0])
            for name in (word.lower().removesuffix(".") for word in words[1:]):
                if address not in found.get(name, ()):
                    found[name] = (*found.get(name, ()), address)
    return found


def parse_resolv_conf(text: str) -> Nameservers:
    """Parse the `nameserver` lines and the options `timeout` and `attempts` of resolv.conf(5)."""
    servers: list[tuple[str, int]] = []
    options: dict[str, int] = {}
    for words in (line.split() for line in text.splitlines()):
        with suppress(ValueError, IndexError):
            if words[0] == "nameserver":
                servers.append((str(ip_address(words[1])), 53))
            elif words[0] == "options":
                options |= {key: int(value) for key, _, value in (word.partition(":") for word in words[1:]) if value}
    return Nameservers(
        tuple(servers[:MAX_SERVERS]) or (("127.0.0.1", 53),),
        timeout=float(min(max(options.get("timeout", 2), 1), 5)),
        attempts=min(max(options.get("attempts", 2), 1), 5),
    )
