"""The image: its Dockerfile is linted, copies what exists, and what it installs is complete."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
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


def test_the_labels_say_what_the_project_says() -> None:
    """Version and licence stand in one place more than necessary, because labels cannot be computed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\S+)="([^"]*)"', DOCKERFILE))
    assert (labels["version"], labels["licenses"]) == (project["version"], project["license"])
    assert set(labels) == {"title", "description", "version", "revision", "licenses", "base.name"}


def instructions(stage: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a stage, each with its arguments on one line."""
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", stage, flags=re.MULTILINE)).splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword:
            yield keyword, rest


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Execute the build stage, its very lines, in folders of the test's own; return what takes the place of `/`."""
    root = tmp_path_factory.mktemp("image")
    (root / "src").mkdir()
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PATH"] = f"{root}/bin:/usr/bin:/bin"
    for keyword, rest in instructions(DOCKERFILE.split("\nFROM ")[1]):
        if keyword == "COPY":
            *sources, target = rest.split()
            for name in sources:
                place = root / "src" / target
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    place.mkdir(exist_ok=True)
                    shutil.copy(ROOT / name, place)
        elif keyword == "RUN":
            line = re.sub(r"(?<![\w.])/(?=build\b|dist\b|opt/)", f"{root}/", rest)
            run(root, environment, "sh", "-ec", line)
    return root


def run(root: Path, environment: dict[str, str], *command: str | Path) -> str:
    """Run a command that has to succeed."""
    done = subprocess.run(
        command, cwd=root / "src", env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def distributions(built: Path) -> set[str]:
    """Return the installed packages with their versions, in one spelling."""
    (site,) = (built / "opt" / "outward" / "lib").glob("python3.*/site-packages")
    found = importlib.metadata.distributions(path=[str(site)])
    return {_spelt(f"{each.metadata['Name']}@{each.version}") for each in found}


def _spelt(text: str) -> str:
    return re.sub(r"[-_.]+(?=.*@)", "-", text).lower()


def builds(test: Callable[[Path], None]) -> Callable[[Path], None]:
    """Mark a test of what the build makes."""
    return pytest.mark.slow(pytest.mark.network(pytest.mark.timeout(600)(test)))


@builds
def test_the_build_makes_a_proxy_that_runs(built: Path) -> None:
    """An environment that holds the wheel, what is locked, and no tool of the build."""
    with zipfile.ZipFile(next((built / "dist").iterdir())) as archive:
        packed = {name for name in archive.namelist() if name.startswith("outward/")}
    assert packed == _files(PACKAGE)
    home = built / "opt" / "outward"
    assert run(built, {}, home / "bin" / "outward", "version") == "outward 0.1.0\n"
    assert run(built, {}, home / "bin" / "outward", "schema").startswith("{")
    run(built, {}, home / "bin" / "python", "-c", "import outward.records.postgres")
    assert not {name for name in distributions(built) if name.startswith(("pip@", "hatchling@", "cyclonedx-bom@"))}


@builds
def test_the_bill_of_materials_lists_what_is_installed(built: Path) -> None:
    """Each package in its version; Outward itself is what the bill is of."""
    bill = json.loads((built / "opt" / "outward" / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    itself = bill["metadata"]["component"]
    listed = {_spelt(f"{each['name']}@{each['version']}") for each in bill["components"]}
    assert listed | {f"{itself['name']}@{itself['version']}"} == distributions(built)


@builds
def test_byte_code_is_complete_and_never_compared(built: Path) -> None:
    """Nothing is compiled at a start, and no source is looked at: the root file system is read-only there."""
    sources = list((built / "opt" / "outward" / "lib").rglob("*.py"))
    assert len(sources) > 1000
    compiled = [Path(importlib.util.cache_from_source(str(each))) for each in sources]
    assert [str(each) for each in compiled if not each.exists()] == []
    assert {each.read_bytes()[4:8] for each in compiled} == {b"\x01\0\0\0"}  # PEP 552: by hash, unchecked


@builds
def test_what_the_image_adds_to_its_base_is_small(built: Path) -> None:
    """Prints the size of each component, in MiB."""
    (site,) = (built / "opt" / "outward" / "lib").glob("python3.*/site-packages")
    sizes = {
        each.name: sum(file.stat().st_size for file in each.rglob("*") if file.is_file()) for each in site.iterdir()
    }
    total = sum(file.lstat().st_size for file in (built / "opt" / "outward").rglob("*") if file.is_file())
    for name, size in sorted(sizes.items(), key=lambda pair: -pair[1])[:12]:
        print(f"{size / 2**20:6.1f}  {name}")
    print(f"{total / 2**20:6.1f}  in all")
    assert total < 200 * 2**20
