"""Where Outward keeps what a command must not touch: keys, records, the user's configuration, what was learned.

Nothing here is read or written; who hides or protects these folders asks for their names.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import outward
from outward.config.settings import DEFAULT_STATE

_BASES = {"XDG_STATE_HOME": ".local/state", "XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}
_SYSTEM = Path("/etc/outward")


def own_folders(state: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders that belong to Outward alone, there or not.

    Args:
        state: the folder of `server.state`.
        environ: names the user's folders.
    """
    home = environ.get("HOME")
    bases = {name: environ.get(name) or (f"{home}/{path}" if home else "") for name, path in _BASES.items()}
    named = [Path(base, "outward") for base in bases.values() if base.startswith("/")]
    return [state, Path(DEFAULT_STATE).expanduser(), *named, _SYSTEM]


def own_programs(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders of Outward's own programs, which run outside a jail: now, and the next time.

    A virtual environment that the user works in is not among them.
    """
    ours = sys.prefix != sys.base_prefix and environ.get("VIRTUAL_ENV") != sys.prefix
    return [Path(outward.__file__).parent, *([Path(sys.prefix)] if ours else [])]
