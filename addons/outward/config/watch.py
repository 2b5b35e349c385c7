"""Notices that the files of a configuration have changed. Reads and compares; never parses.

Polls, because a ConfigMap is updated by swapping a symlink above the file, which watches on the file do not see.
"""

import os
from collections.abc import Iterable
from pathlib import Path


def fingerprint(files: Iterable[Path]) -> tuple[object, ...]:
    """Return a value that differs when a file's content may have changed, or a file came or went beside one.

    Follows symlinks, so that a swapped one counts. Costs one stat a file and one listing a folder.
    """
    paths = sorted(set(files))
    folders = sorted({path.parent for path in paths})
    return (tuple(map(_stat, paths)), tuple(map(_names, folders)))


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _names(folder: Path) -> tuple[str, ...] | None:
    """Name the YAML files beside: a glob in `include` may match a new one."""
    try:
        return tuple(sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml"))))  # noqa: PTH208 - a tenth of iterdir's cost
    except OSError:
        return None
