"""The wheel and the sdist: built from the checkout, with all that runs and nothing that tests."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("cli/node_fetch.cjs", "config/sets/developer.yaml", "config/sets/telemetry.yaml", "config/hidden.yaml",
          "search/tables/anthropic.yaml", "cli/through.py", "demo/page.py")  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_the_wheel_holds_all_that_runs_and_no_tests(built: Path):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entries = next(name for name in names if name.endswith("entry_points.txt"))
        assert "outward = outward.cli.main:main" in archive.read(entries).decode()
    assert [name for name in NEEDED if f"outward/{name}" not in names] == []
    assert [name for name in names if name.startswith("tests/") or "/tests/" in name or name.endswith(".pyc")] == []
    shipped = {path.relative_to(ROOT / "addons").as_posix() for path in (ROOT / "addons/outward").rglob("*.py")}
    assert shipped <= set(names)


def test_what_the_wheel_holds_runs_without_the_checkout(built: Path, tmp_path: Path):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = "import sys; sys.path.insert(0, '.'); from outward.cli.main import main; main(['explain', '@telemetry'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.startswith("@telemetry: ")) == (0, True), done.stderr


def test_a_wheel_can_be_built_from_the_sdist(built: Path, tmp_path: Path):
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    [first], [second] = built.glob("*.whl"), (tmp_path / "again").glob("*.whl")
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
