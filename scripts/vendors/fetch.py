"""Brings the newest packages from the registries that this machine is set up to use, and unpacks them. Runs none."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


def python(package: str, folder: Path) -> tuple[str, Path]:
    """Download a package's newest wheel, or its sources; return its version and where it was unpacked."""
    into = folder / package
    into.mkdir(parents=True, exist_ok=True)
    if not list(into.glob("*.whl")) + list(into.glob("*.tar.gz")):
        _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), package)
    archive = next(path for path in into.iterdir() if path.is_file())
    target = into / "files"
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(target)
    else:
        _untar(archive, target)
    return archive.name.removesuffix(".tar.gz").split("-")[1], target


def npm(package: str, folder: Path) -> tuple[str, Path]:
    """Download a package of the npm registry and, if it is a shell around another, that one."""
    into = folder / package.replace("/", "+")
    into.mkdir(parents=True, exist_ok=True)
    if not list(into.glob("*.tgz")):
        _run("npm", "pack", "--silent", "--pack-destination", str(into), package)
    archive = next(into.glob("*.tgz"))
    target = into / "files"
    _untar(archive, target)
    manifest = json.loads((target / "package" / "package.json").read_text("utf-8"))
    return manifest["version"], target


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"cannot download: {' '.join(words)}\n{done.stderr}")


def _untar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
