"""Where Outward's own files lie: the user's configuration, state, cache and trust (XDG Base Directory Specification).

Owns the paths and what of them a jailed command may see. Reads and makes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from outward.config.loaded import Loaded

SYSTEM_FILE = Path("/etc/outward/outward.yaml")
FILE_NAME = "outward.yaml"
_NAME = "outward"


def home_folder(env: Mapping[str, str]) -> Path | None:
    """Return the user's home folder: `HOME`, else what the user database says; None where neither is a full path."""
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


@dataclass(frozen=True, slots=True)
class Guarded:
    """What of Outward's own a jailed command does not get at.

    Attributes:
        hidden: folders that it does not see; some may not exist.
        readonly: files that it may read and not change.
    """

    hidden: tuple[Path, ...]
    readonly: tuple[Path, ...]


def guarded(loaded: Loaded, env: Mapping[str, str], shown: tuple[Path, ...] = ()) -> Guarded:
    """Return what to hide from a jailed command, and what to show it without leave to write.

    Args:
        loaded: the configuration of the run; its files are shown read-only.
        env: the environment of the run.
        shown: what the command needs of the hidden folders, such as the CA's certificate.
    """
    own = own_file(env)
    bases = [
        own.parent if own else None,
        _base(env, "XDG_STATE_HOME", ".local/state"),
        _base(env, "XDG_CACHE_HOME", ".cache"),
        run_state(env),
        loaded.settings.state if loaded.settings else None,
    ]
    hidden = tuple(dict.fromkeys(each for each in bases if each is not None))
    files = (each for each in (*loaded.files, *shown) if each in shown or not any(map(each.is_relative_to, hidden)))
    return Guarded(hidden, tuple(dict.fromkeys(files)))


def _base(env: Mapping[str, str], variable: str, default: str) -> Path | None:
    """Return our folder in one of the base directories; a relative path in the variable does not count."""
    given = Path(env.get(variable, ""))
    if given.is_absolute():
        return given / _NAME
    home = home_folder(env)
    return home / default / _NAME if home else None
