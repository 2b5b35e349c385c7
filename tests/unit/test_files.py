"""Small files: replaced as a whole or not at all."""

import os
from pathlib import Path

import pytest

from outward.files import replace_file


def test_a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    replace_file(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    replace_file(path, b"two", 0o644)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_holds_the_data_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    replace_file(path, b"same")
    before = path.stat()
    replace_file(path, b"same")
    assert path.stat() == before


def test_a_write_that_fails_leaves_the_old_content_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.head"
    replace_file(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
