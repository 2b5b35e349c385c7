"""Notices that the files of a configuration have changed. Reads and compares; never parses.

Polls, because a ConfigMap is updated by swapping a symlink above the file, which watches on the file do not see.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path


def fingerprint(files: Iterable[Path], folders: Iterable[Path] = ()) -> dict[str, object]:
    """Return what differs when a file's content may have changed, or a file came or went beside one.

    By the file's path, and by the folder's with a slash behind it. Follows symlinks, so that a swapped one counts.
    Costs one stat a file and one listing a folder.

    Args:
        files: those that count.
        folders: where others may appear, of any name.
    """
    paths = set(files)
    found: dict[str, object] = {str(path): _stat(path) for path in paths}
    found |= {f"{folder}/": _listed(folder, (".yaml", ".yml")) for folder in {path.parent for path in paths}}
    return found | {f"{folder}/*": _listed(folder, "") for folder in set(folders)}


def restless(one: Mapping[str, object], other: Mapping[str, object]) -> frozenset[str]:
    """Return what differs between two looks."""
    return frozenset(key for key in {*one, *other} if one.get(key) != other.get(key))


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _listed(folder: Path, ends: str | tuple[str, ...]) -> tuple[str, ...] | None:
    """Name the files beside that a glob in `include` may match."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a tenth of iterdir's cost
    except OSError:
        return None
    return tuple(sorted(name for name in names if name.endswith(ends) and not name.startswith(".")))
