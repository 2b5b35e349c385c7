"""The image: its Dockerfile is linted, copies what exists, and what it installs is complete."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGE = ROOT / "addons" / "outward"


def _files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(ROOT / "addons"))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_linter_has_nothing_to_say() -> None:
    """Every rule of hadolint holds; none is ignored."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed on this platform")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in DOCKERFILE


def test_what_is_copied_exists_and_is_sent() -> None:
    """The ignore file lets nothing through but what a COPY names."""
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    first, *sent = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    assert sorted(name.removeprefix("!") for name in sent if name.startswith("!")) == sorted(copied)


def test_it_runs_without_root_and_without_a_shell() -> None:
    """The last stage names a numeric user, and every command is a list of words."""
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER \d+:\d+$", last, re.MULTILINE)
    for instruction in ("ENTRYPOINT", "CMD"):
        assert re.search(rf"^{instruction} \[", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .* CMD \[", last, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
def test_the_steps_of_the_build_make_a_proxy_that_runs(tmp_path: Path) -> None:
    """Executed by hand in clean folders: locked tools, a wheel, an environment that holds it and nothing else."""
    source = tmp_path / "src"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt", "requirements-build.txt"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "addons", source / "addons", ignore=shutil.ignore_patterns("__pycache__"))

    def step(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for venv, lock in (("build", "requirements-build.txt"), ("outward", "requirements.txt")):
        step(sys.executable, "-m", "venv", tmp_path / venv)
        step(tmp_path / venv / "bin" / "python", "-m", "pip", "install", "-q", "--require-hashes", "-r", lock)
    wheels = tmp_path / "dist"
    build = tmp_path / "build" / "bin" / "python"
    step(build, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", wheels, ".")
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("outward/")}
    assert packed == _files(PACKAGE)
    python = tmp_path / "outward" / "bin" / "python"
    step(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)
    step(python, "-m", "pip", "uninstall", "-q", "--yes", "pip")
    assert step(tmp_path / "outward" / "bin" / "outward", "version") == "outward 0.1.0\n"
    assert step(tmp_path / "outward" / "bin" / "outward", "schema").startswith("{")
