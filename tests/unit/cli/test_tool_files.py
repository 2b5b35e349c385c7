"""Settings files for tools that no variable tells of roots."""

from pathlib import Path

import pytest

from outward.cli.tool_files import tool_files, write_tool_files


@pytest.fixture
def base(tmp_path: Path) -> dict[str, str]:
    """An environment in which the tools are there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("apt-get", "wget", "php"):
        (programs / name).touch(0o755)
    return {"PATH": str(programs), "HOME": str(tmp_path)}


def _files(tmp_path: Path, base: dict[str, str]) -> dict[str, str]:
    bundle = tmp_path / "ca-bundle.pem"
    return write_tool_files(bundle, base)


def test_each_tool_is_told_of_the_bundle(tmp_path: Path, base: dict[str, str]):
    found = _files(tmp_path, base)
    folder = tool_files(tmp_path / "ca-bundle.pem")
    assert found == {
        "APT_CONFIG": f"{folder}/apt.conf",
        "WGETRC": f"{folder}/wgetrc",
        "PHP_INI_SCAN_DIR": f":{folder}/php",
    }
    assert all(str(tmp_path / "ca-bundle.pem") in path.read_text() for path in folder.rglob("*.*") if path.is_file())


def test_what_is_not_there_gets_none(tmp_path: Path):
    assert _files(tmp_path, {"PATH": str(tmp_path)}) == {}
    assert not tool_files(tmp_path / "ca-bundle.pem").exists()


def test_the_callers_own_files_stay(tmp_path: Path, base: dict[str, str]):
    (tmp_path / ".wgetrc").touch()
    found = _files(tmp_path, base | {"APT_CONFIG": "/mine.conf", "PHP_INI_SCAN_DIR": "/mine:"})
    assert found == {"PHP_INI_SCAN_DIR": f"/mine::{tool_files(tmp_path / 'ca-bundle.pem')}/php"}
    assert "WGETRC" not in _files(tmp_path, base | {"HOME": "/", "WGETRC": "/mine"})


def test_a_run_within_a_run_names_its_own(tmp_path: Path, base: dict[str, str]):
    inner = write_tool_files(tmp_path / "ca-bundle-0123.pem", base | _files(tmp_path, base))
    assert inner["APT_CONFIG"] == f"{tmp_path}/ca-bundle-0123.d/apt.conf"
    assert inner["WGETRC"] == f"{tmp_path}/ca-bundle-0123.d/wgetrc"
    assert inner["PHP_INI_SCAN_DIR"].endswith(f"{tmp_path}/ca-bundle-0123.d/php")
    again = _files(tmp_path, base)
    assert _files(tmp_path, base | again) == again
