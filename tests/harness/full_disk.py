"""A disk that is full: a small file system in memory."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_FILLER = "filler"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount one megabyte on a folder; skips where that is not permitted."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a file system can be mounted by root only")
    try:
        yield folder
    finally:
        ctypes.CDLL(None).umount2(os.fsencode(folder), 2)  # MNT_DETACH: whatever is still open there


def fill(folder: Path) -> None:
    """Leave no room."""
    with (folder / _FILLER).open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def free(folder: Path) -> None:
    """Give the room back."""
    (folder / _FILLER).unlink()
