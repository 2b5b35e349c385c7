"""What a person trusts of what working trees bring: contents by their SHA-256, each a small file of the user's.

By content alone: the same policy in another worktree is the same policy, and a changed one is another. Never asks.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from outward.config.places import trust_folder
from outward.files import replace_file

if TYPE_CHECKING:
    from outward.config.brought import Brought  # as in `loaded`

INSIDE = "OUTWARD_INSIDE"  # set for whatever runs behind `outward run`


def is_trusted(found: "Brought", env: Mapping[str, str]) -> bool:
    """Tell whether this content was trusted by this user, in a folder and a file that nobody else may write."""
    folder = trust_folder(env)
    return folder is not None and all(map(_is_own, (folder, folder / found.digest))) and _is_file(folder / found.digest)


def trust(found: "Brought", env: Mapping[str, str]) -> None:
    """Trust this content from now on.

    Raises:
        OSError: it cannot be remembered.
    """
    folder = trust_folder(env)
    if folder is None:
        raise FileNotFoundError(2, "no home folder to remember it in", "HOME")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    replace_file(folder / found.digest, f"{found.path}\n".encode("utf-8", "surrogateescape"))


def is_inside(env: Mapping[str, str]) -> bool:
    """Tell whether this process runs behind `outward run`, as far as its environment says."""
    return INSIDE in env


def _is_own(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _is_file(path: Path) -> bool:
    return S_ISREG(path.lstat().st_mode)
