"""Where Outward's own files lie: the user's configuration, state, cache and trust (XDG Base Directory Specification).

Owns the paths. Reads and makes nothing.
"""

from collections.abc import Mapping
from pathlib import Path

SYSTEM_FILE = Path("/etc/outward/outward.yaml")
FILE_NAME = "outward.yaml"
_NAME = "outward"


def home_folder(env: Mapping[str, str]) -> Path | None:
    """Return the user's home folder: `HOME`, else what the user database says; None if neither is a full path."""
    try:
        home = Path(env.get("HOME") or Path("~").expanduser())
    except RuntimeError:  # nobody knows this user
        return None
    return home if home.is_absolute() else None


def own_file(env: Mapping[str, str]) -> Path | None:
    """Return where the user's own policy lies, whether or not there is one."""
    folder = _base(env, "XDG_CONFIG_HOME", ".config")
    return folder / FILE_NAME if folder else None


def run_state(env: Mapping[str, str]) -> Path | None:
    """Return the state folder of `outward run`, apart from that of `serve`."""
    given = env.get("OUTWARD_STATE")
    folder = Path(given).absolute() if given else _base(env, "XDG_STATE_HOME", ".local/state")
    return folder / "run" if folder else None


def trust_folder(env: Mapping[str, str]) -> Path | None:
    """Return the folder that remembers what a person trusts."""
    folder = _base(env, "XDG_STATE_HOME", ".local/state")
    return folder / "trusted" if folder else None


def own_folders(env: Mapping[str, str], *states: Path) -> list[Path]:
    """Return the folders that belong to Outward alone, there or not: keys, records, trust, the user's configuration.

    A jailed command sees none of them.

    Args:
        env: the environment of the run.
        states: state folders that a configuration names.
    """
    home, own = home_folder(env), own_file(env)
    bases = [
        own.parent if own else None,
        _base(env, "XDG_STATE_HOME", ".local/state"),
        _base(env, "XDG_CACHE_HOME", ".cache"),
        home / ".local/state" / _NAME if home else None,
        run_state(env),
    ]
    return list(dict.fromkeys([*states, *(each for each in bases if each is not None), SYSTEM_FILE.parent]))


def _base(env: Mapping[str, str], variable: str, default: str) -> Path | None:
    """Return our folder in one of the base directories; a relative path in the variable does not count."""
    given = Path(env.get(variable, ""))
    if given.is_absolute():
        return given / _NAME
    home = home_folder(env)
    return home / default / _NAME if home else None
