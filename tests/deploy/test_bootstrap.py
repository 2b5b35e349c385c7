"""`bin/outward` and `bin/test` in a checkout that has nothing yet."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "README.md")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a fresh clone has of the files that matter, in a folder with a blank in its name."""
    root = tmp_path / "a checkout"
    root.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, root)
    for folder in ("bin", "addons", "requirements"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def run(checkout: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the checkout from another folder."""
    return subprocess.run(
        [checkout / "bin" / command[0], *command[1:]],
        cwd=checkout.parent,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )


def folder_with(path: Path, **scripts: str) -> Path:
    """Make a folder of small scripts, for a PATH."""
    path.mkdir()
    for name, text in scripts.items():
        script = path / name.replace("_", ".")
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
    return path


def test_a_python_that_is_named_and_does_not_run_shows_its_own_error(checkout: Path, tmp_path: Path) -> None:
    """No other one is taken in its place, through a link, and without HOME."""
    broken = folder_with(tmp_path / "broken", python3="echo libfoo.so is missing >&2; exit 127") / "python3"
    (tmp_path / "first").symlink_to(checkout / "bin" / "outward")
    (tmp_path / "second").symlink_to("first")
    env = {name: value for name, value in os.environ.items() if name != "HOME"} | {"OUTWARD_PYTHON": str(broken)}
    done = subprocess.run([tmp_path / "second"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "libfoo.so is missing" in done.stderr
    assert f"OUTWARD_PYTHON={broken} does not run" in done.stderr
    assert "HOME" not in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_a_new_enough_python_it_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    """Pythons that are too old, and shims that refuse to run, count as none."""
    old = "exit 1"
    fakes = folder_with(
        tmp_path / "fakes", python3_14=old, python3_13=old, python3_12="echo no >&2; exit 127", python3=old, python=old,
        uv=old,
    )  # fmt: skip
    done = run(
        checkout, "outward", "version", PATH=f"{fakes}:/usr/bin:/bin", HOME=str(tmp_path), PYENV_ROOT=str(tmp_path),
        OUTWARD_PYTHON="",
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs Python 3.12 or newer" in done.stderr
    assert "OUTWARD_PYTHON" in done.stderr
    assert not (checkout / ".venv").exists()


def python(name: str, sign: str) -> str:
    """A script that answers like a Python of a name, and can make no environment."""
    return f"""case "$*" in *version_info*) echo "{sign}$0" ;; -V) echo "Python {name}" ;; *venv*) exit 1 ;; esac"""


@pytest.mark.parametrize(
    ("newer", "older", "taken"),
    [
        ("-", "+", "the older, built with optimisations"),
        ("+", "+", "the newer, built with optimisations"),
        ("-", "-", "the newer, built without optimisations: slower by a fifth"),
    ],
)
def test_of_several_pythons_it_takes_one_that_was_built_with_optimisations(
    checkout: Path, tmp_path: Path, newer: str, older: str, taken: str
) -> None:
    """It says which, once."""
    none = "exit 1"
    fakes = folder_with(
        tmp_path / "the fakes", python3_13=python("the newer", newer), python3_12=python("the older", older),
        python3_14=none, python3=none, python=none, uv=none,
    )  # fmt: skip
    done = run(
        checkout, "outward", "version", PATH=f"{fakes}:/usr/bin:/bin", HOME=str(tmp_path), PYENV_ROOT=str(tmp_path),
        OUTWARD_PYTHON="",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"setting up .venv with Python {taken} (once" in done.stderr
    assert done.stderr.count("optimisations") == 1


def test_how_this_python_was_built_is_read_from_its_configuration() -> None:
    """Where the switch or the compiler's flag says so, and where it could make an environment."""
    script = f'. "{ROOT}/bin/setup.sh"; "$1" -c "$probe"'
    done = subprocess.run(["sh", "-c", script, "sh", sys.executable], capture_output=True, text=True, check=True)
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    built = "--enable-optimizations" in flags or "/usr/share/python-wheels" in flags
    assert done.stdout == f"{'+' if built else '-'}{sys.executable}\n"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(600)
def test_it_sets_itself_up_once(checkout: Path, tmp_path: Path) -> None:
    """With an old default Python and a constraint that contradicts the lock; the second time needs no index at all.

    Byte code is written even where Python is told to write none.
    """
    fakes = folder_with(tmp_path / "fakes", python3="exit 1", python="exit 1", uv="exit 1")
    constraint = tmp_path / "constraints.txt"
    constraint.write_text("click<8\n")
    path = f"{fakes}:{os.environ['PATH']}"
    first = run(
        checkout, "outward", "version", PATH=path, PIP_CONSTRAINT=str(constraint), OUTWARD_PYTHON=sys.executable,
        PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert (first.returncode, first.stdout) == (0, "outward 0.1.0\n"), first.stderr
    assert "setting up .venv" in first.stderr
    assert list((checkout / "addons/outward/__pycache__").glob("service.*.pyc"))
    second = run(checkout, "outward", "version", PATH=path, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_NO_INDEX="1")
    assert (second.returncode, second.stdout, second.stderr) == (0, "outward 0.1.0\n", "")
