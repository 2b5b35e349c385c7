"""Answers of package managers, remembered on disk: asking one takes as long as its interpreter needs to start.

Owns when an answer still counts: as long as everything that decided it is the same. Holds hosts only, never an address
that could carry a credential. Whatever lies in the folder is judged anew: a damaged or foreign file is no answer.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from outward.config.machine.tool import entries
from outward.files import replace_file

MAX_AGE = 86_400.0  # seconds; what nobody thought of is forgotten after a day
_YOUNG = 2.0  # seconds; a file this young may have changed while the tool was reading it
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """The last answer of each tool.

    Attributes:
        folder: where they lie; None remembers nothing.
    """

    folder: Path | None

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Memory":
        """Return the memory of the user whose environment this is."""
        base = Path(env.get("XDG_CACHE_HOME") or (f"{env['HOME']}/.cache" if env.get("HOME") else ""))
        return cls(base / "outward" if base.is_absolute() else None)

    def recall(self, name: str, facts: Sequence[str] | None) -> tuple[str, ...] | None:
        """Return the entries that a tool gave, or None where it has to be asked.

        Args:
            name: of the tool.
            facts: what decides its answer, files aside; None where that cannot be known.
        """
        if self.folder is None or facts is None:
            return None
        try:
            kept = json.loads(_read(self.folder / f"{name}.json"))
            if kept["facts"] != _digest(facts) or not 0 <= time.time() - kept["time"] < MAX_AGE:
                return None
            if any(_fingerprint(path) != seen for path, seen in kept["files"].items()):
                return None
            return _judged(kept["hosts"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def keep(self, name: str, facts: Sequence[str] | None, files: Iterable[Path], hosts: tuple[str, ...]) -> None:
        """Remember an answer, unless what decided it is not known to the end.

        Args:
            name: of the tool.
            facts: as for `recall`.
            files: whatever the tool reads or would read, itself included.
            hosts: the entries that it gave.
        """
        seen = {str(path): _fingerprint(str(path)) for path in files}
        if self.folder is None or facts is None or not all(map(os.path.isabs, seen)) or any(map(_young, seen)):
            return
        kept = {"facts": _digest(facts), "time": time.time(), "files": seen, "hosts": hosts}
        with suppress(OSError):  # a folder that cannot be written costs time, not more
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self.folder / f"{name}.json", json.dumps(kept).encode())


def _judged(hosts: Any) -> tuple[str, ...]:
    """Return entries that are what `entries` makes of hosts, and nothing wider.

    Raises:
        ValueError: one is not.
    """
    found = tuple(hosts)
    if entries(f"https://{each}" for each in found).entries != found:
        raise ValueError("no list of hosts")
    return found


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _fingerprint(path: str) -> str:
    """Return what changes with a file; the inode's own time cannot be set back."""
    try:
        found = Path(path).stat()
    except OSError:
        return "absent"
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _young(path: str) -> bool:
    try:
        return time.time() - Path(path).stat().st_mtime < _YOUNG
    except OSError:
        return False


def _read(path: Path) -> bytes:
    """Read a file that only its owner, who is the one asking, may write.

    Raises:
        OSError: it is not that, or cannot be read.
    """
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(path)
        return file.read(_MAX_BYTES)


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for who would write into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
