"""Breaks each promise on purpose, in a copy, and tells whether its test notices.

    .venv/bin/python tests/mutation/promises.py [NUMBER...]     promises of docs/threat-model.md; all by default

Each break of `promises.yaml` is tried by itself. Exits with 1 when a test did not notice one, or fails without it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


class Break(TypedDict):
    """One way of breaking a promise; `promises.yaml` explains its keys."""

    promise: int
    broken: str
    file: str
    change: tuple[str, str]
    noticed_by: str


def breaks() -> list[Break]:
    """Return every way of breaking a promise."""
    found: list[Break] = yaml.safe_load((HERE / "promises.yaml").read_text())
    return found


def broken(each: Break) -> str:
    """Return the text of a file with a promise broken in it.

    Raises:
        ValueError: the file does not hold exactly once what is to be changed.
    """
    text = (ROOT / "addons" / "outward" / each["file"]).read_text()
    old, new = each["change"]
    if text.count(old) != 1:
        raise ValueError(f"{each['file']} holds {text.count(old)} times: {old}")
    return text.replace(old, new)


def tests(addons: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run tests against a copy of the sources."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", "--timeout", "60", *names]
    environment = os.environ | {"PYTHONPATH": str(addons), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def noticed(addons: Path, each: Break) -> str | None:
    """Break a promise and mend it again; return the line in which its test says so, or None where it passes."""
    file = addons / "outward" / each["file"]
    whole = file.read_text()
    file.write_text(broken(each))
    done = tests(addons, each["noticed_by"])
    file.write_text(whole)
    if done.returncode != 1:
        return None
    said = reversed(done.stdout.splitlines())  # the summary, with the reason
    return next((line for line in said if line.startswith(("FAILED", "ERROR"))), "")


def main(numbers: list[int]) -> int:
    """Try the breaks of some promises."""
    chosen = [each for each in breaks() if not numbers or each["promise"] in numbers]
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        addons = Path(scratch)
        shutil.copytree(ROOT / "addons" / "outward", addons / "outward")
        whole = tests(addons, *sorted({each["noticed_by"] for each in chosen}))
        if whole.returncode:
            print(whole.stdout, "the tests do not pass as it is", sep="\n")
            return 1
        for each in chosen:
            said = noticed(addons, each)
            missed += said is None
            print(f"{each['promise']:>2}  {'noticed' if said is not None else 'MISSED '}  {each['broken']}")
            print(f"             {said or each['noticed_by']}"[:150], flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main([int(each) for each in sys.argv[1:]]))
