"""Changes of configuration files are noticed; nothing else is."""

from pathlib import Path

import pytest

from outward.config.watch import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as Kubernetes mounts a ConfigMap: file → ..data → a dated folder."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "outward.yaml").write_text("version: 1\n")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "outward.yaml").symlink_to("..data/outward.yaml")
    return tmp_path


def test_nothing_changed(folder: Path) -> None:
    """Looking twice is no change."""
    assert fingerprint([folder / "outward.yaml"]) == fingerprint([folder / "outward.yaml"])


def test_a_swapped_symlink_is_a_change(folder: Path) -> None:
    """Although the file's own path is the same link as before."""
    before = fingerprint([folder / "outward.yaml"])
    (folder / "..next").symlink_to("two")
    (folder / "..next").replace(folder / "..data")
    assert fingerprint([folder / "outward.yaml"]) != before


def test_a_rewritten_file_is_a_change(folder: Path) -> None:
    """Also when its length stays."""
    before = fingerprint([folder / "outward.yaml"])
    (folder / "one" / "outward.yaml").write_text("version: 2\n")
    assert fingerprint([folder / "outward.yaml"]) != before


def test_a_file_that_goes_is_a_change(folder: Path) -> None:
    """And no error."""
    before = fingerprint([folder / "outward.yaml"])
    (folder / "one" / "outward.yaml").unlink()
    assert fingerprint([folder / "outward.yaml"]) != before


def test_a_new_yaml_file_beside_is_a_change(folder: Path) -> None:
    """A glob in `include` may match it; other files may not."""
    before = fingerprint([folder / "outward.yaml"])
    (folder / "notes.txt").touch()
    assert fingerprint([folder / "outward.yaml"]) == before
    (folder / "groups.yaml").touch()
    assert fingerprint([folder / "outward.yaml"]) != before
